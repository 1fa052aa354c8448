package config

import (
	"path"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/persona"
)

// personaKey names the persona, whose values lie above the built-in ones and below
// all others.
const personaKey = "ssh.persona"

// translated says which key a keyword of sshd_config(5) sets, and how its value is
// written there.
var translated = map[string]struct {
	path string
	text func(string) string
}{
	"kexalgorithms":                {"ssh.kex_algorithms", verbatim},
	"ciphers":                      {"ssh.ciphers", verbatim},
	"macs":                         {"ssh.macs", verbatim},
	"hostkey":                      {"ssh.host_keys", keyType},
	"logingracetime":               {"ssh.login_grace_time", duration},
	"maxauthtries":                 {"ssh.max_auth_tries", verbatim},
	"maxsessions":                  {"ssh.max_sessions", verbatim},
	"passwordauthentication":       {"ssh.password_authentication", yesNo},
	"kbdinteractiveauthentication": {"ssh.kbd_interactive_authentication", yesNo},
	"pubkeyauthentication":         {"ssh.pubkey_authentication", yesNo},
	"acceptenv":                    {"ssh.accept_env", words},
}

// given are keywords with which nothing changes: what they say is so here, or it
// cannot be seen by a client. An empty value stands for any.
var given = map[string]string{
	"compression": "no", "usepam": "yes", "permitrootlogin": "", "printmotd": "no", "printlastlog": "yes", "permituserrc": "yes",
	"gssapiauthentication": "no", "hostbasedauthentication": "no", "debianbanner": "yes", "subsystem": "", "usedns": "", "loglevel": "",
	"syslogfacility": "", "port": "", "listenaddress": "", "addressfamily": "", "pidfile": "", "strictmodes": "", "authorizedkeysfile": "",
}

// repeated are keywords whose values add up; of all others the first counts.
var repeated = map[string]bool{"acceptenv": true, "hostkey": true}

func verbatim(s string) string { return s }

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
	texts := map[string]string{"ssh.version": p.Version}
	lines := map[string]int{"ssh.version": 1}
	for _, d := range p.Directives {
		if want, ok := given[d.Keyword]; ok {
			if want != "" && !strings.EqualFold(d.Value, want) {
				blame(name + ":" + strconv.Itoa(d.Line) + ": " + showKey(d.Keyword) + " must be " + want)
			}
			continue
		}
		t, ok := translated[d.Keyword]
		if !ok {
			blame(name + ":" + strconv.Itoa(d.Line) + ": " + showKey(d.Keyword) + " cannot be imitated")
			continue
		}
		switch before, again := texts[t.path]; {
		case !again:
			texts[t.path], lines[t.path] = t.text(d.Value), d.Line
		case repeated[d.Keyword]:
			texts[t.path] = before + "," + t.text(d.Value)
		}
	}
	for path, text := range texts {
		if value, ok := from.fromText(Origin{Kind: FromPersona, Name: name, Line: lines[path]}, path, text); ok {
			from.values[path] = value
		}
	}
	return from
}
