package config

import (
	"testing"
	"time"
)

func TestParseChannelTimeout(t *testing.T) {
	for pair, want := range map[string]struct {
		pattern string
		silence time.Duration
	}{
		"session*=30m": {"session*", 30 * time.Minute}, "*=0s": {"*", 0}, "session:subsystem:sft?=24h": {"session:subsystem:sft?", 24 * time.Hour},
		"tun=1s": {"tun", time.Second}, "x11-connection=1h30m": {"x11-connection", 90 * time.Minute},
	} {
		pattern, silence, err := ParseChannelTimeout(pair)
		if err != nil || pattern != want.pattern || silence != want.silence {
			t.Errorf("%s: %q, %s, %v", pair, pattern, silence, err)
		}
	}
	for _, pair := range []string{"", "session", "session=", "session=5", "session=-1s", "session=25h", "sessions=5m", "=5m", "[s]ession=5m", "session*=5m=6m"} {
		if _, _, err := ParseChannelTimeout(pair); err == nil {
			t.Errorf("%q is taken", pair)
		}
	}
}
