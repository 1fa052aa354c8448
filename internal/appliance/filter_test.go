//go:build appliance

package appliance

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asSandtrap runs a command as whoever has taken over the front end.
func asSandtrap(args ...string) (string, error) {
	return output("setpriv", append([]string{"--reuid=sandtrap", "--regid=sandtrap", "--clear-groups"}, args...)...)
}

// api asks the filter something as the front end may, and returns the HTTP status.
func api(t *testing.T, method, path, body string) string {
	t.Helper()
	args := []string{"curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--unix-socket", "/run/sandtrap-pods/filter.sock", "--request", method}
	if body != "" {
		args = append(args, "--header", "Content-Type: application/json", "--data", body)
	}
	status, err := asSandtrap(append(args, "http://d/v5.0.0/libpod/"+path)...)
	if err != nil {
		t.Fatalf("%s %s: %s, %v", method, path, status, err)
	}
	return status
}

// TestFilter tries to get past the filter with the front end's account.
func TestFilter(t *testing.T) {
	if out, err := asSandtrap("curl", "--silent", "--unix-socket", "/run/sandtrap-pods/podman.sock", "http://d/_ping"); err == nil {
		t.Errorf("the front end reaches Podman itself: %s", out)
	}
	since := strconv.FormatInt(time.Now().Unix(), 10)
	stranger := strings.TrimSpace(podman(t, "create", "--network=none", "localhost/sandtrap-target-debian:latest"))
	t.Cleanup(func() { _, _ = output("podman", "--url", podmanURL, "rm", "--force", stranger) })
	before := podman(t, "ps", "--all", "--no-trunc", "--quiet")
	tries := [][3]string{
		{"POST", "containers/create", `{"image":"localhost/sandtrap-target-debian:latest","name":"x","privileged":true}`},
		{"POST", "containers/create", `{"image":"localhost/sandtrap-target-debian:latest","mounts":[{"destination":"/host","source":"/","type":"bind","options":["rbind"]}]}`},
		{"POST", "containers/" + stranger + "/start", ""},
		{"POST", "containers/" + stranger + "/exec", `{"Cmd":["id"]}`},
		{"DELETE", "containers/" + stranger + "?force=true", ""},
		{"GET", "containers/json?all=true", ""},
		{"GET", "containers/" + stranger + "/archive?path=/etc/shadow", ""},
		{"POST", "images/pull?reference=localhost/x", ""},
		{"POST", "build", ""},
		{"GET", "secrets/json", ""},
	}
	for _, try := range tries {
		if status := api(t, try[0], try[1], try[2]); status != "403" {
			t.Errorf("%s %s: %s", try[0], try[1], status)
		}
	}
	if status := api(t, "GET", "info", ""); status != "200" {
		t.Errorf("what a pool needs is answered %s", status)
	}
	err := eventually(func() error {
		out, err := output("journalctl", "--since", "@"+since, "--output=json", "SANDTRAP_EVENT=api.refuse")
		if err != nil {
			return errors.New(out)
		}
		if n := len(strings.Split(strings.TrimSpace(out), "\n")); n < len(tries) {
			return errors.New("too few events: " + out)
		}
		var first map[string]string
		if err := json.Unmarshal([]byte(strings.Split(out, "\n")[0]), &first); err != nil {
			return err
		}
		if first["SANDTRAP_HTTP_METHOD"] != "POST" || !strings.HasSuffix(first["SANDTRAP_HTTP_PATH"], "containers/create") || first["SANDTRAP_REASON"] == "" {
			return errors.New("the event is " + out)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// Outside nothing has changed, but for what the pool does.
	after := podman(t, "ps", "--all", "--no-trunc", "--quiet")
	if !strings.Contains(after, stranger) || strings.Contains(podman(t, "ps", "--quiet", "--no-trunc"), stranger) {
		t.Errorf("the container that is no target has changed: %s before, %s after", before, after)
	}
}

// The pool goes on when the filter was restarted, and when it was killed.
func TestFilterRestarts(t *testing.T) {
	for _, how := range [][]string{{"restart", "sandtrap-filter.service"}, {"kill", "--signal=KILL", "sandtrap-filter.service"}} {
		must(t, "systemctl", how...)
		if got := ssh(t, "root", "echo through"); got.stdout != "through\n" {
			t.Errorf("after %s: %+v", how[0], got)
		}
	}
}
