package control

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
)

// The text is that of the exposition format, version 0.0.4: each metric has its help
// and type once, before its samples, and no series comes twice.
func TestMetrics(t *testing.T) {
	counts := event.Counts{Kinds: map[event.Kind]uint64{event.AuthAttempt: 5, event.ConnectionOpen: 7}, Accepted: 2}
	counts.Waits.Buckets[0], counts.Waits.Buckets[2], counts.Waits.Count, counts.Waits.Sum = 3, 1, 5, 90*time.Second
	status := testStatus
	status.Version = "1\"\\\n"
	status.Events.Omitted = 41
	status.Admission = Admission{Startups: 2, Refused: map[string]uint64{"deny list": 4, "penalty": 0}}
	text := string(AppendMetrics(nil, status, counts))
	sample := regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="[^"]*")*\})? -?[0-9.]+$`)
	types := map[string]string{}
	series := map[string]bool{}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(name, " ")
			if types[name] != "" {
				t.Errorf("%s is described twice", name)
			}
			types[name] = kind
			continue
		}
		if strings.HasPrefix(line, "# HELP sandtrap_") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("malformed: %q", line)
		}
		base := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if cut, ok := strings.CutSuffix(base, suffix); ok && types[cut] == "histogram" {
				base = cut
			}
		}
		if types[base] == "" || !strings.HasPrefix(base, "sandtrap_") || (types[base] == "counter") != strings.HasSuffix(base, "_total") {
			t.Errorf("%q has type %q", line, types[base])
		}
		if series[m[1]+m[2]] {
			t.Errorf("%s comes twice", m[1]+m[2])
		}
		series[m[1]+m[2]] = true
	}
	for _, want := range []string{
		`sandtrap_build_info{version="1\"\\\n"} 1`, "sandtrap_start_time_seconds 1767323045", "sandtrap_connections 3", `sandtrap_connections_refused_total{reason="deny list"} 4`, `sandtrap_targets{target="debian",state="retained"} 9`, `sandtrap_targets{target="web",state="warm"} 1`,
		`sandtrap_pool_failing{target="debian"} 1`, `sandtrap_pool_failing{target="web"} 0`, "sandtrap_recording_free_bytes 10737418240", `sandtrap_events_total{kind="auth.attempt"} 5`, `sandtrap_events_total{kind="exec.start"} 0`,
		`sandtrap_auth_attempts_total{accepted="true"} 2`, `sandtrap_auth_attempts_total{accepted="false"} 3`, "sandtrap_events_omitted_total 41", "sandtrap_events_lost_total 1",
		`sandtrap_lease_wait_seconds_bucket{le="0.001"} 3`, `sandtrap_lease_wait_seconds_bucket{le="0.01"} 4`, `sandtrap_lease_wait_seconds_bucket{le="+Inf"} 5`,
		"sandtrap_lease_wait_seconds_sum 90", "sandtrap_lease_wait_seconds_count 5",
	} {
		if !strings.Contains(text, "\n"+want+"\n") && !strings.HasPrefix(text, want+"\n") {
			t.Errorf("%q is missing", want)
		}
	}
	if n := len(series) - len(event.Catalog); n > 100 {
		t.Errorf("%d series beside those of kinds", n)
	}
}
