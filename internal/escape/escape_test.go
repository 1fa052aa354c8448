//go:build appliance || vm

package escape

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAttempts makes every attempt of the table, as root and as an ordinary
// account, while another session is open.
func TestAttempts(t *testing.T) {
	o := newOutside(t)
	for _, account := range []string{"root", "debian"} {
		t.Run(account, func(t *testing.T) {
			s := login(t, account)
			s.upload(t)
			o.sessions = append(o.sessions[:1:1], s)
			inside := converse(t, s.command("exec /tmp/x/"+programName+" serve"), o.facts)
			o.remember()
			for _, g := range table {
				t.Run(g.title, func(t *testing.T) { o.tryAll(t, inside, account, g) })
			}
			s.logout()
			s.sealed(t)
		})
	}
	if r, err := o.witness.ask("last"); err != nil || !strings.HasPrefix(r, "last: "+canaryText) {
		t.Errorf("the other session says %q, %v", r, err)
	}
	o.sessions[0].logout()
	o.sessions[0].sealed(t)
	eventsAreWhole(t)
}

func (o *outside) tryAll(t *testing.T, inside *conversation, account string, g group) {
	for _, r := range g.rows {
		answer, err := inside.ask(r.name)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if want := r.wanted(account); !accepted(answer, want) {
			t.Errorf("%s: %s, want %s", r.name, answer, want)
		}
		if err := o.unchanged(r.outside); err != nil {
			t.Errorf("after %s: %v", r.name, err)
		}
	}
	for _, a := range aspects {
		if err := o.unchanged(a); err != nil {
			t.Errorf("after %s: %v", g.title, err)
		}
	}
}

// sealFile is the last that a session gets.
const sealFile = "SHA256SUMS.sig"

// sealed waits for the session's evidence: sealed, every channel with its recording,
// and the container stopped and named after it.
func (s *session) sealed(t *testing.T) {
	t.Helper()
	err := eventually(patience, func() error {
		if err := s.find(); err != nil {
			return err
		}
		if s.record.State == "open" {
			return errors.New("the session is open")
		}
		if _, err := os.Lstat(filepath.Join(s.record.directory, sealFile)); err != nil {
			return errors.New("the session is not sealed")
		}
		if err := s.find(); err != nil { // recordings have other names now
			return err
		}
		state, err := output("podman", "--url", podmanURL, "inspect", "--format", "{{.State.Status}} {{.ID}}", s.record.ID)
		if s.gone {
			if err == nil {
				return fmt.Errorf("its container is %s", state)
			}
			return nil
		}
		if err != nil || state != "exited "+s.record.Target.Container {
			return fmt.Errorf("its container is %s, %w", state, err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("session %s: %v", s.record.ID, err)
		return
	}
	if s.record.State != "closed" || len(s.record.Channels) == 0 {
		t.Errorf("session %s is %s with %d channels", s.record.ID, s.record.State, len(s.record.Channels))
	}
	for i, c := range s.record.Channels {
		for _, name := range []string{c.Recording.Raw, c.Recording.Cast} {
			if info, err := os.Lstat(filepath.Join(s.record.directory, name)); name == "" || err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
				t.Errorf("channel %d of %s: recording %q: %v", i, s.record.ID, name, err)
			}
		}
	}
}

// eventsAreWhole reads every event file: objects of JSON, one a line, none missing.
func eventsAreWhole(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(stateDir, "events", "events-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("event files: %v, %v", files, err)
	}
	next := int64(0)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e struct {
				Seq   int64  `json:"seq"`
				Event string `json:"event"`
			}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Event == "" {
				t.Errorf("%s: %v in %.200q", name, err, lines.Bytes())
				continue
			}
			if e.Seq != 1 && e.Seq != next && next != 0 { // it starts over with the service
				t.Errorf("event %d follows %d", e.Seq, next-1)
			}
			next = e.Seq + 1
		}
		if err := lines.Err(); err != nil {
			t.Error(err)
		}
		_ = f.Close()
	}
}
