package report

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

func TestPeriod(t *testing.T) {
	start := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	p := &Period{
		Since: start, Zone: time.UTC, Omitted: 3,
		Numbers:  []Number{{"Connections", 7}},
		Tables:   []Table{{"Passwords", "attempts", []Row{{hostile, 5, true}, {"root", 2, false}}}},
		Sessions: []Line{{"01KN", start, "192.0.2.7", hostile, []evidence.Text{"uname -a", hostile}}},
	}
	for name, form := range map[string]func(io.Writer) error{"text": p.Text, "markdown": p.Markdown, "json": p.JSON} {
		var b bytes.Buffer
		if err := form(&b); err != nil {
			t.Fatal(err)
		}
		if out := b.String(); strings.ContainsAny(out, "\x1b\a\u202e") || !strings.Contains(out, "192.0.2.7") || !strings.Contains(out, "uname -a") || !strings.Contains(out, "Passwords") {
			t.Errorf("%s:\n%s", name, out)
		} else if name != "json" && (!strings.Contains(out, "~5") || !strings.Contains(out, "3 more sessions") || !strings.Contains(out, "Since 2026-03-31 12:00 UTC")) {
			t.Errorf("%s:\n%s", name, out)
		} else if name == "json" {
			var back Period
			if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.Sessions[0].User != hostile || !back.Tables[0].Rows[0].About {
				t.Errorf("%v: %+v", err, back)
			}
		}
	}
	for want, p := range map[string]Period{"All that is known": {}, "Until 2026-03-31 12:00 UTC": {Until: start, Zone: time.UTC}, "2026-03-31 12:00 UTC to 2026-03-31 13:00 UTC": {Since: start, Until: start.Add(time.Hour), Zone: time.UTC}} {
		if got := p.title(); got != want {
			t.Errorf("title %q, want %q", got, want)
		}
	}
}
