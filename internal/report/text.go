package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/sandtrap/sandtrap/internal/term"
)

// Text writes the report for a terminal: what is hostile is escaped.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Session %s\n\n", term.Safe(r.Session.ID))
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%-15s %s\n", f.Name, term.Safe(f.Value))
	}
	b.WriteString("\nTimeline\n\n")
	for _, e := range r.Timeline {
		fmt.Fprintf(&b, "%s  %9s  %s", e.Clock(), e.After(), term.Safe(e.What))
		if e.Text != "" {
			fmt.Fprintf(&b, "  %s", term.Safe(string(e.Text)))
		}
		b.WriteByte('\n')
	}
	if len(r.Files) > 0 {
		b.WriteString("\nFiles\n\n")
	}
	for _, f := range r.Files {
		fmt.Fprintf(&b, "%s  %s  %d bytes\n", term.Safe(f.How), term.Safe(string(f.Path)), f.Size)
		if f.SHA256 != "" {
			fmt.Fprintf(&b, "  SHA-256 %s\n", term.Safe(f.SHA256))
		}
	}
	if len(r.Attempts) > 0 {
		b.WriteString("\nLogin attempts\n\n")
	}
	for _, a := range r.Attempts {
		fmt.Fprintf(&b, "%s  %s  %s  %s  %s\n", a.Clock, term.Safe(a.User), term.Safe(a.Method), term.Safe(a.Secret), term.Safe(a.Outcome))
	}
	for _, o := range r.Omitted {
		fmt.Fprintf(&b, "\n%s\n", o)
	}
	return write(w, b.String())
}

// Markdown writes the report as CommonMark: what is hostile is code, on one line.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Session %s\n\n", term.Safe(r.Session.ID))
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, code(f.Value))
	}
	b.WriteString("\n## Timeline\n\n")
	for _, e := range r.Timeline {
		fmt.Fprintf(&b, "- %s (%s) %s", e.Clock(), e.After(), code(e.What))
		if e.Text != "" {
			b.WriteString(": " + code(string(e.Text)))
		}
		b.WriteByte('\n')
	}
	if len(r.Files) > 0 {
		b.WriteString("\n## Files\n\n")
	}
	for _, f := range r.Files {
		fmt.Fprintf(&b, "- %s %s, %d bytes", code(f.How), code(string(f.Path)), f.Size)
		if f.SHA256 != "" {
			b.WriteString(", SHA-256 " + code(f.SHA256))
		}
		b.WriteByte('\n')
	}
	if len(r.Attempts) > 0 {
		b.WriteString("\n## Login attempts\n\n")
	}
	for _, a := range r.Attempts {
		fmt.Fprintf(&b, "- %s user %s, %s %s: %s\n", a.Clock, code(a.User), code(a.Method), code(a.Secret), code(a.Outcome))
	}
	for _, o := range r.Omitted {
		fmt.Fprintf(&b, "\n%s\n", o)
	}
	return write(w, b.String())
}

// code is a code span: between more backticks than any run in the text has.
func code(s string) string {
	s = term.Safe(s)
	if s == "" {
		return ""
	}
	longest, run := 0, 0
	for _, c := range s {
		if c != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", longest+1)
	if longest > 0 || strings.Trim(s, " ") == "" || s[0] == ' ' && s[len(s)-1] == ' ' {
		return fence + " " + s + " " + fence // CommonMark takes one space off at both ends
	}
	return fence + s + fence
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return write(w, string(term.Document(b))+"\n")
}

func write(w io.Writer, s string) error {
	if _, err := io.WriteString(w, s); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
