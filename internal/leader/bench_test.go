package leader

import (
	"errors"
	"testing"

	"github.com/sandtrap/sandtrap/internal/attach"
)

// BenchmarkProgram is a command from the request to its exit.
func BenchmarkProgram(b *testing.B) {
	l := loggedIn(b)
	p := attach.Program{Path: "/bin/true", Argv: []string{"true"}, Dir: "/"}
	for b.Loop() {
		output(b, l, p)
	}
}

// BenchmarkEcho is a keystroke that comes back from a terminal.
func BenchmarkEcho(b *testing.B) {
	l := loggedIn(b)
	s := start(b, l, terminal("stty raw; exec cat >/dev/null"))
	echoes := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- s.Copy(func([]byte) error {
			echoes <- struct{}{}
			return nil
		}, nil)
	}()
	for b.Loop() {
		if _, err := s.Write([]byte("x")); err != nil {
			b.Fatal(err)
		}
		<-echoes
	}
	s.Close()
	<-done
}

// BenchmarkOutput is a mebibyte that a program writes.
func BenchmarkOutput(b *testing.B) {
	for name, p := range map[string]attach.Program{"pipe": shell("exec cat /dev/zero"), "terminal": terminal("exec cat /dev/zero")} {
		b.Run(name, func(b *testing.B) {
			l := loggedIn(b)
			s := start(b, l, p)
			got, enough := 0, errors.New("enough")
			b.SetBytes(1 << 20)
			b.ResetTimer()
			err := s.Copy(func(p []byte) error {
				if got += len(p); got >= b.N<<20 {
					return enough
				}
				return nil
			}, nil)
			if !errors.Is(err, enough) {
				b.Fatal(err)
			}
			b.StopTimer()
			s.Close()
		})
	}
}
