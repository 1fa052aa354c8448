package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseProcess(t *testing.T) {
	got := parseProcess([]byte("Name:\tconmon\nUmask:\t0022\nPid:\t17\nPPid:\t1\nUid:\t995\t995\t995\t995\n" +
		"VmRSS:\t    2400 kB\nRssAnon:\t     300 kB\nThreads:\t2\n"))
	want := process{pid: 17, parent: 1, threads: 2, uid: 995, name: "conmon", anonymous: 300 << 10, resident: 2400 << 10}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseKernelMemory(t *testing.T) {
	held, reclaimable := parseKernelMemory([]byte("MemTotal: 1000 kB\nSlab: 100 kB\nSReclaimable: 60 kB\nSUnreclaim: 40 kB\nKernelStack: 10 kB\nPageTables: 5 kB\nPercpu: 1 kB\n"))
	if held != 116<<10 || reclaimable != 60<<10 {
		t.Errorf("got %d and %d KiB", held>>10, reclaimable>>10)
	}
}

func TestTargets(t *testing.T) {
	all := map[int]process{
		1:  {pid: 1, name: "systemd"},
		10: {pid: 10, parent: 1, name: "conmon", uid: 995},
		11: {pid: 11, parent: 10, name: "init", uid: 100000},
		12: {pid: 12, parent: 11, name: "bash", uid: 100000},
		20: {pid: 20, parent: 1, name: "conmon", uid: 0}, // somebody else's
		21: {pid: 21, parent: 20, name: "sshd", uid: 0},
		30: {pid: 30, parent: 1, name: "podman", uid: 995},
	}
	conmons, members := targets(all, 995)
	pids := map[int]bool{}
	for _, m := range members {
		pids[m.pid] = true
	}
	if conmons != 1 || len(pids) != 3 || !pids[10] || !pids[11] || !pids[12] {
		t.Errorf("%d conmons, members %v", conmons, pids)
	}
}

func TestAPIProcess(t *testing.T) {
	all := map[int]process{
		30: {pid: 30, parent: 1, name: "podman"},
		31: {pid: 31, parent: 30, name: "exe"},
		32: {pid: 32, parent: 31, name: "conmon"},
	}
	if got := apiProcess(all, 30).pid; got != 31 {
		t.Errorf("got %d", got)
	}
	delete(all, 31)
	if got := apiProcess(all, 30).pid; got != 30 {
		t.Errorf("got %d without a second process", got)
	}
}

// Events are read from where the mark was set, over the change of a day, and
// without a line that is not complete yet.
func TestEventsSince(t *testing.T) {
	dir := t.TempDir()
	add := func(name, text string) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	lease := `{"time":"2026-01-02T03:04:05.000000006Z","event":"session.lease","wait_ms":`
	add("events-2026-01-01.jsonl", lease+"1}\n")
	m, err := markEvents(dir)
	if err != nil {
		t.Fatal(err)
	}
	add("events-2026-01-01.jsonl", lease+"2}\n"+`{"event":"pool.warm","duration_ms":9}`+"\n")
	add("events-2026-01-02.jsonl", lease+"3}\n"+lease+"4")
	found, err := eventsSince(dir, m, "session.lease")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found[0].Wait != 2 || found[1].Wait != 3 || found[0].Time.Nanosecond() != 6 {
		t.Errorf("found %+v", found)
	}
}

func TestParseUsage(t *testing.T) {
	if got := parseUsage([]byte("usage_usec 248667\nuser_usec 118595\nsystem_usec 130072\n")); got != 248667*time.Microsecond {
		t.Errorf("got %s", got)
	}
	if got := parseUsage([]byte("user_usec 118595\n")); got != 0 {
		t.Errorf("got %s of nothing", got)
	}
}
