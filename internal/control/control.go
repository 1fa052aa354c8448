// Package control is how operators talk to the running service: HTTP with JSON over a
// unix socket, and a typed client for it. docs/control.md describes the interface.
//
// Whoever may open the socket is trusted with the service. Bounds keep a mistake of
// theirs from becoming an attacker's advantage: of connections, requests and answers,
// and of the time that a client may take. Nothing that an attacker does waits for a
// client here.
package control

import (
	"errors"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/retention"
)

// Errors that a Client returns and, the first two, that a Config's functions may.
var (
	// ErrNotFound means that there is no such live session or channel.
	ErrNotFound = errors.New("no such live session or channel")
	// ErrStopping means that the service is about to end.
	ErrStopping = errors.New("the service is stopping")
	// ErrUnreachable means that no service answers at the socket.
	ErrUnreachable = errors.New("the service does not answer")
)

// Status is what goes on in the service.
type Status struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Start    time.Time `json:"start"`
	Draining bool      `json:"draining"` // it is about to end
	// Connections counts those that have not logged in, too.
	Connections int       `json:"connections"`
	Sessions    int       `json:"sessions"`
	Channels    int       `json:"channels"`
	Admission   Admission `json:"admission"`
	Pool        Pool      `json:"pool"`
	Recording   Recording `json:"recording"`
	Events      Events    `json:"events"`
	// ReloadError is why the latest reload changed nothing, empty when it did.
	ReloadError string `json:"reload_error,omitempty"`
	Process     Usage  `json:"process"`
}

// Admission is who was served and who was not, since the service began.
type Admission struct {
	Startups int    `json:"startups"` // open connections that have not logged in
	Sources  int    `json:"sources"`  // with an open connection
	Admitted uint64 `json:"admitted"`
	// Refused counts by reason, which is one of package admission's.
	Refused   map[string]uint64 `json:"refused"`
	Forgotten uint64            `json:"forgotten"` // sources of which the memory had no room to remember anything
	Tarpit    int               `json:"tarpit"`    // connections that are held
}

// Stock is what there is of targets.
type Stock struct {
	Warm     int    `json:"warm"`
	Goal     int    `json:"goal"` // warm targets to have
	Leased   int    `json:"leased"`
	Stopping int    `json:"stopping"`
	Retained int    `json:"retained"`          // stopped containers
	Waiting  int    `json:"waiting"`           // sessions without a target
	Failure  string `json:"failure,omitempty"` // why the latest could not be made
}

// Pool is what the pool of targets holds: in all, containers of targets that are not
// configured any more included, and of each target.
type Pool struct {
	Stock
	Drained   bool     `json:"drained"` // none is made until a refill
	Unlimited bool     `json:"unlimited"`
	Targets   []Target `json:"targets"`
}

// Target is what there is of one target.
type Target struct {
	Name string `json:"name"`
	Stock
}

// Recording says how much room recordings have, in bytes.
type Recording struct {
	Free    int64 `json:"free_bytes"` // below 0 where it cannot be told
	MinFree int64 `json:"min_free_bytes"`
	Low     bool  `json:"low"` // no program starts
}

// Events counts those since the service began.
type Events struct {
	Written uint64 `json:"written"`
	Omitted uint64 `json:"omitted"`         // beyond the limits of a connection
	Lost    uint64 `json:"lost"`            // could not be written everywhere
	Error   string `json:"error,omitempty"` // why the latest was lost, empty when it was not
}

// Usage is what the service's process holds.
type Usage struct {
	Goroutines int   `json:"goroutines"`
	HeapBytes  int64 `json:"heap_bytes"`
	Resident   int64 `json:"resident_bytes"` // 0 where it cannot be told
	Files      int   `json:"open_files"`     // the same
}

// Session is a session that goes on.
type Session struct {
	ID            string            `json:"id"`
	Start         time.Time         `json:"start"`
	Source        evidence.Endpoint `json:"source"`
	User          evidence.Text     `json:"user"`
	Method        string            `json:"method"`
	Target        string            `json:"target,omitempty"`
	Container     string            `json:"container,omitempty"`
	Account       string            `json:"account,omitempty"`
	Channels      []Channel         `json:"channels"` // on which a program runs
	EndedChannels int               `json:"ended_channels"`
	EndedForwards int               `json:"ended_forwards"`
}

// Channel is a channel on which a program runs.
type Channel struct {
	ID       int           `json:"id"`
	Kind     string        `json:"kind"` // shell, exec or subsystem
	Command  evidence.Text `json:"command,omitempty"`
	Terminal evidence.Text `json:"terminal,omitempty"`
	Size     record.Size   `json:"size,omitzero"`
	Start    time.Time     `json:"start"`
}

// Reloaded is what a reload came to.
type Reloaded struct {
	Applied       []string `json:"applied"`        // settings that changed and count now
	RestartNeeded []string `json:"restart_needed"` // settings that changed and do not
	// Error is why nothing changed, empty when the configuration was read.
	Error string `json:"error,omitempty"`
}

// Collected is what the removal of old evidence came to.
type Collected struct {
	retention.Result
	// Error says what could not be removed, empty when all was.
	Error string `json:"error,omitempty"`
}

// Terminated is what the end of a session came to.
type Terminated struct {
	ID string `json:"id"`
	// Closed says that its evidence is complete. It may take longer than the answer
	// waits.
	Closed bool `json:"closed"`
}

// EventQuery says which events are wanted.
type EventQuery struct {
	Since   time.Time // the zero time for all
	Last    int       // only so many of the newest; below 0 for all
	Kind    string    // a pattern of path.Match; empty for all
	Session string    // an id or its beginning; empty for all
	Follow  bool
}

// Match reports whether a record is asked for. Since and Last are not looked at.
func (q EventQuery) Match(r *event.Record) bool {
	return matchKind(q.Kind, string(r.Kind)) && matchSession(q.Session, r.Session)
}
