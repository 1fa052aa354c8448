// Package testpodman is a Podman for tests: the part of the libpod API that
// SandTrap uses, on a unix socket, with containers in memory and programs that
// are Go functions. A test can stop it, start it again and answer in its place.
package testpodman

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Version is the API version that the service claims.
const Version = "5.4.2"

// Container is one container of the service.
type Container struct {
	ID, Name, Image string
	Labels          map[string]string
	Running         bool
	Created         time.Time
}

// Program runs in a container. It ends its input when the client does.
type Program func(p *Process) (status int)

// Process is a running Program.
type Process struct {
	Container string // id
	User      string
	Command   []string
	Env       []string
	TTY       bool
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
}

// Service is the fake. Its fields are set before Start.
type Service struct {
	Socket string
	// Images are the images that exist, by name, with their ids.
	Images map[string]string
	// ImageLabels are their labels, by name.
	ImageLabels map[string]map[string]string
	// Files are the contents of a path in every container.
	Files map[string]string
	// Run is what programs do; nil ends them at once with status 0.
	Run Program
	// Answer gets every request first, and reports whether it has answered.
	Answer func(w http.ResponseWriter, r *http.Request) bool

	mu         sync.Mutex // guards all below
	server     *http.Server
	served     chan struct{}
	containers map[string]*Container
	execs      map[string]*exec
	made       int
}

type exec struct {
	container string
	config    struct {
		User string
		Cmd  []string
		Env  []string
		Tty  bool
	}
	running bool
	status  int
	sizes   []string
}

// New returns a service with one image that answers from now until the test's
// end.
func New(t *testing.T) *Service {
	t.Helper()
	dir, err := os.MkdirTemp("", "pod") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{
		Socket: filepath.Join(dir, "podman.sock"), Images: map[string]string{"localhost/target:latest": strings.Repeat("a", 64)},
		ImageLabels: map[string]map[string]string{},
		Files:       map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/bash\n"},
		containers:  map[string]*Container{}, execs: map[string]*exec{},
	}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Start begins to answer.
func (s *Service) Start() error {
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	server, served := &http.Server{Handler: http.HandlerFunc(s.serve)}, make(chan struct{})
	s.server, s.served = server, served
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	return nil
}

// Stop breaks every connection, as a service that dies. Streams of programs
// belong to their containers and live on.
func (s *Service) Stop() {
	s.mu.Lock()
	server, served := s.server, s.served
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Close() // the listener may be gone already
		<-served
	}
}

// Containers are all containers, by id.
func (s *Service) Containers() map[string]Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Container{}
	for id, c := range s.containers {
		all[id] = *c
	}
	return all
}

// Sizes are the sizes that terminals were told, as "columns x rows".
func (s *Service) Sizes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, e := range s.execs {
		all = append(all, e.sizes...)
	}
	return all
}

// Execs is how many exec sessions the service knows.
func (s *Service) Execs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.execs)
}

// Fail answers as Podman does when something is wrong.
func Fail(w http.ResponseWriter, code int, cause string) {
	Reply(w, code, map[string]any{"cause": cause, "message": cause, "response": code})
}

// Reply answers with code and body as JSON, or without a body when it is nil.
func Reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Libpod-API-Version", Version)
	w.WriteHeader(code)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body)
	}
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	if s.Answer != nil && s.Answer(w, r) {
		return
	}
	_, path, ok := strings.Cut(r.URL.Path, "/libpod/")
	kind, rest, _ := strings.Cut(path, "/")
	switch {
	case !ok:
		Fail(w, http.StatusNotFound, "not a libpod path: "+r.URL.Path)
	case kind == "_ping" || kind == "version":
		Reply(w, http.StatusOK, map[string]any{"Version": Version, "ApiVersion": Version})
	case kind == "info":
		Reply(w, http.StatusOK, map[string]any{"host": map[string]any{"freeLocks": 2047 - len(s.Containers())}})
	case kind == "images":
		s.image(w, strings.TrimSuffix(rest, "/json"))
	case path == "containers/create":
		s.create(w, r)
	case path == "containers/json":
		s.list(w)
	case kind == "containers":
		id, verb, _ := strings.Cut(rest, "/")
		s.container(w, r, id, verb)
	case kind == "exec":
		id, verb, _ := strings.Cut(rest, "/")
		s.exec(w, r, id, verb)
	default:
		Fail(w, http.StatusNotFound, "unknown path "+r.URL.Path)
	}
}

func (s *Service) image(w http.ResponseWriter, name string) {
	id, ok := s.Images[name]
	if !ok {
		Fail(w, http.StatusNotFound, name+": image not known")
		return
	}
	Reply(w, http.StatusOK, map[string]any{"Id": id, "Labels": s.ImageLabels[name]})
}

// hasImage reports whether there is an image of a name or id.
func (s *Service) hasImage(name string) bool {
	if _, ok := s.Images[name]; ok {
		return true
	}
	for _, id := range s.Images {
		if id == name {
			return true
		}
	}
	return false
}

func (s *Service) create(w http.ResponseWriter, r *http.Request) {
	var spec struct {
		Name   string            `json:"name"`
		Image  string            `json:"image"`
		Labels map[string]string `json:"labels"`
	}
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		Fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if !s.hasImage(spec.Image) {
		Fail(w, http.StatusNotFound, spec.Image+": image not known")
		return
	}
	s.mu.Lock()
	s.made++
	id := fmt.Sprintf("%064x", s.made)
	s.containers[id] = &Container{ID: id, Name: spec.Name, Image: spec.Image, Labels: spec.Labels, Created: time.Now()}
	s.mu.Unlock()
	Reply(w, http.StatusCreated, map[string]any{"Id": id, "Warnings": []string{}})
}

func (s *Service) list(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []map[string]any{}
	for _, c := range s.containers {
		state := "exited"
		if c.Running {
			state = "running"
		}
		all = append(all, map[string]any{"Id": c.ID, "Names": []string{c.Name}, "Labels": c.Labels, "State": state, "Created": c.Created})
	}
	Reply(w, http.StatusOK, all)
}

func (s *Service) container(w http.ResponseWriter, r *http.Request, id, verb string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		Fail(w, http.StatusNotFound, "no container with ID "+id)
		return
	}
	switch verb {
	case "":
		delete(s.containers, id)
		Reply(w, http.StatusOK, []any{map[string]any{"Id": id}})
	case "start", "stop":
		c.Running = verb == "start"
		Reply(w, http.StatusNoContent, nil)
	case "rename":
		c.Name = r.URL.Query().Get("name")
		Reply(w, http.StatusNoContent, nil)
	case "json":
		data := map[string]any{"Id": id, "Name": c.Name, "State": map[string]any{"Running": c.Running, "CgroupPath": "/pods.service/" + id}}
		if r.URL.Query().Get("size") == "true" {
			data["SizeRw"] = 4096
		}
		Reply(w, http.StatusOK, data)
	case "archive":
		s.archive(w, r.URL.Query().Get("path"))
	case "exec":
		e := &exec{container: id}
		if err := json.NewDecoder(r.Body).Decode(&e.config); err != nil {
			Fail(w, http.StatusBadRequest, err.Error())
			return
		}
		s.made++
		name := fmt.Sprintf("exec%d", s.made)
		s.execs[name] = e
		Reply(w, http.StatusCreated, map[string]any{"Id": name})
	default:
		Fail(w, http.StatusNotFound, "unknown verb "+verb)
	}
}

func (s *Service) archive(w http.ResponseWriter, path string) {
	text, ok := s.Files[path]
	if !ok {
		Fail(w, http.StatusNotFound, "no such file "+path)
		return
	}
	w.Header().Set("X-Docker-Container-Path-Stat", "e30=") // {}
	w.WriteHeader(http.StatusOK)
	t := tar.NewWriter(w)
	_ = t.WriteHeader(&tar.Header{Name: filepath.Base(path), Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
	_, _ = io.WriteString(t, text)
	_ = t.Close()
}
