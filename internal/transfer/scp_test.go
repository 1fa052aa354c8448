package transfer

import (
	"slices"
	"strings"
	"testing"
)

// say passes bytes: what begins with '>' from the client, with '<' from the program.
func (s *stage) say(chunks ...string) {
	for _, c := range chunks {
		if c[0] == '>' {
			s.Input([]byte(c[1:]))
		} else {
			s.Output([]byte(c[1:]))
		}
	}
}

func TestSCP(t *testing.T) {
	long := filler(3 * maxWait)
	for _, tt := range []struct {
		name    string
		kind    Kind
		chunks  []string
		content string
		want    File
	}{
		{"as scp does", SCPSink, []string{"<\x00", ">C0755 3 a\n", "<\x00", ">abc\x00", "<\x00"}, "abc", File{Name: "a", Size: 3, Mode: 0o755, Complete: true}},
		{"without waiting", SCPSink, []string{">C0755 3 a\nabc\x00", "<\x00\x00", "<\x00"}, "abc", File{Name: "a", Size: 3, Mode: 0o755, Complete: true}},
		{"without waiting, long", SCPSink, []string{">C0755 786432 a\n" + long + "\x00", "<\x00\x00\x00"}, long, File{Name: "a", Size: int64(len(long)), Mode: 0o755, Complete: true}},
		{"without waiting or answers", SCPSink, []string{">C0755 786432 a\n" + long + "\x00"}, long, File{Name: "a", Size: int64(len(long)), Mode: 0o755, Complete: true}},
		{"refused, but sent", SCPSink, []string{">C0755 6 x\nC0644 1 b\n", "<\x00", "<\x01scp: x: ", "<no\n", "<\x00", ">b\x00", "<\x00"}, "b", File{Name: "b", Size: 1, Mode: 0o644, Complete: true}},
		{"a full disk there", SCPSink, []string{"<\x00", ">C0755 3 a\n", "<\x00", ">abc\x00", "<\x01scp: full\n"}, "abc", File{Name: "a", Size: 3, Mode: 0o755, Reason: reasonSink}},
		{"an error at the source", SCPSink, []string{"<\x00", ">C0755 3 a\n", "<\x00", ">abc\x01", ">scp: I/O\n", "<\x00"}, "abc", File{Name: "a", Size: 3, Mode: 0o755, Reason: reasonSource}},
		{"cut off", SCPSink, []string{"<\x00", ">C0755 3 a\n", "<\x00", ">ab"}, "ab", File{Name: "a", Size: 3, Mode: 0o755, Reason: reasonCut}},
		{"cut off before the last answer", SCPSink, []string{"<\x00", ">C0755 3 a\n", "<\x00", ">abc\x00"}, "abc", File{Name: "a", Size: 3, Mode: 0o755, Complete: true}},
		{"any name", SCPSink, []string{"<\x00", ">C0755 0  \xff\x1b[2J\n", "<\x00", ">\x00", "<\x00"}, "", File{Name: " \xff\x1b[2J", Mode: 0o755, Complete: true}},
		{"answers in advance", SCPSource, []string{">\x00\x00\x00\x00\x00", "<C0600 3 a\n", "<abc\x00"}, "abc", File{Name: "a", Size: 3, Mode: 0o600, Complete: true}},
		{"a complaint in advance", SCPSource, []string{">\x00\x01no\n\x00\x00", "<C0600 3 x\n", "<C0600 3 a\n", "<abc\x00"}, "abc", File{Name: "a", Size: 3, Mode: 0o600, Complete: true}},
		{"after a message", SCPSource, []string{">\x00", "<\x01scp: x: no\nC0600 1 a\n", ">\x00", "<a\x00", ">\x00"}, "a", File{Name: "a", Size: 1, Mode: 0o600, Complete: true}},
		{"times", SCPSource, []string{">\x00", "<T12 0 34 0\n", ">\x00", "<C0600 1 a\n", ">\x00", "<a\x00", ">\x00"}, "a", File{Name: "a", Size: 1, Mode: 0o600, Modified: 12, Complete: true}},
		{"directories", SCPSink, []string{"<\x00", ">D0755 0 d\n", "<\x00", ">D0755 0 e\n", "<\x00", ">E\n", "<\x00", ">D0755 0 x\n", "<\x01no\n", ">C0600 1 a\n", "<\x00", ">a\x00", "<\x00", ">E\n", "<\x00"},
			"a", File{Name: "d/a", Size: 1, Mode: 0o600, Complete: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := watch(t, tt.kind, Limits{File: 1 << 20, Session: 1 << 20})
			s.say(tt.chunks...)
			f, content := s.finish().file()
			s.quiet()
			if content != tt.content || f.SHA256 != hexHash([]byte(content)) || f.Transferred != int64(len(content)) {
				t.Errorf("%d bytes of content, %+v", len(content), f)
			}
			if f.Name != tt.want.Name || f.Size != tt.want.Size || f.Mode != tt.want.Mode || f.Complete != tt.want.Complete || f.Reason != tt.want.Reason {
				t.Errorf("%+v, want %+v", f, tt.want)
			}
			if tt.want.Modified != 0 && f.Modified != tt.want.Modified {
				t.Errorf("modified %d", f.Modified)
			}
		})
	}
}

// TestSCPPresumedAnswers: answers that were presumed are not taken for those of what
// comes later.
func TestSCPPresumedAnswers(t *testing.T) {
	long := filler(2 * maxWait)
	s := watch(t, SCPSink, generous)
	s.say(">C0755 524288 a\n"+long+"\x00", "<\x00\x00\x00", ">C0644 1 x\n", "<\x01no\n", ">T7 0 7 0\n", "<\x00", ">C0644 1 b\n", "<\x00", ">b\x00", "<\x00",
		">C0644 1 c\n", "<\x00", ">c\x00", "<\x00")
	s.finish().quiet()
	var names []string
	for _, f := range s.files {
		names = append(names, f.Name)
		if (f.Modified == 7) != (f.Name == "b") {
			t.Errorf("times of %+v", f)
		}
	}
	if strings.Join(names, " ") != "a b c" || len(s.operations) != 1 {
		t.Errorf("files %q, operations %+v", names, s.operations)
	}
}

func TestSCPOutOfHand(t *testing.T) {
	deep := []string{"<\x00"}
	for range maxName {
		deep = append(deep, ">D0755 0 dd\n", "<\x00")
	}
	for name, chunks := range map[string][]string{
		"an empty line":        {"<\x00", ">\n"},
		"another line":         {"<\x00", ">X\n"},
		"a bad mode":           {"<\x00", ">C9999 1 a\n"},
		"a long mode":          {"<\x00", ">C00644 1 a\n"},
		"a bad size":           {"<\x00", ">C0644 -1 a\n"},
		"a giant size":         {"<\x00", ">C0644 99999999999999999999 a\n"},
		"no name":              {"<\x00", ">C0644 1 \n"},
		"a path":               {"<\x00", ">C0644 1 a/b\n"},
		"the parent":           {"<\x00", ">D0755 0 ..\n"},
		"bad times":            {"<\x00", ">Tx 0 0 0\n"},
		"a line that is long":  {"<\x00", ">C" + strings.Repeat("x", maxLine)},
		"no byte after a file": {"<\x00", ">C0644 1 a\n", "<\x00", ">ab\n"},
		"answers to nothing":   {"<" + strings.Repeat("\x00", maxEarly+2)},
		"mixed answers":        {"<" + strings.Repeat("\x00\x01\n", maxRuns)},
		"deep directories":     deep,
	} {
		t.Run(name, func(t *testing.T) {
			s := watch(t, SCPSink, generous)
			s.say(chunks...)
			s.say(">more", "<more")
			s.finish()
			gaps := slices.DeleteFunc(s.gaps, func(reason string) bool { return strings.HasPrefix(reason, "more operations") })
			if len(gaps) != 1 || gaps[0] != errLine.Error() && gaps[0] != errTooMuch.Error() {
				t.Errorf("gaps: %q", s.gaps)
			}
		})
	}
}

func TestPrograms(t *testing.T) {
	for command, want := range map[string]Kind{
		"scp -t /tmp":                          SCPSink,
		"scp -r -p -d -t -- /tmp":              SCPSink,
		"scp -prf a":                           SCPSource,
		"/usr/bin/scp -qf a; rm a":             SCPSource,
		"exec scp -v -t .":                     SCPSink,
		`'scp' "-t" a`:                         SCPSink,
		`sc\p -t a`:                            SCPSink,
		"scp -t":                               SCPSink,
		"scp -o t -f x":                        SCPSource,
		"scp -ot -P22 -f x":                    SCPSource,
		"scp a host:b":                         None,
		"scp -- -t":                            None,
		"scp":                                  None,
		"echo scp -t a":                        None,
		"cat > scp -t":                         None,
		"":                                     None,
		";scp -t a":                            None,
		"/usr/lib/openssh/sftp-server":         SFTPServer,
		"/usr/libexec/sftp-server -l INFO":     SFTPServer,
		"exec '/usr/lib/openssh/sftp-server'&": SFTPServer,
		"sftp-server-not":                      None,
		"exec":                                 None,
		`scp "-`:                               None,
		`scp \`:                                None,
	} {
		if got := OfCommand(command); got != want {
			t.Errorf("OfCommand(%q) = %d, want %d", command, got, want)
		}
	}
	if OfSubsystem("sftp") != SFTPServer || OfSubsystem("netconf") != None {
		t.Error("subsystems")
	}
}
