//go:build appliance

package appliance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// bruteForcers is how many clients try passwords at once, and stormTime for how long,
// unless TEST_STORM says otherwise.
const (
	bruteForcers = 500
	stormTime    = 20 * time.Second
)

// Five hundred clients try passwords at once. Each of their attempts is in the event
// files, once; a client that knows the password is let in meanwhile; memory does not
// grow with the number of attempts.
func TestBruteForceIsRecorded(t *testing.T) {
	lasts := stormTime
	if text := os.Getenv("TEST_STORM"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	configure(t, "auth: {mode: static, credentials: [{user: root, password: \""+password+"\"}]}\n")
	rest := loginTimes(t, 5)
	mark := fmt.Sprint("storm-", time.Now().UnixNano(), "-")
	var refusals, connections atomic.Int64
	tried := make([]int, bruteForcers)
	end := time.Now().Add(lasts)
	var clients sync.WaitGroup
	for i := range bruteForcers {
		source := freshSource()
		clients.Go(func() {
			for time.Now().Before(end) {
				n, err := bruteForce(source, fmt.Sprint(mark, i, "-"), tried[i], end)
				tried[i] += n
				connections.Add(1)
				if err != nil && n == 0 {
					refusals.Add(1)
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(lasts / 2)
	half := usage(t)
	busy := loginTimes(t, 5)
	clients.Wait()
	after := usage(t)
	want := 0
	for _, n := range tried {
		want += n
	}
	t.Logf("%d attempts on %d connections in %s, %d of them cut before any; a login takes %s at rest and %s meanwhile; %d KiB at half-time, %d after",
		want, connections.Load(), lasts, refusals.Load(), rest, busy, half.resident, after.resident)
	if want < bruteForcers {
		t.Errorf("only %d attempts were made", want)
	}
	if after.pid != half.pid || after.resident > half.resident+(48<<10) {
		t.Errorf("the service held %+v at half-time, and %+v after", half, after)
	}
	got := passwordsInEvents(t, mark)
	for i, n := range tried {
		for j := range n {
			if p := fmt.Sprint(mark, i, "-", j); got[p] != 1 {
				t.Errorf("%s is in the event files %d times", p, got[p])
			}
		}
	}
	if len(got) < want {
		t.Errorf("%d attempts are in the event files, %d were made", len(got), want)
	}
}

// bruteForce makes one connection's attempts and returns how many were answered. first
// is the number of the first.
func bruteForce(source, mark string, first int, end time.Time) (answered int, err error) {
	c, err := dialTCP(source, patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	made := 0
	next := func() (string, error) { // asked for again after each answer
		answered = made
		if time.Now().After(end) {
			return "", os.ErrDeadlineExceeded
		}
		made++
		return fmt.Sprint(mark, first+made-1), nil
	}
	_, _, _, err = xssh.NewClientConn(c, address, &xssh.ClientConfig{User: "root", HostKeyCallback: xssh.InsecureIgnoreHostKey(),
		Auth: []xssh.AuthMethod{xssh.RetryableAuthMethod(xssh.PasswordCallback(next), 5)}})
	// The library says how many it has made when all are used up: the last was answered.
	if err != nil && strings.Contains(err.Error(), "unable to authenticate") {
		answered = made
	}
	return answered, err
}

// loginTimes is the middle of what logins take, from the connection on.
func loginTimes(t *testing.T, n int) time.Duration {
	t.Helper()
	var times []time.Duration
	for range n {
		source := freshSource()
		began := time.Now()
		c, err := dialErr(source, "root", patience)
		if err != nil {
			t.Errorf("a login with the right password: %v", err)
			continue
		}
		times = append(times, time.Since(began))
		_ = c.Close()
	}
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// passwordsInEvents counts the attempts with passwords that begin with mark.
func passwordsInEvents(t *testing.T, mark string) map[string]int {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(stateDir, "events", "events-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			if !strings.Contains(lines.Text(), mark) {
				continue
			}
			var e struct{ Event, Password string }
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event == "auth.attempt" {
				found[e.Password]++
			}
		}
		err = lines.Err()
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
