package attach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// TestResume: streams that break all the time lose nothing.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var input bytes.Buffer
		s := newFake(t, func(s *fake, f frame.Frame) error {
			if f.Type == frame.Data {
				input.Write(f.Payload)
			}
			return nil
		})
		l := s.connect()
		if _, err := l.Login(t.Context(), frame.LoginMessage{}); err != nil {
			t.Fatal(err)
		}
		c := s.start(l)
		var want bytes.Buffer
		for i := range 50 {
			line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", rand.IntN(1000)))
			want.WriteString(line)
			if rand.IntN(3) == 0 {
				s.cut()
			}
			s.say(data(1, line))
			if _, err := c.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rand.IntN(10)) * time.Second)
		}
		s.say(eof(1))
		var out collect
		if err := out.copy(c); err != nil {
			t.Error(err)
		}
		if err := l.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s.dials < 5 || out.stdout.String() != want.String() || input.String() != want.String() {
			t.Errorf("after %d streams %d and %d bytes of %d", s.dials, out.stdout.Len(), input.Len(), want.Len())
		}
	})
}

func TestResumeGivesUp(t *testing.T) {
	deaf := func(context.Context) (io.ReadWriteCloser, error) {
		a, _ := net.Pipe() // the other end reads nothing and says nothing
		return a, nil
	}
	brief := func(context.Context) (io.ReadWriteCloser, error) {
		a, b := net.Pipe()
		b.Close()
		return a, nil
	}
	for name, tt := range map[string]struct {
		redial Dial
		after  time.Duration // about
		says   string
	}{
		"no redial":        {nil, 0, "unexpected EOF"},
		"target gone":      {func(context.Context) (io.ReadWriteCloser, error) { return nil, fmt.Errorf("dial: %w", ErrGone) }, 0, "gone"},
		"Podman away":      {func(context.Context) (io.ReadWriteCloser, error) { return nil, errTest }, resumeFor, "test error"},
		"nobody answers":   {deaf, resumeFor, "no answer"},
		"ends at once":     {brief, resumeFor, "no answer"},
		"dial takes ages":  {func(ctx context.Context) (io.ReadWriteCloser, error) { <-ctx.Done(); return nil, ctx.Err() }, resumeFor, "no answer"},
		"says other words": {func(context.Context) (io.ReadWriteCloser, error) { return babbler{}, nil }, 0, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake(t, nil)
				l, err := Connect(t.Context(), s.dial, tt.redial)
				if err != nil {
					t.Fatal(err)
				}
				defer s.end(l)
				c := s.start(l)
				began := time.Now()
				s.cut()
				<-l.Done()
				if took := time.Since(began); took > tt.after || took < tt.after/2 {
					t.Errorf("gave up after %v", took)
				}
				if !strings.Contains(l.Err().Error(), tt.says) {
					t.Errorf("Err = %v", l.Err())
				}
				if _, err := c.Wait(t.Context()); !errors.Is(err, l.Err()) {
					t.Errorf("Wait = %v", err)
				}
			})
		})
	}
}

// babbler is a stream whose other side does not speak the protocol.
type babbler struct{}

func (babbler) Read(p []byte) (int, error)  { return copy(p, "sh: 1: not found\n"), nil }
func (babbler) Write(p []byte) (int, error) { return len(p), nil }
func (babbler) Close() error                { return nil }

// TestRestlessLeader: one that breaks each stream after its answer does not make
// us dial without end or pause.
func TestRestlessLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake(t, nil)
		restless := func(ctx context.Context) (io.ReadWriteCloser, error) {
			stream, err := s.dial(ctx)
			time.AfterFunc(time.Millisecond, s.cut)
			return stream, err
		}
		l, err := Connect(t.Context(), restless, restless)
		if err != nil {
			t.Fatal(err)
		}
		defer s.end(l)
		began := time.Now()
		<-l.Done()
		if took := time.Since(began); s.dials != maxAttempts+1 || took < maxAttempts*longestPause/2 || !strings.Contains(l.Err().Error(), "too many") {
			t.Errorf("%d streams in %v, then %v", s.dials, took, l.Err())
		}
	})
}

func TestCloseWhileResuming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake(t, nil)
		l, err := Connect(t.Context(), s.dial, func(ctx context.Context) (io.ReadWriteCloser, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.cut()
		synctest.Wait()
		s.end(l)
		if time.Since(began) != 0 || !errors.Is(l.Err(), ErrClosed) {
			t.Errorf("closed after %v with %v", time.Since(began), l.Err())
		}
	})
}
