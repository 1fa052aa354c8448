package target

import (
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/podman"
)

const passwd = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
admin:x:1000:1000:,,,:/home/admin:/bin/bash
admin:x:0:0::/:/bin/sh
broken line
:x:0:0:::/bin/sh
false:x:7:7::/:/bin/false
odd:x:-1:0::/:/bin/sh
odder:x:0:4294967296::/:/bin/sh
`

func TestLookup(t *testing.T) {
	accounts, err := ParseAccounts([]byte(passwd), "root")
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"root": "/root", "admin": "/home/admin", "daemon": "/root", "": "/root", "oracle": "/root", "sync": "/root", "false": "/root", "odd": "/root", "odder": "/root"} {
		if got := accounts.Lookup(user, frame.PolicyExisting); got.Home != want {
			t.Errorf("Lookup(%q) = %+v, want home %s", user, got, want)
		}
	}
}

func TestLookupByPolicy(t *testing.T) {
	accounts, err := ParseAccounts([]byte(passwd), "root")
	if err != nil {
		t.Fatal(err)
	}
	admin := Account{Name: "admin", UID: 1000, GID: 1000, Home: "/home/admin", Shell: "/bin/bash"}
	root := Account{Name: "root", Home: "/root", Shell: "/bin/bash"}
	for name, want := range map[string]Account{"existing": admin, "create": admin, "fallback": root, "": admin} {
		if got := accounts.Lookup("admin", Policy(name)); got != want {
			t.Errorf("login_as %q: %+v, want %+v", name, got, want)
		}
	}
	if Policy("create") != frame.PolicyCreate || Policy("existing") != frame.PolicyExisting {
		t.Error("policies are mixed up")
	}
}

func TestParseAccountsRefuses(t *testing.T) {
	for name, text := range map[string]string{"no fallback": "daemon:x:1:1::/:/usr/sbin/nologin\n", "endless line": strings.Repeat("x", MaxPasswd+1), "nothing": ""} {
		if _, err := ParseAccounts([]byte(text), "root"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSpecCarriesLabelsAndLimits(t *testing.T) {
	target := Target{Name: "debian", Image: "i", Hostname: "srv01", Memory: 1, Pids: 2, CPUs: 3}
	image := podman.Image{Digest: "sha256:abc", Labels: map[string]string{"x": "y"}}
	got := target.Spec("warm-1", image, true)
	if got.Labels[Label] != "debian" || got.Labels[ImageLabel] != "sha256:abc" || len(got.Labels) != 2 {
		t.Errorf("without a leader: %+v", got)
	}
	if got.Image != "i" || got.ImageID != "abc" || got.Name != "warm-1" || !got.Unlimited || got.Memory != 1 || got.Pids != 2 || got.CPUs != 3 || got.Hostname != "srv01" {
		t.Errorf("Spec = %+v", got)
	}
	image.Labels[LeaderLabel] = "/leader"
	if got = target.Spec("warm-1", image, false); got.Labels[LeaderLabel] != "/leader" || got.Unlimited {
		t.Errorf("with a leader: %+v", got)
	}
}
