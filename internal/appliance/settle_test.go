//go:build appliance

package appliance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
)

// warmAtRest is how many targets the pool holds when nothing happens: pool.min.
const warmAtRest = 4

// runningTargets are the names of the containers that run now.
func runningTargets(t *testing.T) []string {
	t.Helper()
	var names []string
	for name, c := range containers(t) {
		if c.State == "running" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// container is what podman ps tells about a container of ours.
type container struct {
	ID    string   `json:"Id"`
	Names []string `json:"Names"`
	State string   `json:"State"`
}

// containers are all of ours in every state, by name. It is empty while Podman is
// away, which no condition here takes for an answer.
func containers(t *testing.T) map[string]container {
	t.Helper()
	out, err := output("podman", "--url", podmanURL, "ps", "--all", "--filter", "label=io.sandtrap.target", "--format", "json")
	var list []container
	if err != nil || json.Unmarshal([]byte(out), &list) != nil {
		return nil
	}
	byName := map[string]container{}
	for _, c := range list {
		byName[c.Names[0]] = c
	}
	return byName
}

// settles fails when the appliance is not at rest within the bound: the pool is
// warm by itself, nothing runs that nobody uses, every session is sealed. No client
// of the test may be connected any more.
func settles(t *testing.T) {
	t.Helper()
	if err := eventually(func() error { return atRest(t) }); err != nil {
		t.Fatal(err)
	}
}

// settlesWhole is settles where no evidence has been removed: every session that
// was acknowledged has its record and its container.
func settlesWhole(t *testing.T) {
	t.Helper()
	settles(t)
	if err := eventually(func() error { return sessionsWhole(t) }); err != nil {
		t.Fatal(err)
	}
	if err := eventually(verified); err != nil {
		t.Fatal(err)
	}
}

// verified reports what is wrong with seals; nothing closed lacks one.
func verified() error {
	if out, err := output("sandtrap", "verify", "--all", "--strict"); err != nil {
		return errors.New(out)
	}
	return nil
}

func atRest(t *testing.T) error {
	t.Helper()
	if state, _ := output("systemctl", "is-active", "sandtrap.service"); state != "active" {
		return errors.New("sandtrap.service is " + state)
	}
	all := containers(t)
	if err := poolAtRest(all); err != nil {
		return err
	}
	if err := noConmonAlone(all); err != nil {
		return err
	}
	for id, s := range sessionRecords(t) {
		if s.State != evidence.StateClosed && s.State != evidence.StateRecovered {
			return fmt.Errorf("session %s is %s", id, s.State)
		}
	}
	return nil
}

func poolAtRest(all map[string]container) error {
	warm := 0
	for name, c := range all {
		isWarm := strings.HasPrefix(name, "warm-")
		switch {
		case isWarm && c.State == "running":
			warm++
		case isWarm:
			return fmt.Errorf("%s is %s and not removed", name, c.State)
		case c.State != "exited" && c.State != "stopped": // stopped, where what cleans up was killed
			return fmt.Errorf("the container of session %s is %s", name, c.State)
		}
	}
	if warm < warmAtRest {
		return fmt.Errorf("%d warm targets, want %d", warm, warmAtRest)
	}
	return nil
}

// noConmonAlone looks that every monitor of a container has one that runs.
func noConmonAlone(all map[string]container) error {
	running := map[string]bool{}
	for _, c := range all {
		running[c.ID] = c.State == "running"
	}
	for pid, args := range processes("conmon") {
		i := slices.Index(args, "-c")
		if i < 0 || i+1 == len(args) || !running[args[i+1]] {
			return fmt.Errorf("conmon %d watches nothing that runs: %.60s", pid, strings.Join(args, " "))
		}
	}
	return nil
}

// processes are those of this machine, containers included, with a name as in
// proc_pid_comm(5): their arguments by number.
func processes(name string) map[int][]string {
	found := map[int][]string{}
	paths, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range paths {
		comm, _ := os.ReadFile(path)
		if strings.TrimSpace(string(comm)) != name {
			continue
		}
		dir := filepath.Dir(path)
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue // gone, or about to be
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err == nil {
			found[pid] = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		}
	}
	return found
}

// sessionsWhole looks that every session that was acknowledged is on disk, and
// that its container is there and bears a session's name.
func sessionsWhole(t *testing.T) error {
	t.Helper()
	byID := map[string]string{} // Podman's id to name
	for name, c := range containers(t) {
		byID[c.ID] = name
	}
	records := sessionRecords(t)
	for id, s := range records {
		if s.Target.Container == "" {
			continue
		}
		name, ok := byID[s.Target.Container]
		if !ok {
			return fmt.Errorf("session %s lost its container %.12s", id, s.Target.Container)
		}
		if _, ok := records[name]; !ok || strings.HasPrefix(s.Target.ContainerName, "warm-") {
			return fmt.Errorf("the container of session %s is named %s", id, name)
		}
	}
	for _, id := range openedSessions(t) {
		if _, ok := records[id]; !ok {
			return fmt.Errorf("session %s was acknowledged and has no record", id)
		}
	}
	return nil
}

// sessionRecords reads every session.json.
func sessionRecords(t *testing.T) map[string]evidence.Session {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(stateDir, "sessions", "*", "*", "*", "*", "session.json"))
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]evidence.Session{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var s evidence.Session
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if s.ID != filepath.Base(filepath.Dir(path)) {
			t.Fatalf("%s is of session %s", path, s.ID)
		}
		records[s.ID] = s
	}
	return records
}

// openedSessions are those that the event files say were opened. A line that a
// crash tore must not hide what comes after it.
func openedSessions(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(stateDir, "events", "events-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(raw))
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e struct {
				Event   event.Kind `json:"event"`
				Session string     `json:"session"`
			}
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event == event.SessionOpen {
				ids = append(ids, e.Session)
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}
