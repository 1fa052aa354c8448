//go:build appliance

package appliance

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
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
	"endless-length":    {frame.Open, func(l *liar, _ frame.Frame) { l.flood([]byte{byte(frame.Exit), 0, 0, 1, 0xff, 0xff, 0xff, 0xff}) }},
	"endless-exits":     {frame.Open, func(l *liar, _ frame.Frame) { l.flood([]byte{byte(frame.Failed), 0, 0, 1, 0, 0, 0, 0}) }},
	"short-frame":       {frame.Open, func(l *liar, f frame.Frame) { l.raw([]byte{byte(frame.Exit), 0, 0, byte(f.Channel), 0, 0, 1, 0, 'x'}) }},
	"wrong-direction":   {frame.Open, func(l *liar, f frame.Frame) { l.say(frame.Open, f.Channel, nil) }},
	"strange-channel":   {frame.Open, func(l *liar, _ frame.Frame) { l.say(frame.Opened, 4242, nil) }},
	"strange-exit":      {frame.Open, func(l *liar, _ frame.Frame) { l.say(frame.Exit, 4242, (&frame.ExitMessage{}).Encode()) }},
	"exit-before-open":  {frame.Open, func(l *liar, f frame.Frame) { l.exit(f) }},
	"open-twice":        {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.opened(f) }},
	"no-descriptors":    {frame.Open, func(l *liar, f frame.Frame) { l.say(frame.Opened, f.Channel, nil) }},
	"odd-descriptors":   {frame.Open, func(l *liar, f frame.Frame) { l.openedWith(f, 0, 0, 0) }},
	"own-link":          {frame.Open, func(l *liar, f frame.Frame) { n := int(l.link.Fd()); l.openedWith(f, n, n, n) }},
	"many-descriptors":  {frame.Open, func(l *liar, f frame.Frame) { l.openedWith(f, make([]int, 200)...) }},
	"stray-descriptors": {frame.Open, func(l *liar, f frame.Frame) { l.stray(f) }},
	"blocking-streams":  {frame.Open, func(l *liar, f frame.Frame) { l.block(f) }},
	"exit-twice":        {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.exit(f); l.exit(f) }},
	"failed-after-exit": {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.exit(f); l.say(frame.Failed, f.Channel, nil) }},
	"false-exit":        {frame.Open, func(l *liar, f frame.Frame) { l.opened(f); l.say(frame.Exit, f.Channel, []byte("?")) }},
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
var tooLate = []string{"exit-twice", "failed-after-exit", "stray-descriptors"}

// liar is the leader of one container.
type liar struct {
	link *os.File
	lie  lie // of whoever has logged in

	turn  sync.Mutex  // of whoever sends
	stays atomic.Bool // when the link has ended
}

// playLeader never returns. Arguments say what is wrong before anybody logs in.
func playLeader(args []string) {
	l := &liar{link: offer()}
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
	if l.stays.Load() {
		time.Sleep(time.Hour)
	}
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
func (l *liar) send(f frame.Frame, fds ...int) error {
	header, err := f.Header()
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	return syscall.Sendmsg(int(l.link.Fd()), append(header[:], f.Payload...), rights, nil, 0)
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
	}
	return nil
}

// start runs a program.
func (l *liar) start(channel uint16, m frame.OpenMessage) error {
	c := &exec.Cmd{Path: m.Path, Args: m.Argv, Env: m.Env, Dir: m.Dir}
	theirs, ours := pipes()
	c.Stdin, c.Stdout, c.Stderr = theirs[0], theirs[1], theirs[2]
	err := c.Start()
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		l.say(frame.Failed, channel, []byte(err.Error()))
		return nil
	}
	l.openedWith(frame.Frame{Channel: channel}, descriptors(ours)...)
	for _, f := range ours {
		f.Close()
	}
	go func() {
		_ = c.Wait()
		m := frame.ExitMessage{Status: uint32(c.ProcessState.ExitCode())}
		l.say(frame.Exit, channel, m.Encode())
	}()
	return nil
}

// pipes are a program's standard input, output and error, and their other ends.
func pipes() (theirs, ours [3]*os.File) {
	for i := range theirs {
		r, w, err := os.Pipe()
		if err != nil {
			os.Exit(1)
		}
		if theirs[i], ours[i] = w, r; i == 0 {
			theirs[i], ours[i] = r, w
		}
	}
	return theirs, ours
}

func descriptors(files [3]*os.File) []int {
	return []int{int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd())}
}

func (l *liar) say(as frame.Type, channel uint16, payload []byte) {
	_ = l.send(frame.Frame{Type: as, Channel: channel, Payload: payload}) // it may be over
}

func (l *liar) openedWith(f frame.Frame, fds ...int) {
	_ = l.send(frame.Frame{Type: frame.Opened, Channel: f.Channel}, fds...)
}

func (l *liar) account(name, home string) {
	m := frame.AccountMessage{Name: name, Home: home, Shell: "/bin/bash"}
	l.say(frame.Account, 0, m.Encode())
}

// opened says that a program runs which says nothing and has ended.
func (l *liar) opened(f frame.Frame) {
	theirs, ours := pipes()
	for _, f := range theirs {
		f.Close()
	}
	l.openedWith(f, descriptors(ours)...)
}

func (l *liar) exit(f frame.Frame) {
	l.say(frame.Exit, f.Channel, (&frame.ExitMessage{}).Encode())
}

// stray sends descriptors that belong to nothing.
func (l *liar) stray(f frame.Frame) {
	l.opened(f)
	for range 3 {
		_ = l.send(frame.Frame{Type: frame.Exit, Channel: f.Channel, Payload: (&frame.ExitMessage{}).Encode()}, 0, 1, 2)
	}
}

// block makes reads and writes of the front end wait in the kernel, and hangs up
// without ending.
func (l *liar) block(f frame.Frame) {
	_, ours := pipes() // whose other ends stay open
	l.openedWith(f, descriptors(ours)...)
	for range 100 {
		for _, fd := range descriptors(ours) {
			_ = syscall.SetNonblock(fd, false)
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.stays.Store(true)
	_ = syscall.Shutdown(int(l.link.Fd()), syscall.SHUT_RDWR)
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
