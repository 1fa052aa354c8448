package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/record"
)

// AddRecordings fills in what session.json of an open session does not say yet:
// channels that still go on, by the recordings in the session's directory. The
// error tells of recordings that could not be read; the others are there.
func AddRecordings(root *os.Root, session *Session) error {
	return matchRecordings(root, session, record.Inspect)
}

// matchRecordings finds the channel of each recording, or makes one for it.
// Recordings that session.json holds in their final form are left alone.
func matchRecordings(root *os.Root, session *Session, read func(*os.Root, string) (record.Info, error)) error {
	names, damage := record.Names(root)
	known := make(map[string]int)
	for i, c := range session.Channels {
		name, ok := record.NameOf(c.Recording.Raw)
		if !ok {
			// Saved before its recording was made.
			name = fmt.Sprintf("channel-%d", c.ID)
		}
		known[name] = i
	}
	var room CommandRoom
	for _, c := range session.Channels {
		for _, l := range c.Commands {
			room.Take(len(l.Text))
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, ForwardPrefix) {
			damage = errors.Join(damage, matchForward(root, session, name, read))
			continue
		}
		i, ok := known[name]
		if ok && !session.Channels[i].Recording.End.IsZero() {
			continue
		}
		info, err := read(root, name)
		damage = errors.Join(damage, err)
		if !ok {
			i = len(session.Channels)
			session.Channels = append(session.Channels, unknownChannel(i, name, info))
		}
		session.Channels[i].Recording = info.Summary
		if entered := addCommands(root, &session.Channels[i], &room); err == nil {
			damage = errors.Join(damage, entered)
		}
	}
	slices.SortStableFunc(session.Channels, func(a, b Channel) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortStableFunc(session.Forwards, func(a, b Forward) int { return cmp.Compare(a.ID, b.ID) })
	return damage
}

// unknownChannel describes a channel by its recording alone.
func unknownChannel(i int, name string, info record.Info) Channel {
	c := Channel{ID: i, Kind: "shell", Terminal: Text(info.Terminal), Size: info.Size, Command: Text(info.Command), Start: info.Summary.Start}
	if c.Command != "" {
		c.Kind = "exec"
	}
	c.ID = number(name, i)
	return c
}

// number is that in the name of a recording, or else what is given.
func number(name string, otherwise int) int {
	if _, digits, ok := strings.Cut(name, "-"); ok {
		if n, err := strconv.Atoi(digits); err == nil && n >= 0 {
			return n
		}
	}
	return otherwise
}
