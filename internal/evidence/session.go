// Package evidence keeps sessions on disk: one directory for each, readable
// with ordinary tools. What is known about an attacker's session goes in;
// session.json, lists of sessions and the answer to "which session is this"
// come out. Recordings lie in the same directory and belong to package record.
package evidence

import (
	"time"

	"github.com/sandtrap/sandtrap/internal/record"
)

// Version is the version of session.json written here.
const Version = 1

// State says whether a session goes on.
type State string

// The states of a session.
const (
	StateOpen      State = "open"      // the attacker is connected, or the service crashed and has not been started since
	StateClosed    State = "closed"    // ended in good order
	StateRecovered State = "recovered" // left open by a crash and closed at the next start
)

// EndCrash is the EndReason of a recovered session.
const EndCrash = "crash"

// Session is session.json: all that is known about one attacker's connection.
type Session struct {
	Version       int        `json:"version"`
	ID            string     `json:"id"` // ULID
	State         State      `json:"state"`
	Start         time.Time  `json:"start"`
	End           *time.Time `json:"end,omitempty"`
	EndReason     string     `json:"end_reason,omitempty"` // one of our words
	Source        Endpoint   `json:"source"`
	Origin        *Origin    `json:"origin,omitempty"` // of the source, as far as it is known
	Local         Endpoint   `json:"local"`
	ClientVersion Text       `json:"client_version"`
	HASSH         string     `json:"hassh,omitempty"` // fingerprint of the client's algorithms
	Login         Login      `json:"login"`
	Attempts      []Attempt  `json:"attempts"`
	// AttemptsOmitted counts attempts beyond those the caller kept.
	AttemptsOmitted int    `json:"attempts_omitted,omitempty"`
	Target          Target `json:"target"`
	// PlantedKeys are the lines of authorized_keys of the target's account at the end,
	// where a rule asks for planted keys.
	PlantedKeys []Text    `json:"planted_keys,omitempty"`
	Channels    []Channel `json:"channels"`
	Forwards    []Forward `json:"forwards,omitempty"` // as far as they were accepted
	Capture     *Capture  `json:"capture,omitempty"`  // of the target's end; nil where no program was started
}

// Endpoint is one side of a TCP connection.
type Endpoint struct {
	IP   string `json:"ip"`
	Port uint16 `json:"port"`
}

// Origin is what files on the machine knew of a source when its session began.
type Origin struct {
	Country      string   `json:"country,omitempty"`      // ISO 3166-1 alpha-2
	ASN          uint32   `json:"asn,omitempty"`          // of the autonomous system
	Organisation Text     `json:"organisation,omitempty"` // that runs it; text of strangers
	Lists        []string `json:"lists,omitempty"`        // those of the configuration that have it
}

// Login is the attempt that was let in.
type Login struct {
	User        Text   `json:"user"`
	Method      string `json:"method"`
	Password    Text   `json:"password,omitempty"`
	PublicKey   string `json:"public_key,omitempty"`  // one authorized_keys line, see sshd(8)
	Fingerprint string `json:"fingerprint,omitempty"` // SHA256:...
}

// Attempt is one authentication attempt, accepted or not.
type Attempt struct {
	Time        time.Time `json:"time,omitzero"`
	User        Text      `json:"user"`
	Method      string    `json:"method"`
	Password    Text      `json:"password,omitempty"`
	PublicKey   string    `json:"public_key,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	KeyState    string    `json:"key_state,omitempty"` // offered or verified
	Accepted    bool      `json:"accepted"`
	Reason      string    `json:"reason,omitempty"` // one of our words
	Rule        string    `json:"rule,omitempty"`   // that has decided
	// Honeytoken is the name of the one that was shown, and BaitSession the session in
	// whose target it was planted, where it was.
	Honeytoken  string `json:"honeytoken,omitempty"`
	BaitSession string `json:"bait_session,omitempty"`
}

// Login returns the attempt as the one that was let in.
func (a Attempt) Login() Login {
	return Login{a.User, a.Method, a.Password, a.PublicKey, a.Fingerprint}
}

// Target is what the attacker landed in. It is empty for a session that never
// opened a channel.
type Target struct {
	Name          string `json:"name"`
	Container     string `json:"container"` // Podman's id
	ContainerName string `json:"container_name"`
	Image         string `json:"image"`
	ImageDigest   string `json:"image_digest"`
	Account       string `json:"account"` // inside the target
	// PreviousSession is the session that had this container before, when its
	// source came back in time.
	PreviousSession string `json:"previous_session,omitempty"`
	// Bait is what was planted for this session, if anything was.
	Bait *Bait `json:"bait,omitempty"`
}

// Bait is a password that only this session's target has held.
type Bait struct {
	Path     string `json:"path"` // of the script that holds it, in the target
	Password string `json:"password"`
}

// Channel is one session channel (RFC 4254 section 6).
type Channel struct {
	ID        int            `json:"id"`   // ours, counting from 0
	Kind      string         `json:"kind"` // shell, exec or subsystem
	Command   Text           `json:"command,omitempty"`
	Terminal  Text           `json:"terminal,omitempty"` // TERM; empty without a pty
	Size      record.Size    `json:"size,omitzero"`
	Env       []Text         `json:"env,omitempty"` // NAME=value, as taken over
	Start     time.Time      `json:"start,omitzero"`
	End       *time.Time     `json:"end,omitempty"`
	EndReason string         `json:"end_reason,omitempty"` // one of our words, where we have ended it
	Recording record.Summary `json:"recording,omitzero"`
	// Transfers are the files that went through, see docs/transfers.md.
	Transfers []Transfer `json:"transfers,omitempty"`
	// TransfersOmitted counts files beyond those that the caller kept.
	TransfersOmitted int `json:"transfers_omitted,omitempty"`
	// Commands are the lines that were typed at a terminal, as far as they can be told.
	Commands []Command `json:"commands,omitempty"`
	// CommandsOmitted counts lines beyond those that the caller kept.
	CommandsOmitted int `json:"commands_omitted,omitempty"`
}

// HasTerminal reports whether the channel has a pty.
func (c *Channel) HasTerminal() bool { return c.Terminal != "" || c.Size != record.Size{} }

// Command is one line that was entered, see docs/commands.md.
type Command struct {
	Time time.Time `json:"time"` // when Enter was sent
	Text Text      `json:"text"`
	// NotEchoed says that the terminal did not show it, as with a password: it is what
	// was typed.
	NotEchoed bool `json:"not_echoed,omitempty"`
	Cut       bool `json:"cut,omitempty"` // it was longer
}

// Transfer is a file that was transferred, whole or in part. The fields are those
// of transfer.File.
type Transfer struct {
	Time        time.Time `json:"time"`
	Protocol    string    `json:"protocol"`
	Direction   string    `json:"direction"` // upload or download
	Name        Text      `json:"name"`
	Size        int64     `json:"size"`
	Transferred int64     `json:"transferred_bytes"`
	Offset      int64     `json:"offset,omitempty"`
	Mode        string    `json:"mode,omitempty"`     // octal
	Modified    *int64    `json:"mtime,omitempty"`    // of the last change as it was sent, seconds since 1970
	SHA256      string    `json:"sha256,omitempty"`   // of all that was transferred, if that is known
	Artifact    string    `json:"artifact,omitempty"` // see ArtifactPath
	Captured    int64     `json:"captured_bytes"`
	Complete    bool      `json:"complete"`
	Reason      string    `json:"reason,omitempty"` // one of our words
}

// Forward is a connection that the attacker was made to believe in (RFC 4254,
// section 7.2). It led nowhere, and what they sent into it is recorded.
type Forward struct {
	ID              int            `json:"id"`          // ours, counting from 0
	Kind            string         `json:"kind"`        // the channel's type
	Destination     Text           `json:"destination"` // name, address or path
	DestinationPort uint32         `json:"destination_port"`
	Originator      Text           `json:"originator"`
	OriginatorPort  uint32         `json:"originator_port"`
	Start           time.Time      `json:"start,omitzero"`
	End             *time.Time     `json:"end,omitempty"`
	EndReason       string         `json:"end_reason,omitempty"` // one of our words
	Recording       record.Summary `json:"recording,omitzero"`
}
