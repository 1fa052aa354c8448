package evidence

import (
	"os"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/record"
)

// ForwardPrefix begins the names of the recordings of forwards.
const ForwardPrefix = "forward-"

// forwardParts is how many parts record.Options.Forward has.
const forwardParts = 5

// Asked is what a recording keeps of what a forward was asked for, from which
// the next start can tell it: record.Options.Forward. No text of it holds a NUL.
func (f Forward) Asked() string {
	return strings.Join([]string{
		f.Kind, string(f.Destination), strconv.FormatUint(uint64(f.DestinationPort), 10),
		string(f.Originator), strconv.FormatUint(uint64(f.OriginatorPort), 10),
	}, "\x00")
}

// setAsked is the way back. What cannot be read stays as it is.
func (f *Forward) setAsked(asked string) {
	parts := strings.Split(asked, "\x00")
	if len(parts) != forwardParts {
		return
	}
	f.Kind, f.Destination, f.Originator = parts[0], Text(parts[1]), Text(parts[3])
	f.DestinationPort, f.OriginatorPort = port(parts[2]), port(parts[4])
}

func port(digits string) uint32 {
	n, _ := strconv.ParseUint(digits, 10, 32)
	return uint32(n)
}

// matchForward finds the forward of a recording, or makes one for it.
func matchForward(root *os.Root, session *Session, name string, read func(*os.Root, string) (record.Info, error)) error {
	for i := range session.Forwards {
		if known, ok := record.NameOf(session.Forwards[i].Recording.Raw); ok && known == name {
			return nil // it was written down at its end
		}
	}
	info, err := read(root, name)
	info.Summary.Cast = ""
	f := Forward{ID: number(name, len(session.Forwards)), Start: info.Summary.Start, Recording: info.Summary}
	f.setAsked(info.Forward)
	session.Forwards = append(session.Forwards, f)
	return err
}
