//go:build appliance

package appliance

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// fakeLeader is the name under which this binary plays a session leader in a
// container: a simple one that runs commands, and lies to whoever logs in under
// the name of a lie.
const fakeLeader = "fake-leader"

// lies are what it does in place of an answer, by login name and moment.
var lies = map[string]lie{
	"hang-at-login":     {frame.Login, func(*liar, frame.Frame) {}},
	"hang-at-start":     {frame.Open, func(*liar, frame.Frame) {}},
	"die-at-login":      {frame.Login, func(*liar, frame.Frame) { os.Exit(1) }},
	"die-at-start":      {frame.Open, func(*liar, frame.Frame) { os.Exit(1) }},
	"garbage":           {frame.Open, func(l *liar, _ frame.Frame) { l.raw(bytes.Repeat([]byte("garbage\x00\xff"), 1000)) }},
	"endless-garbage":   {frame.Open, func(l *liar, _ frame.Frame) { l.flood([]byte{0xff, 0, 0, 0, 0, 0, 0, 0}) }},
	"endless-length":    {frame.Open, func(l *liar, _ frame.Frame) { l.flood([]byte{byte(frame.Data), 0, 0, 1, 0xff, 0xff, 0xff, 0xff}) }},
	"short-frame":       {frame.Open, func(l *liar, f frame.Frame) { l.raw([]byte{byte(frame.Data), 0, 0, byte(f.Channel), 0, 0, 1, 0, 'x'}) }},
	"wrong-direction":   {frame.Open, func(l *liar, f frame.Frame) { l.say(frame.Open, f.Channel, nil) }},
	"strange-channel":   {frame.Open, func(l *liar, _ frame.Frame) { l.say(frame.Data, 4242, []byte("data")) }},
	"strange-exit":      {frame.Open, func(l *liar, _ frame.Frame) { l.say(frame.Exit, 4242, (&frame.ExitMessage{}).Encode()) }},
	"open-twice":        {frame.Open, func(l *liar, f frame.Frame) { l.say(frame.Opened, f.Channel, nil); l.say(frame.Opened, f.Channel, nil) }},
	"data-before-open":  {frame.Open, func(l *liar, f frame.Frame) { l.say(frame.Data, f.Channel, []byte("early")) }},
	"data-after-end":    {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.ended(f); l.say(frame.Data, f.Channel, []byte("late")) }},
	"exit-twice":        {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.exit(f); l.exit(f) }},
	"false-exit":        {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.say(frame.Exit, f.Channel, []byte("?")) }},
	"no-window":         {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.pour(f) }},
	"pongs":             {frame.Open, func(l *liar, _ frame.Frame) { l.say(frame.Pong, 0, nil) }},
	"second-account":    {frame.Open, func(l *liar, _ frame.Frame) { l.account("root", "/root") }},
	"false-account":     {frame.Login, func(l *liar, _ frame.Frame) { l.say(frame.Account, 0, []byte{0xff, 0xff, 0xff, 0xff}) }},
	"relative-home":     {frame.Login, func(l *liar, _ frame.Frame) { l.account("root", "root") }},
	"account-of-lines":  {frame.Login, func(l *liar, _ frame.Frame) { l.account("root\nroot:x:0", "/root") }},
	"account-too-long":  {frame.Login, func(l *liar, _ frame.Frame) { l.account(strings.Repeat("r", 3000), "/root") }},
	"open-before-login": {frame.Login, func(l *liar, _ frame.Frame) { l.say(frame.Opened, 1, nil) }},
}

// lie is told in place of an answer to a frame.
type lie struct {
	at   frame.Type
	tell func(l *liar, f frame.Frame)
}

// tooLate are lies after the command has ended, whose client may have got all that
// it wanted.
var tooLate = []string{"data-after-end", "exit-twice"}

// liar is the leader of one container.
type liar struct {
	link *os.File
	lie  lie // of whoever has logged in

	turn     sync.Mutex // of whoever sends
	mu       sync.Mutex // guards programs
	programs map[uint16]io.WriteCloser
}

// playLeader never returns. Arguments say what is wrong before anybody logs in.
func playLeader(args []string) {
	l := &liar{link: offer(), programs: map[uint16]io.WriteCloser{}}
	switch strings.Join(args, " ") {
	case "": // all is well so far
	case "hang":
		time.Sleep(time.Hour)
	case "garbage":
		l.flood([]byte("garbage\n"))
	case "silent":
		_, _ = io.Copy(io.Discard, l.link)
	}
	hello := frame.HelloMessage{Version: frame.Version}
	l.say(frame.Hello, 0, hello.Encode())
	_ = frame.FromFront(l.link).Serve(l.handle)
	os.Exit(1)
}

// offer makes a stream and lays the front end's end where it is looked for.
func offer() *os.File {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Dup3(pair[1], frame.Descriptor, syscall.O_CLOEXEC)
	}
	if err != nil {
		os.Exit(1)
	}
	_ = syscall.Close(pair[1])
	return os.NewFile(uintptr(pair[0]), "link")
}

// send sends what the protocol may not allow.
func (l *liar) send(f frame.Frame) error {
	header, err := f.Header()
	if err != nil {
		return err
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	_, err = l.link.Write(append(header[:], f.Payload...))
	return err
}

func (l *liar) handle(f frame.Frame) error {
	if f.Type == frame.Login {
		var m frame.LoginMessage
		if err := m.Decode(f.Payload); err != nil {
			return err
		}
		l.lie = lies[m.User]
	}
	if l.lie.tell != nil && l.lie.at == f.Type {
		go l.lie.tell(l, frame.Frame{Type: f.Type, Channel: f.Channel}) // it may take for ever
		return nil
	}
	switch f.Type {
	case frame.Ping:
		l.say(frame.Pong, 0, nil)
	case frame.Login:
		l.account("root", "/root")
	case frame.Open:
		var m frame.OpenMessage
		if err := m.Decode(f.Payload); err != nil {
			return err
		}
		return l.start(f.Channel, m)
	case frame.Data, frame.EOF, frame.Close:
		l.mu.Lock()
		stdin := l.programs[f.Channel]
		l.mu.Unlock()
		if stdin != nil && f.Type == frame.Data {
			_, _ = stdin.Write(f.Payload)
		} else if stdin != nil {
			_ = stdin.Close()
		}
	}
	return nil
}

// start runs a program that says little.
func (l *liar) start(channel uint16, m frame.OpenMessage) error {
	c := &exec.Cmd{Path: m.Path, Args: m.Argv, Env: m.Env, Dir: m.Dir}
	c.Stdout, c.Stderr = sayer{l, frame.Data, channel}, sayer{l, frame.Stderr, channel}
	stdin, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		l.say(frame.Failed, channel, []byte(err.Error()))
		return nil
	}
	l.mu.Lock()
	l.programs[channel] = stdin
	l.mu.Unlock()
	l.say(frame.Opened, channel, nil)
	go func() {
		_ = c.Wait()
		m := frame.ExitMessage{Status: uint32(c.ProcessState.ExitCode())}
		l.say(frame.EOF, channel, nil)
		l.say(frame.Exit, channel, m.Encode())
	}()
	return nil
}

type sayer struct {
	liar    *liar
	as      frame.Type
	channel uint16
}

func (s sayer) Write(p []byte) (int, error) {
	return len(p), s.liar.send(frame.Frame{Type: s.as, Channel: s.channel, Payload: p})
}

func (l *liar) say(as frame.Type, channel uint16, payload []byte) {
	_ = l.send(frame.Frame{Type: as, Channel: channel, Payload: payload}) // it may be over
}

func (l *liar) account(name, home string) {
	m := frame.AccountMessage{Name: name, Home: home, Shell: "/bin/bash"}
	l.say(frame.Account, 0, m.Encode())
}

func (l *liar) opened(f frame.Frame) { l.say(frame.Opened, f.Channel, nil) }

func (l *liar) exit(f frame.Frame) {
	l.say(frame.Exit, f.Channel, (&frame.ExitMessage{}).Encode())
}

func (l *liar) ended(f frame.Frame) {
	l.say(frame.EOF, f.Channel, nil)
	l.exit(f)
}

// pour sends data without being allowed to.
func (l *liar) pour(f frame.Frame) {
	chunk := make([]byte, frame.MaxData)
	for l.send(frame.Frame{Type: frame.Data, Channel: f.Channel, Payload: chunk}) == nil {
	}
}

// raw writes past the link.
func (l *liar) raw(b []byte) { _, _ = l.link.Write(b) }

func (l *liar) flood(b []byte) {
	chunk := bytes.Repeat(b, 4096)
	for {
		if _, err := l.link.Write(chunk); err != nil {
			os.Exit(1)
		}
	}
}
