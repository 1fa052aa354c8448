package leader

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/frame"
)

const passwdText = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
bad line
broken:x:abc:1::/:/bin/sh
debian:x:1000:1000:Debian:/home/debian:/bin/bash
debian:x:0:0:second:/root:/bin/bash
empty:x:1001:1001:::
relative:x:1002:1002::/:bin/sh
huge:x:4294967295:1::/:/bin/sh
`

const groupText = `root:x:0:
adm:x:4:syslog,debian
sudo:x:27:debian
bad:x:y:debian
users:x:100:
debian:x:1000:
again:x:27:debian
`

func newDatabases(t *testing.T) databases {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"passwd": passwdText, "group": groupText,
		"shadow": "root:*:20000:0:99999:7:::\n", "gshadow": "root:*::\nusers:*::\n",
		"subuid": "debian:100000:65536\n", "subgid": "debian:100000:65536\n",
		"skel/.bashrc": "rc\n", "skel/d/file": "f\n",
	} {
		write(t, filepath.Join(root, "etc", name), text)
	}
	if err := os.Mkdir(filepath.Join(root, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	return databases{root}
}

func TestLookUp(t *testing.T) {
	d := newDatabases(t)
	for name, want := range map[string]state{
		"root": usable, "debian": usable, "empty": usable,
		"daemon": unusable, "sync": unusable, "broken": unusable, "relative": unusable, "huge": unusable,
		"nobody": unknown, "": unknown, "bad line": unusable, "root:x": unknown, "a\nb": unknown, "root\x00": unknown,
	} {
		if _, got := d.lookUp(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	got, _ := d.lookUp("debian") // the first line
	want := account{name: "debian", uid: 1000, gid: 1000, home: "/home/debian", shell: "/bin/bash", groups: []uint32{1000, 4, 27}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(account{})); diff != "" {
		t.Error(diff)
	}
	if got, _ := d.lookUp("empty"); got.shell != "/bin/sh" || got.home != "/" {
		t.Errorf("got %+v", got)
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		user, fallback string
		policy         frame.Policy
		want           string
	}{
		{"debian", "root", frame.PolicyExisting, "debian"},
		{"oracle", "root", frame.PolicyExisting, "root"},
		{"daemon", "root", frame.PolicyExisting, "root"},
		{"daemon", "root", frame.PolicyCreate, "root"},
		{"debian", "root", frame.PolicyFallback, "root"},
		{"debian", "root", frame.PolicyCreate, "debian"},
		{"Bad Name", "root", frame.PolicyCreate, "root"},
		{"../../x", "root", frame.PolicyCreate, "root"},
		{"oracle", "nobody", frame.PolicyExisting, ""},
	} {
		got, ok := newDatabases(t).choose(&frame.LoginMessage{User: test.user, Fallback: test.fallback, Policy: test.policy})
		if got.name != test.want || ok != (test.want != "") {
			t.Errorf("%+v: got %q, %v", test, got.name, ok)
		}
	}
}

// An account made on the fly looks as adduser(8) of Debian 12 makes it.
func TestCreate(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to hand files over")
	}
	d := newDatabases(t)
	old := time.Date(2025, 3, 14, 9, 21, 40, 0, time.UTC)
	for _, name := range []string{"passwd", "shadow", "group"} {
		if err := os.Chtimes(d.path(name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(d.path("shadow"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(d.path("shadow"), 0, 42); err != nil {
		t.Fatal(err)
	}
	got, ok := d.choose(&frame.LoginMessage{User: "oracle", Fallback: "root", Policy: frame.PolicyCreate})
	want := account{name: "oracle", uid: 1003, gid: 1003, home: "/home/oracle", shell: "/bin/bash", groups: []uint32{1003, 100}, made: true}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(account{})); diff != "" || !ok {
		t.Error(ok, diff)
	}
	for name, text := range map[string]string{
		"passwd":  passwdText + "oracle:x:1003:1003:,,,:/home/oracle:/bin/bash\n",
		"group":   strings.Replace(groupText, "users:x:100:", "users:x:100:oracle", 1) + "oracle:x:1003:\n",
		"gshadow": "root:*::\nusers:*::oracle\noracle:!::\n",
		"subuid":  "debian:100000:65536\noracle:165536:65536\n",
		"passwd-": passwdText,
	} {
		if diff := cmp.Diff(text, read(t, d.path(name))); diff != "" {
			t.Error(name, diff)
		}
	}
	f := strings.Split(strings.TrimPrefix(read(t, d.path("shadow")), "root:*:20000:0:99999:7:::\n"), ":")
	if len(f) != 9 || f[0] != "oracle" || f[2] != "20161" || len(f[1]) != len("$y$j9T$G5XxebUw16lFt/mOu6t6n0$3Yva7MRWXqdZToKsGAVMDe2U04viFBdhV44xhijES2A") {
		t.Errorf("shadow has %q", f)
	}
	for path, want := range map[string]syscall.Stat_t{
		"etc/shadow":           {Mode: 0o640, Gid: 42},
		"etc/passwd":           {Mode: 0o644},
		"home/oracle":          {Mode: 0o700, Uid: 1003, Gid: 1003},
		"home/oracle/.bashrc":  {Mode: 0o644, Uid: 1003, Gid: 1003},
		"home/oracle/d/file":   {Mode: 0o644, Uid: 1003, Gid: 1003},
		"home/oracle/d/../../": {Mode: 0o755},
	} {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(d.root, path), &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode&0o7777 != want.Mode || st.Uid != want.Uid || st.Gid != want.Gid {
			t.Errorf("%s: mode %o, owner %d:%d", path, st.Mode&0o7777, st.Uid, st.Gid)
		}
		if !strings.HasPrefix(path, "home/oracle/d/..") && st.Mtim.Sec != old.Unix() {
			t.Errorf("%s: changed %v", path, time.Unix(st.Mtim.Sec, 0))
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What an attacker may have left in place of the files stops nobody.
func TestHostileDatabases(t *testing.T) {
	d := newDatabases(t)
	message := &frame.LoginMessage{User: "oracle", Fallback: "root", Policy: frame.PolicyCreate}
	if err := os.WriteFile(d.path("passwd"), []byte(passwdText+strings.Repeat("x", maxDatabase)), 0o644); err != nil {
		t.Fatal(err)
	}
	if a, ok := d.choose(message); !ok || a.name != "root" {
		t.Errorf("huge passwd: %+v, %v", a, ok)
	}
	for _, make := range []func(string) error{
		func(path string) error { return syscall.Mkfifo(path, 0o644) },
		func(path string) error { return os.Mkdir(path, 0o755) },
		func(path string) error { return os.Symlink("/dev/zero", path) },
		func(path string) error { return os.Symlink(path, path) },
	} {
		if err := os.Remove(d.path("passwd")); err != nil {
			t.Fatal(err)
		}
		if err := make(d.path("passwd")); err != nil {
			t.Fatal(err)
		}
		if a, ok := d.choose(message); ok {
			t.Errorf("got %+v", a)
		}
	}
}

func TestAcceptableName(t *testing.T) {
	for name, want := range map[string]bool{
		"oracle": true, "a": true, "_x": true, "a-b_c9": true, strings.Repeat("a", 32): true,
		"": false, "Oracle": false, "9a": false, "-a": false, "a.b": false, "a b": false, "a/b": false, "ä": false, strings.Repeat("a", 33): false,
	} {
		if got := acceptableName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func FuzzAccount(f *testing.F) {
	f.Add([]byte(passwdText), []byte(groupText), "debian")
	f.Fuzz(func(t *testing.T, passwd, group []byte, name string) {
		for line := range lines(passwd) {
			if a, ok := parseAccount(line); ok && (a.home[0] != '/' || a.shell[0] != '/' || strings.ContainsAny(a.home+a.shell+a.name, ":\n")) {
				t.Errorf("%q gives %+v", line, a)
			}
		}
		for line := range lines(group) {
			parseGroup(line)
		}
		if id, ok := freeID(passwd, group); ok && (id < firstUser || id > lastUser) {
			t.Errorf("free id %d", id)
		}
		addMember(group, "users", name)
	})
}
