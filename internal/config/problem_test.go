package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// problems loads text as the main file and returns the lines of the error; the
// directory is cut off.
func problems(t *testing.T, text string, environ []string, overrides map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "sandtrap.yaml")
	write(t, path, text)
	loaded, err := Load(LoadOptions{Path: path, Environ: environ, Overrides: overrides})
	if err == nil {
		return nil
	}
	if loaded != nil {
		t.Error("got a configuration with an error")
	}
	var all Problems
	if !errors.As(err, &all) {
		t.Fatalf("got %T (%v), want Problems", err, err)
	}
	return strings.Split(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
}

// bomb is the classic of nested aliases.
const bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\n"

func TestFileProblems(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"unknown key", "pool:\n  mins: 4\n", []string{"sandtrap.yaml:2: pool.mins: unknown key (did you mean pool.min?)"}},
		{"unknown section", "pools:\n  min: 4\n", []string{"sandtrap.yaml:1: pools: unknown key (did you mean pool?)"}},
		{"key of another section", "min: 4\n", []string{"sandtrap.yaml:1: min: unknown key (did you mean pool.min?)"}},
		{"unlike any key", "auth:\n  xyzzy: 4\n", []string{"sandtrap.yaml:2: auth.xyzzy: unknown key"}},
		{"dotted key", "pool.min: 4\n", []string{"sandtrap.yaml:1: pool.min: unknown key (write it as a section with a key below, without the dot)"}},
		{"odd key", "\"a\\nb\": 4\n", []string{`sandtrap.yaml:1: "a\nb": unknown key`}},
		{"long key", strings.Repeat("x", 200) + ": 4\n", []string{`sandtrap.yaml:1: "` + strings.Repeat("x", 80) + `…": unknown key`}},
		{"merge key", "<<: {pool: {min: 1}}\n", []string{`sandtrap.yaml:1: "<<": unknown key`}},
		{"list as key", "pool:\n  ? [a]\n  : 1\n", []string{"sandtrap.yaml:2: pool: a list or a section cannot be a key"}},
		{"unknown in a credential", "auth:\n  credentials:\n    - user: a\n      password: b\n      pasword: c\n", []string{
			"sandtrap.yaml:5: auth.credentials[0].pasword: unknown key (did you mean auth.credentials[0].password?)",
		}},
		{"duplicate", "pool:\n  min: 4\n  retain: 3\n  min: 5\n", []string{"sandtrap.yaml:4: pool.min: set twice, first on line 2"}},
		{"duplicate section", "pool: {}\nlog: {}\npool: {}\n", []string{"sandtrap.yaml:3: pool: set twice, first on line 1"}},
		{"event files", "events:\n  max_file_bytes: 3MiB\n  max_bytes: 4MiB\n", []string{"sandtrap.yaml:3: events.max_bytes: 4MiB is less than twice events.max_file_bytes, which is 3MiB"}},
		{"channel timeout", "ssh:\n  channel_timeout: [session=1m, shell=1m]\n", []string{`sandtrap.yaml:2: ssh.channel_timeout[1]: "shell=1m" matches no type of channels, see sandtrap.yaml(5)`}},
		{"whole number", "pool:\n\n  min: four\n", []string{`sandtrap.yaml:3: pool.min: "four" is not a whole number`}},
		{"decimal", "pool:\n  min: 4.5\n", []string{`sandtrap.yaml:2: pool.min: "4.5" is not a whole number`}},
		{"quoted number", "pool:\n  min: '4'\n", []string{`sandtrap.yaml:2: pool.min: "4" is text, want a whole number (without quotes)`}},
		{"octal", "pool:\n  min: 010\n", []string{`sandtrap.yaml:2: pool.min: "010" is not a whole number`}},
		{"huge number", "pool:\n  min: 99999999999999999999\n", []string{"sandtrap.yaml:2: pool.min: 99999999999999999999 is beyond any possible value"}},
		{"no value", "pool:\n  min:\n", []string{"sandtrap.yaml:2: pool.min: has no value, want a whole number"}},
		{"list for number", "pool:\n  min: [4]\n", []string{"sandtrap.yaml:2: pool.min: a list stands where a whole number belongs"}},
		{"section for number", "pool:\n  min: {a: 4}\n", []string{"sandtrap.yaml:2: pool.min: a section stands where a whole number belongs"}},
		{"number for section", "pool: 4\n", []string{`sandtrap.yaml:1: pool: "4" is not a section with keys of its own`}},
		{"list for section", "pool: [4]\n", []string{"sandtrap.yaml:1: pool: a list stands where a section with keys of its own belongs"}},
		{"text for list", "ssh:\n  accept_env: LANG\n", []string{`sandtrap.yaml:2: ssh.accept_env: "LANG" is not a list`}},
		{"section for list", "ssh:\n  accept_env: {a: b}\n", []string{"sandtrap.yaml:2: ssh.accept_env: a section stands where a list belongs"}},
		{"number in list", "ssh:\n  accept_env:\n    - LANG\n    - 4\n", []string{"sandtrap.yaml:4: ssh.accept_env[1]: 4 is not text, put it in quotes"}},
		{"number for text", "target:\n  hostname: 123\n", []string{"sandtrap.yaml:2: target.hostname: 123 is not text, put it in quotes"}},
		{"number for password", "auth:\n  credentials: [{user: a, password: 0123}]\n", []string{"sandtrap.yaml:2: auth.credentials[0].password: 0123 is not text, put it in quotes"}},
		{"text for bool", "auth:\n  accept_public_keys: yes\n", []string{`sandtrap.yaml:2: auth.accept_public_keys: "yes" is neither true nor false`}},
		{"text for decimal", "target:\n  cpus: two\n", []string{`sandtrap.yaml:2: target.cpus: "two" is not a number`}},
		{"infinity", "target:\n  cpus: .inf\n", []string{`sandtrap.yaml:2: target.cpus: ".inf" is not a number`}},
		{"huge decimal", "target:\n  cpus: 1" + strings.Repeat("0", 310) + "\n", []string{"sandtrap.yaml:2: target.cpus: 1" + strings.Repeat("0", 79) + "… is beyond any possible value"}},
		{"duration without unit", "ssh:\n  login_grace_time: 120\n", []string{`sandtrap.yaml:2: ssh.login_grace_time: "120" is not a duration (such as 30s, 2m or 1h30m)`}},
		{"decimal size unit", "target:\n  memory: 256MB\n", []string{`sandtrap.yaml:2: target.memory: "256MB" is not a size (such as 64KiB, 256MiB or 1GiB)`}},
		{"enum", "log:\n  level: loud\n", []string{`sandtrap.yaml:2: log.level: "loud" is not one of trace, debug, info, warn, error`}},
		{"tagged section", "pool: !thing {min: 1}\n", []string{`sandtrap.yaml:1: pool: the YAML tag "!thing" is not supported`}},
		{"tagged text", "target:\n  hostname: !!binary c3J2\n", []string{"sandtrap.yaml:2: target.hostname: c3J2 is not text, put it in quotes"}},
		{"top is a list", "- pool\n", []string{"sandtrap.yaml:1: must hold keys with values (key: value)"}},
		{"top is text", "\nhello\n", []string{"sandtrap.yaml:2: must hold keys with values (key: value)"}},
		{"two documents", "pool:\n  min: 1\n---\nlog: {}\n", []string{"sandtrap.yaml:3: a second YAML document starts here, only one is read"}},
		{"broken second document", "pool: {}\n...\nx: [\n", []string{"sandtrap.yaml:3: is not YAML: did not find expected <document start>"}},
		{"anchor", "pool: &p\n  min: 1\nlog: {}\n", []string{"sandtrap.yaml:1: pool: " + noAnchors}},
		{"alias", "pool:\n  min: &n 4\n  retain: *n\n", []string{"sandtrap.yaml:2: pool.min: " + noAnchors, "sandtrap.yaml:3: pool.retain: " + noAnchors}},
		{"alias in a list", "ssh:\n  accept_env: [&a X, *a]\n", []string{"sandtrap.yaml:2: ssh.accept_env[0]: " + noAnchors, "sandtrap.yaml:2: ssh.accept_env[1]: " + noAnchors}},
		{"anchored top", "&a\npool: {}\n", []string{"sandtrap.yaml:1: " + noAnchors}},
		{"unknown anchor", "pool:\n  min: *n\n", []string{"sandtrap.yaml:2: " + noAnchors}},
		{"alias bomb", bomb, []string{"sandtrap.yaml:1: a: unknown key", "sandtrap.yaml:2: b: unknown key", "sandtrap.yaml:3: c: unknown key"}},
		{"colon in value", "pool: {}\nlog: level: info\n", []string{"sandtrap.yaml:2: is not YAML: mapping values are not allowed in this context"}},
		{"first line", "a: }\n", []string{"sandtrap.yaml:1: is not YAML: did not find expected node content"}},
		{"indentation", "pool:\n  min: 4\n max: 3\n", []string{"sandtrap.yaml:3: is not YAML: did not find expected key"}},
		{"tab", "pool:\n\tmin: 4\n", []string{"sandtrap.yaml:2: is not YAML: found character that cannot start any token"}},
		{"open bracket", "log: {}\nssh:\n  listen: [a,\npool: {}\n", []string{"sandtrap.yaml:3: is not YAML: did not find expected ',' or ']'"}},
		{"not UTF-8", "pool: {}\nlog: \xff\n", []string{"sandtrap.yaml:2: is not UTF-8 text without control characters"}},
		{"control character", "pool: {}\n\nlog: \x01\n", []string{"sandtrap.yaml:3: is not UTF-8 text without control characters"}},
		{"all at once", "pool:\n  mins: 1\n  retain: x\n  max_leases: 0\nlog:\n  level: loud\n", []string{
			"sandtrap.yaml:2: pool.mins: unknown key (did you mean pool.min?)",
			`sandtrap.yaml:3: pool.retain: "x" is not a whole number`,
			"sandtrap.yaml:4: pool.max_leases: 0 is out of range (1 to 10000)",
			`sandtrap.yaml:6: log.level: "loud" is not one of trace, debug, info, warn, error`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, problems(t, test.text, nil, nil)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// rulesMode goes on with a section auth.
const rulesMode = "  mode: rules\n"

func TestImpossibleValues(t *testing.T) {
	key := func(section, line string) string { return section + ":\n  " + line + "\n" }
	for _, test := range []struct{ name, text, want string }{
		{"grace", key("ssh", "login_grace_time: 0s"), "ssh.login_grace_time: 0s is out of range (1s to 10m)"},
		{"password time", key("ssh", "password_time: 6s"), "ssh.password_time: 6s is out of range (0s to 5s)"},
		{"long grace", key("ssh", "login_grace_time: 11m"), "ssh.login_grace_time: 11m is out of range (1s to 10m)"},
		{"pool", key("pool", "min: -1"), "pool.min: -1 is out of range (1 to 1000)"},
		{"pool without room", key("pool", "min: 20"), "pool.min: 20 is more than pool.max, which is 16"},
		{"sticky", key("pool", "sticky: forever"), `pool.sticky: "forever" is not one of off, source, source-and-credential`},
		{"login_as", key("target", "login_as: root"), `target.login_as: "root" is not one of existing, create, fallback`},
		{"memory", key("target", "memory: 1KiB"), "target.memory: 1KiB is out of range (16MiB to 1024GiB)"},
		{"pids", key("target", "pids: 3"), "target.pids: 3 is out of range (16 to 4194304)"},
		{"cpus", key("target", "cpus: 0.0"), "target.cpus: 0 is out of range (0.01 to 1024)"},
		{"listen", key("ssh", "listen: [localhost:22]"), `ssh.listen[0]: "localhost:22" is not an address and port (such as 0.0.0.0:2222 or [::]:2222)`},
		{"port", key("ssh", "listen: ['1.2.3.4:70000']"), `ssh.listen[0]: "1.2.3.4:70000" is not an address and port (such as 0.0.0.0:2222 or [::]:2222)`},
		{"no port", key("ssh", "listen: [1.2.3.4]"), `ssh.listen[0]: "1.2.3.4" is not an address and port (such as 0.0.0.0:2222 or [::]:2222)`},
		{"no address", key("ssh", "listen: []"), "ssh.listen: is empty, want at least 1"},
		{"same address", key("ssh", "listen: [':22', ':22']"), `ssh.listen[1]: ":22" is listed twice`},
		{"version", key("ssh", "version: ''"), "ssh.version: is empty"},
		{"version prefix", key("ssh", "version: SSH-2.0-OpenSSH"), "ssh.version: must not start with SSH-, the protocol version is put before it"},
		{"version length", key("ssh", "version: "+strings.Repeat("a", 246)), "ssh.version: is 246 bytes long, at most 245 fit"},
		{"version lines", key("ssh", `version: "a\r\nb"`), `ssh.version: "a\r\nb" is not printable ASCII`},
		{"version letters", key("ssh", "version: é"), `ssh.version: "é" is not printable ASCII`},
		{"host keys", key("ssh", "host_keys: [dsa]"), `ssh.host_keys[0]: "dsa" is not one of ed25519, ecdsa, rsa`},
		{"no host key", key("ssh", "host_keys: []"), "ssh.host_keys: is empty, want at least 1"},
		{"host key twice", key("ssh", "host_keys: [rsa, rsa]"), `ssh.host_keys[1]: "rsa" is listed twice`},
		{"kex", key("ssh", "kex_algorithms: [sntrup761x25519-sha512]"), `ssh.kex_algorithms[0]: "sntrup761x25519-sha512" is not an algorithm this server has`},
		{"cipher", key("ssh", "ciphers: [aes128-ctr, rot13]"), `ssh.ciphers[1]: "rot13" is not an algorithm this server has`},
		{"mac", key("ssh", "macs: [umac-64@openssh.com]"), `ssh.macs[0]: "umac-64@openssh.com" is not an algorithm this server has`},
		{"accept_env", key("ssh", "accept_env: ['A=B']"), `ssh.accept_env[0]: "A=B" is not a variable's name (letters, digits and _, with the wildcards * and ?)`},
		{"long list", key("ssh", "accept_env: ["+strings.Repeat("A,", 257)+"]"), "ssh.accept_env: has 257 elements, at most 256 are taken"},
		{"many credentials", key("auth", "credentials: ["+strings.Repeat("{user: a},", 4097)+"]"), "auth.credentials: has 4097 elements, at most 4096 are taken"},
		{"static", key("auth", "mode: static"), "auth.mode: static needs at least one entry in auth.credentials"},
		{"user", key("auth", "credentials: [{password: a}]"), "auth.credentials[0]: has no user"},
		{"neither", key("auth", "credentials: [{user: a}]"), "auth.credentials[0]: has neither password nor public_key"},
		{"both", key("auth", "credentials: [{user: a, password: b, public_key: c}]"), "auth.credentials[0]: has both password and public_key, write two entries"},
		{"key", key("auth", "credentials: [{user: a, public_key: ssh-rsa x}]"), "auth.credentials[0].public_key: is not one line of an authorized_keys file (such as ssh-ed25519 AAAA… comment)"},
		{"two keys", key("auth", `credentials: [{user: a, public_key: "`+someKey+`\n`+someKey+`"}]`), "auth.credentials[0].public_key: is not one line of an authorized_keys file (such as ssh-ed25519 AAAA… comment)"},
		{"long password", key("auth", "credentials: [{user: a, password: "+strings.Repeat("x", 1025)+"}]"), "auth.credentials[0].password: is longer than 1024 bytes"},
		{"banner", key("ssh", "banner: Welcome"), `ssh.banner: "Welcome" is not an absolute path`},
		{"no rules", key("auth", "mode: rules"), "auth.mode: rules needs at least one entry in auth.rules (to let nobody in, set deny-all)"},
		{"rules aside", key("auth", "rules: [{action: allow}]"), "auth.rules: is set, but auth.mode is accept-all: set it to rules"},
		{"credentials aside", "auth:\n  credentials: [{user: a, password: b}]\n  mode: rules\n  rules: [{action: allow}]\n", "auth.credentials: is set, but auth.mode is rules: write a rule with the action allow"},
		{"keys aside", "auth:\n  accept_public_keys: true\n  mode: rules\n  rules: [{action: allow}]\n", "auth.accept_public_keys: is set, but auth.mode is rules: write a rule with keys: [any]"},
		{"action", key("auth", "rules: [{action: frobnicate}]") + rulesMode, `auth.rules[0].action: "frobnicate" is not one of allow, deny, after-tries, chance, per-source`},
		{"no action", key("auth", "rules: [{users: [a]}]") + rulesMode, "auth.rules[0]: has no action"},
		{"rule name", key("auth", "rules: [{name: a b, action: allow}]") + rulesMode, `auth.rules[0].name: "a b" is not a name (1 to 64 letters, digits, and . _ - inside)`},
		{"expression", key("auth", "rules: [{action: allow, users: [a, 'regexp:(']}]") + rulesMode, "auth.rules[0].users[1]: \"regexp:(\" is no regular expression: missing closing ): \"(\""},
		{"explosive expression", key("auth", "rules: [{action: allow, passwords: ['regexp:((a{0,100}){0,100}){0,100}']}]") + rulesMode, `auth.rules[0].passwords[0]: "regexp:((a{0,100}){0,100}){0,100}" is no regular expression: invalid repeat count: "{0,100}"`},
		{"prefix", key("auth", "rules: [{action: allow, sources: [10.0.0.1/8]}]") + rulesMode, `auth.rules[0].sources[0]: "10.0.0.1/8" has bits set beyond its length: want 10.0.0.0/8`},
		{"window", key("auth", "rules: [{action: allow, times: ['09:00-09:00']}]") + rulesMode, `auth.rules[0].times[0]: "09:00-09:00" is an empty time window`},
		{"rule key", key("auth", "rules: [{action: allow, keys: [ssh-rsa]}]") + rulesMode, "auth.rules[0].keys[0]: is neither a fingerprint (SHA256:…) nor one line of an authorized_keys file"},
		{"method", key("auth", "rules: [{action: allow, methods: [none]}]") + rulesMode, `auth.rules[0].methods[0]: "none" is not one of password, keyboard-interactive, publickey`},
		{"tries", key("auth", "rules: [{action: after-tries, min_tries: 3}]") + rulesMode, "auth.rules[0]: the action after-tries needs min_tries and max_tries: 1 to 64, the first not above the other"},
		{"pattern of its own", key("auth", "rules: [{action: per-source, passwords: [a, 'glob:b*']}]") + rulesMode, `auth.rules[0].passwords[1]: "glob:b*" is a pattern, the action per-source takes plain passwords`},
		{"many rules", key("auth", "rules: ["+strings.Repeat("{action: allow},", 1001)+"]") + rulesMode, "auth.rules: has 1001 elements, at most 1000 are taken"},
		{"many patterns", key("auth", "rules: [{action: allow, users: ["+strings.Repeat("a,", 20001)+"]}]") + rulesMode, "auth.rules: hold 20001 users, passwords, keys and sources, at most 20000 are taken"},
		{"rule without effect", key("auth", "rules: [{action: allow}, {action: allow, users: [a]}]") + rulesMode, "auth.rules[1]: never decides: it comes after one that takes all it would (auth.rules[0] on line 2)"},
		{"allowed and denied", key("auth", "rules: [{action: allow, users: [a, b], passwords: [x]}, {action: deny, users: [b, c], passwords: [x]}]") + rulesMode, `auth.rules[1]: says deny of user "b" with password "x", of which an earlier one says allow (auth.rules[0] on line 2)`},
		{"honeytoken name", key("auth", "honeytokens: [{password: x}]"), `auth.honeytokens[0].name: "" is not a name (1 to 64 letters, digits, and . _ - inside)`},
		{"honeytoken without", key("auth", "honeytokens: [{name: a, user: b}]"), "auth.honeytokens[0]: needs either password or public_key"},
		{"honeytoken key", key("auth", "honeytokens: [{name: a, public_key: b}]"), "auth.honeytokens[0].public_key: is neither a fingerprint (SHA256:…) nor one line of an authorized_keys file"},
		{"honeytoken twice", key("auth", "honeytokens: [{name: a, password: b}, {name: c, password: b}]"), "auth.honeytokens[1]: marks the same as auth.honeytokens[0]"},
		{"honeytoken names", key("auth", "honeytokens: [{name: a, password: b}, {name: a, password: c}]"), `auth.honeytokens[1].name: "a" is the name of auth.honeytokens[0] too`},
		{"bait", key("auth", "bait: maybe"), `auth.bait: "maybe" is not one of off, plant`},
		{"socket", key("podman", "socket: podman.sock"), `podman.socket: "podman.sock" is not an absolute path`},
		{"handover", key("podman", "handover: /"+strings.Repeat("x", 107)), "podman.handover: is longer than the 107 bytes a socket's path may have"},
		{"control socket", key("control", "socket: control.sock"), `control.socket: "control.sock" is not an absolute path`},
		{"long socket", key("podman", "socket: /"+strings.Repeat("x", 107)), "podman.socket: is longer than the 107 bytes a socket's path may have"},
		{"image", key("target", "image: ''"), `target.image: "" is not the name of an image`},
		{"hostname", key("target", "hostname: srv_01"), `target.hostname: "srv_01" is not a host name of one label (letters, digits and - inside, at most 63)`},
		{"hostname length", key("target", "hostname: "+strings.Repeat("a", 64)), `target.hostname: "` + strings.Repeat("a", 64) + `" is not a host name of one label (letters, digits and - inside, at most 63)`},
		{"name", key("target", "name: Debian"), `target.name: "Debian" is not 1 to 32 of a-z, 0-9 and -`},
		{"account", key("target", "account: 'a:b'"), `target.account: "a:b" is not the name of an account`},
		{"recording", key("recording", "max_bytes: 0"), "recording.max_bytes: 0 is out of range (1KiB to 1024GiB)"},
		{"transfers", key("transfers", "max_file_bytes: 2048GiB"), "transfers.max_file_bytes: 2048GiB is out of range (0 to 1024GiB)"},
		{"state_dir", "state_dir:\n  var/lib\n", `state_dir: "var/lib" is not an absolute path`},
		{"state_dir dots", "state_dir:\n  /var/../etc\n", `state_dir: "/var/../etc" is not a plain path`},
		{"root", "state_dir:\n  /\n", `state_dir: "/" is not a plain path`},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := []string{"sandtrap.yaml:2: " + test.want}
			if diff := cmp.Diff(want, problems(t, test.text, nil, nil)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextProblems(t *testing.T) {
	for _, test := range []struct {
		name      string
		environ   []string
		overrides map[string]string
		want      []string
	}{
		{"unknown", []string{"SANDTRAP_POOL__MINS=1"}, nil, []string{"SANDTRAP_POOL__MINS: pool.mins: unknown key (did you mean pool.min?)"}},
		{"one underscore", []string{"SANDTRAP_XYZZY=1"}, nil, []string{"SANDTRAP_XYZZY: xyzzy: unknown key"}},
		{"odd name", []string{"SANDTRAP_A\nB=1"}, nil, []string{`"SANDTRAP_A\nB": "a\nb": unknown key`}},
		{"section", []string{"SANDTRAP_POOL=1"}, nil, []string{"SANDTRAP_POOL: pool: is a section, name a key in it"}},
		{"type", []string{"SANDTRAP_POOL__MIN=four"}, nil, []string{`SANDTRAP_POOL__MIN: pool.min: "four" is not a whole number`}},
		{"range", []string{"SANDTRAP_POOL__MIN=0"}, nil, []string{"SANDTRAP_POOL__MIN: pool.min: 0 is out of range (1 to 1000)"}},
		{"list", []string{"SANDTRAP_SSH__HOST_KEYS=rsa,dsa"}, nil, []string{`SANDTRAP_SSH__HOST_KEYS: ssh.host_keys[1]: "dsa" is not one of ed25519, ecdsa, rsa`}},
		{"credentials", []string{"SANDTRAP_AUTH__CREDENTIALS=root:root"}, nil, []string{"SANDTRAP_AUTH__CREDENTIALS: auth.credentials: can be set in a file only"}},
		{"state directory", []string{"STATE_DIRECTORY=here"}, nil, []string{`STATE_DIRECTORY: state_dir: "here" is not an absolute path`}},
		{"path encoding", []string{"SANDTRAP_STATE_DIR=/a\xff"}, nil, []string{`SANDTRAP_STATE_DIR: state_dir: "/a\xff" is not a plain path`}},
		{"flag", nil, map[string]string{"log.level": "loud", "no": "1"}, []string{
			`command line: log.level: "loud" is not one of trace, debug, info, warn, error`,
			"command line: no: unknown key",
		}},
		{"flag range", nil, map[string]string{"ssh.max_sessions": "0"}, []string{"command line: ssh.max_sessions: 0 is out of range (1 to 1000)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, problems(t, "", test.environ, test.overrides)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBlame finds the file that set a value last, and reports file by file.
func TestBlame(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sandtrap.yaml")
	write(t, path, "pool:\n  min: 0\n  retain: -1\nauth:\n  credentials: [{user: a}, {user: b}]\n")
	write(t, dir+"/conf.d/a.yaml", "log:\n  level: [\n")
	write(t, dir+"/conf.d/b.yaml", "\n\npool:\n  min: 2000\nauth:\n  mode: static\n  credentials:\n    - user: c\n")
	_, err := Load(LoadOptions{Path: path})
	want := []string{
		"sandtrap.yaml:3: pool.retain: -1 is out of range (0 to 100000)",
		"conf.d/a.yaml:3: is not YAML: did not find expected node content",
		"conf.d/b.yaml:4: pool.min: 2000 is out of range (1 to 1000)",
		"conf.d/b.yaml:8: auth.credentials[0]: has neither password nor public_key",
	}
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestBlameReplacedList forgets the elements of a list that a later layer
// replaced.
func TestBlameReplacedList(t *testing.T) {
	got := problems(t, "ssh:\n  listen:\n    - ':22'\n", []string{"SANDTRAP_SSH__LISTEN=x:22"}, nil)
	want := []string{`SANDTRAP_SSH__LISTEN: ssh.listen[0]: "x:22" is not an address and port (such as 0.0.0.0:2222 or [::]:2222)`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestNoGuessing leaves rules about two keys alone while one cannot be read.
func TestNoGuessing(t *testing.T) {
	got := problems(t, "auth:\n  mode: static\n  credentials: [{user: 1}]\n", nil, nil)
	want := []string{"sandtrap.yaml:3: auth.credentials[0].user: 1 is not text, put it in quotes"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestUnreadable covers what keeps a file from being read at all.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(path("dir.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path("fifo.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", path("dangling.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, path("large.yaml"), strings.Repeat("#", maxFile+1))
	write(t, path("sub/sandtrap.yaml"), "")
	write(t, path("sub/conf.d"), "not a directory")
	write(t, path("drop/sandtrap.yaml"), "")
	if err := os.MkdirAll(path("drop/conf.d/x.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, blamed, want string }{
		{"none.yaml", "none.yaml", "no such file or directory"},
		{"dir.yaml", "dir.yaml", "not a regular file"},
		{"fifo.yaml", "fifo.yaml", "not a regular file"},
		{"dangling.yaml", "dangling.yaml", "no such file or directory"},
		{"large.yaml", "large.yaml", "larger than 1MiB"},
		{"sub/sandtrap.yaml", "sub/conf.d", "not a directory"},
		{"drop/sandtrap.yaml", "drop/conf.d/x.yaml", "not a regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(LoadOptions{Path: path(test.name)})
			if want := path(test.blamed) + ": cannot be read: " + test.want; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	if os.Geteuid() == 0 {
		return // root may read everything
	}
	write(t, path("secret.yaml"), "")
	if err := os.Chmod(path("secret.yaml"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(LoadOptions{defaultPath: path("secret.yaml")}); err == nil || !strings.HasSuffix(err.Error(), "permission denied") {
		t.Errorf("got %v, want permission denied", err)
	}
}

// TestManyProblems stops at a bounded number for a file of another kind.
func TestManyProblems(t *testing.T) {
	var text strings.Builder
	for i := range 10 * maxProblems {
		fmt.Fprintf(&text, "key%d: x\n", i)
	}
	if got := len(problems(t, text.String(), nil, nil)); got != maxProblems {
		t.Errorf("got %d lines, want %d", got, maxProblems)
	}
}

// TestBounds keeps every number, duration and size inside its range by default
// and without one out of the schema.
func TestBounds(t *testing.T) {
	for _, k := range leaves() {
		_, bounded := ranges[k.path]
		switch k.typ.Kind().String() {
		case "int", "int64", "float64":
			if !bounded {
				t.Errorf("%s has no range", k.path)
			}
		default:
			if bounded {
				t.Errorf("%s has a range but no magnitude", k.path)
			}
		}
	}
}

// FuzzLoad feeds a file of any content: the outcome is a configuration that
// loads again from its own YAML, or problems that all name a line.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"sandtrap.yaml", "sandtrap.full.yaml"} {
		data, err := os.ReadFile(shipped + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(bomb))
	f.Add([]byte("auth:\n  mode: static\n  credentials:\n  - {user: root, password: \"1\\e\"}\n"))
	f.Add([]byte("ssh: {listen: ['[::]:22'], version: x}\n---\n"))
	f.Add([]byte(severalTargets))
	f.Add([]byte("pool: *a\n? [x]\n: !!int 4\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLoader()
		l.addFile("fuzz.yaml", data)
		loaded, err := l.finish()
		if err != nil {
			var all Problems
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("got %T: %v", err, err)
			}
			for _, problem := range all {
				line := problem.Error()
				if problem.Origin.Line < 1 || problem.Origin.Name != "fuzz.yaml" || strings.ContainsAny(line, "\r\n\x1b") {
					t.Errorf("%q is not one line with a place", line)
				}
			}
			return
		}
		var text strings.Builder
		if err := loaded.Config.WriteYAML(&text); err != nil {
			t.Fatal(err)
		}
		again := newLoader()
		again.addFile("again.yaml", []byte(text.String()))
		second, err := again.finish()
		if err != nil {
			t.Fatalf("%v in\n%s", err, text.String())
		}
		if diff := Diff(loaded.Config, second.Config); len(diff) > 0 {
			t.Errorf("%v changed by writing and reading\n%s", diff, text.String())
		}
	})
}
