package attach

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// TestDeafLeader: what a leader does not read is bounded, and holds nobody.
func TestDeafLeader(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	block := make(chan struct{})
	s.mu.Lock()
	s.on = func(frame.Frame) error { <-block; return nil }
	s.mu.Unlock()
	defer close(block)
	var err error
	for sent := 0; err == nil && sent < 10*maxWaiting; sent += 4096 {
		err = l.conn.send(frame.Frame{Type: frame.Signal, Channel: 9, Payload: make([]byte, 4096)})
		l.conn.mu.Lock()
		kept := len(l.conn.waiting)
		l.conn.mu.Unlock()
		if kept > maxWaiting {
			t.Fatalf("%d bytes are kept", kept)
		}
	}
	<-l.Done()
	if !errors.Is(err, errDeaf) || !errors.Is(l.Err(), errDeaf) {
		t.Errorf("send = %v, Err = %v", err, l.Err())
	}
}

// TestLateReader: what could not be written at once arrives whole and in order.
func TestLateReader(t *testing.T) {
	const senders, frames = 4, 100
	front, leader := socketPair(t)
	defer leader.Close()
	c, err := newConn(front)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close(errTest)
	var all sync.WaitGroup
	for n := range senders {
		all.Go(func() {
			for i := range frames {
				payload := bytes.Repeat([]byte{byte(i)}, 1+i*40)
				if err := c.send(frame.Frame{Type: frame.Signal, Channel: uint16(n), Payload: payload}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	header := make([]byte, 8)
	next := map[uint16]int{}
	for range senders * frames {
		if _, err := io.ReadFull(leader, header); err != nil {
			t.Fatal(err)
		}
		channel := uint16(header[2])<<8 | uint16(header[3])
		payload := make([]byte, int(header[6])<<8|int(header[7]))
		if _, err := io.ReadFull(leader, payload); err != nil {
			t.Fatal(err)
		}
		i := next[channel]
		next[channel]++
		if !bytes.Equal(payload, bytes.Repeat([]byte{byte(i)}, 1+i*40)) {
			t.Fatalf("frame %d of sender %d has other bytes", i, channel)
		}
	}
	all.Wait()
}

// TestSharedDescription: a target that has the front end's end too cannot make it
// wait in a system call.
func TestSharedDescription(t *testing.T) {
	s := newFake(t, nil)
	raw, err := s.front.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	theirs := -1
	_ = raw.Control(func(fd uintptr) { theirs, err = unix.Dup(int(fd)) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(theirs)
	l := s.connect()
	if err := unix.SetNonblock(theirs, false); err != nil {
		t.Fatal(err)
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	block := make(chan struct{})
	defer close(block)
	s.mu.Lock()
	s.on = func(frame.Frame) error { <-block; return nil }
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for l.conn.send(frame.Frame{Type: frame.Signal, Channel: 9, Payload: make([]byte, 4096)}) == nil {
		}
		_ = l.Close()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("the front end hangs")
		_ = unix.Shutdown(theirs, unix.SHUT_RDWR)
	}
}

// TestEndIsSeenAtOnce.
func TestEndIsSeenAtOnce(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	s.link.Close()
	<-l.Done()
	if !errors.Is(l.Err(), io.ErrUnexpectedEOF) && !errors.Is(l.Err(), syscall.ECONNRESET) {
		t.Errorf("Err = %v", l.Err())
	}
}
