package sshd

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/tarpit"
)

const exceeded = "Exceeded MaxStartups\r\n"

// empties waits until nobody is connected: a place is free right after the event.
func (f *fixture) empties() {
	f.t.Helper()
	for f.server.cfg.Admission.Status().Connections > 0 {
		if f.t.Context().Err() != nil {
			f.t.Fatal("a place was not given back")
		}
	}
}

func TestMaxConnections(t *testing.T) {
	f := listen(t, limited(func(l *admission.Limits) { l.MaxConnections = 1 }))
	client := f.client()
	if got := readAll(f.tcp()); got != exceeded {
		t.Errorf("a connection too many got %q", got)
	}
	if got := fields(f.events.wait(t, event.ConnectionDeny, 1)[0], "reason", "answer"); !cmp.Equal(got, []any{"too many connections", "told"}) {
		t.Errorf("refused for %q", got)
	}
	client.Close()
	f.events.wait(t, event.ConnectionEnd, 1)
	f.empties()
	f.client()
}

// Who has logged in no longer counts for MaxStartups, who is silent does.
func TestMaxStartups(t *testing.T) {
	f := listen(t, limited(func(l *admission.Limits) { l.MaxStartups = admission.Startups{Start: 1, Rate: 100, Full: 1} }))
	f.client()
	f.client()
	silent := f.tcp()
	f.events.wait(t, event.ConnectionOpen, 3)
	if got := readAll(f.tcp()); got != exceeded {
		t.Errorf("one too many got %q", got)
	}
	silent.Close()
	f.events.wait(t, event.ConnectionEnd, 1)
	for f.server.cfg.Admission.Status().Startups > 0 {
		if t.Context().Err() != nil {
			t.Fatal("the place was not given back")
		}
	}
	f.client()
}

func TestDeniedIsClosed(t *testing.T) {
	f := listen(t, limited(func(l *admission.Limits) {
		l.Deny = admission.NewSet([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	}))
	if got := readAll(f.tcp()); got != "" {
		t.Errorf("got %q", got)
	}
	if got := fields(f.events.wait(t, event.ConnectionDeny, 1)[0], "reason", "answer"); !cmp.Equal(got, []any{"deny list", "closed"}) {
		t.Errorf("refused for %q", got)
	}
}

// What a connection without a login counts for.
func TestOutcomes(t *testing.T) {
	penalties := func(l *admission.Limits, word string) {
		l.Penalties, _ = admission.ParsePenalties([]string{"authfail:0", "noauth:0", "grace-exceeded:0", "crash:0", "min:0", word})
	}
	wrong := clientConfig("root", ssh.Password("x"))
	for word, visit := range map[string]func(f *fixture){
		"noauth:1h": func(f *fixture) { f.tcp().Close() },
		"authfail:1h": func(f *fixture) {
			if _, _, err := f.login(wrong); err == nil {
				f.t.Error("let in")
			}
		},
		"grace-exceeded:1h": func(f *fixture) { _ = readAll(f.tcp()) },
		"crash:1h": func(f *fixture) {
			if _, _, err := f.login(clientConfig("root", ssh.Password("x"))); err == nil {
				f.t.Error("let in")
			}
		},
	} {
		t.Run(word, func(t *testing.T) {
			f := listen(t, func(c *Config) {
				limited(func(l *admission.Limits) { penalties(l, word) })(c)
				c.Policy = func() Policy { return refuseAll{} }
				if strings.HasPrefix(word, "crash") {
					c.Policy = func() Policy { return nil }
				}
				if strings.HasPrefix(word, "authfail") {
					c.MaxAuthTries = 1
				}
				if strings.HasPrefix(word, "grace") {
					c.LoginGraceTime = 50 * time.Millisecond
				}
			})
			visit(f)
			f.events.wait(t, event.ConnectionEnd, 1)
			f.empties()
			if got := readAll(f.tcp()); got != exceeded {
				t.Errorf("came back and got %q", got)
			}
			if got := field(f.events.wait(t, event.ConnectionDeny, 1)[0], "reason"); got != "penalty" {
				t.Errorf("refused for %q", got)
			}
		})
	}
	t.Run("login", func(t *testing.T) {
		f := listen(t, limited(func(l *admission.Limits) { penalties(l, "authfail:1h") }))
		f.client().Close()
		f.events.wait(t, event.ConnectionEnd, 1)
		f.empties()
		f.client()
	})
}

func TestRefusalBy(t *testing.T) {
	for version, want := range map[string]string{
		"OpenSSH_8.7": exceeded, "OpenSSH_8.9p1 Ubuntu-3": exceeded, testVersion: exceeded, "OpenSSH_9.7p1": exceeded, "OpenSSH_8.2": exceeded,
		"OpenSSH_9.8": "Not allowed at this time\r\n", "OpenSSH_10.0p2": "Not allowed at this time\r\n",
		"OpenSSH_8.1": "", "OpenSSH_7.4": "", "dropbear_2022.83": "", "OpenSSH_": "", "OpenSSH_9": "", "OpenSSH_x.y": "",
	} {
		if got := refusalBy(version); got != want {
			t.Errorf("%s: %q, want %q", version, got, want)
		}
	}
}

func TestTarpit(t *testing.T) {
	pit := tarpit.New(1, 64*time.Millisecond)
	f := listen(t, func(c *Config) {
		limited(func(l *admission.Limits) {
			l.Deny = admission.NewSet([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
			l.Tarpit = map[admission.Reason]bool{admission.DenyListed: true}
		})(c)
		c.Tarpit = pit
	})
	held := f.tcp()
	if line, err := bufio.NewReader(held).ReadString('\n'); err != nil || strings.HasPrefix(line, "SSH-") {
		t.Errorf("%q, %v", line, err)
	}
	deny := f.events.wait(t, event.ConnectionDeny, 1)[0]
	if got := fields(deny, "reason", "answer"); !cmp.Equal(got, []any{"deny list", "tarpit"}) {
		t.Errorf("refused for %q", got)
	}
	if got := readAll(f.tcp()); got != exceeded { // it is full
		t.Errorf("the second got %q", got)
	}
	if got := field(f.events.wait(t, event.ConnectionDeny, 2)[1], "answer"); got != "told" {
		t.Errorf("answer %q", got)
	}
	held.Close()
	end := f.events.wait(t, event.ConnectionEnd, 1)[0]
	if end.Session != deny.Session || field(end, "reason") != "left the tarpit" {
		t.Errorf("%+v", end)
	}
	last := f.tcp()
	f.events.wait(t, event.ConnectionDeny, 3)
	f.server.Shutdown(t.Context())
	if _, err := io.ReadAll(last); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("still held after the shutdown: %v", err)
	}
}

// Of a flood of refusals as many are told in a minute as of any kind, and the rest
// counted.
func TestDenialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := prepare(t, func(c *Config) {
			limited(func(l *admission.Limits) { l.MaxConnections = 0 })(c)
			c.EventLimits = event.Limits{Repeats: 10}
		})
		flood := func(n int) {
			for range n {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				f.server.accepted(t.Context(), ours)
			}
		}
		flood(25)
		time.Sleep(denialsFor)
		synctest.Wait()
		flood(3)
		f.server.Shutdown(context.Background())
		denied, _ := f.events.of(event.ConnectionDeny)
		omitted, _ := f.events.of(event.EventsOmit)
		if len(denied) != 13 || len(omitted) != 1 || !cmp.Equal(fields(omitted[0], "omitted", "kinds"), []any{15, "connection.deny=15"}) {
			t.Errorf("%d told, %v", len(denied), omitted)
		}
		if got := f.server.cfg.Admission.Status().Refused[admission.OverConnections]; got != 28 {
			t.Errorf("%d counted", got)
		}
		flood(1)
		if denied, _ = f.events.of(event.ConnectionDeny); field(denied[len(denied)-1], "reason") != serviceStops {
			t.Errorf("%v", denied[len(denied)-1])
		}
		f.server.denials.settle()
	})
}

// What is known of a source is told with its connection.
func TestAboutTheSource(t *testing.T) {
	f := listen(t, func(c *Config) {
		c.About = func(a netip.Addr) []event.Field {
			return []event.Field{event.F("country", "XX"), event.F("lists", a.String())}
		}
	})
	f.client()
	if got := fields(f.events.wait(t, event.ConnectionOpen, 1)[0], "country", "lists"); !cmp.Equal(got, []any{"XX", "127.0.0.1"}) {
		t.Errorf("%q", got)
	}
}
