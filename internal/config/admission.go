package config

import (
	"errors"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/admission"
)

// Admission says who is served at all, beyond what sshd_config(5) has words for.
type Admission struct {
	PerSourceMaxConnections int           `koanf:"per_source_max_connections"` // at once; 0 for no bound
	Rate                    string        `koanf:"rate"`                       // of new connections; what admission.ParseRate takes
	PerSourceRate           string        `koanf:"per_source_rate"`            // the same, of each source
	MaxSources              int           `koanf:"max_sources"`                // that are remembered, of each address family
	Allow                   []string      `koanf:"allow"`                      // addresses and ranges
	AllowFiles              []string      `koanf:"allow_files"`                // absolute paths of lists of them
	Deny                    []string      `koanf:"deny"`
	DenyFiles               []string      `koanf:"deny_files"`
	ProxyProtocol           []string      `koanf:"proxy_protocol"`     // balancers
	Tarpit                  []string      `koanf:"tarpit"`             // of TarpitDeny, TarpitPenalty, TarpitRate
	TarpitConnections       int           `koanf:"tarpit_connections"` // that are held at once
	TarpitInterval          time.Duration `koanf:"tarpit_interval"`    // between two lines to each
}

// The names that Admission.Tarpit may hold: why a connection is not served.
const (
	TarpitDeny    = "deny"
	TarpitPenalty = "penalty"
	TarpitRate    = "rate"
)

// Enrich says where to look for what is known of sources. What is not there is not
// looked at.
type Enrich struct {
	GeoIP []string `koanf:"geoip"` // mmdb files, or directories with them
	Lists []string `koanf:"lists"` // NAME=PATH, what ParseSourceList takes
}

// startups checks the limits of connections that sshd_config(5) has words for.
func (c *checker) startups(s SSH) {
	_, err := admission.ParseStartups(s.MaxStartups)
	c.parsed("ssh.max_startups", s.MaxStartups, err)
	_, _, err = admission.ParseNetBlockSize(s.PerSourceNetBlockSize)
	c.parsed("ssh.per_source_net_block_size", s.PerSourceNetBlockSize, err)
	if _, err = admission.ParsePenalties(s.PerSourcePenalties); err != nil {
		c.blame("ssh.per_source_penalties", "%s", err)
	}
}

// parsed blames a text that a parser has refused.
func (c *checker) parsed(path, text string, err error) {
	if err != nil {
		c.blame(path, "%q %s", clip(text), err)
	}
}

func (c *checker) admission(a Admission) {
	_, err := admission.ParseRate(a.Rate)
	c.parsed("admission.rate", a.Rate, err)
	_, err = admission.ParseRate(a.PerSourceRate)
	c.parsed("admission.per_source_rate", a.PerSourceRate, err)
	for path, list := range map[string][]string{"admission.allow": a.Allow, "admission.deny": a.Deny, "admission.proxy_protocol": a.ProxyProtocol} {
		c.list(path, list, 0, func(text string) string {
			if _, err := admission.ParsePrefix(text); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	for path, list := range map[string][]string{"admission.allow_files": a.AllowFiles, "admission.deny_files": a.DenyFiles} {
		c.list(path, list, 0, notPlain)
	}
	c.list("admission.tarpit", a.Tarpit, 0, oneOf([]string{TarpitDeny, TarpitPenalty, TarpitRate}))
}

func (c *checker) enrich(e Enrich) {
	c.list("enrich.geoip", e.GeoIP, 0, notPlain)
	names := map[string]bool{}
	c.list("enrich.lists", e.Lists, 0, func(text string) string {
		name, _, err := ParseSourceList(text)
		switch {
		case err != nil:
			return err.Error()
		case names[name]:
			return "has the name of another"
		}
		names[name] = true
		return ""
	})
}

// listName is what fits between spaces in an event.
var listName = newSyntax(`^[A-Za-z0-9._-]+$`, 64)

// ParseSourceList reads an element of Enrich.Lists.
func ParseSourceList(text string) (name, path string, err error) {
	name, path, ok := strings.Cut(text, "=")
	if !ok || !listName.matches(name) {
		return "", "", errors.New("is not NAME=PATH with a name of letters, digits, dots, _ and -")
	}
	if why := notPlain(path); why != "" {
		return "", "", errors.New("has a path that " + why)
	}
	return name, path, nil
}
