package attach

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestNoMoreOutput: a program whose standard output nobody wants is told by its pipe,
// and its standard error goes on.
func TestNoMoreOutput(t *testing.T) {
	s := newFake(t, nil)
	c := s.start(s.connect())
	p := s.program(1)
	done := make(chan error, 1)
	var out collect
	go func() { done <- out.copy(c) }()
	if err := errors.Join(c.CloseRead(), c.CloseRead()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := p.out.WriteString("x"); errors.Is(err, syscall.EPIPE) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the pipe was not closed")
		}
	}
	if _, err := p.err.WriteString("aside"); err != nil {
		t.Error(err)
	}
	p.err.Close()
	if err := <-done; err != nil || out.stderr.String() != "aside" {
		t.Errorf("Copy = %v, with %q on standard error", err, out.stderr.String())
	}
	_ = c.Close()
}
