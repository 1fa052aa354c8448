package admission

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Penalties is PerSourcePenalties of sshd_config(5): what each outcome adds to the time
// for which a source is refused.
type Penalties struct {
	Enabled bool
	For     [outcomes]time.Duration
	// Nothing is refused before Min has added up, and never for longer than Max.
	Min, Max time.Duration
}

// sshdPenalties are what sshd has from version 9.8 on.
var sshdPenalties = Penalties{
	Enabled: true,
	For:     [outcomes]time.Duration{NoAuth: time.Second, AuthFailed: 5 * time.Second, GraceExceeded: 10 * time.Second, Crash: 90 * time.Second},
	Min:     15 * time.Second, Max: 10 * time.Minute,
}

// maxPenalty bounds a penalty: longer ones belong into the deny list.
const maxPenalty = 24 * time.Hour

// ParsePenalties reads the words of PerSourcePenalties. No word, or no, is no penalty;
// yes is what sshd has by default, which the others change.
func ParsePenalties(words []string) (Penalties, error) {
	if len(words) == 0 || len(words) == 1 && words[0] == "no" {
		return Penalties{}, nil
	}
	p := sshdPenalties
	times := map[string]*time.Duration{
		"noauth": &p.For[NoAuth], "authfail": &p.For[AuthFailed], "grace-exceeded": &p.For[GraceExceeded], "crash": &p.For[Crash],
		"min": &p.Min, "max": &p.Max,
	}
	for _, word := range words {
		if word == "yes" {
			continue
		}
		name, text, _ := strings.Cut(word, ":")
		at, ok := times[name]
		if !ok {
			return Penalties{}, fmt.Errorf("%.40q is not one of yes, no, crash:TIME, authfail:TIME, noauth:TIME, grace-exceeded:TIME, min:TIME, max:TIME", word)
		}
		if n, err := number(text); err == nil { // seconds, as in sshd_config(5)
			text = fmt.Sprint(n, "s")
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > maxPenalty {
			return Penalties{}, fmt.Errorf("%.40q does not have a time up to %s", word, "24h")
		}
		*at = d
	}
	if p.Min > p.Max {
		return Penalties{}, errors.New("has a min that is above its max")
	}
	return p, nil
}
