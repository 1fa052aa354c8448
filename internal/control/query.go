package control

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// maxPattern bounds the pattern of a kind, in bytes: matching takes time.
const maxPattern = 64

// Values are the parameters of a query's request.
func (q EventQuery) Values() url.Values {
	v := url.Values{}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Last >= 0 {
		v.Set("last", strconv.Itoa(q.Last))
	}
	for name, value := range map[string]string{"kind": q.Kind, "session": q.Session} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	return v
}

// ParseEventQuery reads the parameters of a request.
func ParseEventQuery(v url.Values) (EventQuery, error) {
	q := EventQuery{Last: -1, Kind: v.Get("kind"), Session: v.Get("session")}
	for name := range v {
		if !known[name] {
			return q, fmt.Errorf("there is no parameter %q", name)
		}
	}
	var err error
	if s := v.Get("since"); s != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return q, fmt.Errorf("since: %q is no time as in RFC 3339", s)
		}
	}
	if s := v.Get("last"); s != "" {
		if q.Last, err = strconv.Atoi(s); err != nil || q.Last < 0 {
			return q, fmt.Errorf("last: %q is no number of events", s)
		}
	}
	if s := v.Get("follow"); s != "" {
		if q.Follow, err = strconv.ParseBool(s); err != nil {
			return q, fmt.Errorf("follow: %q is neither true nor false", s)
		}
	}
	return q, q.Check()
}

var known = map[string]bool{"since": true, "last": true, "kind": true, "session": true, "follow": true}

// Check says what is wrong with a query.
func (q EventQuery) Check() error {
	if len(q.Kind) > maxPattern {
		return errors.New("kind: the pattern is too long")
	}
	if _, err := path.Match(q.Kind, ""); err != nil {
		return fmt.Errorf("kind: %q is no pattern", q.Kind)
	}
	return nil
}

func matchKind(pattern, kind string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, kind)
	return ok && err == nil
}

func matchSession(prefix, id string) bool {
	return len(id) >= len(prefix) && strings.EqualFold(id[:len(prefix)], prefix)
}
