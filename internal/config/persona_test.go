package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/persona"
)

// withPersona loads a configuration of one file.
func withPersona(t *testing.T, yaml string) (*Loaded, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(LoadOptions{Path: path})
}

// The built-in defaults are those of the default persona, and every persona that
// comes with the program is one that can be imitated.
func TestPersonas(t *testing.T) {
	loaded, err := withPersona(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), loaded.Config); diff != "" {
		t.Error(diff)
	}
	for _, name := range persona.Names() {
		loaded, err := withPersona(t, "ssh: {persona: "+name+"}")
		if err != nil {
			t.Error(err)
			continue
		}
		p, err := persona.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if loaded.Config.SSH.Version != p.Version {
			t.Errorf("%s: version %q", name, loaded.Config.SSH.Version)
		}
		if got, want := loaded.Origins["ssh.version"], (Origin{FromPersona, name, 1}); got != want {
			t.Errorf("%s: version comes from %v", name, got)
		}
	}
}

func writePersona(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sshd_config")
	text := "# SSH-2.0-OpenSSH_8.4p1 Debian-5\n" + strings.Join(lines, "\n") + "\nKexAlgorithms curve25519-sha256\nCiphers aes128-ctr\nMACs hmac-sha2-256\nCompression no\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever sets a key itself wins over the persona, the first value of a keyword
// over the next, and lists that sshd adds up are added up.
func TestOwnPersona(t *testing.T) {
	path := writePersona(t, "HostKey /etc/ssh/ssh_host_ed25519_key", "LoginGraceTime 30", "LoginGraceTime 5m", "MaxAuthTries 3", "Compression no",
		"AcceptEnv LANG LC_*", "AcceptEnv COLORTERM", "HostKey /etc/ssh/ssh_host_rsa_key", "PasswordAuthentication yes", "MaxSessions 4", "MACs hmac-sha1")
	loaded, err := withPersona(t, "ssh: {persona: "+path+", max_sessions: 7}")
	if err != nil {
		t.Fatal(err)
	}
	want := Default().SSH
	want.Persona, want.Version, want.HostKeys = path, "OpenSSH_8.4p1 Debian-5", []string{KeyEd25519, KeyRSA}
	want.KexAlgorithms, want.Ciphers = []string{"curve25519-sha256"}, []string{"aes128-ctr"}
	want.KbdInteractiveAuthentication, want.ClientAliveInterval = true, 0 // what sshd has where its file says nothing
	want.LoginGraceTime, want.MaxAuthTries, want.MaxSessions, want.MACs = 30*time.Second, 3, 7, []string{"hmac-sha1"}
	want.AcceptEnv = []string{"LANG", "LC_*", "COLORTERM"}
	if diff := cmp.Diff(want, loaded.Config.SSH); diff != "" {
		t.Error(diff)
	}
	if got := loaded.Origins["ssh.max_auth_tries"].String(); got != "persona "+path+":5" {
		t.Errorf("max_auth_tries comes from %q", got)
	}
}

// Timeouts are those of a persona where its OpenSSH knows the keywords.
func TestTimeoutsOfAPersona(t *testing.T) {
	at := func(version, lines string) (*Loaded, error) {
		path := filepath.Join(t.TempDir(), "sshd_config")
		text := "# SSH-2.0-" + version + "\n" + lines + "\nKexAlgorithms curve25519-sha256\nCiphers aes128-ctr\nMACs hmac-sha2-256\nCompression no\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return withPersona(t, "ssh: {persona: "+path+"}")
	}
	for lines, want := range map[string]struct {
		channel []string
		unused  time.Duration
	}{
		"": {Default().SSH.ChannelTimeout, 10 * time.Minute},
		"ChannelTimeout session:shell=5m  direct-tcpip=30\nUnusedConnectionTimeout 90": {[]string{"session:shell=5m", "direct-tcpip=30s"}, 90 * time.Second},
		"ChannelTimeout none\nUnusedConnectionTimeout none":                            {[]string{}, 0},
	} {
		loaded, err := at("OpenSSH_9.2p1", lines)
		if err != nil {
			t.Fatal(err)
		}
		if s := loaded.Config.SSH; !cmp.Equal(s.ChannelTimeout, want.channel) || s.UnusedConnectionTimeout != want.unused {
			t.Errorf("%q: %q, %s", lines, s.ChannelTimeout, s.UnusedConnectionTimeout)
		}
	}
	for _, line := range []string{"ChannelTimeout session*=5m", "UnusedConnectionTimeout 5m"} {
		if _, err := at("OpenSSH_9.1p1", line); err == nil || !strings.Contains(err.Error(), "OpenSSH 9.2 was the first") {
			t.Errorf("%s: %v", line, err)
		}
		if _, err := at("OpenSSH_10.0p1", line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestPersonaProblems(t *testing.T) {
	for line, want := range map[string]string{
		"Compression yes":                ":2: compression must be no",
		"Match User root":                ":2: match cannot be imitated",
		"\x1b[31mevil yes":               `:2: "\x1b[31mevil" cannot be imitated`,
		"KexAlgorithms sntrup761":        `kex_algorithms[0]: "sntrup761" is not an algorithm`,
		"MaxAuthTries many":              `max_auth_tries: "many" is not a whole number`,
		"PasswordAuthentication perhaps": `password_authentication: "perhaps" is neither`,
		"HostKey /etc/ssh/id_dsa":        `host_keys[0]: "id_dsa" is not one of`,
	} {
		_, err := withPersona(t, "ssh: {persona: "+writePersona(t, line)+"}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", line, err, want)
		}
	}
	bare := filepath.Join(t.TempDir(), "bare")
	if err := os.WriteFile(bare, []byte("# SSH-2.0-OpenSSH_9.2p1\nPort 22\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := withPersona(t, "ssh: {persona: "+bare+"}")
	if err == nil || !strings.Contains(err.Error(), "compression must be no") {
		t.Errorf("what sshd has by default: %v", err)
	}
	_, err = withPersona(t, "ssh: {persona: windows-98}")
	if want := ":1: ssh.persona: read persona: there is none of this name"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	_, err = withPersona(t, "ssh: {password_authentication: false, pubkey_authentication: false}")
	if err == nil || !strings.Contains(err.Error(), "nobody could try") {
		t.Errorf("no method: %v", err)
	}
}

// Keys that keywords set exist.
func TestTranslatedKeysExist(t *testing.T) {
	for keyword, to := range translated {
		if k, ok := byPath[to.path]; !ok || k.section() || k.typ == reflect.TypeFor[Origin]() {
			t.Errorf("%s sets %s, which does not exist", keyword, to.path)
		}
	}
}
