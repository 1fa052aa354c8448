package escape

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// programName is what the test's own binary is called inside: then it makes
// attempts.
const programName = "attempts"

// factsVariable hands facts to the process of one attempt.
const factsVariable = "ESCAPE_FACTS"

// play is the program inside. It reads facts, one line of JSON, and then names of
// rows, and answers each with one line.
func play(args []string) {
	var err error
	switch {
	case len(args) == 1 && args[0] == "serve":
		err = serve()
	case len(args) == 1 && args[0] == "witness":
		err = witness()
	case len(args) == 1 && args[0] == "who":
		fmt.Print(who())
	case len(args) == 1 && args[0] == "nothing":
	case len(args) == 2 && args[0] == "one":
		err = one(args[1])
	default:
		err = fmt.Errorf("unknown arguments %q", args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve() error {
	in := bufio.NewScanner(os.Stdin)
	if !in.Scan() {
		return errors.New("no facts")
	}
	if err := os.Setenv(factsVariable, in.Text()); err != nil {
		return err
	}
	for in.Scan() {
		fmt.Println(strings.ReplaceAll(attempt(in.Text()), "\n", " "))
	}
	return in.Err()
}

// attempt runs a row in a process of its own.
func attempt(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "/proc/self/exe", "one", name)
	c.Args[0] = programName
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return "killed by " + unix.SignalName(status.Signal())
		}
		return strings.TrimSpace(exit.String() + " " + stderr.String())
	}
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// one makes an attempt. It stays on one thread, since most of what it may change is
// a thread's.
func one(name string) error {
	runtime.LockOSThread()
	var f facts
	if err := json.Unmarshal([]byte(os.Getenv(factsVariable)), &f); err != nil {
		return err
	}
	for _, g := range table {
		for _, r := range g.rows {
			if r.name == name {
				fmt.Print(r.try(f))
				return nil
			}
		}
	}
	return fmt.Errorf("no row %q", name)
}

// witness is the other session: it has what attempts look for, and says for every
// line how it is.
func witness() error {
	in := bufio.NewScanner(os.Stdin)
	if !in.Scan() {
		return errors.New("no facts")
	}
	var f facts
	if err := json.Unmarshal(in.Bytes(), &f); err != nil {
		return err
	}
	w := f.Witness
	for _, path := range []string{w.Canary, w.Shared} {
		if err := os.WriteFile(path, []byte(canaryText), 0o644); err != nil {
			return err
		}
	}
	p, err := newPossessions(w.Port, w.Key, w.Abstract, w.Queue)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for in.Scan() {
		file, _ := os.ReadFile(w.Canary)
		shared, _ := os.ReadFile(w.Shared)
		fmt.Printf("%s: %s, %s; %s\n", in.Text(), file, shared, p.state())
	}
	return in.Err()
}

const canaryText = "evidence"

// possessions are what somebody has that others could reach without a file.
type possessions struct {
	port     int
	visitors atomic.Int32
	segment  int
	memory   []byte
	queue    string
	all      []net.Listener
}

func newPossessions(port, key int, abstract, queue string) (*possessions, error) {
	p := &possessions{queue: queue}
	for _, l := range []struct{ network, address string }{{"tcp", fmt.Sprint("127.0.0.1:", port)}, {"unix", abstract}} {
		listener, err := net.Listen(l.network, l.address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
			p.port = tcp.Port
		}
		p.all = append(p.all, listener)
		go p.welcome(listener)
	}
	if six, err := net.Listen("tcp", fmt.Sprint("[::1]:", p.port)); err == nil { // where there is IPv6
		p.all = append(p.all, six)
		go p.welcome(six)
	}
	var err error
	if p.segment, err = unix.SysvShmGet(key, 4096, unix.IPC_CREAT|0o666); err != nil {
		return nil, err
	}
	if p.memory, err = unix.SysvShmAttach(p.segment, 0, 0); err != nil {
		return nil, err
	}
	copy(p.memory, canaryText)
	return p, makeQueue(queue)
}

func (p *possessions) welcome(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.visitors.Add(1)
		_ = c.Close()
	}
}

// state is one line that must stay as it is.
func (p *possessions) state() string {
	var d unix.SysvShmDesc
	_, err := unix.SysvShmCtl(p.segment, unix.IPC_STAT, &d)
	return fmt.Sprintf("%d visitors, segment %.8s with %d users, %s, queue %s", p.visitors.Load(), p.memory, d.Nattch, outcome(err), opensQueue(p.queue))
}

func (p *possessions) close() {
	for _, l := range p.all {
		_ = l.Close() // and its welcome ends
	}
	_ = unix.SysvShmDetach(p.memory)
	_, _ = unix.SysvShmCtl(p.segment, unix.IPC_RMID, nil)
	removeQueue(p.queue)
}
