// Package report tells one session to people: what came in, what was done, what was
// left. The record of a session and its recordings go in; a text, a Markdown
// document, JSON, or one HTML page with a player that needs no network comes out.
// Whatever an attacker wrote is made harmless for the form it is put in.
package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Bounds of a report: what does not fit is counted, and stays in the evidence.
const (
	maxTimeline = 2000
	maxFiles    = 1000
	maxAttempts = 200
	maxCast     = 4 << 20  // bytes of one recording in a page
	maxCasts    = 24 << 20 // of all
)

// Report is a session as people read about it. Its strings are as the attacker sent
// them: each form escapes them in its own way.
type Report struct {
	Session    evidence.Session `json:"session"`
	Directory  string           `json:"directory"`
	Facts      []Fact           `json:"-"` // the head of the report
	Timeline   []Entry          `json:"timeline"`
	Files      []File           `json:"files"`
	Attempts   []Attempt        `json:"-"`
	Omitted    []string         `json:"omitted,omitempty"` // what a bound has cut off
	Recordings []Recording      `json:"-"`                 // see AddRecordings
}

// Fact is one line of the head.
type Fact struct{ Name, Value string }

// File is a file that the attacker brought, took or left.
type File struct {
	How    string        `json:"how"` // one of our words
	Path   evidence.Text `json:"path"`
	Size   int64         `json:"size"`
	SHA256 string        `json:"sha256,omitempty"`
}

// Attempt is one login attempt.
type Attempt struct{ Clock, User, Method, Secret, Outcome string }

// New makes the report of a session whose directory is dir, and of files that were
// found beside those that were transferred. zone is the one that people read times in.
func New(s evidence.Session, dir string, found []File, zone *time.Location) *Report {
	r := &Report{Session: s, Directory: dir, Files: []File{}}
	r.facts(zone)
	r.timeline(zone)
	r.files(found)
	r.attempts(zone)
	return r
}

func (r *Report) omit(n int, what string) {
	if n > 0 {
		r.Omitted = append(r.Omitted, fmt.Sprintf("%d more %s are in the evidence.", n, what))
	}
}

func (r *Report) facts(zone *time.Location) {
	add := func(name, value string) {
		if value != "" {
			r.Facts = append(r.Facts, Fact{name, value})
		}
	}
	s := r.Session
	state := string(s.State)
	if s.EndReason != "" {
		state += " (" + s.EndReason + ")"
	}
	add("State", state)
	add("Start", s.Start.In(zone).Format(dateTime))
	if s.End != nil {
		add("End", s.End.In(zone).Format(dateTime))
		add("Duration", s.End.Sub(s.Start).Round(time.Second).String())
	}
	add("Source", fmt.Sprintf("%s port %d", s.Source.IP, s.Source.Port))
	add("Client", string(s.ClientVersion))
	add("HASSH", s.HASSH)
	add("Login", strings.TrimSpace(fmt.Sprintf("%s by %s %s", s.Login.User, s.Login.Method, cmp.Or(s.Login.Fingerprint, string(s.Login.Password)))))
	if s.Target.Container != "" {
		add("Target", s.Target.Name+", account "+s.Target.Account)
		add("Container", s.Target.Container)
		add("Image", strings.TrimSpace(s.Target.Image+" "+s.Target.ImageDigest))
		add("Session before", s.Target.PreviousSession)
	}
	add("Directory", r.Directory)
}

const dateTime = "2006-01-02 15:04:05 MST"

func (r *Report) timeline(zone *time.Location) {
	r.Timeline = Timeline(r.Session)
	omitted := 0
	for _, c := range r.Session.Channels {
		omitted += c.CommandsOmitted + c.TransfersOmitted
	}
	if n := len(r.Timeline) - maxTimeline; n > 0 {
		r.Timeline, omitted = r.Timeline[:maxTimeline], omitted+n
	}
	for i := range r.Timeline {
		r.Timeline[i].start, r.Timeline[i].zone = r.Session.Start, zone
	}
	r.omit(omitted, "entries of the timeline")
}

func (r *Report) files(found []File) {
	for _, c := range r.Session.Channels {
		for _, t := range c.Transfers {
			r.Files = append(r.Files, File{How: t.Direction, Path: t.Name, Size: t.Size, SHA256: cmp.Or(t.SHA256, t.Artifact)})
		}
	}
	r.Files = append(r.Files, found...)
	if n := len(r.Files) - maxFiles; n > 0 {
		r.Files = r.Files[:maxFiles]
		r.omit(n, "files")
	}
}

func (r *Report) attempts(zone *time.Location) {
	attempts := r.Session.Attempts
	omitted := r.Session.AttemptsOmitted
	if n := len(attempts) - maxAttempts; n > 0 {
		attempts, omitted = attempts[:maxAttempts], omitted+n
	}
	for _, a := range attempts {
		row := Attempt{User: string(a.User), Method: a.Method, Secret: cmp.Or(a.Fingerprint, string(a.Password)), Outcome: a.Reason}
		if !a.Time.IsZero() {
			row.Clock = a.Time.In(zone).Format(time.TimeOnly)
		}
		if a.Accepted {
			row.Outcome = strings.TrimSpace("accepted " + a.Reason)
		}
		r.Attempts = append(r.Attempts, row)
	}
	r.omit(omitted, "login attempts")
}

// Recording is one channel's cast, for the page.
type Recording struct {
	Channel int
	Title   string
	Cast    []byte // asciicast v2; nil where it is too large or cannot be read
	Note    string // why it is not here
}

// AddRecordings reads the casts of the session's channels, the first ones where not
// all have room. One that cannot be read has a note instead.
func (r *Report) AddRecordings() {
	left := int64(maxCasts)
	for _, c := range r.Session.Channels {
		if c.Recording.Cast == "" {
			continue
		}
		one := Recording{Channel: c.ID, Title: strings.TrimSpace(fmt.Sprintf("Channel %d: %s %s", c.ID, c.Kind, c.Command))}
		limit := min(maxCast, left)
		cast, err := readCast(r.Directory, c.Recording.Cast, limit)
		switch {
		case errors.Is(err, errTooLarge):
			one.Note = "The recording is too large for this page: " + filepath.Join(r.Directory, c.Recording.Cast)
		case err != nil:
			one.Note = "The recording cannot be read: " + err.Error()
		default:
			one.Cast = cast
			left -= int64(len(cast))
		}
		r.Recordings = append(r.Recordings, one)
	}
}

var errTooLarge = errors.New("too large")

// readCast reads a regular file of at most limit bytes.
func readCast(dir, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := evidence.OpenRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.Size() > limit:
		return nil, errTooLarge
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
