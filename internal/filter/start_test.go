package filter

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/helper"
	"github.com/sandtrap/sandtrap/internal/testhelper"
)

// TestNothingStartsWithoutABound: what a container may write is bounded before it
// starts, or it does not.
func TestNothingStartsWithoutABound(t *testing.T) {
	layer := strings.Repeat("f", 64)
	good := map[string]any{"Data": map[string]string{"UpperDir": "/var/lib/pods/data/containers/storage/overlay/" + layer + "/diff"}}
	for name, tt := range map[string]struct {
		driver    any
		answer    error
		unlimited bool
		status    int
		why       string
	}{
		"bounded":                    {good, nil, false, http.StatusOK, ""},
		"refused":                    {good, errors.New("no quotas here"), false, http.StatusInternalServerError, "no quotas here"},
		"refused, with best effort":  {good, errors.New("no quotas here"), true, http.StatusOK, ""},
		"no overlay":                 {nil, nil, false, http.StatusInternalServerError, "overlay driver"},
		"no overlay, best effort":    {nil, nil, true, http.StatusOK, ""},
		"a directory of another one": {map[string]any{"Data": map[string]string{"UpperDir": "/etc/overlay/../diff"}}, nil, false, http.StatusInternalServerError, "overlay driver"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			policy := testPolicy
			policy.Unlimited = tt.unlimited
			policy.Quota = testhelper.Serve(t, func(_ context.Context, client *net.UnixConn, id string) {
				if asked = id; tt.answer != nil {
					helper.Refuse(client, tt.answer)
					return
				}
				helper.Say(client, "ok")
			})
			f := newFixture(t, policy)
			f.up.driver = tt.driver
			status, why, refusal := f.sendAndRead(t, "POST", api+"containers/"+ours+"/start", "")
			if status != tt.status || !strings.Contains(why, tt.why) {
				t.Errorf("answer %d %q", status, why)
			}
			if started := len(f.up.take()) == 1; started != (tt.status == http.StatusOK) {
				t.Errorf("started: %v", started)
			}
			if tt.driver != nil && strings.Contains(tt.why, "quotas") && asked != layer {
				t.Errorf("asked about %q", asked)
			}
			if refusal != "" {
				t.Errorf("it was called forbidden: %s", refusal)
			}
		})
	}
}

// TestPodmanInTrouble: what Podman cannot answer is told as such. It is no attempt of
// the front end's, and nothing is forwarded.
func TestPodmanInTrouble(t *testing.T) {
	f := newFixture(t, testPolicy)
	f.up.broken = "the store is gone"
	for _, request := range [][2]string{
		{"POST", "containers/" + ours + "/start"}, {"DELETE", "containers/" + ours}, {"GET", "exec/" + ourExec + "/json"},
	} {
		status, why, refusal := f.sendAndRead(t, request[0], api+request[1], "")
		if status != http.StatusInternalServerError || !strings.Contains(why, f.up.broken) || refusal != "" {
			t.Errorf("%s %s: answer %d %q, refusal %q", request[0], request[1], status, why, refusal)
		}
		if seen := f.up.take(); len(seen) > 0 {
			t.Errorf("%s %s: forwarded %q", request[0], request[1], seen)
		}
	}
}
