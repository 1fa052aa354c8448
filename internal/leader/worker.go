package leader

import (
	"errors"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// maxChannels bounds the programs that run at once.
const maxChannels = 32

// The worker's descriptors.
const (
	link      = 3 // its stream
	loginGate = 4 // what the commands of the image wait for
)

// worker serves one link. It is one loop in one thread: loop.go has the loop, this
// file what the front end asks for. The bytes of programs do not pass it.
type worker struct {
	stream stream
	title  *title
	gate   int    // to close at the login, or -1
	decoys bool   // false in tests, where nobody would end them
	root   string // in tests what stands for "/", as far as the leader has files of its own

	in       *frame.Reader
	broken   error // why nothing can be sent any more
	login    *login
	captured bool // what goes with the target was told
	channels map[uint16]*channel
	order    []*channel // as they were opened
	orphans  []int      // programs that nobody listens to any more

	fds     []pollFd
	watched []*channel // whose programs fds has, from 1 on
}

// newWorker returns the worker of a container.
func newWorker(t *title) *worker {
	return &worker{title: t, gate: loginGate, decoys: true}
}

// process is the worker as a process, from the first frame after the Hello on, see
// doze. It returns an exit status.
func (w *worker) process() int {
	closeOnExec(link)
	limitFiles()
	nameThreads("sshd")
	w.title.set("sshd: [accepted]")
	if syscall.Chdir("/") != nil {
		return 1
	}
	w.serve(link)
	return 0
}

// nameThreads names the threads that the runtime has started already.
func nameThreads(name string) {
	setComm(name)
	for _, task := range numbers("/proc/self/task") {
		fd, err := syscall.Open("/proc/self/task/"+itoa(task)+"/comm", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
		if err == nil {
			_ = writeAll(fd, []byte(name))
			_ = syscall.Close(fd)
		}
	}
}

// serve serves a stream until it ends, and hangs up all programs.
func (w *worker) serve(s stream) {
	w.stream = s
	w.in = frame.AfterHello(s)
	w.channels = map[uint16]*channel{}
	_ = w.run()
	w.hangUp()
	closeAll(int(s), w.gate)
}

// send sends a frame. After an error the loop ends.
func (w *worker) send(t frame.Type, channel uint16, payload []byte) {
	if w.broken == nil {
		w.broken = w.stream.send(frame.Frame{Type: t, Channel: channel, Payload: payload})
	}
}

// handle handles one frame. It never waits for a program.
func (w *worker) handle(f frame.Frame) error {
	switch f.Type {
	case frame.Ping:
		w.send(frame.Pong, 0, nil)
		return nil
	case frame.Login:
		return w.logIn(f.Payload)
	case frame.Open:
		return w.open(f.Channel, f.Payload)
	case frame.Capture:
		return w.capture(f.Payload)
	}
	// The others may cross with the end of their channel.
	c := w.channels[f.Channel]
	if c == nil {
		return nil
	}
	switch f.Type {
	case frame.Signal:
		c.signal(string(f.Payload))
	case frame.Close:
		c.over = true
		delete(w.channels, f.Channel)
	default:
		return errors.Join(frame.ErrMalformed, errors.New("not for a leader"))
	}
	return nil
}
