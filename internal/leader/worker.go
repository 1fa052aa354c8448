package leader

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// maxChannels bounds the programs that run at once.
const maxChannels = 32

// How long a worker waits for a new stream, and how often it looks for one.
const (
	resumeFor  = 60 * time.Second
	lookPeriod = 20 * time.Millisecond
)

// worker serves one link. The goroutine that serves the stream handles frames: it
// starts programs, writes what they read, and never waits. The loop, which starts
// with the login, does what may have to wait: it sends their output and tells of
// their ends.
type worker struct {
	link     *frame.Link
	title    *title
	commands []string // to start after the login
	decoys   bool     // false in tests, where nobody would end them
	root     string   // in tests what stands for "/", as far as the leader has files of its own
	bridge   string   // path of the socket of a bridge
	patience time.Duration

	loop    sync.WaitGroup
	buffer  []byte     // the loop's, as is present
	present []*channel // a copy of order

	mu       sync.Mutex // guards all below
	login    *login     // nil before the login
	channels map[uint16]*channel
	order    []*channel // as they were opened
	orphans  []int      // programs that nobody listens to any more
	waker    [2]int     // a pipe that interrupts the loop
	woken    bool
	dying    bool
}

// newWorker returns the worker of a container.
func newWorker(t *title) *worker {
	return &worker{title: t, commands: workerCommands(), decoys: true, bridge: socketPath, patience: resumeFor}
}

// process is the worker as a process: the link is on standard input and output.
// It returns an exit status.
func (w *worker) process() int {
	const in, out = 3, 4
	if syscall.Dup3(1, out, syscall.O_CLOEXEC) != nil || syscall.Dup3(0, in, syscall.O_CLOEXEC) != nil || nullStdio() != nil {
		return 1
	}
	closeOnExec(out + 1)
	limitFiles()
	nameThreads("sshd")
	w.title.set("sshd: [accepted]")
	s, err := newStream(in, out)
	if err != nil || syscall.Chdir("/") != nil {
		return 1
	}
	w.serve(s)
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

// serve serves the link over s and what replaces it, until there is no hope, and
// ends all programs.
func (w *worker) serve(s *stream) {
	w.link = frame.NewLink()
	w.channels = map[uint16]*channel{}
	w.waker = [2]int{-1, -1}
	for s != nil {
		err := w.link.RunLeader(s, w.handle)
		_ = s.Close()
		s.free()
		if s = nil; w.link.Err() == nil && !errors.Is(err, frame.ErrMalformed) {
			s = w.replace()
		}
	}
	_ = w.link.Close(nil)
	w.mu.Lock()
	w.dying = true
	w.wake()
	w.mu.Unlock()
	w.loop.Wait()
	closeAll(w.waker[:]...)
}

// replace looks for a bridge. It is the bridge that listens: it is root, and the
// worker need not be.
func (w *worker) replace() *stream {
	for end := time.Now().Add(w.patience); time.Now().Before(end); time.Sleep(lookPeriod) {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: w.bridge}); err != nil {
			_ = syscall.Close(fd)
			continue
		}
		if s, err := newStream(fd, fd); err == nil {
			return s
		}
	}
	return nil
}

// handle handles one frame. It never waits.
func (w *worker) handle(f frame.Frame) error {
	switch f.Type {
	case frame.Ping:
		return w.link.Send(frame.Frame{Type: frame.Pong})
	case frame.Login:
		return w.logIn(f.Payload)
	case frame.Open:
		return w.open(f.Channel, f.Payload)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// The others may cross with the end of their channel.
	c := w.channels[f.Channel]
	if c == nil {
		return nil
	}
	switch f.Type {
	case frame.Data:
		return w.input(c, f.Payload)
	case frame.EOF:
		c.inputEnded = true
		w.feed(c)
	case frame.Window:
		n, err := frame.DecodeWindow(f.Payload)
		if err != nil {
			return err
		}
		if c.window == 0 {
			w.wake()
		}
		c.window = int(min(int64(c.window)+int64(n), 1<<30))
	case frame.Resize:
		var size frame.Size
		if err := size.Decode(f.Payload); err != nil {
			return err
		}
		c.resize(size)
	case frame.Signal:
		c.signal(string(f.Payload))
	case frame.Close:
		c.closing = true
		delete(w.channels, f.Channel)
		w.wake()
	default:
		return errors.Join(frame.ErrMalformed, errors.New("not for a leader"))
	}
	return nil
}

// wake interrupts the loop. w.mu is held.
func (w *worker) wake() {
	if !w.woken && w.waker[1] >= 0 {
		w.woken = true
		_, _ = syscall.Write(w.waker[1], []byte{0})
	}
}

// begin starts the loop. With it there are two goroutines that mostly block in
// system calls, so one processor would be held by the one while the other waits
// for it. Before that, the second would only cost memory. w.mu is held.
func (w *worker) begin() error {
	r, wr, err := pipe()
	if err != nil {
		return err
	}
	w.waker = [2]int{r, wr}
	w.buffer = make([]byte, frame.MaxData)
	runtime.GOMAXPROCS(2)
	w.loop.Go(w.run)
	return nil
}
