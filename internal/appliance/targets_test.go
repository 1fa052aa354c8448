//go:build appliance

package appliance

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestSeveralTargets: of many sources each target gets some, each source gets one only, and
// that has the target's own image, host name and accounts.
func TestSeveralTargets(t *testing.T) {
	image := buildImage(t, "other", "RUN echo other >/etc/kind\n", nil)
	configure(t, `pool: {sticky: "off"}
targets:
  - {name: debian, weight: 5}
  - {name: other, image: "`+image+`", hostname: other01, login_as: create, weight: 5, min: 2, max: 3}
`)
	err := eventually(func() error {
		if got := must(t, "sandtrap", "pool", "status"); strings.Count(got, "full") != 2 {
			return errors.New(got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	const look = "hostname; cat /etc/kind 2>/dev/null; whoami"
	landed := map[string]int{}
	for range 20 {
		source := freshSource()
		for range 2 {
			r := finish(t, sshFrom(source, "somebody@127.0.0.1", look), nil)
			name := map[string]string{"srv01\nroot\n": "debian", "other01\nother\nsomebody\n": "other"}[r.stdout]
			if name == "" {
				t.Fatalf("landed in %+v", r)
			}
			if s := lastSession(t); s.Source.IP != source || s.Target.Name != name {
				t.Errorf("%s landed in %s, the session says %s of %s", source, name, s.Target.Name, s.Source.IP)
			}
			landed[source+" "+name]++
		}
	}
	count := map[string]int{}
	for where, n := range landed {
		if n != 2 {
			t.Errorf("%s %d times, not twice", where, n)
		}
		count[where[strings.Index(where, " ")+1:]]++
	}
	// Chance puts all into one target twice in a million runs.
	if count["debian"] == 0 || count["other"] == 0 {
		t.Errorf("sources landed in %v", count)
	}
	for name, n := range count {
		if got := len(strings.Split(must(t, "sandtrap", "list", "--target", name, "--format", "json"), "\n")); got < 2*n {
			t.Errorf("list --target %s has %d lines, %d sessions were there", name, got, 2*n)
		}
	}
	metrics := must(t, "sandtrap", "metrics")
	for _, want := range []string{`sandtrap_targets_goal{target="debian"} 4`, fmt.Sprintf("sandtrap_targets{target=%q,state=\"retained\"} ", "other")} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
