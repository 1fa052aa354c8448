package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// bounds is the range of one number, duration or size, both ends included. The
// ends are written as in a file.
type bounds struct{ low, high string }

// ranges holds the bounds of every key that has a magnitude; sandtrap.yaml(5)
// repeats them.
var ranges = map[string]bounds{
	"ssh.login_grace_time":                 {"1s", "10m"},
	"ssh.password_time":                    {"0s", "5s"},
	"ssh.fail_delay":                       {"0s", "30s"},
	"ssh.max_auth_tries":                   {"1", "100"},
	"ssh.max_sessions":                     {"1", "1000"},
	"ssh.max_connections":                  {"1", "65536"},
	"ssh.drain_timeout":                    {"0s", "1m"},
	"ssh.client_alive_interval":            {"0s", "24h"},
	"ssh.client_alive_count_max":           {"0", "1000"},
	"ssh.unused_connection_timeout":        {"0s", "24h"},
	"session.max_time":                     {"1s", "168h"},
	"forwarding.max_bytes":                 {"1KiB", "1GiB"},
	"forwarding.max_channels":              {"1", "1000"},
	"forwarding.max_time":                  {"1s", "24h"},
	"pool.min":                             {"1", "1000"},
	"pool.max":                             {"1", "1000"},
	"pool.burst":                           {"1", "16"},
	"pool.max_leases":                      {"1", "10000"},
	"pool.max_age":                         {"1m", "168h"},
	"pool.lease_timeout":                   {"100ms", "10m"},
	"pool.start_timeout":                   {"1s", "1h"},
	"pool.sticky_window":                   {"1s", "168h"},
	"pool.retain":                          {"0", "100000"},
	"retention.sessions_age":               {"0s", "87600h"},
	"retention.sessions_bytes":             {"0", "65536GiB"},
	"retention.sessions_count":             {"0", "1000000000"},
	"retention.artifacts_age":              {"0s", "87600h"},
	"retention.artifacts_bytes":            {"0", "65536GiB"},
	"retention.artifacts_count":            {"0", "1000000000"},
	"pool.retain_age":                      {"0s", "87600h"},
	"pool.retain_bytes":                    {"0", "65536GiB"},
	"podman.store_size":                    {"0", "65536GiB"},
	"target.disk":                          {"16MiB", "1024GiB"},
	"target.memory":                        {"16MiB", "1024GiB"},
	"target.pids":                          {"16", "4194304"}, // the kernel's PID_MAX_LIMIT
	"target.cpus":                          {"0.01", "1024"},
	"targets[].weight":                     {"1", "1000"}, // its other numbers have the bounds of target and pool
	"recording.max_bytes":                  {"1KiB", "1024GiB"},
	"recording.max_session_bytes":          {"1KiB", "1024GiB"},
	"recording.min_free":                   {"0", "1024GiB"},
	"events.max_repeats":                   {"10", "1000000"},
	"events.max_text":                      {"4KiB", "1GiB"},
	"events.max_file_bytes":                {"1MiB", "64GiB"},
	"events.max_bytes":                     {"2MiB", "65536GiB"},
	"transfers.max_file_bytes":             {"0", "1024GiB"},
	"transfers.max_session_bytes":          {"0", "1024GiB"},
	"capture.max_file_bytes":               {"0", "1024GiB"},
	"capture.max_session_bytes":            {"0", "1024GiB"},
	"capture.max_files":                    {"1", "1000000"},
	"capture.max_time":                     {"1s", "10m"},
	"ssh.per_source_max_startups":          {"0", "65536"},
	"admission.per_source_max_connections": {"0", "65536"},
	"admission.max_sources":                {"1024", "4194304"},
	"admission.tarpit_connections":         {"1", "32768"}, // LimitNOFILE of the unit is twice that
	"admission.tarpit_interval":            {"1s", "1h"},
}

// checker looks for values no service could run with.
type checker struct {
	origins map[string]Origin
	known   Problems
}

// blame reports a value, at the source that set it. A path may go into a list;
// where its element has no origin of its own the list's counts.
func (c *checker) blame(path, format string, args ...any) {
	for _, problem := range c.known {
		if problem.Key == path {
			return // one line a key is enough
		}
	}
	origin, ok := c.origins[path]
	for parent := path; !ok; origin, ok = c.origins[parent] {
		cut := strings.LastIndexAny(parent, ".[")
		if cut < 0 {
			break
		}
		parent = parent[:cut]
	}
	c.known = append(c.known, Problem{Origin: origin, Key: path, Message: fmt.Sprintf(format, args...)})
}

// check runs every rule over a configuration.
func (c *checker) check(config Config) {
	sound := len(c.known) == 0
	c.magnitudes(config)
	c.ssh(config.SSH)
	c.startups(config.SSH)
	c.admission(config.Admission)
	c.enrich(config.Enrich)
	c.credentials(config.Auth)
	c.rules(config.Auth.Rules)
	c.honeytokens(config.Auth.Honeytokens)
	c.target(config.Target)
	c.targets(config)
	c.socket("podman.socket", config.Podman.Socket)
	c.socket("podman.handover", config.Podman.Handover)
	c.socket("control.socket", config.Control.Socket)
	c.socket("podman.layer", config.Podman.Layer)
	c.path("state_dir", config.StateDir)
	// With a layer missing, what two keys say together means nothing.
	if sound && config.Pool.Min > config.Pool.Max {
		c.blame("pool.min", "%d is more than pool.max, which is %d", config.Pool.Min, config.Pool.Max)
	}
	if sound && config.Events.MaxBytes < 2*config.Events.MaxFileBytes {
		c.blame("events.max_bytes", "%s is less than twice events.max_file_bytes, which is %s", config.Events.MaxBytes, config.Events.MaxFileBytes)
	}
	if sound {
		c.authTogether(config.Auth)
		c.targetsTogether(config)
	}
}

// magnitudes holds every key of ranges against its bounds.
func (c *checker) magnitudes(config Config) {
	value := reflect.ValueOf(config)
	for _, k := range leaves() {
		b, ok := ranges[k.path]
		if !ok {
			continue
		}
		c.magnitude(k.path, value.FieldByIndex(k.index), b)
	}
}

func (c *checker) magnitude(path string, v reflect.Value, b bounds) {
	if compare(v, b.low) < 0 || compare(v, b.high) > 0 {
		c.blame(path, "%s is out of range (%s to %s)", plain(v), b.low, b.high)
	}
}

// compare orders a value against a bound, which is a constant of this file.
func compare(v reflect.Value, bound string) int {
	limit, err := parseScalar(v.Type(), bound)
	if err != nil {
		panic("config: bound " + bound + ": " + err.Error())
	}
	other := reflect.ValueOf(limit)
	if v.CanFloat() {
		return cmp.Compare(v.Float(), other.Float())
	}
	return cmp.Compare(v.Int(), other.Int())
}

// plain writes a number, duration or size as in a file.
func plain(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		return formatDuration(value)
	case Bytes:
		return value.String()
	case float64:
		return strconv.FormatFloat(value, 'g', -1, 64)
	default:
		return fmt.Sprint(value)
	}
}

// path wants an absolute path in its shortest form: anything else means
// something else after a change of the working directory, or hides what it is.
func (c *checker) path(key, value string) {
	if why := notPlain(value); why != "" {
		c.blame(key, "%q %s", clip(value), why)
	}
}

// notPlain says why a text is not such a path, or nothing.
func notPlain(value string) string {
	switch {
	case !filepath.IsAbs(value):
		return "is not an absolute path"
	case filepath.Clean(value) != value || value == "/" || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return "is not a plain path"
	}
	return ""
}

// socket checks the path of a unix(7) socket.
func (c *checker) socket(key, path string) {
	c.path(key, path)
	// sun_path holds 108 bytes with the zero at the end.
	if len(path) > 107 {
		c.blame(key, "is longer than the 107 bytes a socket's path may have")
	}
}

// acceptPattern is what accept_env takes: a variable's name with wildcards.
var acceptPattern = newSyntax(`^[A-Za-z0-9_*?]+$`, 128)

func (c *checker) ssh(s SSH) {
	c.list("ssh.listen", s.Listen, 1, func(address string) string {
		if !validAddress(address) {
			return "is not an address and port (such as 0.0.0.0:2222 or [::]:2222)"
		}
		return ""
	})
	c.version(s.Version)
	if s.Banner != BannerNone {
		c.path("ssh.banner", s.Banner)
	}
	c.list("ssh.host_keys", s.HostKeys, 1, oneOf([]string{KeyEd25519, KeyECDSA, KeyRSA}))
	good, bad := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	// The library knows this alias but does not list it.
	kex := slices.Concat(good.KeyExchanges, bad.KeyExchanges, []string{"curve25519-sha256@libssh.org"})
	c.list("ssh.kex_algorithms", s.KexAlgorithms, 1, supported(kex))
	c.list("ssh.ciphers", s.Ciphers, 1, supported(slices.Concat(good.Ciphers, bad.Ciphers)))
	c.list("ssh.macs", s.MACs, 1, supported(slices.Concat(good.MACs, bad.MACs)))
	if !s.PasswordAuthentication && !s.KbdInteractiveAuthentication && !s.PubkeyAuthentication {
		c.blame("ssh.password_authentication", "is false, and so are kbd_interactive_authentication and pubkey_authentication: nobody could try anything")
	}
	c.list("ssh.channel_timeout", s.ChannelTimeout, 0, func(pair string) string {
		if _, _, err := ParseChannelTimeout(pair); err != nil {
			return err.Error()
		}
		return ""
	})
	c.list("ssh.accept_env", s.AcceptEnv, 0, func(pattern string) string {
		if !acceptPattern.matches(pattern) {
			return "is not a variable's name (letters, digits and _, with the wildcards * and ?)"
		}
		return ""
	})
}

// version checks the identification string. RFC 4253 section 4.2 allows 255
// bytes with "SSH-2.0-" before and CR LF after: 245 are left.
func (c *checker) version(version string) {
	const most = 255 - len("SSH-2.0-") - len("\r\n")
	switch {
	case version == "":
		c.blame("ssh.version", "is empty")
	case strings.HasPrefix(version, "SSH-"):
		c.blame("ssh.version", "must not start with SSH-, the protocol version is put before it")
	case len(version) > most:
		c.blame("ssh.version", "is %d bytes long, at most %d fit", len(version), most)
	case strings.ContainsFunc(version, func(r rune) bool { return r < ' ' || r > '~' }):
		c.blame("ssh.version", "%q is not printable ASCII", clip(version))
	}
}

// maxList bounds a list, in elements. It keeps the checks below quick.
const maxList = 256

// list checks a list's length, each element, and that none comes twice.
func (c *checker) list(path string, list []string, least int, fault func(string) string) {
	if len(list) < least {
		c.blame(path, "is empty, want at least %d", least)
	}
	if len(list) > maxList {
		c.blame(path, "has %d elements, at most %d are taken", len(list), maxList)
		return
	}
	for i, element := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if message := fault(element); message != "" {
			c.blame(at, "%q %s", clip(element), message)
		} else if slices.Index(list, element) < i {
			c.blame(at, "%q is listed twice", clip(element))
		}
	}
}

func oneOf(names []string) func(string) string {
	return func(name string) string {
		if !slices.Contains(names, name) {
			return "is not one of " + strings.Join(names, ", ")
		}
		return ""
	}
}

func supported(names []string) func(string) string {
	return func(name string) string {
		if !slices.Contains(names, name) {
			return "is not an algorithm this server has"
		}
		return ""
	}
}

// validAddress takes an IP address, or nothing for all, and a port. Names are
// refused: the service has no resolver to ask.
func validAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	if host == "" {
		return true
	}
	_, err = netip.ParseAddr(host)
	return err == nil
}
