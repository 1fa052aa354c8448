package session

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/transfer"
)

// scpSink is a program that answers as the sink of scp does: each chunk it is sent with
// a zero, and once before.
func scpSink(chunks int) *fakeStream {
	got := make(chan struct{}, chunks)
	stream := newStream(0, func(s *fakeStream, stdout, _ func([]byte) error) error {
		for range chunks {
			if err := stdout([]byte{0}); err != nil {
				return err
			}
			<-got
		}
		<-s.eof
		return stdout([]byte{0})
	})
	stream.write = func([]byte) error { got <- struct{}{}; return nil }
	return stream
}

// serve runs one program with a client that sends chunks.
func (st *stage) serve(s *Session, stream *fakeStream, p sshd.Program, chunks ...string) (*client, *running) {
	st.Helper()
	st.runs(stream)
	var readers []io.Reader
	for _, c := range chunks {
		readers = append(readers, strings.NewReader(c))
	}
	c := &client{stdin: io.MultiReader(readers...)}
	r := st.start(s, p)
	if err := r.Serve(st.Context(), c.stream()); err != nil {
		st.Error(err)
	}
	return c, r
}

const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestTransfersAreKept(t *testing.T) {
	st := setUp(t)
	st.service.Transfers = transfer.Limits{File: 100, Session: 1000}
	s := st.open(st.login())
	c, r := st.serve(s, scpSink(3), sshd.Program{Kind: sshd.Exec, Command: "scp -t /tmp"}, "T9 0 9 0\n", "C0755 5 a\xff b\n", "hello\x00")
	if c.stdout.String() != "\x00\x00\x00\x00" {
		t.Errorf("the client got %q", c.stdout.String())
	}
	if got := st.recorded(s, 0, record.KindInput); got != "T9 0 9 0\nC0755 5 a\xff b\nhello\x00" {
		t.Errorf("recorded %q", got)
	}
	s.Close("over")
	if len(r.transfers.kept) > 0 {
		t.Errorf("not brought to the disk: %q", r.transfers.kept)
	}
	mtime := int64(9)
	want := []evidence.Transfer{{
		Protocol: "scp", Direction: "upload", Name: "a\xff b", Size: 5, Transferred: 5, Mode: "0755", Modified: &mtime,
		SHA256: hello, Artifact: hello, Captured: 5, Complete: true,
	}}
	got := st.saved().Channels[0].Transfers
	if len(got) == 1 && got[0].Time.IsZero() {
		t.Error("no time")
	}
	if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Time" }, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	if content, err := os.ReadFile(filepath.Join(st.dir, evidence.ArtifactPath(hello))); string(content) != "hello" {
		t.Errorf("artifact %q, %v", content, err)
	}
	if diff := cmp.Diff([]map[string]any{{
		"channel": 0, "protocol": "scp", "direction": "upload", "path": "a\xff b", "size_bytes": int64(5), "transferred_bytes": int64(5),
		"captured_bytes": int64(5), "complete": true, "mode": "0755", "sha256": hello, "artifact": hello,
	}}, st.events.of(event.TransferFile)); diff != "" {
		t.Error(diff)
	}
}

// TestTransfersAreMarkedInTerminals: who watches one sees files come on other channels,
// a bounded number of them.
func TestTransfersAreMarkedInTerminals(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	terminal := newStream(0, untilClosed)
	st.runs(terminal)
	beside := st.start(s, sshd.Program{Kind: sshd.Shell, PTY: true, Term: "xterm"})
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = beside.Serve(t.Context(), new(client).stream())
	}()
	plain := newStream(0, untilClosed)
	st.runs(plain)
	other := st.start(s, sshd.Program{Channel: 1, Kind: sshd.Shell})
	otherOver := make(chan struct{})
	go func() {
		defer close(otherOver)
		_ = other.Serve(t.Context(), new(client).stream())
	}()
	lines := []string{"C0755 5 a\xff\x1b[2J\n", "hello\x00"}
	for range maxBeside + 4 {
		lines = append(lines, "C0755 0 b\n", "\x00")
	}
	st.serve(s, scpSink(len(lines)), sshd.Program{Channel: 2, Kind: sshd.Exec, Command: "scp -t /tmp"}, lines...)
	markers := st.recorded(s, 0, record.KindMarker)
	want := "file: upload a\xff\x1b[2J" + strings.Repeat("file: upload b", maxBeside-1) + "file: there are more, which the recordings of their channels name"
	if markers != want {
		t.Errorf("markers in the terminal %q", markers)
	}
	if own := st.recorded(s, 2, record.KindMarker); strings.Count(own, "file: ") != maxBeside+5 {
		t.Errorf("markers in the channel of the files %q", own)
	}
	if others := st.recorded(s, 1, record.KindMarker); others != "" {
		t.Errorf("markers beside %q", others)
	}
	cast, err := s.dir.Root().ReadFile("channel-0.cast")
	if err != nil || strings.Contains(string(cast), "\x1b") || strings.Count(string(cast), `"m", "file: upload b"`) != maxBeside-1 {
		t.Errorf("cast %s, %v", cast, err)
	}
	_, _ = terminal.Close(), plain.Close()
	<-over
	<-otherOver
	s.Close("over")
}

// sftpPacket is a packet of SFTP that holds an id and what follows.
func sftpPacket(kind byte, rest string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(5+len(rest)))) + string(kind) + "\x00\x00\x00\x07" + rest
}

// sftpAnswers answers each chunk that comes with the next of what it is given.
func sftpAnswers(answers ...string) *fakeStream {
	got := make(chan struct{}, len(answers))
	stream := newStream(0, func(s *fakeStream, stdout, _ func([]byte) error) error {
		for _, a := range answers {
			<-got
			if err := stdout([]byte(a)); err != nil {
				return err
			}
		}
		<-s.eof
		return nil
	})
	stream.write = func([]byte) error { got <- struct{}{}; return nil }
	return stream
}

func TestOperationsAndGapsAreTold(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	rename := sftpPacket(18, "\x00\x00\x00\x01a\x00\x00\x00\x01b")
	ok := sftpPacket(101, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	st.runs(sftpAnswers(ok, "after"))
	stdin, typing := io.Pipe()
	answered := make(chan struct{}, 2)
	c := &client{stdin: stdin, before: func(record.Kind, []byte) error { answered <- struct{}{}; return nil }}
	go func() {
		_, _ = io.WriteString(typing, rename)
		<-answered
		_, _ = io.WriteString(typing, "\xff\xff\xff\xff\xffgarbage")
		_ = typing.Close()
	}()
	if err := st.start(s, sshd.Program{Kind: sshd.Subsystem, Command: "sftp"}).Serve(st.Context(), c.stream()); err != nil {
		t.Error(err)
	}
	if got := c.stdout.String(); got != ok+"after" {
		t.Errorf("the client got %q", got)
	}
	s.Close("over")
	if diff := cmp.Diff([]map[string]any{{"channel": 0, "protocol": "sftp", "operation": "rename", "path": "a", "new_path": "b", "accepted": true}},
		st.events.of(event.TransferChange)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]map[string]any{{"channel": 0, "protocol": "sftp", "reason": "malformed"}}, st.events.of(event.TransferGap)); diff != "" {
		t.Error(diff)
	}
}

// TestStoreOfArtifactsIsGone: the transfer goes on.
func TestStoreOfArtifactsIsGone(t *testing.T) {
	st := setUp(t)
	st.service.Transfers = transfer.Limits{File: 100, Session: 1000}
	s := st.open(st.login())
	if err := os.RemoveAll(filepath.Join(st.dir, "artifacts")); err != nil {
		t.Fatal(err)
	}
	st.serve(s, scpSink(2), sshd.Program{Kind: sshd.Exec, Command: "scp -t /tmp"}, "C0755 5 a\n", "hello\x00")
	s.Close("over")
	files := st.saved().Channels[0].Transfers
	if len(files) != 1 || files[0].SHA256 != hello || files[0].Complete || files[0].Captured != 0 || files[0].Reason != "could not be stored" {
		t.Errorf("%+v", files)
	}
	if gaps := st.events.of(event.TransferGap); len(gaps) != 1 {
		t.Errorf("%v", gaps)
	}
}

// TestNamesStayWithinBounds: what does not fit is counted.
func TestNamesStayWithinBounds(t *testing.T) {
	st := setUp(t)
	st.service.MaxBytes = 16 << 20
	s := st.open(st.login())
	var lines []string
	const files = 200
	for i := range files {
		lines = append(lines, fmt.Sprintf("C0600 0 %d%s\n", i, strings.Repeat("\xff", 4000)), "\x00")
	}
	st.serve(s, scpSink(2*files), sshd.Program{Kind: sshd.Exec, Command: "scp -t /tmp"}, lines...)
	s.Close("over")
	c := st.saved().Channels[0]
	if len(c.Transfers) != maxTransferText/4002 || len(c.Transfers)+c.TransfersOmitted != files {
		t.Errorf("%d files, %d omitted", len(c.Transfers), c.TransfersOmitted)
	}
	if got := len(st.events.of(event.TransferFile)); got != files {
		t.Errorf("%d events", got)
	}
}

// TestWatched: which programs are followed.
func TestWatched(t *testing.T) {
	for _, tt := range []struct {
		program sshd.Program
		want    bool
	}{
		{sshd.Program{Kind: sshd.Subsystem, Command: "sftp"}, true},
		{sshd.Program{Kind: sshd.Subsystem, Command: "scp -t x"}, false},
		{sshd.Program{Kind: sshd.Exec, Command: "/usr/lib/openssh/sftp-server"}, true},
		{sshd.Program{Kind: sshd.Exec, Command: "scp -f x"}, true},
		{sshd.Program{Kind: sshd.Exec, Command: "scp -f x", PTY: true}, false},
		{sshd.Program{Kind: sshd.Exec, Command: "sftp"}, false},
		{sshd.Program{Kind: sshd.Shell}, false},
	} {
		if got := (&Session{}).watch(tt.program, nil) != nil; got != tt.want {
			t.Errorf("%+v is watched: %t", tt.program, got)
		}
	}
}

// TestAnyTimeIsSaved: times come from clients.
func TestAnyTimeIsSaved(t *testing.T) {
	b, err := json.Marshal(describeTransfer(transfer.File{Modified: 1<<63 - 1, Mode: -1}))
	if err != nil || !strings.Contains(string(b), `"mtime":9223372036854775807`) || strings.Contains(string(b), "mode") {
		t.Errorf("%s, %v", b, err)
	}
}
