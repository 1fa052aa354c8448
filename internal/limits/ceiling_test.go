//go:build vm

package limits

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// abusers is how many sessions misbehave at once, by LIMITS_ABUSERS. Fifty take an
// emulated processor half an hour, so that this is not a part of every run.
func abusers(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("LIMITS_ABUSERS"))
	if err != nil {
		t.Skip("LIMITS_ABUSERS says how many sessions are to misbehave at once")
	}
	return n
}

// abuse is a fork bomb, a memory hog and a disk fill. The bomb is of children that
// end and are made anew, for what cannot fork has nobody to hog memory.
const abuse = `(while :; do dd if=/dev/zero of=/root/big bs=1M 2>/dev/null; rm -f /root/big; done) &
(while :; do tail /dev/zero >/dev/null 2>&1; done) &
bomb() { bomb | bomb & }; sleep 3; bomb; sleep 600`

// abuser is a visitor whose command waits for a word. It has a channel open all the
// time: a connection without one ends after ten minutes, and fifty take longer.
type abuser struct {
	*visitor
	word io.Writer
}

// waiting is an abuser who has a target.
func waiting(t *testing.T) (*abuser, error) {
	v, err := logInErr(t)
	if err != nil {
		return nil, err
	}
	a := &abuser{visitor: v}
	if err := a.wait(); err != nil {
		v.Close()
		return nil, err
	}
	return a, nil
}

func (a *abuser) wait() error {
	s, err := a.NewSession()
	if err != nil {
		return err
	}
	if a.word, err = s.StdinPipe(); err != nil {
		return err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.Start("echo here; read word || exit; " + abuse); err != nil {
		return err
	}
	if _, err := io.ReadFull(out, make([]byte, len("here\n"))); err != nil {
		return fmt.Errorf("wait for the abuser's command: %w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the connection
	return nil
}

// TestEverybodyMisbehaves: with all of them at it, whoever comes gets a prompt and
// whoever is there keeps their echo.
func TestEverybodyMisbehaves(t *testing.T) {
	all := make([]*abuser, abusers(t))
	there := logIn(t).listen()
	quiet, _ := there.measure(t, 30)
	t.Logf("at rest: echo %v (median), login and command %v", quiet, visit(t))

	began := time.Now()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var err error
			for range 3 { // making fifty targets at once is much for an emulated processor
				if all[i], err = waiting(t); err == nil {
					return
				}
			}
			t.Errorf("abuser %d: %v", i, err)
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	t.Logf("%d have logged in after %v", len(all), time.Since(began))
	for i, a := range all {
		if _, err := io.WriteString(a.word, "go\n"); err != nil {
			t.Errorf("abuser %d: %v", i, err)
		}
	}
	time.Sleep(20 * time.Second)

	median, longest := there.measure(t, 50)
	t.Logf("with %d: echo %v (median), longest %v", len(all), median, longest)
	for range 3 {
		t.Logf("with %d: login and command %v", len(all), visit(t))
	}
	t.Logf("load %s; memory of all targets %d MiB of %s; tasks %s", must(t, "cut", "-d", " ", "-f", "1-3", "/proc/loadavg"),
		count(t, podGroup, "memory.current", "")>>20, read(t, podGroup, "memory.max"), read(t, podGroup, "pids.current"))
	for _, unit := range []string{"sandtrap.service", "sandtrap-podman.service", "sandtrap-filter.service", "sandtrap-handover.service", "sandtrap-quota.service"} {
		if n := must(t, "systemctl", "show", "-P", "NRestarts", unit); n != "0" {
			t.Errorf("%s was restarted %s times", unit, n)
		}
	}
	began = time.Now()
	for _, v := range all {
		v.Close()
	}
	eventually(t, func() error {
		n := must(t, "sh", "-c", "podman --url "+pods+" ps --format '{{.Names}}' | grep -cv ^warm- || true")
		if n != "1" { // there
			return fmt.Errorf("%s sessions' containers run", n)
		}
		return nil
	})
	t.Logf("all of theirs had stopped %v after they left", time.Since(began))
	visit(t)
}

// visit is how long somebody waits who logs in for one command.
func visit(t *testing.T) time.Duration {
	began := time.Now()
	v := logIn(t)
	defer v.Close()
	v.does("true")
	return time.Since(began)
}
