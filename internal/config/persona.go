package config

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/persona"
)

// personaKey names the persona, whose values lie above the built-in ones and below
// all others.
const personaKey = "ssh.persona"

// translated says which key a keyword of sshd_config(5) sets, how its value is written
// there, and what it is where the file does not say. Without the last the file must.
var translated = map[string]struct {
	path      string
	text      func(string) string
	otherwise string
}{
	"kexalgorithms":                {"ssh.kex_algorithms", verbatim, mustSay},
	"ciphers":                      {"ssh.ciphers", verbatim, mustSay},
	"macs":                         {"ssh.macs", verbatim, mustSay},
	"hostkey":                      {"ssh.host_keys", keyType, "rsa,ecdsa,ed25519"},
	"logingracetime":               {"ssh.login_grace_time", duration, "120s"},
	"maxauthtries":                 {"ssh.max_auth_tries", verbatim, "6"},
	"maxsessions":                  {"ssh.max_sessions", verbatim, "10"},
	"clientaliveinterval":          {"ssh.client_alive_interval", duration, "0s"},
	"clientalivecountmax":          {"ssh.client_alive_count_max", verbatim, "3"},
	"channeltimeout":               {"ssh.channel_timeout", channelTimeouts, ours},
	"unusedconnectiontimeout":      {"ssh.unused_connection_timeout", noneOr(duration), ours},
	"maxstartups":                  {"ssh.max_startups", verbatim, ours},
	"persourcemaxstartups":         {"ssh.per_source_max_startups", most, ours},
	"persourcenetblocksize":        {"ssh.per_source_net_block_size", verbatim, ours},
	"persourcepenalties":           {"ssh.per_source_penalties", words, ours},
	"passwordauthentication":       {"ssh.password_authentication", yesNo, "true"},
	"kbdinteractiveauthentication": {"ssh.kbd_interactive_authentication", yesNo, "true"},
	"pubkeyauthentication":         {"ssh.pubkey_authentication", yesNo, "true"},
	"acceptenv":                    {"ssh.accept_env", words, ""},
}

const (
	// mustSay marks what sshd has by default and we cannot.
	mustSay = "\x00"
	// ours marks what sshd has without a bound by default, or with one for a server whose
	// administrator wants in, and we have one of our own.
	ours = "\x01"
)

// since says which version of OpenSSH was the first to know a keyword, where that is
// later than what can be expected.
var since = map[string][2]int{
	"channeltimeout": {9, 2}, "unusedconnectiontimeout": {9, 2},
	"persourcemaxstartups": {8, 5}, "persourcenetblocksize": {8, 5}, "persourcepenalties": {9, 8},
}

// given are keywords with which nothing changes: what they say is so here, or it
// cannot be seen by a client. An empty value stands for any.
var given = map[string]string{
	"compression": "no", "usepam": "yes", "permitrootlogin": "", "printmotd": "no", "printlastlog": "yes", "permituserrc": "yes",
	"gssapiauthentication": "no", "hostbasedauthentication": "no", "debianbanner": "yes", "subsystem": "", "usedns": "", "loglevel": "",
	"tcpkeepalive": "yes", "syslogfacility": "", "port": "", "listenaddress": "", "addressfamily": "", "pidfile": "", "strictmodes": "", "authorizedkeysfile": "",
	// Forwarding has a section of its own, and sinks, which no sshd knows.
	"allowtcpforwarding": "", "allowstreamlocalforwarding": "", "allowagentforwarding": "", "x11forwarding": "", "permittunnel": "", "gatewayports": "",
}

// repeated are keywords whose values add up; of all others the first counts.
var repeated = map[string]bool{"acceptenv": true, "hostkey": true}

func verbatim(s string) string { return s }

// most is a number that may be none.
func most(s string) string {
	if strings.EqualFold(s, "none") {
		return "0"
	}
	return s
}

func words(s string) string { return strings.Join(strings.Fields(s), ",") }

func yesNo(s string) string {
	switch strings.ToLower(s) {
	case "yes":
		return "true"
	case "no":
		return "false"
	}
	return s
}

// duration takes a bare number for seconds, as sshd_config(5) does.
func duration(s string) string {
	if _, err := strconv.ParseUint(s, 10, 32); err == nil {
		return s + "s"
	}
	return strings.ToLower(s)
}

// keyType is the type of a host key in the usual file for it.
func keyType(s string) string {
	return strings.TrimSuffix(strings.TrimPrefix(path.Base(s), "ssh_host_"), "_key")
}

// personaLayer is what a persona sets. origin is where it was chosen.
func personaLayer(name string, origin Origin) *layer {
	from := newLayer()
	blame := func(message string) {
		from.problems = append(from.problems, Problem{Origin: origin, Key: personaKey, Message: message})
	}
	p, err := persona.Load(name)
	if err != nil {
		blame(err.Error())
		return from
	}
	said := read(p, blame)
	said["ssh.version"] = saying{p.Version, 1}
	for keyword, t := range translated {
		if _, ok := said[t.path]; ok {
			continue
		}
		if t.otherwise == ours {
			continue
		}
		if t.otherwise == mustSay {
			blame(name + ": " + keyword + " is missing: what sshd has by default cannot be imitated")
			continue
		}
		said[t.path] = saying{text: t.otherwise}
	}
	for path, s := range said {
		if value, ok := from.fromText(Origin{Kind: FromPersona, Name: name, Line: s.line}, path, s.text); ok {
			from.values[path] = value
		}
	}
	return from
}

// saying is the value of a key as text, and the line of the persona that says it.
type saying struct {
	text string
	line int
}

// read returns what a persona says, by the path of the key.
func read(p *persona.Persona, blame func(string)) map[string]saying {
	said := map[string]saying{}
	compression := false
	for _, d := range p.Directives {
		at := p.Name + ":" + strconv.Itoa(d.Line) + ": " + showKey(d.Keyword)
		compression = compression || d.Keyword == "compression"
		if want, ok := given[d.Keyword]; ok {
			if want != "" && !strings.EqualFold(d.Value, want) {
				blame(at + " must be " + want)
			}
			continue
		}
		t, ok := translated[d.Keyword]
		if !ok {
			blame(at + " cannot be imitated")
			continue
		}
		if first := since[d.Keyword]; olderThan(p.Version, first) {
			blame(fmt.Sprintf("%s is not known to %s: OpenSSH %d.%d was the first", at, p.Version, first[0], first[1]))
			continue
		}
		switch before, again := said[t.path]; {
		case !again:
			said[t.path] = saying{t.text(d.Value), d.Line}
		case repeated[d.Keyword]:
			said[t.path] = saying{before.text + "," + t.text(d.Value), before.line}
		}
	}
	if !compression {
		blame(p.Name + ": compression must be no")
	}
	return said
}
