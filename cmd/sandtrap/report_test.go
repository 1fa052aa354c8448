package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

func TestReport(t *testing.T) {
	_, path := sampleState(t)
	for format, want := range map[string]string{"text": "Session " + idClosed, "markdown": "# Session " + idClosed, "json": `"id": "` + idClosed, "html": `data-cast="`} {
		code, out, diagnostics := sandtrap(path, "report", idClosed, "--format", format)
		if code != exitOK || !strings.Contains(out, want) || diagnostics != "" {
			t.Errorf("%s: %d, %q, %.200s", format, code, diagnostics, out)
		}
	}
	page := filepath.Join(t.TempDir(), "page.html")
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"-1", "--format", "html", "-o", page}, exitOK},
		{[]string{"-1", "--format", "html", "-o", page}, exitError}, // it exists
		{[]string{"-1", "--format", "pdf"}, exitUsage},
		{[]string{"-1", "--since", "1d"}, exitUsage},
		{[]string{idClosed, "-1"}, exitUsage},
		{nil, exitOK},
		{[]string{"--format", "markdown", "--since", "2026-03-31", "--until", "2026-04-01"}, exitOK},
		{[]string{"--format", "json"}, exitOK},
		{[]string{"--format", "html"}, exitUsage},
		{[]string{"--since", "soon"}, exitUsage},
		{[]string{"01KNZZZZ"}, exitNotFound},
	} {
		if code, _, diagnostics := sandtrap(path, append([]string{"report"}, tt.args...)...); code != tt.code {
			t.Errorf("report %v = %d, want %d: %s", tt.args, code, tt.code, diagnostics)
		}
	}
	if _, out, _ := sandtrap(path, "report"); !strings.Contains(out, idClosed) || !strings.Contains(out, "All that is known") {
		t.Errorf("report of all:\n%s", out)
	}
	if st, err := os.Stat(page); err != nil || st.Size() == 0 || st.Mode() != 0o600 {
		t.Errorf("page: %v, %v", st, err)
	}
}

func TestExport(t *testing.T) {
	state, path := sampleState(t)
	addArtifact(t, state)
	dir := t.TempDir()
	bag := filepath.Join(dir, "x.tar.zst")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{idClosed, "-o", bag}, exitOK, ""},
		{[]string{idClosed, "-o", bag}, exitError, "exists"},
		{nil, exitUsage, "--since"},
		{[]string{idOpen, "-o", bag + "2"}, exitError, "still open\nhint:"},
		{[]string{"--since", "soon", "-o", bag + "2"}, exitUsage, ""},
		{[]string{"01KNZZZZ"}, exitNotFound, ""},
		{[]string{"--since", "2030-01-01", "-o", bag + "2"}, exitNotFound, "no session"},
		{[]string{"--since", "2020-01-01", "-o", bag + "3"}, exitOK, ""},
	} {
		code, _, diagnostics := sandtrap(path, append([]string{"export"}, tt.args...)...)
		if code != tt.code || !strings.Contains(diagnostics, tt.want) {
			t.Errorf("export %v = %d, want %d: %s", tt.args, code, tt.code, diagnostics)
		}
	}
	if _, err := os.Stat(bag + "2"); err == nil {
		t.Error("a bag that failed was left")
	}
	check := exec.Command("sh", "-ec", "zstd -dcq x.tar.zst | tar -x; cd sandtrap-"+idClosed+"; sha256sum -c --quiet manifest-sha256.txt; find data -type f")
	check.Dir = dir
	out, err := check.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"data/sessions/2026/03/31/" + idClosed + "/session.json", "/channel-0.raw", "/channel-0.cast"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is not in the bag:\n%s", want, out)
		}
	}
}

// addArtifact puts something into the store that the closed session did not bring.
func addArtifact(t *testing.T, state string) {
	t.Helper()
	store, err := evidence.Open(state)
	ok(t, err)
	defer store.Close()
	a, err := store.NewArtifact()
	ok(t, err)
	_, err = a.Write([]byte("x"))
	ok(t, err)
	ok(t, a.Commit(strings.Repeat("a", 64), 1))
}
