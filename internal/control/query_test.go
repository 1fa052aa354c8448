package control

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
)

func TestEventQuery(t *testing.T) {
	r := &event.Record{Kind: event.AuthAttempt, Session: "01JQABC"}
	for _, tt := range []struct {
		q    EventQuery
		want bool
	}{
		{EventQuery{}, true},
		{EventQuery{Kind: "auth.attempt"}, true},
		{EventQuery{Kind: "auth.*"}, true},
		{EventQuery{Kind: "auth"}, false},
		{EventQuery{Session: "01jqa"}, true},
		{EventQuery{Session: "01JQABCD"}, false},
		{EventQuery{Kind: "exec.*", Session: "01JQ"}, false},
	} {
		if got := tt.q.Match(r); got != tt.want {
			t.Errorf("%+v matches: %t", tt.q, got)
		}
	}
}

// What a query's parameters are read back as.
func FuzzEventQuery(f *testing.F) {
	f.Add("since=2026-01-02T03:04:05Z&last=3&kind=auth.*&session=01J&follow=true")
	f.Add("last=&kind=[&follow=1")
	f.Add("kind=%5Ba-")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := ParseEventQuery(v)
		if err != nil {
			return
		}
		q.Match(&event.Record{Kind: event.AuthAttempt, Session: "01J"})
		if y := q.Since.UTC().Year(); y < 1 || y > 9999 { // RFC 3339 cannot say it
			return
		}
		again, err := ParseEventQuery(q.Values())
		if err != nil {
			t.Fatalf("%q: %v", q.Values(), err)
		}
		if diff := cmp.Diff(q, again, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	})
}
