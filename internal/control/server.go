package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/record"
)

// Bounds of a server.
const (
	maxConnections = 64
	maxStreams     = 16   // of recordings and events at once
	maxHeader      = 8192 // bytes of a request's header
	requestTimeout = 10 * time.Second
	answerTimeout  = 60 * time.Second
	idleTimeout    = 30 * time.Second
	// stallTimeout is how long a stream's reader may take nothing.
	stallTimeout = 30 * time.Second
	// endTimeout is how long an answer waits for the end of a session. Its target is
	// stopped by then, or never.
	endTimeout = 45 * time.Second
	// closeTimeout is how long requests may go on when the service ends.
	closeTimeout = 2 * time.Second
)

// Config is what a Server answers with. Its functions are called from several
// goroutines at once.
type Config struct {
	Status   func() Status
	Counts   func() event.Counts
	Sessions func() []Session
	// Terminate ends a session and waits for its evidence, or for the context.
	Terminate func(ctx context.Context, id string) error
	// Recording is what a channel's recording is followed by; only Dir, Name and Over
	// are set.
	Recording func(id string, channel int) (record.Following, error)
	Reload    func(context.Context) (Reloaded, error)
	// Collect removes evidence beyond its bounds.
	Collect  func(context.Context) Collected
	Drain    func() // the pool
	Refill   func() // the same
	EventDir string
	Events   *event.Emitter // for what operators do
	Log      hclog.Logger
}

// Server answers operators.
type Server struct {
	cfg     Config
	http    http.Server
	stop    context.CancelFunc // ends streams
	streams chan struct{}
	done    chan struct{}
}

// Listen makes the socket, with mode 0660 and the group of the process. One that a
// crash left is replaced; one at which somebody answers is not.
func Listen(socket string) (*net.UnixListener, error) {
	if c, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("make control socket %s: another service answers there", socket)
	}
	if st, err := os.Lstat(socket); err == nil && st.Mode().Type() == os.ModeSocket {
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("remove old control socket: %w", err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	if err := os.Chmod(socket, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return l, nil
}

// Serve answers on a socket until Close. It does not wait.
func Serve(l *net.UnixListener, cfg Config) *Server {
	streams, stop := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, stop: stop, streams: make(chan struct{}, maxStreams), done: make(chan struct{})}
	s.http = http.Server{
		Handler: http.MaxBytesHandler(s.routes(), 0), MaxHeaderBytes: maxHeader,
		ReadTimeout: requestTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		ErrorLog:    cfg.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext: func(net.Listener) context.Context { return streams },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			peer, err := c.(*conn).peer()
			if err != nil {
				cfg.Log.Warn("cannot tell who is at the control socket", "error", err)
			}
			return context.WithValue(ctx, peerKey{}, peer)
		},
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(newListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("control socket failed", "error", err)
		}
	}()
	return s
}

// Close ends all requests and removes the socket.
func (s *Server) Close() {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // they had their time
	}
	<-s.done
}

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.cfg.Status()) })
	m.HandleFunc("GET /v1/pool", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.cfg.Status().Pool) })
	m.HandleFunc("GET /v1/sessions", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.cfg.Sessions()) })
	m.HandleFunc("GET /v1/metrics", s.metrics)
	m.HandleFunc("GET /v1/events", s.stream(s.events))
	m.HandleFunc("GET /v1/sessions/{id}/channels/{channel}/recording", s.stream(s.recording))
	m.HandleFunc("POST /v1/sessions/{id}/terminate", s.terminate)
	m.HandleFunc("POST /v1/reload", s.reload)
	m.HandleFunc("POST /v1/gc", s.stream(s.collect))
	m.HandleFunc("POST /v1/pool/drain", s.pool("drain", s.cfg.Drain))
	m.HandleFunc("POST /v1/pool/refill", s.pool("refill", s.cfg.Refill))
	return m
}

// problem is the JSON of an answer that is none.
type problem struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, value any) { answerWith(w, http.StatusOK, value) }

func answerWith(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(value) // the client has gone
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrStopping), errors.Is(err, errStreams):
		status = http.StatusServiceUnavailable
	case errors.Is(err, errRequest):
		status = http.StatusBadRequest
	}
	answerWith(w, status, problem{err.Error()})
}

// errRequest means that a request makes no sense.
var errRequest = errors.New("request is not understood")

// acted writes down what an operator did, in the log and as an event.
func (s *Server) acted(r *http.Request, action string, more ...event.Field) {
	peer := peerOf(r.Context())
	fields := append([]event.Field{event.F("action", action), event.F("operator_uid", peer.UID), event.F("operator_pid", int(peer.PID))}, more...)
	s.cfg.Events.Emit(event.ControlAct, fields...)
	args := []any{"action", action, "operator", peer.String()}
	for _, f := range more {
		args = append(args, f.Name, f.Value)
	}
	s.cfg.Log.Info("an operator acts", args...)
}

func (s *Server) terminate(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	live := false
	for _, one := range s.cfg.Sessions() {
		live = live || one.ID == id
	}
	if !live { // what is not ours does not go into the log
		refuse(w, fmt.Errorf("terminate session: %w", ErrNotFound))
		return
	}
	s.acted(r, "terminate", event.F("terminated_session", id))
	ctx, cancel := context.WithTimeout(r.Context(), endTimeout)
	defer cancel()
	err := s.cfg.Terminate(ctx, id)
	if err != nil && !errors.Is(err, ctx.Err()) && !errors.Is(err, ErrNotFound) { // it has just ended
		refuse(w, err)
		return
	}
	answer(w, Terminated{ID: id, Closed: ctx.Err() == nil})
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	s.acted(r, "reload")
	ctx, cancel := context.WithTimeout(r.Context(), endTimeout)
	defer cancel()
	result, err := s.cfg.Reload(ctx)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, result)
}

// collect may take long, so that the answer begins before it is known.
func (s *Server) collect(ctx context.Context, f *flow, r *http.Request) error {
	s.acted(r, "gc")
	if err := f.begin("application/json"); err != nil {
		return err
	}
	b, err := json.Marshal(s.cfg.Collect(ctx))
	if err != nil {
		return err
	}
	return f.write(b)
}

func (s *Server) pool(action string, act func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.acted(r, action)
		act()
		answer(w, s.cfg.Status().Pool)
	}
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(AppendMetrics(nil, s.cfg.Status(), s.cfg.Counts())) // the client has gone
}

// channelNumber reads a number of a channel.
func channelNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %q is no channel", errRequest, text)
	}
	return n, nil
}
