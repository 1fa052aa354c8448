package sshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

func TestSeveralChannels(t *testing.T) {
	f := listen(t, nil)
	f.start = func(_ context.Context, p Program) (Running, error) {
		return runFunc(func(_ context.Context, s Stream) (int, error) {
			_, _ = s.Stdout([]byte(p.Command))
			return p.Channel, nil
		}), nil
	}
	client := f.client()
	var wg sync.WaitGroup
	codes := make(chan int, 5)
	for i := range 5 {
		wg.Go(func() {
			s, err := client.NewSession()
			if err != nil {
				t.Error(err)
				return
			}
			want := fmt.Sprintf("command %d", i)
			out, err := s.Output(want)
			if string(out) != want {
				t.Errorf("channel answered %q, want %q", out, want)
			}
			var exit *ssh.ExitError
			if errors.As(err, &exit) {
				codes <- exit.ExitStatus()
			} else if err == nil {
				codes <- 0
			}
		})
	}
	wg.Wait()
	close(codes)
	seen := map[int]bool{}
	for n := range codes {
		seen[n] = true
	}
	if !cmp.Equal(seen, map[int]bool{0: true, 1: true, 2: true, 3: true, 4: true}) {
		t.Errorf("channel numbers %v, want 0 to 4", seen)
	}
}

func TestMaxSessions(t *testing.T) {
	f := listen(t, func(c *Config) { c.MaxSessions = 2 })
	client := f.client()
	first := openChannel(t, client)
	openChannel(t, client)
	_, _, err := client.OpenChannel("session", nil)
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed || refused.Message != "open failed" {
		t.Fatalf("third channel: %v", err)
	}
	if got := fields(f.events.wait(t, event.ChannelDeny, 1)[0], "channel_type", "reason"); !cmp.Equal(got, []any{"session", "too many sessions"}) {
		t.Errorf("event has %q", got)
	}
	first.must(Exec, command("true"))
	if err := first.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	first.statuses() // its end: the place is free as soon as the server has noticed
	for {
		ch, requests, err := client.OpenChannel("session", nil)
		if err == nil {
			go ssh.DiscardRequests(requests)
			ch.Close()
			return
		}
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
	}
}

func TestChannelsOverALife(t *testing.T) {
	f := prepare(t, nil)
	cs := newChannels(&connection{server: f.server}, nil)
	for i := range maxChannels {
		if n, ok := cs.begin(); !ok || n != i {
			t.Fatalf("channel %d: %d, %v", i, n, ok)
		}
		cs.end()
	}
	if _, ok := cs.begin(); ok {
		t.Error("one more than the bound was let in")
	}
}

func TestOtherChannelTypes(t *testing.T) {
	f := listen(t, nil)
	client := f.client()
	payload := bytes.Repeat([]byte("\xfe"), 3000)
	tests := []struct {
		kind    string
		code    ssh.RejectionReason
		message string
	}{
		{"x11", ssh.ConnectionFailed, "open failed"},
		{"forwarded-tcpip", ssh.ConnectionFailed, "open failed"},
		{"\x00", ssh.ConnectionFailed, "open failed"},
		{"", ssh.ConnectionFailed, "open failed"},
	}
	for i, tt := range tests {
		_, _, err := client.OpenChannel(tt.kind, payload)
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) || refused.Reason != tt.code || refused.Message != tt.message {
			t.Errorf("channel %q: %v", tt.kind, err)
		}
		e := f.events.wait(t, event.ChannelDeny, i+1)[i]
		if got := fields(e, "channel_type", "payload"); !cmp.Equal(got, []any{tt.kind, string(payload[:maxPayload])}) {
			t.Errorf("event has %.80q", got)
		}
	}
}
