package leader

import (
	"errors"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// maxChannels bounds the programs that run at once.
const maxChannels = 32

// greetFor is how long a worker waits for a front end.
const greetFor = 60 * time.Second

// worker serves one link. It is one loop in one thread: loop.go has the loop, this
// file what the front end asks for. The bytes of programs do not pass it.
type worker struct {
	stream   stream
	title    *title
	commands []string // to start after the login
	decoys   bool     // false in tests, where nobody would end them
	root     string   // in tests what stands for "/", as far as the leader has files of its own
	patience time.Duration

	in       *frame.Reader
	greeted  bool  // the front end has said hello
	waiting  int   // process 1 waits for the end of this pipe until then; -1 afterwards
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
	return &worker{title: t, commands: workerCommands(), decoys: true, patience: greetFor}
}

// process is the worker as a process: the link is standard input, and standard
// output a pipe that process 1 waits for. It returns an exit status.
func (w *worker) process() int {
	const link, waiting = 3, 4
	if syscall.Dup3(1, waiting, syscall.O_CLOEXEC) != nil || syscall.Dup3(0, link, syscall.O_CLOEXEC) != nil || nullStdio() != nil {
		return 1
	}
	closeOnExec(waiting + 1)
	limitFiles()
	nameThreads("sshd")
	w.title.set("sshd: [accepted]")
	if syscall.Chdir("/") != nil {
		return 1
	}
	w.waiting = waiting
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

// serve serves the link until it ends, and hangs up all programs.
func (w *worker) serve(link int) {
	w.stream = stream(link)
	w.in = frame.FromFront(w.stream)
	w.channels = map[uint16]*channel{}
	_ = w.run()
	w.hangUp()
	closeAll(w.waiting, link)
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
	case frame.Hello:
		return w.greet()
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

// greet answers the front end's hello and lets process 1 go on.
func (w *worker) greet() error {
	defer rehearse(w.root)
	w.greeted = true
	closeAll(w.waiting)
	w.waiting = -1
	m := frame.HelloMessage{Version: frame.Version}
	w.send(frame.Hello, 0, m.Encode())
	return nil
}
