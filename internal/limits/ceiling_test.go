//go:build vm

package limits

import (
	"fmt"
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

// settled is a visitor who has a target.
func settled(t *testing.T) (*visitor, error) {
	v, err := logInErr(t)
	if err != nil {
		return nil, err
	}
	if _, err := v.run("true"); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// TestEverybodyMisbehaves: with all of them at it, whoever comes gets a prompt and
// whoever is there keeps their echo.
func TestEverybodyMisbehaves(t *testing.T) {
	all := make([]*visitor, abusers(t))
	there := logIn(t).listen()
	quiet, _ := there.measure(t, 30)
	began := time.Now()
	logIn(t).does("true")
	t.Logf("at rest: echo %v (median), login and command %v", quiet, time.Since(began))

	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var err error
			for range 3 { // making fifty targets at once is much for an emulated processor
				if all[i], err = settled(t); err == nil {
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
	for i, v := range all {
		if err := v.begins(abuse); err != nil {
			t.Errorf("abuser %d: %v", i, err)
		}
	}
	time.Sleep(20 * time.Second)

	median, longest := there.measure(t, 50)
	t.Logf("with %d: echo %v (median), longest %v", len(all), median, longest)
	for range 3 {
		began = time.Now()
		logIn(t).does("true")
		t.Logf("with %d: login and command %v", len(all), time.Since(began))
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
	logIn(t).does("true")
}
