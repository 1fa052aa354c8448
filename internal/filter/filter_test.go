package filter

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// upstream is a Podman that notes what reaches it. Containers "aaa..." are targets,
// those of "bbb..." somebody else's; program "ccc..." runs in the first, "ddd..." in
// the second.
type upstream struct {
	mu   sync.Mutex // guards seen
	seen []string

	driver any    // Podman's GraphDriver of the first
	image  string // what the first image is now, in place of imageID
	asked  int    // about images
	broken string // why every question is answered with an error
}

var (
	ours, theirs        = strings.Repeat("a", 64), strings.Repeat("b", 64)
	ourExec, theirExec  = strings.Repeat("c", 64), strings.Repeat("d", 64)
	made                = strings.Repeat("9", 64) // by create; Podman is not asked about it
	imageID, webImageID = strings.Repeat("e", 64), strings.Repeat("7", 64)
	testPolicy          = Policy{Targets: []Target{
		{Name: "debian", Image: "localhost/target:latest", Hostname: "srv01", Memory: 256 << 20, Pids: 128, CPUs: 1},
		{Name: "web", Image: "localhost/web:latest", Hostname: "web01", Memory: 512 << 20, Pids: 64, CPUs: 2},
	}}
	ulid = "01JDABCDEFGHJKMNPQRSTVWXYZ"
)

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/v5.0.0/") { // a question of the filter
		if u.broken != "" {
			w.WriteHeader(http.StatusInternalServerError)
			_ = json.NewEncoder(w).Encode(map[string]any{"cause": u.broken, "response": http.StatusInternalServerError})
			return
		}
		u.mu.Lock()
		if strings.Contains(r.URL.Path, "/images/") {
			u.asked++
		}
		image := u.image
		if image == "" {
			image = imageID
		}
		u.mu.Unlock()
		answers := map[string]any{
			"containers/" + ours + "/json":        map[string]any{"Config": map[string]any{"Labels": map[string]string{label: "debian"}}, "GraphDriver": u.driver},
			"containers/" + theirs + "/json":      map[string]any{"Config": map[string]any{"Labels": map[string]string{}}},
			"containers/" + made + "/json":        map[string]any{},
			"exec/" + ourExec + "/json":           map[string]any{"ContainerID": ours},
			"exec/" + theirExec + "/json":         map[string]any{"ContainerID": theirs},
			"images/localhost/target:latest/json": map[string]any{"Id": image},
			"images/localhost/web:latest/json":    map[string]any{"Id": webImageID},
		}
		answer, ok := answers[strings.TrimPrefix(r.URL.Path, "/v5.0.0/libpod/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
		return
	}
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.seen = append(u.seen, fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), body))
	u.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/create") {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id":"`+made+`"}`)
		return
	}
	_, _ = io.WriteString(w, "{}")
}

func (u *upstream) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}

// fixture is a filter between a client and an upstream.
type fixture struct {
	up      *upstream
	filter  *Filter
	client  *http.Client
	mu      sync.Mutex // guards refusals
	refusal string
}

func newFixture(t *testing.T, p Policy) *fixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "filter") // short, for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fixture{up: &upstream{}}
	podman := listen(t, filepath.Join(dir, "podman"))
	server := &http.Server{Handler: f.up}
	go func() { _ = server.Serve(podman) }()
	t.Cleanup(func() { server.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	front := listen(t, filepath.Join(dir, "filter"))
	f.filter = New(filepath.Join(dir, "podman"), p, func(_, _, reason string) {
		f.mu.Lock()
		f.refusal = reason
		f.mu.Unlock()
	})
	go func() { done <- f.filter.Serve(ctx, front) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	f.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "filter"))
	}}}
	return f
}

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// send sends a request and returns the status and why it was refused.
func (f *fixture) send(t *testing.T, method, uri, body string) (int, string) {
	t.Helper()
	status, _, refusal := f.sendAndRead(t, method, uri, body)
	return status, refusal
}

// sendAndRead also returns the answer's body.
func (f *fixture) sendAndRead(t *testing.T, method, uri, body string) (status int, answer, refusal string) {
	t.Helper()
	f.mu.Lock()
	f.refusal = ""
	f.mu.Unlock()
	r, err := http.NewRequest(method, "http://d"+uri, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return resp.StatusCode, string(text), f.refusal
}

// body is what makes a target, changed.
func body(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(template, &b); err != nil {
		t.Fatal(err)
	}
	b["name"], b["hostname"], b["image"] = "warm-"+ulid, "srv01", imageID
	b["labels"] = map[string]any{label: "debian", "io.sandtrap.image": "sha256:" + imageID}
	b["resource_limits"] = map[string]any{
		"memory": map[string]any{"limit": 256 << 20, "swap": 256 << 20}, "cpu": map[string]any{"quota": 100_000, "period": 100_000}, "pids": map[string]any{"limit": 128},
	}
	if change != nil {
		change(b)
	}
	raw, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const api = "/v5.8.6/libpod/"

func TestWhatAPoolNeeds(t *testing.T) {
	f := newFixture(t, testPolicy)
	for _, tt := range []struct{ method, uri, body, want string }{
		{"GET", api + "_ping", "", ""},
		{"GET", api + "info", "", ""},
		{"GET", api + "version", "", ""},
		{"GET", api + "images/localhost/target:latest/json", "", ""},
		{"GET", api + "images/localhost/web:latest/json", "", ""},
		{"GET", api + "containers/json?all=true&filters=%7B%22label%22%3A%5B%22io.sandtrap.target%22%5D%7D", "", ""},
		{"POST", api + "containers/" + ours + "/start", "", ""},
		{"POST", api + "containers/" + ours + "/stop?timeout=0", "", ""},
		{"POST", api + "containers/" + ours + "/rename?name=" + ulid, "", ""},
		{"DELETE", api + "containers/" + ours + "?force=true&ignore=true&timeout=0&v=true", "", ""},
		{"GET", api + "containers/" + ours + "/json?size=true", "", ""},
		{"GET", api + "containers/" + ours + "/archive?path=%2Fetc%2Fpasswd", "", ""},
		{"HEAD", api + "containers/" + ours + "/archive?path=%2Fetc%2Fgroup", "", ""},
		{"POST", api + "containers/" + ours + "/exec", `{"Privileged":false,"Cmd":["id"],"Tty":true}`,
			`{"User":"","WorkingDir":"","Cmd":["id"],"Env":null,"Tty":true,"AttachStdin":false,"AttachStdout":false,"AttachStderr":false}`},
		{"POST", api + "exec/" + ourExec + "/start", `{"Detach":false,"Tty":true,"w":80,"h":24}`, `{"Detach":false,"Tty":true,"w":80,"h":24}`},
		{"POST", api + "exec/" + ourExec + "/resize?h=24&w=80", "", ""},
		{"GET", api + "exec/" + ourExec + "/json", "", ""},
		{"POST", api + "exec/" + ourExec + "/remove", `{"Force":true}`, `{"Force":true}`},
		// A container that is gone is Podman's to deny.
		{"DELETE", api + "containers/" + strings.Repeat("f", 64) + "?force=true", "", ""},
	} {
		status, why := f.send(t, tt.method, tt.uri, tt.body)
		if status != http.StatusOK {
			t.Errorf("%s %s: %d: %s", tt.method, tt.uri, status, why)
			continue
		}
		if got := f.up.take(); !cmp.Equal(got, []string{tt.method + " " + tt.uri + " " + tt.want}) {
			t.Errorf("Podman got %q", got)
		}
	}
}

func TestCreate(t *testing.T) {
	for name, change := range map[string]func(map[string]any){"debian": nil, "web": asWeb} {
		t.Run(name, func(t *testing.T) { created(t, body(t, change)) })
	}
}

// created sends a body that Podman must get as it is.
func created(t *testing.T, sent string) {
	t.Helper()
	f := newFixture(t, testPolicy)
	if status, why := f.send(t, "POST", api+"containers/create", sent); status != http.StatusCreated {
		t.Fatalf("%d: %s", status, why)
	}
	got := f.up.take()
	if len(got) != 1 {
		t.Fatalf("Podman got %q", got)
	}
	var want, is any
	_, text, _ := strings.Cut(got[0], "create ")
	if json.Unmarshal([]byte(sent), &want) != nil || json.Unmarshal([]byte(text), &is) != nil || !cmp.Equal(want, is) {
		t.Errorf("Podman got another body:\n%s", cmp.Diff(want, is))
	}
	if status, why := f.send(t, "POST", api+"containers/"+made+"/start", ""); status != http.StatusOK {
		t.Errorf("what was made is not started: %d: %s", status, why)
	}
}

// TestImageChanges: Podman is not asked what it has just told, and an image that takes the
// name over is taken at once.
func TestImageChanges(t *testing.T) {
	f := newFixture(t, testPolicy)
	create := func(id string, want, asked int) {
		t.Helper()
		status, why := f.send(t, "POST", api+"containers/create", body(t, func(b map[string]any) { b["image"] = id }))
		f.up.mu.Lock()
		defer f.up.mu.Unlock()
		if status != want || f.up.asked != asked {
			t.Errorf("image %.1s: %d, %s; Podman was asked %d times, not %d", id, status, why, f.up.asked, asked)
		}
	}
	create(imageID, http.StatusCreated, 1)
	create(imageID, http.StatusCreated, 1)
	newer := strings.Repeat("8", 64)
	create(newer, http.StatusForbidden, 2)
	f.up.mu.Lock()
	f.up.image = newer
	f.up.mu.Unlock()
	create(newer, http.StatusCreated, 3)
	create(imageID, http.StatusForbidden, 4)
	f.filter.images.put("localhost/target:latest", imageID, time.Now().Add(-imageFresh))
	create(imageID, http.StatusForbidden, 5)
}

func TestUnlimited(t *testing.T) {
	none := body(t, func(b map[string]any) { b["resource_limits"] = map[string]any{"pids": map[string]any{}} })
	loose := testPolicy
	loose.Unlimited = true
	for want, p := range map[int]Policy{http.StatusForbidden: testPolicy, http.StatusCreated: loose} {
		f := newFixture(t, p)
		if status, why := f.send(t, "POST", api+"containers/create", none); status != want {
			t.Errorf("unlimited %v: %d: %s", p.Unlimited, status, why)
		}
	}
}

// Ways past the filter. Nothing of them reaches Podman.
func TestWaysPast(t *testing.T) {
	f := newFixture(t, testPolicy)
	create := func(name string, change func(map[string]any)) [4]string {
		return [4]string{"create with " + name, "POST", api + "containers/create", body(t, change)}
	}
	set := func(field string, value any) [4]string {
		return create(field+fmt.Sprint(value), func(b map[string]any) { b[field] = value })
	}
	limit := func(kind string, value map[string]any) [4]string {
		return create(kind+fmt.Sprint(value), func(b map[string]any) { b["resource_limits"].(map[string]any)[kind] = value })
	}
	exec := api + "containers/" + ours + "/exec"
	tries := [][4]string{
		{"another endpoint", "POST", api + "build", ""},
		{"pull", "POST", api + "images/pull?reference=x", ""},
		{"another version of the API", "GET", "/v1.41/containers/json", ""},
		{"a version that is none", "GET", "/v5.8.6.1/libpod/info", ""},
		{"attach", "POST", api + "containers/" + ours + "/attach", ""},
		{"checkpoint", "POST", api + "containers/" + ours + "/checkpoint", ""},
		{"update", "POST", api + "containers/" + ours + "/update", "{}"},
		{"write a file", "PUT", api + "containers/" + ours + "/archive?path=/etc/passwd", "x"},
		{"read another file", "GET", api + "containers/" + ours + "/archive?path=/etc/shadow", ""},
		{"look at another file", "HEAD", api + "containers/" + ours + "/archive?path=/etc/shadow", ""},
		{"read by another way", "GET", api + "containers/" + ours + "/archive?path=/etc/passwd&path=/etc/shadow", ""},
		{"climb", "GET", api + "containers/" + ours + "/../" + theirs + "/json", ""},
		{"climb, escaped", "GET", api + "containers/" + ours + "%2f..%2f" + theirs + "/json", ""},
		{"by name", "POST", api + "containers/other/start", ""},
		{"somebody else's: start", "POST", api + "containers/" + theirs + "/start", ""},
		{"somebody else's: remove", "DELETE", api + "containers/" + theirs + "?force=true", ""},
		{"somebody else's: exec", "POST", api + "containers/" + theirs + "/exec", `{"Cmd":["id"]}`},
		{"somebody else's: running program", "POST", api + "exec/" + theirExec + "/start", `{}`},
		{"rename to anything", "POST", api + "containers/" + ours + "/rename?name=systemd", ""},
		{"list all", "GET", api + "containers/json?all=true", ""},
		{"list others", "GET", api + "containers/json?filters=%7B%22label%22%3A%5B%22x%22%5D%7D", ""},
		{"another image", "GET", api + "images/other/json", ""},
		{"a body where none is", "POST", api + "containers/" + ours + "/start", "{}"},
		{"privileged program", "POST", exec, `{"Cmd":["id"],"Privileged":true}`},
		{"privileged, in small letters", "POST", exec, `{"Cmd":["id"],"privileged":true}`},
		{"privileged, said twice", "POST", exec, `{"Cmd":["id"],"Privileged":false,"Privileged":true}`},
		{"program with more", "POST", exec, `{"Cmd":["id"],"Devices":[]}`},
		{"no object", "POST", exec, `[]`},
		{"no JSON", "POST", api + "containers/create", `{`},
		{"long body", "POST", exec, `{"Cmd":["` + strings.Repeat("x", maxBody) + `"]}`},
		set("privileged", true), set("Privileged", true), set("mounts", []any{map[string]any{"destination": "/x", "source": "/", "type": "bind"}}),
		set("volumes", []any{}), set("cap_add", []any{"CAP_SYS_ADMIN"}), set("cap_drop", []any{}), set("no_new_privileges", false),
		set("userns", map[string]any{"nsmode": "host"}), set("pidns", map[string]any{"nsmode": "host"}), set("netns", map[string]any{"nsmode": "host"}),
		set("Netns", map[string]any{"nsmode": "host"}), set("seccomp_profile_path", "unconfined"), set("selinux_opts", []any{"disable"}),
		set("devices", []any{}), set("command", []any{"sh"}), set("env", map[string]any{"LD_PRELOAD": "x"}), set("oci_runtime", "/tmp/x"),
		set("conmon_pid_file", "/x"), set("rootfs", "/"), set("hostname", "other"), set("name", "x"), set("image", "other"), set("image", strings.Repeat("f", 64)),
		set("labels", map[string]any{}), set("labels", map[string]any{label: "other"}), set("labels", map[string]any{label: "debian", "x": "y"}),
		set("sysctl", map[string]any{"kernel.core_pattern": "|/x"}), set("log_configuration", map[string]any{"driver": "k8s-file", "path": "/x"}),
		set("r_limits", []any{}), set("mask", []any{}), set("mask", nil), set("unmask", []any{"ALL"}), set("shm_size", 1<<40), set("rootfs_propagation", "shared"), set("procfs_opts", []any{"hidepid=0"}),
		set("ipcns", map[string]any{"nsmode": "host"}), set("utsns", map[string]any{"nsmode": "host"}), set("cgroupns", map[string]any{"nsmode": "host"}),
		create("no limits of processes", func(b map[string]any) { delete(b, "r_limits") }),
		create("no limit of files", func(b map[string]any) { b["r_limits"] = b["r_limits"].([]any)[1:] }),
		create("more open files", func(b map[string]any) { b["r_limits"].([]any)[0].(map[string]any)["hard"] = 1 << 20 }),
		create("larger files", func(b map[string]any) { b["r_limits"].([]any)[1].(map[string]any)["hard"] = -1 }),
		create("one limit twice", func(b map[string]any) { b["r_limits"] = append(b["r_limits"].([]any), b["r_limits"].([]any)[0]) }),
		create("nothing left out", func(b map[string]any) { delete(b, "netns") }),
		limit("memory", map[string]any{"limit": 1 << 40, "swap": 1 << 40}), limit("memory", map[string]any{"limit": 1 << 20, "swap": -1}),
		limit("memory", nil), limit("pids", map[string]any{"limit": 100_000}), limit("pids", map[string]any{"limit": 0}), limit("pids", map[string]any{"limit": -1}),
		limit("cpu", map[string]any{"quota": 1 << 40, "period": 100_000}), limit("cpu", map[string]any{"quota": 1000, "period": 1}), limit("cpu", nil),
	}
	for _, try := range tries {
		status, why := f.send(t, try[1], try[2], try[3])
		if status != http.StatusForbidden || why == "" {
			t.Errorf("%s: %d, %q", try[0], status, why)
		}
		if got := f.up.take(); len(got) > 0 {
			t.Errorf("%s: Podman got %.200q", try[0], got)
		}
	}
}

// What the filter does not know of limits does not go through with those it knows.
func TestMoreLimitsAreLeftOut(t *testing.T) {
	f := newFixture(t, testPolicy)
	sent := body(t, func(b map[string]any) {
		r := b["resource_limits"].(map[string]any)
		r["devices"] = []any{map[string]any{"allow": true, "access": "rwm"}}
		r["memory"].(map[string]any)["disableOOMKiller"] = true
	})
	if status, why := f.send(t, "POST", api+"containers/create", sent); status != http.StatusCreated {
		t.Fatalf("%d: %s", status, why)
	}
	if got := f.up.take(); len(got) != 1 || strings.Contains(got[0], "devices\":[{") || strings.Contains(got[0], "OOM") {
		t.Errorf("Podman got %q", got)
	}
}

// A Podman that is away looks as it does without a filter: the connection breaks.
func TestPodmanIsAway(t *testing.T) {
	f := newFixture(t, testPolicy)
	dir := t.TempDir()
	front := listen(t, filepath.Join(dir, "f"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- New(filepath.Join(dir, "none"), testPolicy, func(_, _, _ string) {}).Serve(ctx, front) }()
	f.client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "f"))
	}}
	for _, uri := range []string{"info", "containers/" + ours + "/json"} {
		if _, err := f.client.Get("http://d" + api + uri); err == nil {
			t.Errorf("%s was answered", uri)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestKnownAreBounded(t *testing.T) {
	var k known
	for i := range maxKnown + 10 {
		k.add(fmt.Sprint(i))
		k.add(fmt.Sprint(i))
	}
	if k.has("9") || !k.has("10") || len(k.ids) != maxKnown || len(k.oldest) != maxKnown {
		t.Errorf("%d are known, %d in order", len(k.ids), len(k.oldest))
	}
}
