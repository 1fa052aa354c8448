package session

import (
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/transfer"
)

// artifacts is where the content of files goes.
type artifacts struct{ store *evidence.Store }

// Temp implements transfer.Store.
func (a artifacts) Temp() (transfer.Temp, error) {
	artifact, err := a.store.NewArtifact()
	if err != nil {
		return nil, err
	}
	return artifact, nil
}

// transfers are the files of one channel. It implements transfer.Reporter.
type transfers struct {
	session  *Session
	channel  int
	recorder *record.Recorder

	mu      sync.Mutex // guards all below
	list    []evidence.Transfer
	omitted int
	kept    []string // artifacts
}

// watch begins to watch a program that transfers files. It returns nil for others,
// and where a terminal changes the bytes.
func (s *Session) watch(p sshd.Program, report transfer.Reporter) *transfer.Watcher {
	kind := transfer.None
	switch {
	case p.PTY:
	case p.Kind == sshd.Subsystem:
		kind = transfer.OfSubsystem(p.Command)
	case p.Kind == sshd.Exec:
		kind = transfer.OfCommand(p.Command)
	}
	return transfer.Watch(kind, s.captures, report)
}

// File implements transfer.Reporter.
func (t *transfers) File(f transfer.File) {
	fields := []event.Field{
		event.F("channel", t.channel), event.F("protocol", f.Protocol), event.F("direction", f.Direction), event.F("path", f.Name),
		event.F("size_bytes", f.Size), event.F("transferred_bytes", f.Transferred), event.F("captured_bytes", f.Captured),
		event.F("complete", f.Complete),
	}
	optional := func(name, value string) {
		if value != "" {
			fields = append(fields, event.F(name, value))
		}
	}
	optional("mode", octal(f.Mode))
	optional("sha256", f.SHA256)
	optional("artifact", f.Artifact)
	optional("reason", f.Reason)
	if f.Offset > 0 {
		fields = append(fields, event.F("offset", f.Offset))
	}
	t.session.events.Emit(event.TransferFile, fields...)
	t.mark("file: " + f.Direction + " " + record.Brief(f.Name))
	fits := t.session.fitsTransfer(f)
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.Artifact != "" {
		t.kept = append(t.kept, f.Artifact)
	}
	if !fits {
		t.omitted++
		return
	}
	t.list = append(t.list, describeTransfer(f))
}

// maxBeside bounds the files of other channels that one terminal's recording names.
const maxBeside = 100

// mark marks a file in the recording of its channel, and in those of the terminals that
// are open beside it: who watches one of them sees where a file came from.
func (t *transfers) mark(text string) {
	_ = t.recorder.Marker(text) // End and the next chunk meet its error again, here and below
	for _, r := range t.session.terminals() {
		switch n := r.beside.Add(1); {
		case n <= maxBeside:
			_ = r.recorder.Marker(text)
		case n == maxBeside+1:
			_ = r.recorder.Marker("file: there are more, which the recordings of their channels name")
		}
	}
}

// terminals are the programs that run at one.
func (s *Session) terminals() (all []*running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.programs {
		if r.program.PTY {
			all = append(all, r)
		}
	}
	return all
}

// octal is a mode as chmod(1) takes it, or nothing.
func octal(mode int) string {
	if mode < 0 {
		return ""
	}
	return fmt.Sprintf("%04o", mode)
}

func describeTransfer(f transfer.File) evidence.Transfer {
	e := evidence.Transfer{
		Time: f.Time, Protocol: f.Protocol, Direction: f.Direction, Name: evidence.Text(f.Name), Size: f.Size, Transferred: f.Transferred,
		Offset: f.Offset, Mode: octal(f.Mode), SHA256: f.SHA256, Artifact: f.Artifact, Captured: f.Captured, Complete: f.Complete, Reason: f.Reason,
	}
	if f.Modified >= 0 {
		e.Modified = &f.Modified
	}
	return e
}

// fitsTransfer reports whether the record has room for a file's name, and takes it.
func (s *Session) fitsTransfer(f transfer.File) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names+len(f.Name) > maxTransferText {
		return false
	}
	s.names += len(f.Name)
	return true
}

// Operation implements transfer.Reporter.
func (t *transfers) Operation(o transfer.Operation) {
	fields := []event.Field{event.F("channel", t.channel), event.F("protocol", o.Protocol), event.F("operation", o.Operation),
		event.F("path", o.Path), event.F("accepted", o.Accepted)}
	if o.NewPath != "" {
		fields = append(fields, event.F("new_path", o.NewPath))
	}
	if o.Mode >= 0 {
		fields = append(fields, event.F("mode", octal(o.Mode)))
	}
	if o.Size >= 0 {
		fields = append(fields, event.F("size_bytes", o.Size))
	}
	t.session.events.Emit(event.TransferChange, fields...)
}

// Gap implements transfer.Reporter.
func (t *transfers) Gap(protocol, reason string) {
	t.session.events.Emit(event.TransferGap, event.F("channel", t.channel), event.F("protocol", protocol), event.F("reason", reason))
}

// Panic implements transfer.Reporter.
func (t *transfers) Panic(value any) {
	s := t.session
	s.service.Log.Error("decoding transfers panicked", "session", s.login.ID, "channel", t.channel, "panic", fmt.Sprint(value), "stack", hclog.Stacktrace())
}

// sync brings the artifacts to the disk.
func (t *transfers) sync() {
	t.mu.Lock()
	kept := t.kept
	t.kept = nil
	t.mu.Unlock()
	s := t.session
	for _, sha256 := range kept {
		if err := s.service.Store.SyncArtifact(sha256); err != nil {
			s.service.Log.Warn("cannot bring an artifact to the disk", "session", s.login.ID, "artifact", sha256, "error", err)
		}
	}
}
