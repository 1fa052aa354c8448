// Package testssh is a client for tests: one that sends what it likes before the
// encryption begins, and tells what the server answers.
package testssh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// quiet is how long a server says nothing before it counts as waiting.
const quiet = 1500 * time.Millisecond

// patience bounds a whole exchange.
const patience = 30 * time.Second

// Ask sends a probe to a server and returns its answer in words: what a client sees
// in the clear, message by message, then "closed", or "open" when the server waits
// for more.
func Ask(address string, p Probe) (string, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	line, end, err := sayHello(c, p.Send[0])
	if err != nil {
		return "", err
	}
	words := []string{}
	if line != "" {
		words = append(words, "ident")
	}
	for _, part := range p.Send[1:] {
		if _, err := io.WriteString(c, part); err != nil {
			break // what came before made the server close
		}
	}
	if end == "" {
		var answer string
		answer, end, err = listen(c)
		words = append(words, describe(answer)...)
	}
	return strings.Join(append(words, end), ", "), err
}

// sayHello sends an identification line, or what stands for it, and reads the
// server's. end is not empty when the connection is over.
func sayHello(c net.Conn, hello string) (line, end string, err error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", "", err
	}
	if _, err := io.WriteString(c, hello); err != nil {
		return "", "closed", nil
	}
	var b [1]byte
	for !strings.HasSuffix(line, "\n") {
		switch _, err := c.Read(b[:]); {
		case ended(err):
			return line, "closed", nil
		case err != nil:
			return line, "", err
		}
		line += string(b[:])
	}
	return line, "", nil
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// listen reads until the server closes or says no more.
func listen(c net.Conn) (answer, end string, err error) {
	buffer := make([]byte, 64<<10)
	for {
		if err := c.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return "", "", err
		}
		n, err := c.Read(buffer)
		answer += string(buffer[:n])
		switch {
		case ended(err):
			return answer, "closed", nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return answer, "open", nil
		case err != nil:
			return answer, "", err
		}
	}
}

// describe puts what a server sent after its identification line into words.
func describe(answer string) (words []string) {
	for len(answer) > 0 {
		payload, padding, rest, ok := cut(answer)
		if !ok {
			return append(words, fmt.Sprintf("%q", answer))
		}
		answer = rest
		words = append(words, name(payload)+oddity(payload, padding))
		if payload[0] == newKeys {
			if answer != "" {
				words = append(words, "encrypted")
			}
			return words
		}
	}
	return words
}

// cut takes a packet in the clear off (RFC 4253, section 6).
func cut(b string) (payload, padding []byte, rest string, ok bool) {
	if len(b) < 6 {
		return nil, nil, "", false
	}
	length := int(binary.BigEndian.Uint32([]byte(b)))
	pad := int(b[4])
	if length > len(b)-4 || pad+2 > length {
		return nil, nil, "", false
	}
	packet := []byte(b[5 : 4+length])
	return packet[:len(packet)-pad], packet[len(packet)-pad:], b[4+length:], true
}

// oddity names what OpenSSH would have framed otherwise.
func oddity(payload, padding []byte) string {
	want := 8 - (5+len(payload))%8
	if want < 4 {
		want += 8
	}
	if string(padding) != strings.Repeat("\x00", want) {
		return fmt.Sprintf(" with padding %x", padding)
	}
	return ""
}

func name(payload []byte) string {
	switch payload[0] {
	case disconnect:
		var m struct {
			Reason         uint32 `sshtype:"1"`
			Text, Language string
		}
		if ssh.Unmarshal(payload, &m) == nil && m.Language == "" {
			return fmt.Sprintf("DISCONNECT %d %q", m.Reason, m.Text)
		}
	case unimplemented:
		if len(payload) == 5 {
			return fmt.Sprintf("UNIMPLEMENTED %d", binary.BigEndian.Uint32(payload[1:]))
		}
	case kexInit:
		return "KEXINIT"
	case newKeys:
		return "NEWKEYS"
	case kexReply:
		return "KEX_REPLY"
	}
	return fmt.Sprintf("%d %q", payload[0], payload[1:])
}

// AskAll asks all probes, some at once, and returns the answers by name.
func AskAll(address string) (map[string]string, error) {
	const atOnce = 20
	var wg sync.WaitGroup
	var mu sync.Mutex // guards answers and errs
	answers := map[string]string{}
	var errs []error
	slots := make(chan struct{}, atOnce)
	for _, p := range Probes() {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			answer, err := Ask(address, p)
			mu.Lock()
			defer mu.Unlock()
			answers[p.Name] = answer
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.Name, err))
			}
		})
	}
	wg.Wait()
	return answers, errors.Join(errs...)
}

// Greeting is what a server sends to everybody who connects.
type Greeting struct {
	Line    string // its identification line, with the line's end
	KexInit []byte // payload of its KEXINIT without the cookie, which is random
	Padding int    // of that packet
}

// Greet returns a server's greeting.
func Greet(address string) (Greeting, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return Greeting{}, err
	}
	defer c.Close()
	line, _, err := sayHello(c, hello)
	if err != nil {
		return Greeting{}, err
	}
	answer := ""
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.Read(buffer)
		answer += string(buffer[:n])
		if payload, padding, _, ok := cut(answer); ok && payload[0] == kexInit && len(payload) > 17 {
			return Greeting{line, payload[17:], len(padding)}, nil
		}
		if err != nil {
			return Greeting{}, fmt.Errorf("read KEXINIT: %w", err)
		}
	}
}

// Lists are the ten name-lists of a KEXINIT; RFC 4253, section 7.1.
func (g Greeting) Lists() ([]string, error) {
	var m struct {
		A, B, C, D, E, F, G, H, I, J string
		First                        bool
		Reserved                     uint32
	}
	if err := ssh.Unmarshal(g.KexInit, &m); err != nil {
		return nil, fmt.Errorf("parse KEXINIT: %w", err)
	}
	return []string{m.A, m.B, m.C, m.D, m.E, m.F, m.G, m.H, m.I, m.J}, nil
}
