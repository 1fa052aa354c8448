package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/config"
)

// runConfigCommand runs `sandtrap config ARGS` with the file at path and
// returns both streams; the file's directory is cut off.
func runConfigCommand(t *testing.T, path string, args ...string) (out, diagnostics string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := newConfig(&globals{configPath: path, out: &stdout, err: &stderr})
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	cut := strings.NewReplacer(filepath.Dir(path)+"/", "")
	return cut.Replace(stdout.String()), cut.Replace(stderr.String()), err
}

func writeConfig(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCheck(t *testing.T) {
	good := writeConfig(t, "good.yaml", "pool: {min: 3}\n")
	dropIn := filepath.Join(filepath.Dir(good), "conf.d", "10-more.yaml")
	if err := os.Mkdir(filepath.Dir(dropIn), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dropIn, []byte("log: {level: debug}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	one := writeConfig(t, "one.yaml", "pool: {minn: 3}\n")
	two := writeConfig(t, "two.yaml", "pool:\n  min: four\nssh:\n  login_grace_time: 0s\n")
	for _, test := range []struct {
		name, path            string
		args                  []string
		out, diagnostics, err string
	}{
		{"good", good, []string{"check"}, "good.yaml: ok\nconf.d/10-more.yaml: ok\n", "", ""},
		{"one", one, []string{"check"}, "", "one.yaml:1: pool.minn: unknown key (did you mean pool.min?)\n", "the configuration has 1 problem"},
		{
			"two", two, []string{"check"}, "",
			"two.yaml:2: pool.min: \"four\" is not a whole number\ntwo.yaml:4: ssh.login_grace_time: 0s is out of range (1s to 10m)\n",
			"the configuration has 2 problems",
		},
		{"argument", good, []string{"check", "/nonexistent/x.yaml"}, "", "/nonexistent/x.yaml: cannot be read: no such file or directory\n", "the configuration has 1 problem"},
		{"show", one, []string{"show"}, "", "one.yaml:1: pool.minn: unknown key (did you mean pool.min?)\n", "the configuration has 1 problem"},
		{"format", good, []string{"show", "--format", "xml"}, "", "", `"xml" is not a format, want yaml or json`},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, diagnostics, err := runConfigCommand(t, test.path, test.args...)
			message := ""
			if err != nil {
				message = err.Error()
			}
			want := []string{test.out, test.diagnostics, test.err}
			if diff := cmp.Diff(want, []string{out, diagnostics, message}); diff != "" {
				t.Errorf("stdout, stderr, error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigUsage(t *testing.T) {
	path := writeConfig(t, "sandtrap.yaml", "")
	for _, args := range [][]string{{"chekc"}, {"check", "a", "b"}, {"show", "x"}, {"show", "--format", "xml"}, {"show", "--no"}} {
		var stdout, stderr bytes.Buffer
		args = append([]string{"--config", path, "config"}, args...)
		if code := run(args, &stdout, &stderr); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d\n%s%s", args, code, exitUsage, stdout.String(), stderr.String())
		}
	}
}

// TestConfigShow reads back what is shown.
func TestConfigShow(t *testing.T) {
	path := writeConfig(t, "sandtrap.yaml", "pool:\n  min: 3\n")
	shown, _, err := runConfigCommand(t, path, "show")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.LoadOptions{Path: writeConfig(t, "shown.yaml", shown)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pool.min"}, config.Diff(config.Default(), loaded.Config)); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}

	shown, _, err = runConfigCommand(t, path, "show", "--format", "json")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal([]byte(shown), &tree); err != nil {
		t.Fatal(err)
	}
	if pool, _ := tree["pool"].(map[string]any); pool["min"] != 3.0 {
		t.Errorf("pool is %v", tree["pool"])
	}
}

func TestConfigShowOrigin(t *testing.T) {
	t.Setenv("SANDTRAP_POOL__RETAIN", "9")
	path := writeConfig(t, "sandtrap.yaml", "pool:\n  min: 3\n")
	shown, _, err := runConfigCommand(t, path, "show", "--origin")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(shown) {
		lines[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		"pool.min = 3 sandtrap.yaml:2",
		"pool.retain = 9 environment SANDTRAP_POOL__RETAIN",
		"pool.max_leases = 64 default",
	} {
		if !lines[want] {
			t.Errorf("no line %q in\n%s", want, shown)
		}
	}

	shown, _, err = runConfigCommand(t, path, "show", "--origin", "--format", "json")
	if err != nil {
		t.Fatal(err)
	}
	var settings []config.Setting
	if err := json.Unmarshal([]byte(shown), &settings); err != nil {
		t.Fatal(err)
	}
	if len(settings) != len(config.Keys()) || settings[0].Key != "ssh.listen" || settings[0].Origin.Kind != config.FromDefault {
		t.Errorf("got %+v", settings)
	}
}

func TestConfigGet(t *testing.T) {
	path := writeConfig(t, "get.yaml", "target:\n  memory: 1GiB\nssh:\n  host_keys: [rsa]\npool:\n  max_age: 90s\n")
	for key, want := range map[string]string{
		"target.memory": "1073741824\n", "target.hostname": "srv01\n", "ssh.host_keys": "[\"rsa\"]\n", "pool.max_age": "1m30s\n", "pool.min": "4\n",
		"limits.enforcement": "required\n", "auth.accept_public_keys": "false\n", "auth.credentials": "[]\n",
	} {
		if out, _, err := runConfigCommand(t, path, "get", key); out != want || err != nil {
			t.Errorf("%s: %q, %v", key, out, err)
		}
	}
	for _, key := range []string{"", "target", "target.memry", "."} {
		var usage usageError
		if out, _, err := runConfigCommand(t, path, "get", key); out != "" || !errors.As(err, &usage) {
			t.Errorf("%q: %q, %v", key, out, err)
		}
	}
}
