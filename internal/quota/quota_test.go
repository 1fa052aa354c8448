package quota

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/testhelper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var layer = strings.Repeat("0123456789abcdef", 4)

func TestBoundHearsTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct{ answer, want string }{
		"bounded":     {"ok\n", ""},
		"why not":     {"no store\n", `says "no store"`},
		"nothing":     {"", "no answer"},
		"almost":      {"okay\n", `says "okay"`},
		"escapes":     {"\x1b[2J\n", `says "\x1b[2J"`},
		"much":        {strings.Repeat("x", 1<<16), "says"},
		"only a line": {"\n", "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			socket := testhelper.Serve(t, func(_ context.Context, client *net.UnixConn, id string) {
				asked = id
				_, _ = io.WriteString(client, tt.answer)
			})
			err := Bound(t.Context(), socket, layer)
			switch {
			case asked != layer:
				t.Errorf("asked about %q", asked)
			case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Bound = %v, want %q", err, tt.want)
			case err != nil && len(err.Error()) > 2000:
				t.Errorf("%d bytes of error", len(err.Error()))
			}
		})
	}
}

func TestBoundGivesUp(t *testing.T) {
	socket := testhelper.Serve(t, func(ctx context.Context, _ *net.UnixConn, _ string) { <-ctx.Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Bound(ctx, socket, layer); err == nil || ctx.Err() == nil {
		t.Errorf("Bound = %v", err)
	}
	if err := Bound(t.Context(), filepath.Join(t.TempDir(), "none"), layer); err == nil {
		t.Error("without a helper: no error")
	}
	for _, bad := range []string{"", "../" + layer[3:], layer + "0", strings.ToUpper(layer)} {
		if err := Bound(t.Context(), socket, bad); err == nil || !strings.Contains(err.Error(), "not an id") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestNoQuotas: on a file system without them nothing is called bounded.
func TestNoQuotas(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, layer, "diff"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, layers := range []string{dir, filepath.Join(dir, "none")} {
		socket := testhelper.Serve(t, (&Server{Layers: layers}).Answer)
		if err := Bound(t.Context(), socket, layer); err == nil {
			t.Errorf("%s: no error", layers)
		}
	}
}
