package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

func TestReplay(t *testing.T) {
	_, path := sampleState(t)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"filtered", []string{idClosed}, "one\x1b[1m two\n"},
		{"raw", []string{idClosed, "--raw"}, "one\x1b]0;evil\a\x1b[1m two\n"},
		{"input", []string{idClosed, "--input"}, "ls\\x03\\r\nexit\\n\n\\x1b[A"},
		{"raw input", []string{idClosed, "--input", "--raw"}, "ls\x03\rexit\n\x1b[A"},
		{"second channel", []string{"-2", "--channel", "1"}, strings.Repeat("shell ", 1000)},
		{"live", []string{"-1"}, "live"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, diagnostics := sandtrap(path, append([]string{"replay", "--speed", "0"}, tt.args...)...)
			if code != exitOK || !strings.HasPrefix(out, tt.want) {
				t.Errorf("replay = %d, %q\n%s", code, out, diagnostics)
			}
			if open := strings.Contains(diagnostics, "still open"); open != (tt.name == "live") {
				t.Errorf("diagnostics: %q", diagnostics)
			}
		})
	}
	if _, out, _ := sandtrap(path, "replay", idClosed); !strings.HasSuffix(out, "\x1b[r\x1b8") {
		t.Errorf("the terminal was not restored: %q", out)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{idClosed, "--channel", "7"}, exitNotFound, "no recording of channel 7"},
		{[]string{"ZZZZ"}, exitNotFound, "no such session"},
		{[]string{"-1", "--speed", "-1"}, exitUsage, "not a speed"},
		{[]string{"-1", "--speed", "NaN"}, exitUsage, "not a speed"},
		{[]string{"-1", "--idle-limit", "-1s"}, exitUsage, "not a pause"},
	} {
		if code, _, diagnostics := sandtrap(path, append([]string{"replay"}, tt.args...)...); code != tt.code || !strings.Contains(diagnostics, tt.want) {
			t.Errorf("replay %q = %d, %s", tt.args, code, diagnostics)
		}
	}
}

func TestReplayDamaged(t *testing.T) {
	state, path := sampleState(t)
	raw := filepath.Join(state, "sessions/2026/03/31", idClosed, "channel-0.raw")
	st, err := os.Stat(raw)
	ok(t, err)
	ok(t, os.Truncate(raw, st.Size()-1))
	if code, out, diagnostics := sandtrap(path, "replay", idClosed); code != exitError || !strings.Contains(out, "two") || !strings.Contains(diagnostics, "end is missing") {
		t.Errorf("replay of a torn log = %d, %q, %q", code, out, diagnostics)
	}
	ok(t, os.WriteFile(raw, []byte("something else entirely"), 0o600))
	if code, _, diagnostics := sandtrap(path, "replay", idClosed); code != exitError || !strings.Contains(diagnostics, "not a SandTrap raw log") {
		t.Errorf("replay of a foreign file = %d, %q", code, diagnostics)
	}
	ok(t, os.Remove(raw))
	ok(t, os.Symlink("/etc/passwd", raw))
	if code, out, _ := sandtrap(path, "replay", idClosed); code != exitError || out != "" {
		t.Errorf("replay of a link = %d, %q", code, out)
	}
	live := filepath.Join(state, "sessions/2026/03/31", idOpen, "channel-0.raw")
	b, err := os.ReadFile(live)
	ok(t, err)
	ok(t, os.WriteFile(live, append(b, 'o', 0, 0), 0o600))
	if code, out, _ := sandtrap(path, "replay", idOpen); code != exitOK || out != "live" {
		t.Errorf("replay in mid-write = %d, %q", code, out)
	}
	ok(t, os.Remove(live))
	if code, _, diagnostics := sandtrap(path, "replay", idOpen); code != exitNotFound || !strings.Contains(diagnostics, "has no recording") {
		t.Errorf("replay without a recording = %d, %q", code, diagnostics)
	}
}

func TestReplaySaysWhereTheQuotaWas(t *testing.T) {
	state := t.TempDir()
	store, err := evidence.Open(state)
	ok(t, err)
	defer store.Close()
	d, err := store.Create(idClosed, march31)
	ok(t, err)
	r, err := record.Create(record.Options{Dir: d.Root(), Name: "channel-0", MaxBytes: 300})
	ok(t, err)
	for err == nil {
		err = r.Output([]byte("x"))
	}
	sum, err := r.Close()
	ok(t, err)
	ok(t, d.Save(evidence.Session{State: evidence.StateClosed, Start: march31, Channels: []evidence.Channel{{Recording: sum}}}))
	var out, diagnostics bytes.Buffer
	ok(t, runReplay(t.Context(), store, replayOptions{id: "-1", channel: -1}, &out, &diagnostics))
	if !strings.Contains(diagnostics.String(), "size limit") || strings.Trim(out.String(), "x") != "" {
		t.Errorf("replay = %q, %q", out.String(), diagnostics.String())
	}
}

func TestReplayKeepsTimeAndStops(t *testing.T) {
	state := t.TempDir()
	store, err := evidence.Open(state)
	ok(t, err)
	defer store.Close()
	synctest.Test(t, func(t *testing.T) {
		d, err := store.Create(idClosed, time.Now())
		ok(t, err)
		defer d.Close()
		r, err := record.Create(record.Options{Dir: d.Root(), Name: "channel-0"})
		ok(t, err)
		ok(t, r.Output([]byte("\x1b[?1049ha")))
		time.Sleep(time.Hour)
		ok(t, r.Output([]byte("b")))
		sum, err := r.Close()
		ok(t, err)
		ok(t, d.Save(evidence.Session{State: evidence.StateClosed, Channels: []evidence.Channel{{Recording: sum}}}))

		begin := time.Now()
		var out, diagnostics bytes.Buffer
		o := replayOptions{id: "-1", channel: -1, speed: 2, idleLimit: time.Minute}
		ok(t, runReplay(t.Context(), store, o, &out, &diagnostics))
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("replay took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		out.Reset()
		if err := runReplay(ctx, store, o, &out, &diagnostics); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted replay: %v", err)
		}
		if !strings.HasSuffix(out.String(), "\x1b[?1049l") {
			t.Errorf("interrupted replay left the terminal at %q", out.String())
		}
	})
}
