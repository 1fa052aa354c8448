package config

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// channelTypes are what sshd_config(5) calls the types of channels, as far as a
// pattern may mean one: with "session" also a channel before its program, and "tun".
var channelTypes = []string{
	"session", "session:shell", "session:command", "session:subsystem:sftp", "direct-tcpip", "direct-streamlocal@openssh.com", "tun",
	"agent-connection", "forwarded-tcpip", "forwarded-streamlocal@openssh.com", "x11-connection",
}

// maxChannelTimeout is the longest interval but for none.
const maxChannelTimeout = 24 * time.Hour

// ParseChannelTimeout reads an element of ssh.channel_timeout, "type=interval" as in
// ChannelTimeout of sshd_config(5). The error begins with a verb.
func ParseChannelTimeout(pair string) (pattern string, silence time.Duration, err error) {
	pattern, interval, ok := strings.Cut(pair, "=")
	if !ok {
		return "", 0, errors.New("is not a type of channels and an interval (such as session:*=30m)")
	}
	if !matchesAny(pattern) {
		return "", 0, errors.New("matches no type of channels, see sandtrap.yaml(5)")
	}
	silence, err = time.ParseDuration(interval)
	if err != nil || silence < 0 || silence > maxChannelTimeout {
		return "", 0, fmt.Errorf("has no interval from 0s to %s (such as session:*=30m)", formatDuration(maxChannelTimeout))
	}
	return pattern, silence, nil
}

func matchesAny(pattern string) bool {
	if len(pattern) > 128 || strings.ContainsAny(pattern, `[]\\`) { // which path.Match would take for its own
		return false
	}
	for _, t := range channelTypes {
		if ok, _ := path.Match(pattern, t); ok {
			return true
		}
	}
	return false
}

// channelTimeouts is the value of ChannelTimeout as a list of ours.
func channelTimeouts(s string) string {
	if strings.EqualFold(s, "none") {
		return ""
	}
	pairs := strings.Fields(s)
	for i, pair := range pairs {
		pattern, interval, _ := strings.Cut(pair, "=")
		pairs[i] = pattern + "=" + duration(interval)
	}
	return strings.Join(pairs, ",")
}

// noneOr takes none for no time.
func noneOr(text func(string) string) func(string) string {
	return func(s string) string {
		if strings.EqualFold(s, "none") {
			return "0s"
		}
		return text(s)
	}
}

// olderThan reports whether an identification string is that of an OpenSSH before a
// version.
func olderThan(identification string, first [2]int) bool {
	var major, minor int
	if _, err := fmt.Sscanf(identification, "OpenSSH_%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < first[0] || major == first[0] && minor < first[1]
}
