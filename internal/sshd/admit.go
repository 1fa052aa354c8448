package sshd

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/event"
)

// accepted takes a new connection from accept(2). It does not wait.
func (s *Server) accepted(ctx context.Context, c net.Conn) {
	keepAlive(c)
	source, local := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if !s.cfg.Admission.Balancer(source.Addr()) {
		s.admit(ctx, c, event.Identity{Source: source, Local: local}, "")
		return
	}
	if !s.enter() {
		c.Close()
		return
	}
	go func() {
		defer s.finished.Done()
		s.fromBalancer(ctx, c, event.Identity{Source: source, Local: local})
	}()
}

// enter counts something that Shutdown waits for, unless that has begun.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.finished.Add(1)
	}
	return !s.closing
}

// admit serves a connection, or answers it as a loaded sshd does. balancer is whom it
// came from, when not from its source.
func (s *Server) admit(ctx context.Context, c net.Conn, id event.Identity, balancer string) {
	opened := time.Now()
	// The id's own time says in which day's directory its session is.
	id.Session = ulid.MustNew(ulid.Timestamp(opened), ulid.DefaultEntropy()).String()
	if !s.enter() {
		s.deny(c, id, serviceStops, admission.AnswerClose, balancer)
		return
	}
	pass, reason := s.cfg.Admission.Admit(id.Source.Addr(), opened)
	if reason != admission.Admitted {
		defer s.finished.Done()
		s.deny(c, id, string(reason), s.cfg.Admission.Answer(reason), balancer)
		return
	}
	conn := newConnection(s, c, id, opened, pass)
	conn.balancer = balancer
	s.mu.Lock()
	s.conns[conn] = struct{}{}
	s.mu.Unlock()
	go func() {
		defer s.finished.Done()
		defer s.forget(conn)
		defer conn.survive()
		conn.serve(ctx)
	}()
}

const serviceStops = "service stops"

// deny answers a connection that is not served.
func (s *Server) deny(c net.Conn, id event.Identity, reason string, answer admission.Answer, balancer string) {
	// Whoever came through a balancer is held by it, and so the balancer would be.
	held := answer == admission.AnswerTarpit && balancer == "" && s.cfg.Tarpit != nil
	if answer == admission.AnswerTarpit && !held {
		answer = admission.AnswerTold
	}
	fields := []event.Field{event.F("reason", reason), event.F("answer", string(answer))}
	if balancer != "" {
		fields = append(fields, event.F("balancer", balancer))
	}
	if held {
		since := time.Now()
		told := make(chan struct{})
		defer close(told)
		if s.cfg.Tarpit.Hold(c, func(time.Duration) {
			<-told
			s.cfg.Events.Bind(id).Emit(event.ConnectionEnd, event.F("duration_ms", time.Since(since).Milliseconds()), event.F("reason", "left the tarpit"))
		}) {
			s.denials.emit(id, fields)
			return
		}
		fields[1] = event.F("answer", string(admission.AnswerTold))
		answer = admission.AnswerTold
	}
	s.denials.emit(id, fields)
	if answer == admission.AnswerTold && s.refusal != "" {
		// The socket's buffer is empty: this waits for nobody.
		_, _ = c.Write([]byte(s.refusal))
	}
	c.Close()
}

// refusalBy is what an sshd of a version sends in place of its identification line to
// whom it does not serve; see drop_connection in OpenSSH's sshd.c.
func refusalBy(version string) string {
	rest, ok := strings.CutPrefix(version, "OpenSSH_")
	if !ok {
		return ""
	}
	majorText, rest, _ := strings.Cut(rest, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err := strconv.Atoi(majorText)
	minor, minorErr := strconv.Atoi(rest[:end])
	switch {
	case err != nil || minorErr != nil || major < 8 || major == 8 && minor < 2:
		return ""
	case major > 9 || major == 9 && minor >= 8:
		return "Not allowed at this time\r\n"
	}
	return "Exceeded MaxStartups\r\n"
}

// denials tells of connections that were refused. Of the whole flood of a minute it
// tells as much as a connection may cause, and counts the rest: evidence must not be
// pushed out by who is not even let in.
type denials struct {
	events *event.Emitter
	limits event.Limits

	mu      sync.Mutex     // guards all below
	current *event.Emitter // of this minute, nil when nobody was refused in it
	timer   *time.Timer
}

// denialsFor is for how long denials are counted together.
const denialsFor = time.Minute

func (d *denials) emit(id event.Identity, fields []event.Field) {
	d.mu.Lock()
	if d.current == nil {
		d.current = d.events.Limit(d.limits)
		d.timer = time.AfterFunc(denialsFor, d.settle)
	}
	current := d.current
	d.mu.Unlock()
	current.As(id).Emit(event.ConnectionDeny, fields...)
}

// settle tells how many were left out.
func (d *denials) settle() {
	d.mu.Lock()
	current := d.current
	if d.current = nil; current != nil {
		d.timer.Stop()
	}
	d.mu.Unlock()
	if current != nil {
		current.Settle()
	}
}
