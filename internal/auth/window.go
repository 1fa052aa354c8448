package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is a part of the week: days, and a time of each.
type Window struct {
	days       [7]bool // by time.Weekday
	begin, end int     // minutes from midnight; the end is not in it
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

const day = 24 * 60

// ParseWindow reads days ("mon-fri", "sat,sun"), a time of the day ("08:00-18:30"), or
// both with a space between. A time that ends before it begins goes on after midnight.
func ParseWindow(text string) (Window, error) {
	w := Window{end: day}
	fields := strings.Fields(text)
	if len(fields) == 0 || len(fields) > 2 {
		return w, errWindow
	}
	times := fields[len(fields)-1]
	if strings.Contains(times, ":") {
		if err := w.parseTimes(times); err != nil {
			return w, err
		}
		fields = fields[:len(fields)-1]
	}
	switch len(fields) {
	case 0:
		w.days = [7]bool{true, true, true, true, true, true, true}
	case 1:
		return w, w.parseDays(fields[0])
	default:
		return w, errWindow
	}
	return w, nil
}

var errWindow = errors.New(`is no time window (such as "mon-fri", "08:00-18:00" or "sat,sun 22:00-06:00")`)

func (w *Window) parseDays(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(dayNames, strings.ToLower(first)), slices.Index(dayNames, strings.ToLower(last))
		if from < 0 || to < 0 {
			return fmt.Errorf("names no day with %q, want mon, tue, wed, thu, fri, sat or sun", part)
		}
		for d := from; ; d = (d + 1) % 7 {
			w.days[d] = true
			if d == to {
				break
			}
		}
	}
	return nil
}

func (w *Window) parseTimes(text string) error {
	first, last, isRange := strings.Cut(text, "-")
	var ok, okToo bool
	w.begin, ok = minutes(first)
	w.end, okToo = minutes(last)
	switch {
	case !isRange || !ok || !okToo || w.begin == day:
		return errWindow
	case w.begin == w.end:
		return errors.New("is an empty time window")
	}
	return nil
}

// minutes reads hh:mm, 24:00 included.
func minutes(text string) (int, bool) {
	if len(text) != 5 || text[2] != ':' {
		return 0, false
	}
	for _, i := range []int{0, 1, 3, 4} {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	m := int(text[3]-'0')*10 + int(text[4]-'0')
	n := (int(text[0]-'0')*10+int(text[1]-'0'))*60 + m
	return n, m < 60 && n <= day
}

// Contains reports whether a time is in the window, in the time's own zone.
func (w Window) Contains(t time.Time) bool {
	now, today := t.Hour()*60+t.Minute(), t.Weekday()
	if w.begin < w.end {
		return w.days[today] && w.begin <= now && now < w.end
	}
	yesterday := (today + 6) % 7
	return w.days[today] && now >= w.begin || w.days[yesterday] && now < w.end
}
