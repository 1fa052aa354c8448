package testpodman

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
)

func (s *Service) exec(w http.ResponseWriter, r *http.Request, id, verb string) {
	s.mu.Lock()
	e := s.execs[id]
	s.mu.Unlock()
	if e == nil {
		Fail(w, http.StatusNotFound, "no exec session "+id)
		return
	}
	if verb == "start" {
		s.run(w, r, e)
		return
	}
	var body struct{ Force bool }
	if verb == "remove" {
		_ = json.NewDecoder(r.Body).Decode(&body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch verb {
	case "json":
		Reply(w, http.StatusOK, map[string]any{"ID": id, "Running": e.running, "ExitCode": e.status, "ContainerID": e.container})
	case "resize":
		e.sizes = append(e.sizes, r.URL.Query().Get("w")+" x "+r.URL.Query().Get("h"))
		Reply(w, http.StatusCreated, nil)
	case "remove":
		if e.running && !body.Force {
			Fail(w, http.StatusConflict, "exec session is running")
			return
		}
		delete(s.execs, id)
		Reply(w, http.StatusOK, nil)
	default:
		Fail(w, http.StatusNotFound, "unknown verb "+verb)
	}
}

// run upgrades the connection and runs the program on it.
func (s *Service) run(w http.ResponseWriter, r *http.Request, e *exec) {
	var body struct{ W, H int }
	_ = json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	e.running = true
	if body.W > 0 {
		e.sizes = append(e.sizes, fmt.Sprintf("%d x %d", body.W, body.H))
	}
	s.mu.Unlock()
	p := &Process{Container: e.container, User: e.config.User, Command: e.config.Cmd, Env: e.config.Env, TTY: e.config.Tty}
	s.stream(w, p, func(p *Process) int {
		status := 0
		if s.Run != nil {
			status = s.Run(p)
		}
		s.mu.Lock()
		e.running, e.status = false, status
		s.mu.Unlock()
		return status
	})
}

// stream upgrades the connection and gives it to a program.
func (s *Service) stream(w http.ResponseWriter, p *Process, program Program) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		Fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	p.Stdin, p.Stdout, p.Stderr = buffered.Reader, io.Writer(conn), io.Writer(conn)
	if !p.TTY {
		var mu sync.Mutex
		p.Stdout, p.Stderr = &frames{&mu, conn, 1}, &frames{&mu, conn, 2}
	}
	if program != nil {
		program(p)
	}
}

// frames writes the multiplexed stream of a program without a terminal.
type frames struct {
	mu     *sync.Mutex
	w      io.Writer
	stream byte
}

func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	head := binary.BigEndian.AppendUint32([]byte{f.stream, 0, 0, 0}, uint32(len(p)))
	if _, err := f.w.Write(append(head, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}
