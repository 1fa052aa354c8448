package systemd

import (
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/hashicorp/go-hclog"
)

// JournalLog sends diagnostics to the journal with their priority. Key and value
// pairs go into the message: only events have fields of their own.
type JournalLog struct {
	// Logger decides by its level what is written: a sink is handed everything.
	Logger hclog.Logger
}

var _ hclog.SinkAdapter = JournalLog{}

// Accept writes one diagnostic.
func (j JournalLog) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level < j.Logger.GetLevel() {
		return
	}
	var b strings.Builder
	if name != "" {
		b.WriteString(name + ": ")
	}
	b.WriteString(msg)
	for i := 0; i+1 < len(args); i += 2 {
		fmt.Fprintf(&b, " %v=%s", args[i], value(args[i+1]))
	}
	// With the journal gone there is nowhere left to complain.
	_ = journal.Send(b.String(), priority(level), map[string]string{"SYSLOG_IDENTIFIER": "sandtrap"})
}

// value is one argument on one line, safe to show.
func value(v any) string {
	s := fmt.Sprint(v)
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f }) {
		return fmt.Sprintf("%+q", s)
	}
	return s
}

func priority(level hclog.Level) journal.Priority {
	switch level {
	case hclog.Error:
		return journal.PriErr
	case hclog.Warn:
		return journal.PriWarning
	case hclog.Debug, hclog.Trace:
		return journal.PriDebug
	default:
		return journal.PriInfo
	}
}
