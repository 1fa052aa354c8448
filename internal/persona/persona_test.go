package persona

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoad(t *testing.T) {
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(p.Version, "OpenSSH_") || len(p.Directives) < 5 || p.Name != name {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if !cmp.Equal(Names(), []string{"debian-12", "el-9", "ubuntu-22.04"}) {
		t.Errorf("personas: %q", Names())
	}
}

func TestParse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine")
	text := "# SSH-2.0-OpenSSH_8.4p1 Mine\n#Port 22\n\n  kexalgorithms\tcurve25519-sha256 \nAcceptEnv=LANG  LC_*\nUseDNS\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &Persona{Name: path, Version: "OpenSSH_8.4p1 Mine", Config: []byte(text), Directives: []Directive{
		{4, "kexalgorithms", "curve25519-sha256"}, {5, "acceptenv", "LANG  LC_*"}, {6, "usedns", ""},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadFails(t *testing.T) {
	dir := t.TempDir()
	long, bare := filepath.Join(dir, "long"), filepath.Join(dir, "bare")
	for path, text := range map[string]string{long: "# SSH-2.0-x\n" + strings.Repeat("#\n", maxFile), bare: "Port 22\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"windows": "only debian-12, el-9", "../persona/debian-12": "only", filepath.Join(dir, "none"): "no such file",
		long: "longer than", bare: "first line",
	} {
		if _, err := Load(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", name, err, want)
		}
	}
}
