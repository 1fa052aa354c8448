package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is the text of the results: the header's lines, then the table, with
// one row for each figure and subject, and one more for each further target.
func report(header []string, s *samples) string {
	var text strings.Builder
	for _, line := range header {
		fmt.Fprintln(&text, line)
	}
	fmt.Fprintln(&text)
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "figure\twho\tp50\tp95\tp99\tIQR\tn\tresult\ttarget\tmet")
	met, missed := 0, 0
	for _, f := range allFigures {
		for i, r := range rows(f, s) {
			if i == 0 {
				r[0] = strings.TrimRight(f.name+", "+f.unit, ", ")
				if strings.HasPrefix(f.name, "  ") && f.unit == "" {
					r[0] = f.name
				}
			}
			switch r[len(r)-1] {
			case "yes":
				met++
			case "NO":
				missed++
			}
			fmt.Fprintln(w, strings.Join(r, "\t"))
		}
	}
	_ = w.Flush() // a strings.Builder takes everything
	fmt.Fprintf(&text, "\ntargets met: %d, missed: %d\n", met, missed)
	return text.String()
}

// rows makes the rows of one figure. A target stands in the row of the subject
// that it compares with, or in a row of its own.
func rows(f *figure, s *samples) [][]string {
	var all [][]string
	own := s.of(f, f.owner())
	subjects := s.subjectsOf(f)
	for _, subject := range subjects {
		all = append(all, append([]string{"", subject}, numbers(s.of(f, subject))...))
	}
	if len(all) == 0 {
		return nil
	}
	for _, subject := range subjects {
		if other := s.of(f, subject); subject != f.owner() && !hasTarget(f, subject) && f.unit != "" {
			put(subjects, &all, subject, []string{fmt.Sprintf("%.2f", own.median/other.median), "", ""})
		}
	}
	for _, t := range f.targets {
		value, ok := judge(t, own, s.of(f, t.against))
		verdict := "yes"
		if !ok {
			verdict = "NO"
		}
		subject := t.against
		if subject == "" {
			subject = f.owner()
		}
		put(subjects, &all, subject, []string{fmt.Sprintf("%.2f", value), t.text(), verdict})
	}
	return all
}

// put fills the last columns of subject's row, or those of a new row where they
// are taken.
func put(subjects []string, all *[][]string, subject string, cells []string) {
	i := slices.Index(subjects, subject)
	if i < 0 || (*all)[i][9] != "" {
		*all = append(*all, append([]string{"", subject, "", "", "", "", ""}, cells...))
		return
	}
	copy((*all)[i][7:], cells)
}

func hasTarget(f *figure, against string) bool {
	return slices.ContainsFunc(f.targets, func(t target) bool { return t.against == against })
}

// numbers are the columns p50 to n and three empty ones. One sample has no spread.
func numbers(v summary) []string {
	cells := []string{fmt.Sprintf("%.2f", v.median), "", "", "", fmt.Sprint(v.n), "", "", ""}
	if v.n > 1 {
		cells[3] = fmt.Sprintf("%.2f", v.spread())
	}
	if v.n >= 10 {
		cells[1] = fmt.Sprintf("%.2f", v.p95)
		cells[2] = fmt.Sprintf("%.2f", v.p99)
	}
	return cells
}

func (t target) text() string {
	limit := fmt.Sprintf("%g", t.limit)
	switch t.kind {
	case ratioAtMost:
		return "<= " + limit + " x"
	case ratioAtLeast:
		return ">= " + limit + " x"
	case growthAtMost:
		return "more by <= " + limit
	case medianAtMost:
		return "p50 <= " + limit
	case worstAtMost:
		return "max <= " + limit
	case tailAtMost:
		return "p99 <= " + limit + " x p50"
	}
	return ""
}
