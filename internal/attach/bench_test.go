package attach

import (
	"io"
	"os"
	"testing"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// benchmark runs f with a program on a leader, and its side of the streams.
func benchmark(b *testing.B, pty bool, f func(p *program, c Stream)) {
	front, leader := socketPair(b)
	link := &peer{UnixConn: leader}
	p, theirs, err := begin(pty)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		link.serve(func(f frame.Frame) error {
			switch f.Type {
			case frame.Ping:
				return link.Send(frame.Frame{Type: frame.Pong})
			case frame.Open:
				return link.Send(opened(f.Channel), theirs...)
			}
			return nil
		})
	}()
	l, err := Connect(b.Context(), front)
	if err != nil {
		b.Fatal(err)
	}
	c, err := l.Start(b.Context(), Program{PTY: pty})
	if err != nil {
		b.Fatal(err)
	}
	closeFiles(theirs)
	b.ReportAllocs()
	f(p, c)
	_ = c.Close()
	_ = l.Close()
	_ = link.Close()
	p.end()
	<-done
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

const piece = 32 << 10

// BenchmarkOutput is bulk from a program.
func BenchmarkOutput(b *testing.B) {
	benchmark(b, false, func(p *program, c Stream) {
		b.SetBytes(piece)
		go func() {
			for range b.N {
				_, _ = p.out.Write(make([]byte, piece))
			}
			p.end()
		}()
		nothing := func([]byte) error { return nil }
		if err := c.Copy(nothing, nothing); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkInput is bulk to a program.
func BenchmarkInput(b *testing.B) {
	benchmark(b, false, func(p *program, c Stream) {
		b.SetBytes(piece)
		go func() { _, _ = io.Copy(io.Discard, p.in) }()
		payload := make([]byte, piece)
		for range b.N {
			if _, err := c.Write(payload); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkEcho is a key that is struck and comes back from the terminal.
func BenchmarkEcho(b *testing.B) {
	benchmark(b, true, func(_ *program, c Stream) {
		echoed := make(chan struct{})
		go func() { _ = c.Copy(func([]byte) error { echoed <- struct{}{}; return nil }, nil) }()
		for range b.N {
			if _, err := c.Write([]byte("x")); err != nil {
				b.Error(err)
			}
			<-echoed
		}
	})
}
