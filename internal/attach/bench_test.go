package attach

import (
	"testing"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// benchmark runs f with a program on a leader whose frames handle gets.
func benchmark(b *testing.B, handle func(*peer, frame.Frame) error, f func(link *peer, c Stream)) {
	front, leader := socketPair(b)
	link := &peer{UnixConn: leader}
	done := make(chan struct{})
	go func() {
		defer close(done)
		link.serve(func(f frame.Frame) error {
			switch f.Type {
			case frame.Ping:
				return link.Send(frame.Frame{Type: frame.Pong})
			case frame.Open:
				return link.Send(frame.Frame{Type: frame.Opened, Channel: f.Channel})
			}
			return handle(link, f)
		})
	}()
	l, err := Connect(b.Context(), front)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = l.Close()
		_ = link.Close()
		<-done
	}()
	c, err := l.Start(b.Context(), Program{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	f(link, c)
}

// BenchmarkOutput is bulk from a program.
func BenchmarkOutput(b *testing.B) {
	window := make(chan int, 100)
	handle := func(_ *peer, f frame.Frame) error {
		if f.Type == frame.Window {
			n, _ := frame.DecodeWindow(f.Payload)
			window <- int(n)
		}
		return nil
	}
	benchmark(b, handle, func(link *peer, c Stream) {
		b.SetBytes(frame.MaxData)
		go func() {
			left := frame.InitialWindow
			payload := make([]byte, frame.MaxData)
			for range b.N {
				for left < len(payload) {
					left += <-window
				}
				left -= len(payload)
				_ = link.Send(frame.Frame{Type: frame.Data, Channel: 1, Payload: payload})
			}
			_ = link.Send(frame.Frame{Type: frame.EOF, Channel: 1})
		}()
		if err := c.Copy(func([]byte) error { return nil }, nil); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkInput is bulk to a program.
func BenchmarkInput(b *testing.B) {
	handle := func(link *peer, f frame.Frame) error {
		if f.Type == frame.Data {
			return link.Send(frame.Frame{Type: frame.Window, Channel: 1, Payload: frame.EncodeWindow(uint32(len(f.Payload)))})
		}
		return nil
	}
	benchmark(b, handle, func(_ *peer, c Stream) {
		b.SetBytes(frame.MaxData)
		payload := make([]byte, frame.MaxData)
		for range b.N {
			if _, err := c.Write(payload); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkEcho is a key that is struck and comes back.
func BenchmarkEcho(b *testing.B) {
	handle := func(link *peer, f frame.Frame) error {
		if f.Type != frame.Data {
			return nil
		}
		_ = link.Send(frame.Frame{Type: frame.Window, Channel: 1, Payload: frame.EncodeWindow(uint32(len(f.Payload)))})
		return link.Send(f)
	}
	benchmark(b, handle, func(_ *peer, c Stream) {
		echoed := make(chan struct{})
		go func() { _ = c.Copy(func([]byte) error { echoed <- struct{}{}; return nil }, nil) }()
		for range b.N {
			if _, err := c.Write([]byte("x")); err != nil {
				b.Error(err)
			}
			<-echoed
		}
		_ = c.Close()
	})
}
