package leader

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEnvironmentFiles(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"/etc/environment":          "A=b\nexport B=\"c d\" # e\n#C=d\n\n  D='\nE-F=x\n=y\nG\nH=\xff\x1b[31m\nPATH=/bin",
		"/etc/default/locale":       "A=again\nLANG=fr\nSSH_CLIENT=x\n",
		"/root/.pam_environment":    "LC_A=own\n",
		"/nowhere/.pam_environment": strings.Repeat("x", 100),
	} {
		if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set := readEnvironment(root, "/root")
	want := []string{"A=again", "B=c d", "D=", "H=\xff\x1b[31m", "PATH=/bin", "LANG=fr", "SSH_CLIENT=x", "LC_A=own"}
	if !slices.Equal(set, want) {
		t.Errorf("the files set %q, want %q", set, want)
	}
	got := withEnvironment([]string{"LANG=C", "PATH=/usr/bin", "SSH_CLIENT=1", "SSH_CONNECTION=2"}, set)
	want = []string{"LANG=fr", "PATH=/bin", "A=again", "B=c d", "D=", "H=\xff\x1b[31m", "LC_A=own", "SSH_CLIENT=1", "SSH_CONNECTION=2"}
	if !slices.Equal(got, want) {
		t.Errorf("the environment is %q, want %q", got, want)
	}
}

func FuzzEnvironmentLine(f *testing.F) {
	f.Add([]byte(`export A="b c" # d`))
	f.Add([]byte(`A='`))
	f.Fuzz(func(t *testing.T, line []byte) {
		v := parseVariable(line)
		name, _, ok := strings.Cut(v, "=")
		if v != "" && (!ok || name == "" || strings.Contains(v, "\x00") || len(v) > len(line)) {
			t.Errorf("%q sets %q", line, v)
		}
	})
}
