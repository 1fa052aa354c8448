//go:build appliance

package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// A channel that is silent and a connection without channels end as with a real sshd,
// message by message.
func TestTimeoutsAreThoseOfSSHD(t *testing.T) {
	const silence = 4 * time.Second // the shortest of all
	reference := loopbackReference(t, "ChannelTimeout=session:*=4", "UnusedConnectionTimeout=5")
	configure(t, "ssh: {channel_timeout: [\"session:*=4s\"], unused_connection_timeout: 5s}\n")
	ends := func(f *frames) { f.until(func() bool { return f.over }) }
	for _, s := range []scene{
		{name: "silent command", play: func(f *frames) {
			f.open(0)
			f.exec(0, "echo out; sleep 60; echo late")
			f.wait("< close")
			ends(f)
		}},
		{name: "silent shell on a terminal", play: func(f *frames) {
			f.open(0)
			f.pty(0, "xterm")
			f.exec(0, "echo out; exec sleep 60")
			f.wait("< close")
			ends(f)
		}},
		{name: "silent after the end of input", play: func(f *frames) {
			f.open(0)
			f.exec(0, "cat; echo out; sleep 60")
			f.eof(0)
			f.wait("< close")
			ends(f)
		}},
		{name: "silent after the end of output", play: func(f *frames) {
			f.open(0)
			f.exec(0, "exec >&- 2>&-; sleep 60")
			f.wait("< close")
			ends(f)
		}},
		{name: "busy by output", play: func(f *frames) {
			f.open(0)
			f.exec(0, "for i in 1 2 3 4 5 6; do sleep 1; echo $i; done; exit 3")
			f.wait("< close")
		}},
		{name: "another channel after a silent one", play: func(f *frames) {
			f.open(0)
			f.exec(0, "sleep 60")
			f.wait("< close")
			f.open(1)
			f.exec(1, "exit 4")
			f.wait("< close")
		}},
		{name: "never used", play: ends},
	} {
		t.Run(s.name, func(t *testing.T) {
			var theirs, ours []string
			var wanted, took time.Duration
			var wg sync.WaitGroup
			play := func(address string, lines *[]string, took *time.Duration) {
				wg.Go(func() {
					began := time.Now()
					*lines = playFrames(t, address, "OpenSSH_9.2p1 Debian-2+deb12u3", s)
					*took = time.Since(began)
				})
			}
			play(reference, &theirs, &wanted)
			play(address, &ours, &took)
			wg.Wait()
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("-sshd +sandtrap:\n%s", diff)
			}
			t.Logf("sshd took %s, SandTrap %s:\n%s", wanted, took, strings.Join(ours, "\n"))
			// How late sshd is, which looks once a second, is a matter of the machine.
			if took < silence || took > wanted+patience {
				t.Errorf("sshd took %s, SandTrap %s", wanted, took)
			}
		})
	}
	if s := lastSession(t); s.EndReason != "no open channels" {
		t.Errorf("the unused connection ended by %q", s.EndReason)
	}
}

// openDescriptors are the open ones of the front end.
func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", unitPid("sandtrap.service")))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// marker is the remark of ours in a recording, from its cast.
func marker(t *testing.T, s evidence.Session, recording string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(directory(s), recording))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(raw), "ended here: ")
	end := strings.IndexAny(after, "\"\n.\x00\x1b")
	return after[:max(end, 0)]
}

// forwardRecorded looks whether the newest session has recorded what was sent into its
// forward.
func forwardRecorded() error {
	dirs, err := filepath.Glob(filepath.Join(stateDir, "sessions", "*", "*", "*", "*"))
	if err != nil || len(dirs) == 0 {
		return errors.New("no session")
	}
	raw, err := os.ReadFile(filepath.Join(slices.Max(dirs), "forward-0.raw"))
	if err == nil && !bytes.Contains(raw, []byte("login")) {
		err = errors.New("nothing was sent")
	}
	return err
}

// Whatever ends a session, nothing outlives it: what runs in the background and what
// ignores the hangup, forwards, descriptors. Its record says what has ended it.
func TestNothingOutlivesItsSession(t *testing.T) {
	const background = "trap '' HUP TERM INT; setsid -f sleep 9999; (trap '' HUP; sleep 9999) & "
	for _, tt := range []struct {
		name, yaml, command string
		forward             bool
		session, channel    string // reasons
	}{
		{"silent channel", "ssh: {channel_timeout: [\"session:*=2s\"], unused_connection_timeout: 20s}", background + "echo ready; sleep 9999", false, "client disconnected", "silence"},
		{"busy session", "session: {max_time: 4s}", background + "while echo ready; do sleep 0.1; done", true, "session time limit", "session time limit"},
		{"silent client", "ssh: {client_alive_interval: 1s, client_alive_count_max: 1}", background + "echo ready; sleep 9999", true, "client does not answer", "client does not answer"},
		{"client gone", "log: {level: info}", background + "echo ready; sleep 9999", true, "client disconnected", ""},
		{"service stops", "ssh: {drain_timeout: 0s}", background + "echo ready; sleep 9999", true, "service stops", "service stops"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, tt.yaml+"\n")
			settles(t)
			if r := ssh(t, "root", "true"); r.status != 0 { // buffers and connections come into being
				t.Fatalf("%+v", r)
			}
			settles(t)
			before := openDescriptors(t)
			args := []string{"root@127.0.0.1", tt.command}
			port := freePort(t)
			if tt.forward {
				args = append([]string{"-L", "127.0.0.1:" + port + ":db.example.com:3306"}, args...)
			}
			client, out := startSSH(t, args...)
			if err := eventually(out.has("ready")); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if tt.forward {
				c := dialSoon(t, port)
				if _, err := io.WriteString(c, "login"); err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := eventually(forwardRecorded); err != nil {
					t.Fatal(err)
				}
			}
			switch tt.name {
			case "client gone":
				if err := client.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			case "silent client":
				suspend(t, client.Process)
			case "service stops":
				must(t, "systemctl", "stop", "sandtrap.service")
			}
			s := lastSession(t)
			if s.EndReason != tt.session || len(s.Channels) != 1 || s.Channels[0].EndReason != tt.channel {
				t.Errorf("session ended by %q, channels %+v", s.EndReason, s.Channels)
			}
			if got := marker(t, s, s.Channels[0].Recording.Cast); got != tt.channel {
				t.Errorf("marker %q in the cast, want %q", got, tt.channel)
			}
			if tt.forward {
				want := tt.session
				if tt.name == "client gone" { // which of the two is seen first is chance
					want = "(connection|client) closed"
				}
				if len(s.Forwards) != 1 || !regexp.MustCompile("^"+want+"$").MatchString(s.Forwards[0].EndReason) {
					t.Errorf("forwards %+v", s.Forwards)
				} else if tt.channel != "" && recordedFrames(t, s, s.Forwards[0].Recording.Raw, record.KindMarker) != "ended here: "+want {
					t.Errorf("marker %q in the forward", recordedFrames(t, s, s.Forwards[0].Recording.Raw, record.KindMarker))
				}
			}
			if got := podman(t, "inspect", "--format", "{{.State.Status}}", s.ID); got != "exited" {
				t.Errorf("container is %s", got)
			}
			if left := processes("sleep"); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
			if tt.name == "service stops" {
				must(t, "systemctl", "start", "sandtrap.service")
				return
			}
			settles(t)
			err := eventually(func() error {
				if after := openDescriptors(t); after > before+2 {
					return fmt.Errorf("%d descriptors, %d before", after, before)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Recordings of a session have one bound together, whatever its channels do.
func TestSessionIsBoundedTogether(t *testing.T) {
	configure(t, "recording: {max_bytes: 1MiB, max_session_bytes: 2MiB}\n")
	c := dial(t, freshSource(), "root")
	for range 6 {
		_, _ = run(c, "head -c 500000 /dev/urandom; sleep 0.1") // the cast takes more
	}
	_ = c.Close()
	s := lastSession(t)
	var sum int64
	cut := 0
	for _, one := range s.Channels {
		for _, name := range []string{one.Recording.Raw, one.Recording.Cast} {
			st, err := os.Stat(filepath.Join(directory(s), name))
			if err != nil {
				t.Fatal(err)
			}
			sum += st.Size()
		}
		if one.EndReason == "size limit of the session" {
			cut++
		}
	}
	if sum < 1<<20 || sum > 2<<20+64<<10 || cut == 0 {
		t.Errorf("%d bytes, %d channels cut off", sum, cut)
	}
	found := false
	for _, e := range eventsOf(t, s.ID, "recording.truncate") {
		found = found || e["setting"] == "recording.max_session_bytes" && e["limit_bytes"] == float64(2<<20)
	}
	if !found {
		t.Errorf("no event: %v", eventsOf(t, s.ID, "recording.truncate"))
	}
}

// Below the floor of free space no program starts and what runs ends, which is told
// once; with space again all goes on by itself.
func TestTooLittleSpace(t *testing.T) {
	must(t, "systemctl", "stop", "sandtrap.service")
	must(t, "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", stateDir)
	t.Cleanup(func() {
		must(t, "systemctl", "stop", "sandtrap.service")
		must(t, "umount", stateDir)
		must(t, "systemctl", "start", "sandtrap.service")
	})
	must(t, "chown", "sandtrap:sandtrap", stateDir)
	configure(t, "recording: {min_free: 32MiB}\n")
	since := fmt.Sprint("@", time.Now().Unix())
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Fatalf("with space: %+v", r)
	}
	client, out := startSSH(t, "root@127.0.0.1", "while echo alive; do sleep 0.2; done")
	if err := eventually(out.has("alive")); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(stateDir, "filler")
	must(t, "dd", "if=/dev/zero", "of="+filler, "bs=1M", "count=40")
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = client.Process.Kill()
		t.Error("what runs goes on below the floor")
	}
	for range 3 {
		if r := ssh(t, "root", "echo in"); r.status == 0 || r.stdout != "" {
			t.Errorf("below the floor: %+v", r)
		}
	}
	if r := ssh(t, "root", "echo in"); strings.Contains(strings.ToLower(r.stderr), "space") {
		t.Errorf("the client hears why: %+v", r)
	}
	if got := countEvents(t, since, "storage.low"); got != 1 {
		t.Errorf("%d events storage.low", got)
	}
	log := must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "--since", since)
	if n := strings.Count(log, "too little space for recordings: no program starts"); n != 1 || !strings.Contains(log, "recording.min_free in sandtrap.yaml(5)") {
		t.Errorf("told %d times:\n%s", n, log)
	}
	err := eventually(func() error {
		if status := must(t, "systemctl", "show", "--value", "-p", "StatusText", "sandtrap.service"); !strings.Contains(status, "less than recording.min_free is free") {
			return errors.New("status: " + status)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	err = eventually(func() error {
		if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil {
		t.Errorf("with space again: %v", err)
	}
	if got := countEvents(t, since, "storage.ok"); got != 1 {
		t.Errorf("%d events storage.ok", got)
	}
}

// countEvents counts those of a kind in the journal.
func countEvents(t *testing.T, since, kind string) int {
	t.Helper()
	return len(strings.Fields(must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "--since", since, "--output-fields=SANDTRAP_SEQ", "SANDTRAP_EVENT="+kind)))
}

// A flood of requests is counted, in the files and in the journal alike, and does not
// fill the disk; what comes after it is told.
func TestFloodOfEvents(t *testing.T) {
	configure(t, "events: {max_repeats: 100, max_file_bytes: 1MiB, max_bytes: 2MiB}\n")
	since := fmt.Sprint("@", time.Now().Unix())
	for i := range 3 {
		c := dial(t, freshSource(), "root")
		for range 2000 {
			if _, _, err := c.SendRequest("flood@example.com", false, []byte(strings.Repeat("x", 1000))); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := run(c, "echo in"); out != "in\n" {
			t.Errorf("after the flood: %q, %v", out, err)
		}
		_ = c.Close()
		s := lastSession(t)
		if n := len(eventsOf(t, s.ID, "global.request")); n != 100 {
			t.Errorf("%d: %d events of requests", i, n)
		}
		omit := eventsOf(t, s.ID, "events.omit")
		if len(omit) != 1 || omit[0]["omitted"] != 1900.0 || omit[0]["kinds"] != "global.request=1900" {
			t.Errorf("%d: left out: %v", i, omit)
		}
		if n := len(eventsOf(t, s.ID, "exec.start")); n != 1 {
			t.Errorf("%d: %d events of commands", i, n)
		}
	}
	if n := countEvents(t, since, "global.request"); n != 300 {
		t.Errorf("%d events of requests in the journal", n)
	}
	// Without a login: the text that can be tried is bounded by the number of tries.
	for range 12 {
		refused(t, strings.Repeat("\x01", 200<<10))
	}
	var sum int64
	files, _ := filepath.Glob(filepath.Join(stateDir, "events", "events-*.jsonl"))
	for _, name := range files {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	if sum > 4<<20 { // one line can be longer than a file should be
		t.Errorf("%d bytes in %q", sum, files)
	}
	if n := countEvents(t, since, "events.remove"); n == 0 {
		t.Error("no removal was told")
	}
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("after the flood: %+v", r)
	}
}

// refused logs in, or not, with a password.
func refused(t *testing.T, typed string) {
	t.Helper()
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	tryPassword(raw, typed)
}
