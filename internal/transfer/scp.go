package transfer

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
)

// scp follows the protocol that scp(1) speaks with -O, which is that of rcp: one
// side sends lines and the bodies of files, the other answers each with a zero byte,
// or with a complaint. What a line leads to depends on its answer, so what follows it
// is looked at when that is known.
type scp struct {
	w         *Watcher
	direction string

	waits   bool                // for the answer to what came last
	then    func(accepted bool) // what the answer leads to
	held    []byte              // what came meanwhile
	early   []run               // answers that came before what they are to
	total   int                 // of early
	presume int                 // answers to come that were presumed
	blaming bool                // within the text of a complaint

	line   []byte // that has not ended yet
	body   int64  // bytes of the file to come
	status bool   // the byte after a file is to come
	times  int64  // of the next file
	dirs   []string
	path   int // bytes of dirs
	file   *scpFile
}

// scpFile is the file that is on its way, or was the last.
type scpFile struct {
	File
	content *content
	arrival arrival
}

// run is a number of answers that are alike.
type run struct {
	accepted bool
	n        int
}

const (
	// maxLine bounds a line in bytes, as the buffer of OpenSSH's does.
	maxLine = 16 << 10
	// maxWait bounds what is held in bytes. What is more has been read by the other
	// side, which did not answer yet: it will not have complained.
	maxWait = 256 << 10
	// maxEarly and maxRuns bound answers that come before what they are to.
	maxEarly = 1 << 20
	maxRuns  = 1 << 10
)

// Why an scp file is not complete, as in File.Reason.
const (
	reasonSource = "the sending side reported an error"
	reasonSink   = "the receiving side reported an error"
)

var errLine = errors.New("not a line of scp's protocol")

func newSCP(w *Watcher, direction string) *scp {
	s := &scp{w: w, direction: direction, times: -1}
	s.ask(func(bool) {}) // the receiving side says that it is there
	return s
}

func (s *scp) input(p []byte) error {
	if s.direction == Upload {
		return s.data(p)
	}
	return s.answers(p)
}

func (s *scp) output(p []byte) error {
	if s.direction == Upload {
		return s.answers(p)
	}
	return s.data(p)
}

// end implements decoder.
func (s *scp) end(reason string) {
	if s.file != nil && s.body == 0 && !s.status {
		reason = s.file.Reason // all of it came
	}
	s.close(reason)
}

// ask waits for the answer to what just came.
func (s *scp) ask(then func(accepted bool)) {
	if len(s.early) > 0 {
		first := &s.early[0]
		accepted := first.accepted
		s.total--
		if first.n--; first.n == 0 {
			s.early = s.early[1:]
		}
		then(accepted)
		return
	}
	s.waits, s.then = true, then
}

// resolve goes on with the answer.
func (s *scp) resolve(accepted bool) {
	s.waits = false
	s.then(accepted)
}

// answers takes the receiving side's bytes.
func (s *scp) answers(p []byte) error {
	for _, b := range p {
		accepted := b == 0
		if s.blaming {
			if b != '\n' {
				continue
			}
			s.blaming = false
		} else if !accepted {
			s.blaming = true
			continue
		}
		if err := s.answered(accepted); err != nil {
			return err
		}
	}
	return nil
}

// answered takes one answer.
func (s *scp) answered(accepted bool) error {
	switch {
	case s.presume > 0:
		s.presume--
	case s.waits:
		s.resolve(accepted)
		held := s.held
		s.held = nil
		return s.data(held)
	default:
		if n := len(s.early); n == 0 || s.early[n-1].accepted != accepted {
			s.early = append(s.early, run{accepted: accepted})
		}
		s.early[len(s.early)-1].n++
		if s.total++; s.total > maxEarly || len(s.early) > maxRuns {
			return errTooMuch
		}
	}
	return nil
}

// data takes the sending side's bytes.
func (s *scp) data(p []byte) error {
	for len(p) > 0 {
		if s.waits {
			if len(s.held)+len(p) <= maxWait {
				s.held = append(s.held, p...)
				return nil
			}
			p = append(s.held, p...)
			s.held = nil
			s.presume++
			s.resolve(true)
			continue
		}
		n, err := s.next(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// next takes the beginning of p and returns how much that was.
func (s *scp) next(p []byte) (n int, err error) {
	if s.body > 0 {
		n = int(min(s.body, int64(len(p))))
		s.file.content.arrive(&s.file.arrival, p[:n])
		if s.body -= int64(n); s.body == 0 {
			s.status = true
		}
		return n, nil
	}
	if s.status && len(s.line) == 0 && p[0] == 0 {
		s.status = false
		s.sent("")
		return 1, nil
	}
	n = bytes.IndexByte(p, '\n') + 1
	part := p[:n]
	if n == 0 {
		part = p
	}
	if len(s.line)+len(part) > maxLine {
		return 0, errLine
	}
	s.line = append(s.line, part...)
	if n == 0 {
		return len(p), nil
	}
	line := string(s.line[:len(s.line)-1])
	s.line = nil
	return n, s.record(line)
}

// sent is the end of a file's body.
func (s *scp) sent(reason string) {
	s.file.Reason = reason
	s.ask(func(accepted bool) {
		if s.file != nil && !accepted {
			s.file.Reason = reasonSink
		}
		if s.file != nil {
			s.close(s.file.Reason)
		}
	})
}

// record takes a line. See sink() in OpenSSH's scp.c.
func (s *scp) record(line string) error {
	if line == "" {
		return errLine
	}
	if s.status && (line[0] == 1 || line[0] == 2) {
		s.status = false
		s.sent(reasonSource)
		return nil
	}
	if s.status {
		return errLine
	}
	switch line[0] {
	case 1, 2: // a complaint, which is not answered
		return nil
	case 'T':
		seconds, _, _ := strings.Cut(line[1:], " ")
		modified, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil {
			return errLine
		}
		s.times = modified
		s.ask(func(bool) {})
		return nil
	case 'E':
		if n := len(s.dirs); n > 0 {
			s.path -= len(s.dirs[n-1]) + 1
			s.dirs = s.dirs[:n-1]
		}
		s.ask(func(bool) {})
		return nil
	case 'C', 'D':
		return s.entry(line)
	}
	return errLine
}

// entry takes the line that announces a file or a directory.
func (s *scp) entry(line string) error {
	mode, size, name, ok := parseEntry(line[1:])
	if !ok {
		return errLine
	}
	times := s.times
	s.times = -1
	if s.path > maxName {
		return errTooMuch // no such path was accepted
	}
	path := clip(strings.Join(append(s.dirs[:len(s.dirs):len(s.dirs)], name), "/"))
	if line[0] == 'D' {
		s.ask(func(accepted bool) {
			s.w.operation(Operation{Operation: "directory", Path: path, Mode: mode, Size: -1, Accepted: accepted})
			if accepted {
				s.dirs = append(s.dirs, name)
				s.path += len(name) + 1
			}
		})
		return nil
	}
	f := File{Protocol: SCP, Direction: s.direction, Name: path, Size: size, Mode: mode, Modified: times}
	s.ask(func(accepted bool) {
		if !accepted {
			s.w.operation(Operation{Operation: "open", Path: path, Mode: mode, Size: size})
			return
		}
		s.open(f)
	})
	return nil
}

// open begins a file's body.
func (s *scp) open(f File) {
	s.close(reasonOrder) // one whose end was presumed
	s.file = &scpFile{File: f, content: &content{w: s.w, zero: true}}
	s.file.arrival = s.file.content.begin(0)
	s.body, s.status = f.Size, f.Size == 0
}

// close tells what became of the file that is on its way, if one is.
func (s *scp) close(reason string) {
	f := s.file
	if f == nil {
		return
	}
	s.file, s.body, s.status = nil, 0, false
	f.Time = time.Now().UTC()
	f.content.acknowledge(f.arrival, false)
	s.w.finish(f.File, f.content, reason)
}

// parseEntry takes apart what follows C or D: four octal digits, a size, a name.
func parseEntry(s string) (mode int, size int64, name string, ok bool) {
	digits, rest, ok := strings.Cut(s, " ")
	bits, err := strconv.ParseUint(digits, 8, 16)
	if !ok || err != nil || len(digits) != 4 {
		return 0, 0, "", false
	}
	number, name, ok := strings.Cut(rest, " ")
	size, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || size < 0 || name == "" || name == ".." || strings.Contains(name, "/") {
		return 0, 0, "", false
	}
	return int(bits), size, name, true
}
