package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

// Period is what came in some time, as people read about it.
type Period struct {
	Since    time.Time `json:"since,omitzero"` // zero for all
	Until    time.Time `json:"until,omitzero"`
	Numbers  []Number  `json:"numbers"`
	Tables   []Table   `json:"tables"`
	Sessions []Line    `json:"sessions"` // the newest
	Omitted  int       `json:"sessions_omitted"`

	Zone *time.Location `json:"-"`
}

// Number is one count.
type Number struct {
	Name string `json:"name"`
	N    int64  `json:"n"`
}

// Table has what was most frequent of something, the most frequent first.
type Table struct {
	Name  string `json:"name"`  // of what
	Count string `json:"count"` // what is counted
	Rows  []Row  `json:"rows"`
}

// Row is one value and how often it came.
type Row struct {
	Value evidence.Text `json:"value"`
	N     int64         `json:"n"`
	About bool          `json:"about,omitempty"` // the number may be too high
}

func (r Row) count() string {
	if r.About {
		return fmt.Sprintf("~%d", r.N)
	}
	return fmt.Sprint(r.N)
}

// Line is one session.
type Line struct {
	ID       string          `json:"id"`
	Start    time.Time       `json:"start"`
	Source   string          `json:"source"`
	User     evidence.Text   `json:"user"`
	Commands []evidence.Text `json:"commands,omitempty"` // the first ones
}

func (p *Period) title() string {
	const form = "2006-01-02 15:04 MST"
	switch {
	case p.Since.IsZero() && p.Until.IsZero():
		return "All that is known"
	case p.Until.IsZero():
		return "Since " + p.Since.In(p.Zone).Format(form)
	case p.Since.IsZero():
		return "Until " + p.Until.In(p.Zone).Format(form)
	}
	return p.Since.In(p.Zone).Format(form) + " to " + p.Until.In(p.Zone).Format(form)
}

// Text writes the report for a terminal: what is hostile is escaped.
func (p *Period) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", p.title())
	for _, n := range p.Numbers {
		fmt.Fprintf(&b, "%-15s %d\n", n.Name, n.N)
	}
	for _, t := range p.Tables {
		fmt.Fprintf(&b, "\n%s, by %s\n\n", t.Name, t.Count)
		for _, r := range t.Rows {
			fmt.Fprintf(&b, "%9s  %s\n", r.count(), term.Safe(string(r.Value)))
		}
	}
	if len(p.Sessions) > 0 {
		b.WriteString("\nSessions\n\n")
	}
	for _, s := range p.Sessions {
		fmt.Fprintf(&b, "%s  %s  %s  %s\n", term.Safe(s.ID), s.Start.In(p.Zone).Format(time.DateTime), term.Safe(s.Source), term.Safe(string(s.User)))
		for _, c := range s.Commands {
			fmt.Fprintf(&b, "    %s\n", term.Safe(string(c)))
		}
	}
	if p.Omitted > 0 {
		fmt.Fprintf(&b, "\n%d more sessions: sandtrap list\n", p.Omitted)
	}
	return write(w, b.String())
}

// Markdown writes the report as CommonMark: what is hostile is code, on one line.
func (p *Period) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", p.title())
	for _, n := range p.Numbers {
		fmt.Fprintf(&b, "- %s: %d\n", n.Name, n.N)
	}
	for _, t := range p.Tables {
		fmt.Fprintf(&b, "\n## %s, by %s\n\n", t.Name, t.Count)
		for _, r := range t.Rows {
			fmt.Fprintf(&b, "- %s: %s\n", r.count(), code(string(r.Value)))
		}
	}
	if len(p.Sessions) > 0 {
		b.WriteString("\n## Sessions\n\n")
	}
	for _, s := range p.Sessions {
		fmt.Fprintf(&b, "- %s, %s, %s, user %s\n", code(s.ID), s.Start.In(p.Zone).Format(time.DateTime), code(s.Source), code(string(s.User)))
		for _, c := range s.Commands {
			fmt.Fprintf(&b, "  - %s\n", code(string(c)))
		}
	}
	if p.Omitted > 0 {
		fmt.Fprintf(&b, "\n%d more sessions.\n", p.Omitted)
	}
	return write(w, b.String())
}

// JSON writes the report for programs.
func (p *Period) JSON(w io.Writer) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return write(w, string(term.Document(b))+"\n")
}
