// Package tarpit holds connections of clients that wait for an SSH server's
// identification line, and sends each a short line now and then: RFC 4253, section 4.2,
// lets a server send other lines before it. A connection costs a descriptor and some
// hundred bytes; one goroutine serves them all.
package tarpit

import (
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// Tarpit holds connections. It is safe for concurrent use.
type Tarpit struct {
	tick time.Duration

	mu      sync.Mutex // guards all below
	most    int
	wheel   [slots][]held
	now     int // the slot that was served last
	count   int
	running bool
	closed  bool
	stop    chan struct{} // closed by Close
	done    sync.WaitGroup
	total   Status
}

// slots is into how many parts an interval is divided, so that not all lines are sent
// at once.
const slots = 64

// held is a connection in the wheel.
type held struct {
	conn  *net.TCPConn
	since time.Time
	gone  func(time.Duration)
}

// Status is what a tarpit does and has done.
type Status struct {
	Held  int    // connections now
	Total uint64 // connections in all
	Lines uint64 // sent in all
}

// New returns a tarpit for at most so many connections, each of which gets a line in
// each interval.
func New(most int, interval time.Duration) *Tarpit {
	return &Tarpit{tick: max(interval/slots, time.Millisecond), most: most, stop: make(chan struct{})}
}

// SetMost changes how many connections are held from now on.
func (t *Tarpit) SetMost(most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most = most
}

// Hold takes a connection, and calls gone with how long it was held when its client has
// left. It takes none, and returns false, when it is full or closed, or the connection
// is not TCP.
func (t *Tarpit) Hold(c net.Conn, gone func(time.Duration)) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.count >= t.most {
		return false
	}
	// What a client sends is never read, and what it does not read is not much: neither
	// needs room in the kernel.
	_ = tcp.SetReadBuffer(smallest)
	_ = tcp.SetWriteBuffer(smallest)
	t.wheel[t.now] = append(t.wheel[t.now], held{tcp, time.Now(), gone})
	t.count++
	t.total.Total++
	if !t.running { // nobody is waited for as long as nobody is held
		t.running = true
		t.done.Go(t.run)
	}
	return true
}

// smallest asks for as little as the kernel gives; see SO_RCVBUF in socket(7).
const smallest = 1

// run turns the wheel until nobody is held any more.
func (t *Tarpit) run() {
	ticker := time.NewTicker(t.tick)
	defer ticker.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-ticker.C:
		}
		if !t.turn() {
			return
		}
	}
}

// turn serves the next slot, and reports whether there is more to do.
func (t *Tarpit) turn() bool {
	t.mu.Lock()
	t.now = (t.now + 1) % slots
	slot := t.wheel[t.now]
	t.wheel[t.now] = nil
	t.mu.Unlock()
	text := line()
	stay := slot[:0]
	var left []held
	for _, h := range slot {
		if send(h.conn, text) {
			stay = append(stay, h)
		} else {
			left = append(left, h)
		}
	}
	t.mu.Lock()
	if t.closed { // Close does not see those
		left, stay = append(left, stay...), slot[:0]
	}
	clear(slot[len(stay):])
	t.total.Lines += uint64(len(stay))
	t.count -= len(left)
	t.wheel[t.now] = append(stay, t.wheel[t.now]...) // behind are those that came meanwhile
	t.running = t.count > 0 && !t.closed
	more := t.running
	t.mu.Unlock()
	for _, h := range left {
		h.end()
	}
	return more
}

func (h held) end() {
	_ = h.conn.Close()
	h.gone(time.Since(h.since))
}

// longest is how long a line is at most, without its end.
const longest = 32

// line is a line that no client takes for an identification line.
func line() []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 3+rand.IntN(longest-2), longest+2)
	for i := range text {
		text[i] = letters[rand.IntN(len(letters))]
	}
	return append(text, '\r', '\n')
}

// send sends a line without waiting. A client for which there is no room in its
// socket's buffer has not read for hours, and counts as gone.
func send(c *net.TCPConn, text []byte) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	sent := false
	err = raw.Write(func(fd uintptr) bool {
		n, err := syscall.Write(int(fd), text)
		sent = err == nil && n == len(text)
		return true
	})
	return err == nil && sent
}

// Status returns what is held and has been done.
func (t *Tarpit) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.total
	s.Held = t.count
	return s
}

// Close ends all connections and takes no more.
func (t *Tarpit) Close() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	close(t.stop)
	var all []held
	for i := range t.wheel {
		all = append(all, t.wheel[i]...)
		t.wheel[i] = nil
	}
	t.count -= len(all)
	t.mu.Unlock()
	for _, h := range all {
		h.end()
	}
	t.done.Wait()
}
