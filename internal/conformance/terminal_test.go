//go:build appliance

package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/creack/pty"
)

// step is how long the terminal waits for something to appear.
const step = 20 * time.Second

// terminal is the program "terminal FILE PROGRAM ARGUMENT...": it runs a program
// on a terminal of 100 columns and 30 rows and does what the lines of FILE say:
//
//	wait REGEXP       until it matches what was printed since the last match
//	type TEXT         and press return
//	key C             one control character: c is Ctrl-C
//	size COLUMNSxROWS of the terminal from now on
//
// At the end it waits for the program, prints what was on the terminal, and ends as
// the program did.
func terminal() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail("terminal", err)
	}
	c := exec.Command(os.Args[2], os.Args[3:]...)
	file, err := pty.StartWithSize(c, &pty.Winsize{Cols: 100, Rows: 30})
	if err != nil {
		fail("terminal", err)
	}
	s := &screen{file: file, output: make(chan []byte)}
	go s.read()
	if err = s.play(string(text)); err == nil {
		err = s.wait("")
	}
	if err != nil {
		_ = c.Process.Kill()
		_ = file.Close() // whoever else holds it
	}
	exit := c.Wait()
	fmt.Print(s.all.String())
	if err != nil {
		fail("terminal", err)
	}
	var status *exec.ExitError
	if errors.As(exit, &status) {
		os.Exit(status.ExitCode())
	}
}

// screen is a terminal as who sits before it sees it.
type screen struct {
	file   *os.File
	output chan []byte // closed when the program has left the terminal
	all    strings.Builder
	unseen string // what came since the last match
}

func (s *screen) read() {
	defer close(s.output)
	for {
		p := make([]byte, 4096)
		n, err := s.file.Read(p)
		s.output <- p[:n] // for ever where nobody waits any more
		if err != nil {
			return
		}
	}
}

func (s *screen) play(text string) error {
	for line := range strings.Lines(text) {
		verb, argument, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		if verb == "" || verb[0] == '#' {
			continue
		}
		if err := s.act(verb, argument); err != nil {
			return fmt.Errorf("%s %s: %w", verb, argument, err)
		}
	}
	return nil
}

func (s *screen) act(verb, argument string) error {
	switch verb {
	case "wait":
		return s.wait(argument)
	case "type":
		_, err := io.WriteString(s.file, argument+"\r")
		return err
	case "key":
		_, err := s.file.Write([]byte{argument[0] & 0x1f})
		return err
	case "size":
		columns, rows, _ := strings.Cut(argument, "x")
		x, err1 := strconv.ParseUint(columns, 10, 16)
		y, err2 := strconv.ParseUint(rows, 10, 16)
		return errors.Join(err1, err2, pty.Setsize(s.file, &pty.Winsize{Cols: uint16(x), Rows: uint16(y)}))
	}
	return errors.New("not a verb")
}

// wait waits for a match, or without a pattern for the end.
func (s *screen) wait(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	timeout := time.After(step)
	for {
		if at := re.FindStringIndex(s.unseen); at != nil && pattern != "" {
			s.unseen = s.unseen[at[1]:]
			return nil
		}
		select {
		case p, ok := <-s.output:
			if !ok && pattern == "" {
				return nil
			} else if !ok {
				return errors.New("the program has ended")
			}
			s.all.Write(p)
			s.unseen += string(p)
		case <-timeout:
			return fmt.Errorf("not within %s, only %q", step, s.unseen)
		}
	}
}
