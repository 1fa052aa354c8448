package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
)

func TestExitCode(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"success", nil, 0},
		{"error", errors.New("x"), 1},
		{"usage", usageError{errors.New("x")}, 2},
		{"wrapped usage", fmt.Errorf("x: %w", usageError{errors.New("x")}), 2},
		{"not found", fmt.Errorf("x: %w", evidence.ErrNotFound), 4},
		{"interrupted", fmt.Errorf("x: %w", context.Canceled), 130},
		{"interrupted for a missing session", errors.Join(evidence.ErrNotFound, context.Canceled), 130},
	}
	for _, tt := range tests {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%s: exit code %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestCommandLines(t *testing.T) {
	state := t.TempDir()
	config := writeConfig(t, "sandtrap.yaml", "state_dir: "+state+"\n")
	missing := filepath.Join(t.TempDir(), "none.yaml")
	tests := []struct {
		name string
		args []string
		code int
		out  string // beginning of standard output
		err  string // beginning of standard error
	}{
		{"nothing", nil, 0, "SSH honeypot", ""},
		{"help", []string{"--help"}, 0, "SSH honeypot", ""},
		{"version", []string{"version"}, 0, "sandtrap devel (go", ""},
		{"unknown verb", []string{"frobnicate"}, 2, "", `sandtrap: unknown command "frobnicate"`},
		{"unknown flag", []string{"--frobnicate"}, 2, "", "sandtrap: unknown flag: --frobnicate"},
		{"unknown flag of a verb", []string{"serve", "--frobnicate"}, 2, "", "sandtrap: unknown flag: --frobnicate"},
		{"unknown argument", []string{"version", "x"}, 2, "", `sandtrap: unknown command "x"`},
		{"unknown argument below a verb", []string{"config", "frobnicate"}, 2, "", "sandtrap: "},
		{"missing argument", []string{"show"}, 2, "", "sandtrap: "},
		{"flag without value", []string{"--config"}, 2, "", "sandtrap: flag needs an argument: --config"},
		{"missing session", []string{"--config", config, "show", "01JQ0000000000000000000009"}, 4, "", "sandtrap: "},
		{"missing file", []string{"--config", missing, "serve"}, 1, "", "sandtrap: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, diagnostics bytes.Buffer
			code := run(tt.args, &out, &diagnostics)
			if code != tt.code || !strings.HasPrefix(out.String(), tt.out) || !strings.HasPrefix(diagnostics.String(), tt.err) {
				t.Errorf("exit code %d, out %q, err %q", code, out.String(), diagnostics.String())
			}
			if tt.code == 0 {
				return
			}
			lines := strings.Split(strings.TrimSuffix(diagnostics.String(), "\n"), "\n")
			if out.Len() > 0 || len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "hint: ") {
				t.Errorf("out %q, err %q, want one line and a hint at most", out.String(), diagnostics.String())
			}
		})
	}
}

func TestFailure(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
		code int
	}{
		{"plain", errors.New("it broke"), "sandtrap: it broke\n", 1},
		{"with a hint", hint.Wrap(errors.New("it broke"), "mend it"), "sandtrap: it broke\nhint: mend it\n", 1},
		{"interrupted", fmt.Errorf("stopped: %w", context.Canceled), "", 130},
	}
	for _, tt := range tests {
		var diagnostics bytes.Buffer
		if code := conclude(tt.err, &diagnostics); code != tt.code || diagnostics.String() != tt.want {
			t.Errorf("%s: exit code %d, err %q", tt.name, code, diagnostics.String())
		}
	}
}
