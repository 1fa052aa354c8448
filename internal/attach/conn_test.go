package attach

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// TestDeafLeader: what a leader does not read is bounded, and holds nobody who
// does not want to wait.
func TestDeafLeader(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	block := make(chan struct{})
	s.mu.Lock()
	s.on = func(frame.Frame) error { <-block; return nil }
	s.mu.Unlock()
	defer close(block)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var err error
	for err == nil {
		err = l.send(ctx, frame.Frame{Type: frame.Data, Channel: 9, Payload: make([]byte, frame.MaxData)})
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("send = %v", err)
	}
	l.conn.mu.Lock()
	kept := len(l.conn.waiting)
	l.conn.mu.Unlock()
	if kept > maxWaiting {
		t.Errorf("%d bytes are kept", kept)
	}
	for range 2 * reserve / 8 { // none of these waits
		if err = l.conn.send(nil, frame.Frame{Type: frame.Close, Channel: 9}); err != nil {
			break
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
				payload := bytes.Repeat([]byte{byte(i)}, 1+i*100)
				if err := c.send(nil, frame.Frame{Type: frame.Data, Channel: uint16(n), Payload: payload}); err != nil {
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
		if !bytes.Equal(payload, bytes.Repeat([]byte{byte(i)}, 1+i*100)) {
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
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		for l.send(ctx, frame.Frame{Type: frame.Data, Channel: 9, Payload: make([]byte, frame.MaxData)}) == nil {
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

// TestDescriptorsAreNotTaken that a leader sends along.
func TestDescriptorsAreNotTaken(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	before := openFiles(t)
	f := data(1, "x")
	header, _ := f.Header()
	for range 10 {
		if _, _, err := s.link.WriteMsgUnix(append(header[:], f.Payload...), unix.UnixRights(0, 1, 2), nil); err != nil {
			t.Fatal(err)
		}
	}
	s.say(eof(1))
	var out collect
	if err := out.copy(c); err != nil || out.stdout.String() != strings.Repeat("x", 10) {
		t.Errorf("Copy = %v, %q", err, out.stdout.String())
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, before %d", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestEndIsSeenAtOnce, after what was said before it.
func TestEndIsSeenAtOnce(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	s.say(data(1, "last"))
	s.link.Close()
	<-l.Done()
	if !errors.Is(l.Err(), io.ErrUnexpectedEOF) && !errors.Is(l.Err(), syscall.ECONNRESET) {
		t.Errorf("Err = %v", l.Err())
	}
	var out collect
	if err := out.copy(c); err == nil || out.stdout.String() != "last" {
		t.Errorf("Copy = %v, %q", err, out.stdout.String())
	}
}
