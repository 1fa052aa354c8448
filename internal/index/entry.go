// Package index answers which sessions there are, fast: what a list, its filters and
// statistics need of each session lies in one file, so that nobody reads a hundred
// thousand. Sessions on disk go in; entries that match a filter come out.
//
// The file is a cache and nothing else. Whoever asks compares it with the directories
// that are there, reads what it lacks from the sessions themselves, and so gets the
// same answer without it. See docs/index.md.
package index

import (
	"path"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Entry is one session as far as lists, filters and statistics need it.
type Entry struct {
	ID  string // ULID
	Dir string // below the state directory

	State  evidence.State
	Start  time.Time
	End    time.Time // zero while the session goes on
	Source string    // IP address
	User   string    // that logged in
	Client string    // its identification
	HASSH  string
	Target string

	Channels   int
	FirstKind  string // of the first channel
	FirstWords string // its command, cut
	Forwards   int
	FirstPlace string // where the first forward should lead, cut
	FirstPort  uint32

	// What follows is without repetitions, in the order in which it was met.
	Users     []string // of all attempts, whatever became of them
	Passwords []string
	Keys      []string // fingerprints
	Commands  []string // those of requests, and lines that were typed
	Files     []File

	// partial says that the lists above do not fit into the index: they are empty, and
	// session.json has them.
	partial bool
	// stamp tells one state of the session's files from another.
	stamp uint64
}

// File is content that a session brought or left.
type File struct {
	SHA256 string // lower-case hexadecimal
	Name   string // as the client or the target called it, cut
	Time   time.Time
}

const (
	// maxWords is how much of a text is kept that is only shown, in bytes.
	maxWords = 256

	hashBytes = 32
)

// Duration is how long the session took, to now if it goes on.
func (e *Entry) Duration(now time.Time) time.Duration {
	end := e.End
	if end.IsZero() {
		end = now
	}
	return max(0, end.Sub(e.Start))
}

// Summarise makes the entry of a session. captured are the files that were found in its
// target.
func Summarise(dir string, s evidence.Session, captured []File) Entry {
	e := Entry{
		ID: s.ID, Dir: dir, State: s.State, Start: s.Start.UTC(), Source: s.Source.IP, User: string(s.Login.User),
		Client: string(s.ClientVersion), HASSH: s.HASSH, Target: s.Target.Name,
		Channels: len(s.Channels), Forwards: len(s.Forwards),
	}
	if s.End != nil {
		e.End = s.End.UTC()
	}
	if len(s.Channels) > 0 {
		e.FirstKind, e.FirstWords = s.Channels[0].Kind, cut(string(s.Channels[0].Command))
	}
	if len(s.Forwards) > 0 {
		e.FirstPlace, e.FirstPort = cut(string(s.Forwards[0].Destination)), s.Forwards[0].DestinationPort
	}
	var users, passwords, keys, commands unique
	for _, l := range logins(s) {
		users.add(string(l.User), l.Method != "")
		// An empty password is one, if a password was asked for.
		passwords.add(string(l.Password), l.Password != "" || l.Method == "password" || l.Method == "keyboard-interactive")
		keys.add(l.Fingerprint, l.Fingerprint != "")
	}
	files := make(filesOnce)
	for _, c := range s.Channels {
		commands.add(string(c.Command), c.Command != "")
		for _, typed := range c.Commands {
			commands.add(string(typed.Text), true)
		}
		for _, t := range c.Transfers {
			e.Files = files.add(e.Files, File{t.SHA256, string(t.Name), t.Time})
			e.Files = files.add(e.Files, File{t.Artifact, string(t.Name), t.Time})
		}
	}
	for _, f := range captured {
		if f.Time.IsZero() {
			f.Time = e.End // found when the session was over
		}
		e.Files = files.add(e.Files, f)
	}
	e.Users, e.Passwords, e.Keys, e.Commands = users.list, passwords.list, keys.list, commands.list
	return e
}

// logins are all attempts of a session. The accepted one may be beyond those that were
// kept.
func logins(s evidence.Session) []evidence.Login {
	all := make([]evidence.Login, 0, len(s.Attempts)+1)
	for _, a := range s.Attempts {
		all = append(all, a.Login())
	}
	return append(all, s.Login)
}

// unique is a list without repetitions.
type unique struct {
	list []string
	seen map[string]bool
}

func (u *unique) add(s string, wanted bool) {
	if !wanted || u.seen[s] {
		return
	}
	if u.seen == nil {
		u.seen = map[string]bool{}
	}
	u.seen[s] = true
	u.list = append(u.list, s)
}

// filesOnce are the hashes of files that were met.
type filesOnce map[string]bool

// add appends a file that has a hash and was not met yet.
func (o filesOnce) add(files []File, f File) []File {
	if !evidence.IsHash(f.SHA256) || o[f.SHA256] {
		return files
	}
	o[f.SHA256] = true
	f.Name, f.Time = cut(f.Name), f.Time.UTC()
	return append(files, f)
}

func cut(s string) string { return s[:min(len(s), maxWords)] }

// idOf is the session's id in the path of its directory.
func idOf(dir string) string { return path.Base(dir) }
