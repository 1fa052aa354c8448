package admission

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is a token bucket: Count connections at once, and as many again in each Per on
// average. The zero value has no bound.
type Rate struct {
	Count int
	Per   time.Duration
}

// each is the time in which one token comes back.
func (r Rate) each() time.Duration { return r.Per / time.Duration(r.Count) }

// bucket is a token bucket as the one moment at which it will be full again (the
// generic cell rate algorithm). A time that has passed is a full bucket, and so the
// zero value.
type bucket time.Duration // since the gate was made

// take takes a token, if there is one.
func (b *bucket) take(r Rate, now time.Duration) bool {
	if r.Count <= 0 {
		return true
	}
	full := max(time.Duration(*b), now) + r.each()
	if full-now > r.Per {
		return false
	}
	*b = bucket(full)
	return true
}

// maxRate bounds a rate, so that a token takes at least a microsecond.
const maxRate = 1_000_000

// ParseRate reads COUNT/DURATION, such as 60/1m; none is no bound.
func ParseRate(text string) (Rate, error) {
	if text == none {
		return Rate{}, nil
	}
	count, per, ok := strings.Cut(text, "/")
	n, err := number(count)
	d, derr := time.ParseDuration(per)
	switch {
	case !ok || err != nil || derr != nil:
		return Rate{}, errors.New("is not a number of connections and a time (such as 60/1m), or none")
	case n < 1 || n > maxRate:
		return Rate{}, fmt.Errorf("must have 1 to %d connections", maxRate)
	case d < time.Second || d > 24*time.Hour:
		return Rate{}, errors.New("must have a time from 1s to 24h")
	}
	return Rate{Count: n, Per: d}, nil
}

// none is how settings say that there is no bound, as in sshd_config(5).
const none = "none"

// number takes digits only.
func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}

// maxStartups bounds the settings that count connections.
const maxStartups = 65536

// ParseStartups reads MaxStartups of sshd_config(5): START:RATE:FULL, or one number
// from which on all are dropped.
func ParseStartups(text string) (Startups, error) {
	parts := strings.Split(text, ":")
	var n [3]int
	var err error
	for i, part := range parts[:min(len(parts), len(n))] {
		var partErr error
		n[i], partErr = number(part)
		err = errors.Join(err, partErr)
	}
	if len(parts) == 1 {
		n[1], n[2] = 100, n[0]
	}
	switch {
	case err != nil || len(parts) != 1 && len(parts) != 3:
		return Startups{}, errors.New("is not start:rate:full (such as 10:30:100) or one number")
	case n[0] < 1 || n[2] > maxStartups || n[0] > n[2]:
		return Startups{}, fmt.Errorf("must have a start from 1 and not above full, which is at most %d", maxStartups)
	case n[1] < 1 || n[1] > 100:
		return Startups{}, errors.New("must have a rate from 1 to 100 percent")
	}
	return Startups{Start: n[0], Rate: n[1], Full: n[2]}, nil
}

// ParseNetBlockSize reads PerSourceNetBlockSize of sshd_config(5): the bits of IPv4 and
// of IPv6 addresses.
func ParseNetBlockSize(text string) (v4, v6 int, err error) {
	first, second, two := strings.Cut(text, ":")
	v4, err4 := number(first)
	v6, err6 := 128, error(nil) // as sshd does without the second
	if two {
		v6, err6 = number(second)
	}
	if err4 != nil || err6 != nil || v4 > 32 || v6 > 128 {
		return 0, 0, errors.New("is not the bits of an IPv4 and an IPv6 source (such as 32:64)")
	}
	return v4, v6, nil
}
