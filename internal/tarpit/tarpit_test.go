package tarpit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The environment of a process that plays the clients of BenchmarkHeld.
const (
	clientsOf   = "TARPIT_CLIENTS_OF"
	clientCount = "TARPIT_CLIENTS"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(clientsOf); address != "" {
		connect(address)
	}
	goleak.VerifyTestMain(m)
}

// connect opens connections and keeps them until standard input ends.
func connect(address string) {
	n, _ := strconv.Atoi(os.Getenv(clientCount))
	open := make([]net.Conn, n)
	for i := range open {
		var err error
		if open[i], err = net.Dial("tcp", address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(open)
	os.Exit(0)
}

const patience = 20 * time.Second

// pair is both ends of a TCP connection.
func pair(t testing.TB, l net.Listener) (server, client net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server, client
}

func listener(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLinesUntilTheClientLeaves(t *testing.T) {
	l := listener(t)
	pit := New(10, 64*time.Millisecond)
	defer pit.Close()
	gone := make(chan time.Duration, 2)
	server, client := pair(t, l)
	if !pit.Hold(server, func(d time.Duration) { gone <- d }) {
		t.Fatal("not held")
	}
	_ = client.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(client, "SSH-2.0-x\r\n") // which nobody reads
	r := bufio.NewReader(client)
	seen := map[string]bool{}
	for range 5 {
		text, err := r.ReadString('\n')
		if err != nil || !strings.HasSuffix(text, "\r\n") || len(text) < 5 || len(text) > longest+2 || strings.HasPrefix(text, "SSH-") {
			t.Fatalf("%q, %v", text, err)
		}
		seen[text] = true
	}
	if len(seen) != 5 {
		t.Errorf("the same line again: %v", seen)
	}
	client.Close()
	select {
	case d := <-gone:
		if d <= 0 {
			t.Errorf("held for %s", d)
		}
	case <-time.After(patience):
		t.Fatal("still held")
	}
	if s := pit.Status(); s.Held != 0 || s.Total != 1 || s.Lines < 5 {
		t.Errorf("%+v", s)
	}
	server, client = pair(t, l) // after the goroutine has ended
	if !pit.Hold(server, func(d time.Duration) { gone <- d }) {
		t.Fatal("not held")
	}
	_ = client.SetDeadline(time.Now().Add(patience))
	if _, err := bufio.NewReader(client).ReadString('\n'); err != nil {
		t.Error(err)
	}
}

// A client that reads nothing is dropped when its socket's buffers are full, and nobody
// waits for it meanwhile.
func TestClientThatDoesNotRead(t *testing.T) {
	l := listener(t)
	pit := New(10, 64*time.Millisecond)
	defer pit.Close()
	server, client := pair(t, l)
	_ = client.(*net.TCPConn).SetReadBuffer(1)
	full := make([]byte, 1<<20)
	_ = server.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = server.Write(full)
	gone := make(chan struct{})
	pit.Hold(server, func(time.Duration) { close(gone) })
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("still held")
	}
}

func TestBounds(t *testing.T) {
	l := listener(t)
	pit := New(2, time.Hour)
	var ended atomic.Int32
	hold := func() bool {
		server, _ := pair(t, l)
		return pit.Hold(server, func(time.Duration) { ended.Add(1) })
	}
	if first, second, third := hold(), hold(), hold(); !first || !second || third {
		t.Error("the bound does not hold")
	}
	pit.SetMost(3)
	if !hold() || hold() {
		t.Error("the new bound does not hold")
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if pit.Hold(a, nil) {
		t.Error("held what is not TCP")
	}
	pit.Close()
	pit.Close()
	if hold() || ended.Load() != 3 || pit.Status().Held != 0 {
		t.Errorf("%d ended, %+v", ended.Load(), pit.Status())
	}
}

// Clients come and go while it turns and is closed.
func TestMany(t *testing.T) {
	l := listener(t)
	pit := New(1000, 64*time.Millisecond)
	var in, out atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 25 {
				client, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				server, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				in.Add(1)
				if !pit.Hold(server, func(time.Duration) { out.Add(1) }) {
					t.Error("not held")
				}
				if i%2 == 0 {
					client.Close()
				} else {
					defer client.Close()
				}
			}
		})
	}
	wg.Wait()
	pit.Close()
	if in.Load() != 200 || out.Load() != 200 {
		t.Errorf("%d in, %d out", in.Load(), out.Load())
	}
}

// BenchmarkHeld holds 10,000 connections: memory of this process for each, and processor
// time for a whole turn of the wheel, in which each gets a line.
func BenchmarkHeld(b *testing.B) {
	const connections = 10_000
	l := listener(b)
	// The far ends are another process's, so that what is counted is ours.
	clients := exec.Command(os.Args[0])
	clients.Env = append(os.Environ(), clientsOf+"="+l.Addr().String(), fmt.Sprint(clientCount, "=", connections))
	stdin, err := clients.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = clients.Wait()
	}()
	server := make([]net.Conn, connections)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range server {
		if server[i], err = l.Accept(); err != nil {
			b.Fatal(err)
		}
	}
	pit := New(connections, time.Hour)
	defer pit.Close()
	for _, c := range server {
		if !pit.Hold(c, func(time.Duration) {}) {
			b.Fatal("not held")
		}
	}
	clear(server)
	runtime.GC()
	runtime.ReadMemStats(&after)
	goroutines := runtime.NumGoroutine()
	turns := 0
	for b.Loop() {
		for range slots {
			pit.turn()
		}
		turns++
	}
	if s := pit.Status(); s.Held != connections {
		b.Errorf("%+v", s)
	}
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/connections, "B/connection")
	b.ReportMetric(float64(goroutines), "goroutines")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(turns)/connections, "ns/line")
}
