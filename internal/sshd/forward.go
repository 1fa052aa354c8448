package sshd

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// Forwarding says which forwards are accepted. What is not accepted is refused as
// by an sshd whose configuration forbids it; what is accepted ends in a Sink, and
// nothing is ever dialled or listened on. The words are sshd_config(5)'s.
type Forwarding struct {
	TCPLocal, TCPRemote                 bool // AllowTcpForwarding
	StreamlocalLocal, StreamlocalRemote bool // AllowStreamLocalForwarding
	X11                                 bool // X11Forwarding
	Agent                               bool // AllowAgentForwarding
	Tunnel                              bool // PermitTunnel

	MaxChannels int           // forwards open at once on a connection
	MaxTime     time.Duration // of one in all
}

// The types of channels that forward something.
const (
	DirectTCPIP       = "direct-tcpip"                   // RFC 4254, section 7.2
	DirectStreamlocal = "direct-streamlocal@openssh.com" // OpenSSH's PROTOCOL, section 2.4
	Tun               = "tun@openssh.com"                // the same, section 2.3
)

// Forward is a connection that a client wants made from here. Its text is hostile.
type Forward struct {
	Number         int    // of the accepted ones in this connection, from 0
	Kind           string // DirectTCPIP, DirectStreamlocal or Tun
	Host           string // the address to connect to, or the path; empty for a Tun
	Port           uint32 // of the address, or the number of the tunnel
	Originator     string // where the client says that the connection comes from
	OriginatorPort uint32
	mode           uint32 // of a Tun
}

// Sink takes what a client sends into a forward that leads nowhere. Its methods
// may be called concurrently.
type Sink interface {
	// Write keeps p. Its error is why nothing more can be kept, in our words.
	io.Writer
	// Close ends the record of the forward. reason is for the record.
	Close(reason string)
}

// maxForwards bounds the accepted forwards of one connection over its life: each
// leaves a recording.
const maxForwards = 1000

// maxSinks bounds the open forwards of all connections: each takes a descriptor and
// some 30 KiB of memory.
const maxSinks = 4000

// maxHost is more than a name in the DNS has, in bytes; RFC 1035, section 2.3.4.
const maxHost = 253

// maxSocketPath is what fits into a struct sockaddr_un, in bytes; unix(7).
const maxSocketPath = 108

// openFailure is an SSH_MSG_CHANNEL_OPEN_FAILURE. reason is for the event.
type openFailure struct {
	code   ssh.RejectionReason
	answer string
	reason string
}

const openFailed = "open failed" // sshd's text where it has no better one

// The answers of sshd 9.2: serverloop.c, server_input_channel_open.
var (
	unknownType      = openFailure{ssh.ConnectionFailed, openFailed, "unknown channel type"}
	tooManySessions  = openFailure{ssh.ConnectionFailed, openFailed, "too many sessions"}
	tooManyForwards  = openFailure{ssh.ConnectionFailed, openFailed, "too many forwards"}
	forbiddenTCP     = openFailure{ssh.Prohibited, openFailed, "forwarding is not allowed"}
	forbidden        = openFailure{ssh.ConnectionFailed, openFailed, "forwarding is not allowed"}
	impossiblePort   = openFailure{ssh.Prohibited, openFailed, "impossible port"}
	impossibleName   = openFailure{ssh.ConnectionFailed, "Name or service not known", "impossible name"}
	portZero         = openFailure{ssh.ConnectionFailed, "Connection refused", "port 0"}
	impossiblePath   = openFailure{ssh.ConnectionFailed, openFailed, "impossible path"}
	impossibleTunnel = openFailure{ssh.ConnectionFailed, openFailed, "impossible tunnel"}
	notRecorded      = openFailure{ssh.ConnectionFailed, openFailed, "forward could not be recorded"}
)

// allows reports whether forwards of a kind are accepted.
func (f *Forwarding) allows(kind string) bool {
	switch kind {
	case DirectTCPIP:
		return f.TCPLocal
	case DirectStreamlocal:
		return f.StreamlocalLocal
	default:
		return f.Tunnel
	}
}

// judge says why a forward is refused, nil for one that is accepted. It refuses
// what no sshd could connect to, in the order in which sshd looks at it.
func (f *Forwarding) judge(w Forward) *openFailure {
	allowed := f.allows(w.Kind)
	switch {
	case w.Kind == DirectTCPIP && (w.Port > 0xffff || w.OriginatorPort > 0xffff):
		return &impossiblePort
	case w.Kind == DirectTCPIP && !allowed:
		return &forbiddenTCP
	case w.Kind == DirectTCPIP && !isHost(w.Host):
		return &impossibleName
	case w.Kind == DirectTCPIP && w.Port == 0:
		return &portZero
	case w.Kind == Tun && w.mode != tunPointToPoint && w.mode != tunEthernet:
		return &impossibleTunnel
	case !allowed:
		return &forbidden
	case w.Kind == DirectStreamlocal && (w.Host == "" || len(w.Host) > maxSocketPath || w.OriginatorPort > 0xffff):
		return &impossiblePath
	case w.Kind == Tun && w.Port > 1<<31-1:
		return &impossibleTunnel
	}
	return nil
}

// isHost reports whether s could be an address or a name.
func isHost(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxHost
}

// forward answers the opening of a forward and serves it.
func (cs *channels) forward(ctx context.Context, nc ssh.NewChannel) {
	w, ok := decodeForward(nc.ChannelType(), nc.ExtraData())
	if !ok { // sshpkt_fatal: no answer
		cs.deny(nc, nil, "malformed")
		return
	}
	policy := &cs.conn.server.cfg.Forwarding
	refused := policy.judge(w)
	if refused == nil {
		if w.Number, ok = cs.beginForward(); !ok {
			refused = &tooManyForwards
		}
	}
	if refused != nil {
		cs.reportForward(w, policy, refused)
		_ = nc.Reject(refused.code, refused.answer)
		return
	}
	cs.serving.Go(func() {
		defer cs.endForward()
		defer cs.conn.survive()
		cs.sink(ctx, nc, w)
	})
}

func (cs *channels) beginForward() (number int, ok bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	s := cs.conn.server
	if cs.forwards >= s.cfg.Forwarding.MaxChannels || cs.nextForward >= maxForwards {
		return 0, false
	}
	if s.sinks.Add(1) > maxSinks {
		s.sinks.Add(-1)
		return 0, false
	}
	cs.forwards++
	cs.nextForward++
	return cs.nextForward - 1, true
}

func (cs *channels) endForward() {
	cs.mu.Lock()
	cs.forwards--
	cs.mu.Unlock()
	cs.conn.server.sinks.Add(-1)
}

// sink accepts a forward and serves it.
func (cs *channels) sink(ctx context.Context, nc ssh.NewChannel, w Forward) {
	policy := &cs.conn.server.cfg.Forwarding
	sink, err := cs.session.Forward(ctx, w)
	if err != nil {
		cs.conn.failed("cannot record a forward", "forward", err)
		cs.reportForward(w, policy, &notRecorded)
		_ = nc.Reject(notRecorded.code, notRecorded.answer)
		return
	}
	cs.reportForward(w, policy, nil)
	ch, requests, err := nc.Accept()
	if err != nil {
		sink.Close(connectionGone)
		return
	}
	closed := cs.opened(ch)
	defer func() { closed(time.Now()) }()
	f := forward{conn: cs.conn, number: w.Number, ssh: ch, sink: sink, silence: cs.conn.server.cfg.silence(typeOfForward(w.Kind))}
	f.serve(ctx, requests)
}

// reportForward writes the event of a forward that a client asked for.
func (cs *channels) reportForward(w Forward, policy *Forwarding, refused *openFailure) {
	fields := []event.Field{
		event.F("forward_type", w.Kind), event.F("destination", head([]byte(w.Host))), event.F("destination_port", w.Port),
		event.F("originator", head([]byte(w.Originator))), event.F("originator_port", w.OriginatorPort),
		event.F("policy", policyWord(policy.allows(w.Kind))), event.F("accepted", refused == nil),
	}
	if refused != nil {
		if !cs.conn.mayChat() {
			return
		}
		fields = append(fields, event.F("reason", refused.reason))
	} else {
		fields = append(fields, event.F("forward", w.Number))
	}
	cs.conn.events.Emit(event.ForwardRequest, fields...)
}

// policyWord is what sandtrap.yaml(5) calls it.
func policyWord(allowed bool) string {
	if allowed {
		return "sink"
	}
	return "deny"
}

// forward is an accepted forward: the connection to a peer that never says a word.
type forward struct {
	conn   *connection
	number int
	ssh    ssh.Channel
	sink   Sink
	// silence is how long the client may send nothing, 0 for ever.
	silence time.Duration
}

// ClientClosed is why a forward ended that the client has closed, and no limit.
const ClientClosed = "client closed"

// Why else.
const (
	connectionGone = "connection closed"
	silent         = "silence"
	sinkTooLong    = "time limit"
)

// sinkBuffer is how much of a forward is taken at once, in bytes: what does not fit
// into the recording any more is lost.
const sinkBuffer = 4 << 10

// serve takes what the client sends until it ends or a limit is reached. The channel
// then ends as if the peer had closed its connection, and serve returns when the
// client has closed it too: as long it counts.
func (f *forward) serve(ctx context.Context, requests <-chan *ssh.Request) {
	var wg sync.WaitGroup
	defer wg.Wait()
	heard, ended := make(chan struct{}, 1), make(chan string, 1)
	f.goes(&wg, func() { f.read(heard, ended) })
	// Nobody sends standard error to a peer. The library would keep it.
	f.goes(&wg, func() { _, _ = io.Copy(io.Discard, f.ssh.Stderr()) })
	f.goes(&wg, func() {
		defer ssh.DiscardRequests(requests)
		f.requests(requests)
	})
	f.sink.Close(f.wait(ctx, heard, ended))
	_ = f.ssh.CloseWrite()
	f.ssh.Close()
}

func (f *forward) goes(wg *sync.WaitGroup, do func()) {
	wg.Go(func() {
		defer f.conn.survive()
		do()
	})
}

// wait returns why the forward is over.
func (f *forward) wait(ctx context.Context, heard <-chan struct{}, ended <-chan string) string {
	silence, whole := time.NewTimer(f.silence), time.NewTimer(f.conn.server.cfg.Forwarding.MaxTime)
	defer silence.Stop()
	defer whole.Stop()
	if f.silence <= 0 {
		silence.Stop()
		heard = nil
	}
	for {
		select {
		case <-heard:
			silence.Reset(f.silence)
		case reason := <-ended:
			return reason
		case <-silence.C:
			return silent
		case <-whole.C:
			return sinkTooLong
		case <-ctx.Done():
			return f.conn.why(connectionGone)
		}
	}
}

// read hands what comes to the sink, and throws away what comes after its end.
func (f *forward) read(heard chan<- struct{}, ended chan<- string) {
	buffer := make([]byte, sinkBuffer)
	open := true
	for {
		n, err := f.ssh.Read(buffer)
		if n > 0 && open {
			select {
			case heard <- struct{}{}:
			default:
			}
			if _, werr := f.sink.Write(buffer[:n]); werr != nil {
				open = false
				ended <- werr.Error()
			}
		}
		if err != nil {
			if open {
				ended <- f.conn.why(ClientClosed)
			}
			return
		}
	}
}

// requests refuses all requests, as sshd does on channels that are no sessions.
func (f *forward) requests(requests <-chan *ssh.Request) {
	for r := range requests {
		if r.Type == endOfWrite && len(r.Payload) > 0 {
			f.conn.drop("malformed request")
		}
		if f.conn.mayChat() {
			f.conn.events.Emit(event.ChannelRequest, event.F("forward", f.number), event.F("request", r.Type),
				event.F("accepted", r.Type == endOfWrite), event.F("payload", head(r.Payload)))
		}
		_ = r.Reply(false, nil)
	}
}
