package control

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/event"
)

// metrics builds the text format of Prometheus. Names and labels are ours or the
// configuration's: nothing that a client sends is in them, so their number is bounded.
type metrics struct{ b []byte }

// AppendMetrics appends the metrics in the text format of Prometheus, version 0.0.4.
func AppendMetrics(b []byte, s Status, c event.Counts) []byte {
	m := &metrics{b}
	m.one("sandtrap_build_info", "gauge", "Version of the service.", `version="`+escapeLabel(s.Version)+`"`, 1)
	m.one("sandtrap_start_time_seconds", "gauge", "When the service began, in seconds since 1970.", "", float64(s.Start.UnixMilli())/1000)
	m.one("sandtrap_draining", "gauge", "1 while the service is about to end.", "", truth(s.Draining))
	m.one("sandtrap_connections", "gauge", "Open connections, those that have not logged in included.", "", float64(s.Connections))
	m.one("sandtrap_sessions", "gauge", "Sessions that go on.", "", float64(s.Sessions))
	m.one("sandtrap_channels", "gauge", "Channels on which a program runs.", "", float64(s.Channels))
	m.admission(s.Admission)
	m.pool(s.Pool)
	m.recording(s.Recording)
	m.one("sandtrap_reload_failed", "gauge", "1 if the latest reload changed nothing because of an error.", "", truth(s.ReloadError != ""))
	m.events(s.Events, c)
	m.histogram("sandtrap_lease_wait_seconds", "How long sessions waited for their target.", c.Waits)
	m.histogram("sandtrap_target_make_seconds", "How long targets took to be made.", c.Makes)
	m.one("sandtrap_goroutines", "gauge", "Goroutines of the service.", "", float64(s.Process.Goroutines))
	m.one("sandtrap_heap_bytes", "gauge", "Heap in use.", "", float64(s.Process.HeapBytes))
	m.one("sandtrap_resident_memory_bytes", "gauge", "Resident memory of the service.", "", float64(s.Process.Resident))
	m.one("sandtrap_open_files", "gauge", "Open file descriptors of the service.", "", float64(s.Process.Files))
	return m.b
}

func (m *metrics) admission(a Admission) {
	m.one("sandtrap_startups", "gauge", "Open connections that have not logged in.", "", float64(a.Startups))
	m.one("sandtrap_sources", "gauge", "Sources with an open connection.", "", float64(a.Sources))
	m.one("sandtrap_tarpit_connections", "gauge", "Connections that the tarpit holds.", "", float64(a.Tarpit))
	m.one("sandtrap_connections_admitted_total", "counter", "Connections that were served.", "", float64(a.Admitted))
	m.head("sandtrap_connections_refused_total", "counter", "Connections that were not served, by reason.")
	for _, reason := range slices.Sorted(maps.Keys(a.Refused)) {
		m.sample("sandtrap_connections_refused_total", `reason="`+escapeLabel(reason)+`"`, float64(a.Refused[reason]))
	}
}

func (m *metrics) pool(p Pool) {
	m.head("sandtrap_targets", "gauge", "Targets by state.")
	for _, t := range p.Targets {
		for _, in := range []struct {
			state string
			n     int
		}{{"warm", t.Warm}, {"leased", t.Leased}, {"stopping", t.Stopping}, {"retained", t.Retained}} {
			m.sample("sandtrap_targets", t.label()+`,state="`+in.state+`"`, float64(in.n))
		}
	}
	m.each("sandtrap_targets_goal", "Warm targets to have.", p.Targets, func(t Target) float64 { return float64(t.Goal) })
	m.each("sandtrap_sessions_waiting", "Sessions that wait for a target.", p.Targets, func(t Target) float64 { return float64(t.Waiting) })
	m.each("sandtrap_pool_failing", "1 if the latest target could not be made.", p.Targets, func(t Target) float64 { return truth(t.Failure != "") })
	m.one("sandtrap_pool_drained", "gauge", "1 while an operator has the pool drained.", "", truth(p.Drained))
	m.one("sandtrap_unlimited", "gauge", "1 if targets run without limits.", "", truth(p.Unlimited))
}

// each is a gauge with a sample for each target.
func (m *metrics) each(name, help string, targets []Target, value func(Target) float64) {
	m.head(name, "gauge", help)
	for _, t := range targets {
		m.sample(name, t.label(), value(t))
	}
}

func (t Target) label() string { return `target="` + escapeLabel(t.Name) + `"` }

func (m *metrics) recording(r Recording) {
	if r.Free >= 0 {
		m.one("sandtrap_recording_free_bytes", "gauge", "What is free where recordings go.", "", float64(r.Free))
	}
	m.one("sandtrap_recording_min_free_bytes", "gauge", "recording.min_free.", "", float64(r.MinFree))
	m.one("sandtrap_recording_low", "gauge", "1 while there is too little space: no program starts.", "", truth(r.Low))
}

// events has a counter for each kind, those that have not happened yet included.
func (m *metrics) events(e Events, c event.Counts) {
	m.head("sandtrap_events_total", "counter", "Events by kind, see sandtrap-events(7).")
	for _, d := range event.Catalog {
		m.sample("sandtrap_events_total", `kind="`+string(d.Kind)+`"`, float64(c.Kinds[d.Kind]))
	}
	m.head("sandtrap_auth_attempts_total", "counter", "Authentication attempts, those beyond the limits of a connection left out.")
	m.sample("sandtrap_auth_attempts_total", `accepted="true"`, float64(c.Accepted))
	m.sample("sandtrap_auth_attempts_total", `accepted="false"`, float64(c.Kinds[event.AuthAttempt]-c.Accepted))
	m.one("sandtrap_events_omitted_total", "counter", "Events left out beyond the limits of a connection.", "", float64(e.Omitted))
	m.one("sandtrap_events_lost_total", "counter", "Events that could not be written everywhere.", "", float64(e.Lost))
	m.one("sandtrap_events_failing", "gauge", "1 while events are being lost and sessions refused.", "", truth(e.Error != ""))
}

func (m *metrics) histogram(name, help string, h event.Histogram) {
	m.head(name, "histogram", help)
	sum := uint64(0)
	for i, bound := range event.Bounds {
		sum += h.Buckets[i]
		m.sample(name+"_bucket", `le="`+number(bound.Seconds())+`"`, float64(sum))
	}
	m.sample(name+"_bucket", `le="+Inf"`, float64(h.Count))
	m.sample(name+"_sum", "", h.Sum.Seconds())
	m.sample(name+"_count", "", float64(h.Count))
}

// one is a metric with one sample.
func (m *metrics) one(name, kind, help, labels string, value float64) {
	m.head(name, kind, help)
	m.sample(name, labels, value)
}

func (m *metrics) head(name, kind, help string) {
	m.b = append(m.b, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

func (m *metrics) sample(name, labels string, value float64) {
	m.b = append(m.b, name...)
	if labels != "" {
		m.b = append(m.b, "{"+labels+"}"...)
	}
	m.b = append(m.b, " "+number(value)+"\n"...)
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}
