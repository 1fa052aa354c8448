//go:build appliance

package appliance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Messages of RFC 4254.
const (
	msgGlobalRequest  = 80
	msgChannelOpen    = 90
	msgOpenConfirm    = 91
	msgOpenFailure    = 92
	msgWindowAdjust   = 93
	msgData           = 94
	msgExtendedData   = 95
	msgEOF            = 96
	msgClose          = 97
	msgChannelRequest = 98
	msgSuccess        = 99
	msgFailure        = 100
)

// frames is a client that writes down every message of its connection, in both
// directions: ">" is the client's, "<" the server's. Data that follows data is one
// line. Window adjusts, and requests that concern no channel, are left out.
type frames struct {
	t *testing.T
	w *wire

	mu      sync.Mutex // guards all below
	changed *sync.Cond
	lines   []string
	said    []string              // what came, one for each line about data
	data    map[int]*bytes.Buffer // output of a channel
	errors  map[int]*bytes.Buffer // and its standard error
	closed  map[int]bool          // channels that we have closed
	theirs  map[int]int           // their number for a channel
	window  map[int]int           // what we may still send
	frozen  bool                  // no more window for the server
	muted   bool                  // output that still comes is not written down
	over    bool
}

func newFrames(t *testing.T, w *wire) *frames {
	f := &frames{t: t, w: w, data: map[int]*bytes.Buffer{}, errors: map[int]*bytes.Buffer{}, closed: map[int]bool{}, theirs: map[int]int{}, window: map[int]int{}}
	f.changed = sync.NewCond(&f.mu)
	go f.read()
	return f
}

// read is the goroutine that ends with the connection.
func (f *frames) read() {
	for {
		p, err := f.w.receive()
		f.mu.Lock()
		if err != nil {
			f.note("< end of connection")
			f.over = true
			f.mu.Unlock()
			return
		}
		answer := f.handle(p)
		f.mu.Unlock()
		if answer != nil {
			_ = f.w.send(answer)
		}
	}
}

// note writes a line down. f.mu is held.
func (f *frames) note(line string) {
	f.lines = append(f.lines, line)
	f.changed.Broadcast()
}

// handle writes a message down and returns the answer that it needs, if any.
func (f *frames) handle(p []byte) []byte {
	switch p[0] {
	case msgDisconnect:
		text, _ := cutString(p[5:])
		f.note(fmt.Sprintf("< disconnect %d %q", binary.BigEndian.Uint32(p[1:]), text))
		return nil
	case msgIgnore, msgDebug, msgGlobalRequest:
		return nil
	}
	channel := int(binary.BigEndian.Uint32(p[1:]))
	rest := p[5:]
	switch p[0] {
	case msgOpenConfirm:
		f.theirs[channel] = int(binary.BigEndian.Uint32(rest))
		f.window[channel] += int(binary.BigEndian.Uint32(rest[4:]))
		f.note("< open confirmation")
	case msgOpenFailure:
		text, _ := cutString(rest[4:])
		f.note(fmt.Sprintf("< open failure %d %q", binary.BigEndian.Uint32(rest), text))
	case msgWindowAdjust:
		f.window[channel] += int(binary.BigEndian.Uint32(rest))
		f.changed.Broadcast()
	case msgData:
		return f.gotData(channel, f.data[channel], "< data", rest)
	case msgExtendedData:
		return f.gotData(channel, f.errors[channel], "< stderr", rest[4:])
	case msgEOF:
		f.note("< eof")
	case msgClose:
		f.note("< close")
		if !f.closed[channel] {
			f.closed[channel] = true
			return append([]byte{msgClose}, num(f.theirs[channel])...)
		}
	case msgChannelRequest:
		f.note("< " + requestLine(rest))
	case msgSuccess:
		f.note("< success")
	case msgFailure:
		f.note("< failure")
	default:
		f.note(fmt.Sprintf("< message %d", p[0]))
	}
	return nil
}

// gotData gives the server as much window again as its data took.
func (f *frames) gotData(channel int, to *bytes.Buffer, kind string, rest []byte) []byte {
	text, _ := cutString(rest)
	to.WriteString(text)
	if !f.muted {
		if len(f.lines) == 0 || f.lines[len(f.lines)-1] != kind {
			f.note(kind)
			f.said = append(f.said, "")
		}
		f.said[len(f.said)-1] += text
	}
	f.changed.Broadcast()
	if f.frozen || f.closed[channel] {
		return nil
	}
	return bytes.Join([][]byte{{msgWindowAdjust}, num(f.theirs[channel]), num(len(text))}, nil)
}

// requestLine is a request from its name on.
func requestLine(rest []byte) string {
	name, rest := cutString(rest)
	line := name
	if rest[0] != 0 {
		line += " wants a reply"
	}
	switch rest = rest[1:]; name {
	case "exit-status":
		line += fmt.Sprintf(" %d", binary.BigEndian.Uint32(rest))
	case "exit-signal":
		signal, rest := cutString(rest)
		message, more := cutString(rest[1:])
		language, _ := cutString(more)
		line += fmt.Sprintf(" %s core=%d %q %q", signal, rest[0], message, language)
	default:
		if len(rest) > 0 {
			line += fmt.Sprintf(" %q", rest)
		}
	}
	return line
}

func cutString(p []byte) (string, []byte) {
	n := binary.BigEndian.Uint32(p)
	return string(p[4 : 4+n]), p[4+n:]
}

// send writes a message and a line about it down.
func (f *frames) send(line string, parts ...[]byte) {
	f.t.Helper()
	f.mu.Lock()
	over := f.over
	if line != "" {
		f.note("> " + line)
	}
	f.mu.Unlock()
	if err := f.w.send(bytes.Join(parts, nil)); err != nil && !over {
		f.t.Log("send:", err) // the server may close at any moment, which the lines show
	}
}

// open opens a session channel.
func (f *frames) open(channel int) {
	f.t.Helper()
	f.openAs(channel, 2<<20)
	f.wait("< open ")
}

func (f *frames) openAs(channel, window int) {
	f.t.Helper()
	f.mu.Lock()
	f.data[channel], f.errors[channel], f.closed[channel] = &bytes.Buffer{}, &bytes.Buffer{}, false
	f.mu.Unlock()
	f.send("open", []byte{msgChannelOpen}, str("session"), num(channel), num(window), num(32<<10))
}

// request sends a request that wants a reply, and waits for it or for the end.
func (f *frames) request(channel int, name string, payload ...[]byte) {
	f.t.Helper()
	n := f.count("< success", "< failure")
	f.tell(channel, true, name, payload...)
	f.until(func() bool { return f.over || countIn(f.lines, "< success", "< failure") > n })
}

// tell sends a request and waits for nothing.
func (f *frames) tell(channel int, reply bool, name string, payload ...[]byte) {
	f.t.Helper()
	line, wants := name, []byte{0}
	if reply {
		line, wants = name+" wants a reply", []byte{1}
	}
	f.send(line, append([][]byte{{msgChannelRequest}, num(f.theirs[channel]), str(name), wants}, payload...)...)
}

func (f *frames) exec(channel int, command string) {
	f.t.Helper()
	f.request(channel, "exec", str(command))
}

func (f *frames) pty(channel int, term string) {
	f.t.Helper()
	f.request(channel, "pty-req", str(term), num(80), num(24), num(0), num(0), str(""))
}

// write sends data, as far as the window is open for it.
func (f *frames) write(channel int, text string) {
	f.t.Helper()
	for i := 0; len(text) > 0; i++ {
		n := min(len(text), 16<<10)
		f.until(func() bool { return f.over || f.window[channel] >= n })
		f.mu.Lock()
		f.window[channel] -= n
		f.mu.Unlock()
		line := "data"
		if i > 0 {
			line = ""
		}
		f.send(line, []byte{msgData}, num(f.theirs[channel]), str(text[:n]))
		text = text[n:]
	}
}

func (f *frames) eof(channel int) { f.send("eof", []byte{msgEOF}, num(f.theirs[channel])) }

func (f *frames) close(channel int) {
	f.mu.Lock()
	f.closed[channel] = true
	f.mu.Unlock()
	f.send("close", []byte{msgClose}, num(f.theirs[channel]))
}

// until waits for a condition.
func (f *frames) until(condition func() bool) {
	f.t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		late = true
		f.changed.Broadcast()
	})
	defer timer.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !condition() {
		if late {
			f.t.Errorf("nothing more comes after:\n%s", strings.Join(f.lines, "\n"))
			return
		}
		f.changed.Wait()
	}
}

func countIn(lines []string, prefixes ...string) int {
	n := 0
	for _, line := range lines {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			n++
		}
	}
	return n
}

func (f *frames) count(prefixes ...string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return countIn(f.lines, prefixes...)
}

// wait waits for a line that begins like this, after the last line of the client.
func (f *frames) wait(prefix string) {
	f.t.Helper()
	f.until(func() bool {
		for _, line := range slices.Backward(f.lines) {
			if strings.HasPrefix(line, prefix) {
				return true
			}
			if line[0] == '>' {
				break
			}
		}
		return f.over
	})
}

// says waits for output.
func (f *frames) says(channel int, text string) {
	f.t.Helper()
	f.until(func() bool { return f.over || strings.Contains(f.data[channel].String(), text) })
}

// output is what a channel has said.
func (f *frames) output(channel int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data[channel].String() + "\n== stderr\n" + f.errors[channel].String()
}

// lastLogin is in one greeting and not in the other.
var lastLogin = regexp.MustCompile(`Last login: [^\n]*\n`)

// leave ends the connection and returns the lines, with what the data was.
func (f *frames) leave() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.w.conn.Close()
	var lines []string
	for _, line := range f.lines {
		if line == "< data" || line == "< stderr" {
			text := lastLogin.ReplaceAllString(f.said[0], "")
			f.said = f.said[1:]
			if line += fmt.Sprintf(" %q", text); len(text) > 600 {
				line = fmt.Sprintf("%.20s...", line)
			}
		}
		lines = append(lines, line)
	}
	return lines
}
