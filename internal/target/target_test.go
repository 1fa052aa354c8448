package target

import (
	"strings"
	"testing"
)

const passwd = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
admin:x:1000:1000:,,,:/home/admin:/bin/bash
admin:x:0:0::/:/bin/sh
broken line
:x:0:0:::/bin/sh
false:x:7:7::/:/bin/false
`

func TestLookup(t *testing.T) {
	accounts, err := ParseAccounts([]byte(passwd), "root")
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"root": "/root", "admin": "/home/admin", "daemon": "/root", "": "/root", "oracle": "/root", "sync": "/root", "false": "/root"} {
		if got := accounts.Lookup(user); got.Home != want {
			t.Errorf("Lookup(%q) = %+v, want home %s", user, got, want)
		}
	}
}

func TestParseAccountsRefuses(t *testing.T) {
	for name, text := range map[string]string{"no fallback": "daemon:x:1:1::/:/usr/sbin/nologin\n", "endless line": strings.Repeat("x", MaxPasswd+1), "nothing": ""} {
		if _, err := ParseAccounts([]byte(text), "root"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSpecCarriesLabelAndLimits(t *testing.T) {
	target := Target{Name: "debian", Image: "i", Hostname: "srv01", Memory: 1, Pids: 2, CPUs: 3}
	got := target.Spec("warm-1", true)
	if got.Labels[Label] != "debian" || got.Name != "warm-1" || !got.Unlimited || got.Memory != 1 || got.Pids != 2 || got.CPUs != 3 || got.Hostname != "srv01" {
		t.Errorf("Spec = %+v", got)
	}
}
