package stats

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
)

// maxLine bounds a line that is looked at, in bytes.
const maxLine = 1 << 20

// kinds are those that are counted. Every line begins with time, number and kind, before
// anything that a client fills: so the others are passed over without being parsed.
var kinds = [][]byte{
	[]byte(`"event":"` + event.ConnectionOpen + `"`), []byte(`"event":"` + event.ClientVersion + `"`), []byte(`"event":"` + event.ClientKexInit + `"`),
	[]byte(`"event":"` + event.AuthAttempt + `"`), []byte(`"event":"` + event.EventsOmit + `"`),
}

// beginning is how much of a line its kind is looked for in.
const beginning = 120

// readEvents counts the event files of a state directory. One that is removed meanwhile
// is none.
func (s *Stats) readEvents(ctx context.Context, state string) error {
	root, err := os.OpenRoot(state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever recorded here
	}
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), event.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read events: %w", err)
	}
	for _, e := range entries { // in any order
		day, ok := event.FileDay(e.Name())
		if !ok || !e.Type().IsRegular() || !s.inside(day) {
			continue
		}
		err := s.readFile(ctx, root, path.Join(event.Dir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read events: %w", err)
		}
	}
	return nil
}

// inside reports whether a day can have events of the time.
func (s *Stats) inside(day string) bool {
	return (s.Since.IsZero() || day >= s.Since.UTC().Format(time.DateOnly)) &&
		(s.Until.IsZero() || day <= s.Until.UTC().Format(time.DateOnly))
}

func (s *Stats) readFile(ctx context.Context, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.readLines(ctx, f)
}

func (s *Stats) readLines(ctx context.Context, r io.Reader) error {
	in := bufio.NewReaderSize(r, maxLine)
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.Skipped++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
		} else if err == nil {
			s.addLine(line)
		}
		if err == io.EOF {
			return nil // what has no end yet is being written
		}
		if err != nil {
			return err
		}
	}
}

// line is what is counted of an event. Of a value that is not UTF-8 the bytes follow in
// base64.
type line struct {
	Time  time.Time  `json:"time"`
	Kind  event.Kind `json:"event"`
	SrcIP string     `json:"src_ip"`

	Client       string  `json:"client_version"`
	ClientExact  []byte  `json:"client_version_base64"`
	HASSH        string  `json:"hassh"`
	User         string  `json:"user"`
	UserExact    []byte  `json:"user_base64"`
	Password     *string `json:"password"`
	PasswordReal []byte  `json:"password_base64"`
	Fingerprint  string  `json:"fingerprint"`
	KeyState     string  `json:"key_state"`
	Accepted     bool    `json:"accepted"`
	Kinds        string  `json:"kinds"`
}

func counted(p []byte) bool {
	p = p[:min(len(p), beginning)]
	for _, k := range kinds {
		if bytes.Contains(p, k) {
			return true
		}
	}
	return false
}

func (s *Stats) addLine(p []byte) {
	if !counted(p) {
		return
	}
	var l line
	if json.Unmarshal(p, &l) != nil || l.Time.IsZero() {
		s.Skipped++
		return
	}
	if !s.Since.IsZero() && l.Time.Before(s.Since) || !s.Until.IsZero() && !l.Time.Before(s.Until) {
		return
	}
	if s.First.IsZero() || l.Time.Before(s.First) {
		s.First = l.Time
	}
	switch l.Kind {
	case event.ConnectionOpen:
		s.Connections++
		s.Sources.Add(l.SrcIP)
	case event.ClientVersion:
		s.Clients.Add(exact(l.Client, l.ClientExact))
	case event.ClientKexInit:
		if l.HASSH != "" {
			s.HASSHs.Add(l.HASSH)
		}
	case event.AuthAttempt:
		s.addAttempt(&l)
	case event.EventsOmit:
		s.Omitted += omitted(l.Kinds)
	}
}

// keyOffered and keyVerified are what an event says of a key that is asked about, and of
// one that was used: the same attempt.
const (
	keyOffered  = "offered"
	keyVerified = "verified"
)

func (s *Stats) addAttempt(l *line) {
	if l.Accepted && l.KeyState != keyOffered {
		s.Logins++
	}
	if l.KeyState == keyVerified {
		return
	}
	s.Attempts++
	s.Users.Add(exact(l.User, l.UserExact))
	if l.Password != nil {
		s.Passwords.Add(exact(*l.Password, l.PasswordReal))
	}
	if l.Fingerprint != "" {
		s.Keys.Add(l.Fingerprint)
	}
}

func exact(shown string, real []byte) string {
	if len(real) > 0 {
		return string(real)
	}
	return shown
}

// omitted is how many attempts a list of kinds counts.
func omitted(kinds string) int64 {
	for _, word := range strings.Fields(kinds) {
		if n, ok := strings.CutPrefix(word, string(event.AuthAttempt)+"="); ok {
			i, _ := strconv.ParseInt(n, 10, 64)
			return max(0, i)
		}
	}
	return 0
}
