package podman

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/testpodman"
)

func TestMain(m *testing.M) {
	// The bindings keep idle connections; nothing closes them.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const fakeImage = "localhost/target:latest"

// fakeClient is a client of a fake service.
func fakeClient(t *testing.T) (*testpodman.Service, *Client) {
	t.Helper()
	s := testpodman.New(t)
	c, err := Dial(t.Context(), s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// fakeContainer makes and starts a container.
func fakeContainer(t *testing.T, c *Client) string {
	t.Helper()
	id, err := c.Create(t.Context(), Spec{Image: fakeImage, Name: "warm-1", Labels: map[string]string{"l": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestContainerLife(t *testing.T) {
	s, c := fakeClient(t)
	ctx := t.Context()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	id := fakeContainer(t, c)
	if confined, err := c.Confined(ctx, id); err != nil || !confined {
		t.Errorf("Confined = %v, %v", confined, err)
	}
	if running, err := c.Running(ctx, id); err != nil || !running {
		t.Errorf("Running = %v, %v", running, err)
	}
	if err := c.Rename(ctx, id, "session"); err != nil {
		t.Error(err)
	}
	list, err := c.List(ctx, "l")
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].Name != "session" || !list[0].Running || list[0].Labels["l"] != "v" || list[0].Created.IsZero() {
		t.Errorf("List = %+v, %v", list, err)
	}
	if err := c.Stop(ctx, id); err != nil {
		t.Error(err)
	}
	if running, err := c.Running(ctx, id); err != nil || running {
		t.Errorf("Running after Stop = %v, %v", running, err)
	}
	if size, err := c.Size(ctx, id); err != nil || size != 4096 {
		t.Errorf("Size = %d, %v", size, err)
	}
	if err := c.Remove(ctx, id); err != nil || len(s.Containers()) != 0 {
		t.Errorf("Remove: %v, left %v", err, s.Containers())
	}
	if err := c.Remove(ctx, id); err != nil {
		t.Errorf("Remove of what is gone: %v", err)
	}
	s.ImageLabels[fakeImage] = map[string]string{"leader": "/l"}
	if got, err := c.Image(ctx, fakeImage); err != nil || got.Digest != "sha256:"+strings.Repeat("a", 64) || got.Labels["leader"] != "/l" {
		t.Errorf("Image = %+v, %v", got, err)
	}
	if left, err := c.Left(ctx); err != nil || left.Locks != 2047 || !left.LocksKnown {
		t.Errorf("Left = %+v, %v", left, err)
	}
}

// calls is every call that talks to the service about something.
var calls = map[string]func(context.Context, *Client) error{
	"ping":   func(ctx context.Context, c *Client) error { return c.Ping(ctx) },
	"create": func(ctx context.Context, c *Client) error { _, err := c.Create(ctx, Spec{Image: "x"}); return err },
	"start":  func(ctx context.Context, c *Client) error { return c.Start(ctx, "id") },
	"rename": func(ctx context.Context, c *Client) error { return c.Rename(ctx, "id", "name") },
	"stop":   func(ctx context.Context, c *Client) error { return c.Stop(ctx, "id") },
	"remove": func(ctx context.Context, c *Client) error { return c.Remove(ctx, "id") },
	"confined": func(ctx context.Context, c *Client) error {
		_, err := c.Confined(ctx, "id")
		return err
	},
	"running": func(ctx context.Context, c *Client) error {
		_, err := c.Running(ctx, "id")
		return err
	},
	"list":  func(ctx context.Context, c *Client) error { _, err := c.List(ctx, "label"); return err },
	"image": func(ctx context.Context, c *Client) error { _, err := c.Image(ctx, "x"); return err },
	"size":  func(ctx context.Context, c *Client) error { _, err := c.Size(ctx, "id"); return err },
	"left":  func(ctx context.Context, c *Client) error { _, err := c.Left(ctx); return err },
	"read file": func(ctx context.Context, c *Client) error {
		_, err := c.ReadFile(ctx, "id", "/etc/passwd", 100)
		return err
	},
	"exec": func(ctx context.Context, c *Client) error { _, err := c.Exec(ctx, "id", ExecOptions{}); return err },
}

func TestErrorAnswers(t *testing.T) {
	s, c := fakeClient(t)
	for code, missing := range map[int]bool{http.StatusInternalServerError: false, http.StatusNotFound: true, http.StatusConflict: false} {
		s.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
			testpodman.Fail(w, code, "the cause")
			return true
		}
		for name, call := range calls {
			err := call(t.Context(), c)
			if name == "remove" && missing {
				if err != nil {
					t.Errorf("remove of what is gone: %v", err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), "the cause") {
				t.Errorf("%s answered with %d: %v", name, code, err)
			}
			if got := errors.Is(err, ErrNotFound); got != missing && name != "ping" {
				t.Errorf("%s answered with %d: ErrNotFound is %v", name, code, got)
			}
		}
	}
}

func TestGarbageAnswers(t *testing.T) {
	s, c := fakeClient(t)
	s.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("\x00<html>"))
		return true
	}
	for _, name := range []string{"ping", "create", "running", "list", "image", "size", "left", "read file", "exec"} {
		if err := calls[name](t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestNoFigures: a service may leave out what we ask for.
func TestNoFigures(t *testing.T) {
	s, c := fakeClient(t)
	s.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
		testpodman.Reply(w, http.StatusOK, map[string]any{"host": map[string]any{}})
		return true
	}
	if left, err := c.Left(t.Context()); left != (Left{}) || err != nil {
		t.Errorf("Left = %+v, %v", left, err)
	}
	if size, err := c.Size(t.Context(), "id"); size != 0 || err == nil {
		t.Errorf("Size = %d, %v", size, err)
	}
}

func TestServiceGoneAndBack(t *testing.T) {
	s, c := fakeClient(t)
	id := fakeContainer(t, c)
	s.Stop()
	if err := c.Ping(t.Context()); err == nil {
		t.Error("Ping of a service that is gone")
	}
	if _, err := c.Exec(t.Context(), id, ExecOptions{}); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("Exec without a service: %v", err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if running, err := c.Running(t.Context(), id); err != nil || !running {
		t.Errorf("after the restart: %v, %v", running, err)
	}
}

// untilHangUp returns when the client has given up on its request.
func untilHangUp(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the server sees the end of a connection only behind the body
	<-r.Context().Done()
}

func TestHangEndsWithTheContext(t *testing.T) {
	s, c := fakeClient(t)
	arrived := make(chan struct{}, 10)
	s.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		arrived <- struct{}{}
		untilHangUp(r)
		return true
	}
	for _, name := range []string{"create", "stop", "exec"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		if err := calls[name](ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDialRefuses(t *testing.T) {
	t.Run("nothing there", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none.sock")
		if c, err := Dial(t.Context(), path); err == nil || c != nil || !strings.Contains(err.Error(), "connect to Podman at "+path) {
			t.Errorf("Dial = %v, %v", c, err)
		}
	})
	t.Run("too old", func(t *testing.T) {
		s := testpodman.New(t)
		s.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Libpod-API-Version", "3.0.0")
			return true
		}
		if c, err := Dial(t.Context(), s.Socket); err == nil || c != nil || !strings.Contains(err.Error(), "too old") {
			t.Errorf("Dial = %v, %v", c, err)
		}
	})
	t.Run("not HTTP", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "pod")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte("SSH-2.0-not podman\r\n\r\n"))
				c.Close()
			}
		}()
		if c, err := Dial(t.Context(), l.Addr().String()); err == nil || c != nil {
			t.Errorf("Dial = %v, %v", c, err)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		s := testpodman.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		s.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			cancel()
			untilHangUp(r)
			return true
		}
		if c, err := Dial(ctx, s.Socket); !errors.Is(err, context.Canceled) || c != nil {
			t.Errorf("Dial = %v, %v", c, err)
		}
	})
}

func TestClientOutlivesItsDial(t *testing.T) {
	s := testpodman.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Dial(ctx, s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReadFile(t *testing.T) {
	s, c := fakeClient(t)
	id := fakeContainer(t, c)
	s.Files["/etc/passwd"] = "root:x"
	if got, err := c.ReadFile(t.Context(), id, "/etc/passwd", 6); err != nil || string(got) != "root:x" {
		t.Errorf("ReadFile = %q, %v", got, err)
	}
	if _, err := c.ReadFile(t.Context(), id, "/etc/passwd", 5); err == nil {
		t.Error("a file over the limit was read")
	}
	if _, err := c.ReadFile(t.Context(), id, "/none", 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing file: %v", err)
	}
	for name, archive := range map[string][]byte{
		"no archive": []byte("text"), "nothing": nil, "endless": bytes.Repeat([]byte{0}, 1<<20),
		"a link":            tarOf(t, tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}),
		"a hard link":       tarOf(t, tar.Header{Typeflag: tar.TypeLink, Linkname: "/etc/shadow"}),
		"a FIFO":            tarOf(t, tar.Header{Typeflag: tar.TypeFifo}),
		"a device":          tarOf(t, tar.Header{Typeflag: tar.TypeBlock, Devmajor: 8}),
		"a directory":       tarOf(t, tar.Header{Typeflag: tar.TypeDir}),
		"more than it has":  tarOf(t, tar.Header{Typeflag: tar.TypeReg, Size: 100}),
		"attributes, many":  tarOf(t, tar.Header{Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", 900<<10)}}),
		"a sparse file":     tarOf(t, tar.Header{Typeflag: tar.TypeReg, Size: 4 << 30}),
		"less than nothing": bytes.Replace(tarOf(t, tar.Header{Typeflag: tar.TypeReg, Size: 100}), []byte("00000000144"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 1),
	} {
		s.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(archive)
			return true
		}
		if got, err := c.ReadFile(t.Context(), id, "/etc/passwd", 100); err == nil {
			t.Errorf("%s: read %q", name, got)
		}
	}
}

// tarOf is an archive of one header, without content.
func tarOf(t *testing.T, h tar.Header) []byte {
	t.Helper()
	h.Name = "passwd"
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sent is what a request to create a container says.
func sent(t *testing.T, spec Spec) map[string]any {
	t.Helper()
	s, c := fakeClient(t)
	var got map[string]any
	s.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		testpodman.Fail(w, http.StatusInternalServerError, "enough")
		return true
	}
	_, _ = c.Create(t.Context(), spec)
	return got
}

func TestSpecLocksDown(t *testing.T) {
	got := sent(t, Spec{Image: fakeImage, Name: "n", Hostname: "srv01", Memory: 1 << 28, Pids: 128, CPUs: 1.5})
	for key, want := range map[string]any{
		"image": fakeImage, "name": "n", "hostname": "srv01", "no_new_privileges": true, "cap_drop": []any{"all"},
		"netns": map[string]any{"nsmode": "none"}, "userns": map[string]any{"nsmode": "no-map"}, "pidns": map[string]any{"nsmode": "private"},
		"ipcns": map[string]any{"nsmode": "private"}, "utsns": map[string]any{"nsmode": "private"}, "cgroupns": map[string]any{"nsmode": "private"},
		"image_volume_mode": "ignore", "httpproxy": false, "env_host": false, "systemd": "false",
	} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	for _, key := range []string{"privileged", "mounts", "volumes", "devices", "cap_add_all", "command"} {
		if v, ok := got[key]; ok && v != false {
			t.Errorf("%s is set: %v", key, v)
		}
	}
	want := map[string]any{
		"pids": map[string]any{"limit": 128.0}, "memory": map[string]any{"limit": float64(1 << 28), "swap": float64(1 << 28)},
		"cpu": map[string]any{"quota": 150000.0, "period": 100000.0},
	}
	if diff := cmp.Diff(want, got["resource_limits"]); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

func TestSpecUnlimited(t *testing.T) {
	got := sent(t, Spec{Image: fakeImage, Memory: 1 << 28, Pids: 128, CPUs: 1, Unlimited: true, Command: []string{"sleep"}})
	limits, _ := got["resource_limits"].(map[string]any)
	if limits["memory"] != nil || limits["cpu"] != nil {
		t.Errorf("limits %v", limits)
	}
	if !cmp.Equal(got["command"], []any{"sleep"}) {
		t.Errorf("command %v, stdin %v", got["command"], got["stdin"])
	}
}

func TestTimeoutOfACall(t *testing.T) {
	_, c := fakeClient(t)
	ctx, cancel := c.with(t.Context(), time.Hour)
	defer cancel()
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Hour {
		t.Error("no deadline")
	}
	if ctx.Value("of nobody") != nil {
		t.Error("a value out of nowhere")
	}
}
