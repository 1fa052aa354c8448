package config

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdmissionProblems(t *testing.T) {
	for text, want := range map[string]string{
		"ssh:\n  max_startups: 10:30\n":                                    `ssh.max_startups: "10:30" is not start:rate:full (such as 10:30:100) or one number`,
		"ssh:\n  per_source_net_block_size: 33:64\n":                       `ssh.per_source_net_block_size: "33:64" is not the bits of an IPv4 and an IPv6 source (such as 32:64)`,
		"ssh:\n  per_source_penalties: [yes]\n":                            "",
		"ssh:\n  per_source_penalties: [\"authfail:x\"]\n":                 `ssh.per_source_penalties: "authfail:x" does not have a time up to 24h`,
		"admission:\n  per_source_max_connections: -1\n":                   `admission.per_source_max_connections: -1 is out of range (0 to 65536)`,
		"admission:\n  rate: 5/1ms\n":                                      `admission.rate: "5/1ms" must have a time from 1s to 24h`,
		"admission:\n  per_source_rate: many\n":                            `admission.per_source_rate: "many" is not a number of connections and a time (such as 60/1m), or none`,
		"admission:\n  deny: [192.0.2.0/24, host]\n":                       `admission.deny[1]: "host" is not an address or a range of them (such as 192.0.2.0/24 or 2001:db8::/32)`,
		"admission:\n  allow_files: [list]\n":                              `admission.allow_files[0]: "list" is not an absolute path`,
		"admission:\n  tarpit: [deny, all]\n":                              `admission.tarpit[1]: "all" is not one of deny, penalty, rate`,
		"admission:\n  max_sources: 1\n":                                   `admission.max_sources: 1 is out of range (1024 to 4194304)`,
		"enrich:\n  geoip: [/a/../b]\n":                                    `enrich.geoip[0]: "/a/../b" is not a plain path`,
		"enrich:\n  lists: [a=/a,\n    a=/b]\n":                            `enrich.lists[1]: "a=/b" has the name of another`,
		"enrich:\n  lists: [/a]\n":                                         `enrich.lists[0]: "/a" is not NAME=PATH with a name of letters, digits, dots, _ and -`,
		"enrich:\n  lists: [a=b]\n":                                        `enrich.lists[0]: "a=b" has a path that is not an absolute path`,
		"ssh: {max_startups: 10:30:100, per_source_max_startups: 7}\n":     "",
		"ssh: {per_source_net_block_size: 24:56}\nadmission: {rate: 9/1s}": "",
	} {
		got := problems(t, text, nil, nil)
		if want == "" && got == nil {
			continue
		}
		line := 2
		if want == `enrich.lists[1]: "a=/b" has the name of another` {
			line = 3
		}
		if diff := cmp.Diff([]string{fmt.Sprintf("sandtrap.yaml:%d: %s", line, want)}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// A persona's words for who is served are sshd's, and known only from a version on.
func TestPersonaAdmission(t *testing.T) {
	load := func(version, lines string) (SSH, error) {
		path := filepath.Join(t.TempDir(), "sshd_config")
		write(t, path, "# SSH-2.0-"+version+"\n"+lines+"\nKexAlgorithms curve25519-sha256\nCiphers aes128-ctr\nMACs hmac-sha2-256\nCompression no\n")
		loaded, err := withPersona(t, "ssh: {persona: "+path+"}")
		if err != nil {
			return SSH{}, err
		}
		return loaded.Config.SSH, nil
	}
	got, err := load("OpenSSH_9.8p1", "MaxStartups 10:30:100\nPerSourceMaxStartups 5\nPerSourceNetBlockSize 24:56\nPerSourcePenalties authfail:5 noauth:1s\n")
	if err != nil || got.MaxStartups != "10:30:100" || got.PerSourceMaxStartups != 5 || got.PerSourceNetBlockSize != "24:56" || !cmp.Equal(got.PerSourcePenalties, []string{"authfail:5", "noauth:1s"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := load("OpenSSH_9.2p1", "PerSourceMaxStartups none"); err != nil || got.PerSourceMaxStartups != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := load("OpenSSH_9.2p1", ""); err != nil || got.MaxStartups != Default().SSH.MaxStartups {
		t.Errorf("%+v, %v", got, err)
	}
	for version, line := range map[string]string{"OpenSSH_9.7p1": "PerSourcePenalties yes\n", "OpenSSH_8.4p1": "PerSourceMaxStartups 5\n"} {
		if _, err := load(version, line); err == nil {
			t.Errorf("%s knows %s", version, line)
		}
	}
}
