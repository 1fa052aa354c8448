package transcript

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rows are what a terminal showed: "| " before a row of a picture, "> " where a line was
// entered.
func rows(o Options, trace []step) (got []string) {
	tr := New(o)
	tr.Rows(func(r Row) {
		mark := ""
		switch {
		case r.Picture:
			mark = "| "
		case !r.Time.IsZero():
			mark = "> "
		}
		got = append(got, mark+r.Text)
	})
	at := time.Unix(1000, 0)
	for _, s := range trace {
		if s.kind == 'i' {
			tr.Input([]byte(s.data), at)
		} else {
			tr.Output([]byte(s.data), at)
		}
	}
	tr.Close()
	return got
}

func TestRows(t *testing.T) {
	small := Options{Columns: 10, Rows: 3}
	out := func(s string) []step { return []step{{'o', s}} }
	for _, tt := range []struct {
		name  string
		o     Options
		trace []step
		want  []string
	}{
		{"scrolls", small, out("1\r\n2\r\n3\r\n4\r\n5"), []string{"1", "2", "3", "4", "5"}},
		{"wraps", small, out("0123456789abcdefghijklmnop\r\nx"), []string{"0123456789abcdefghijklmnop", "x"}},
		{"wraps for long", small, out(strings.Repeat("0123456789", 10) + "\r\nx"), []string{strings.Repeat("0123456789", 10), "x"}},
		{"colours and titles", small, out("\x1b[1;31mred\x1b[0m\x1b]0;t\a\x1bP1$r\x1b\\ x"), []string{"red x"}},
		{"progress", small, out(" 1%\r 50%\r100%\r\ndone"), []string{"100%", "done"}},
		{"cleared", small, out("a\r\nb\x1b[H\x1b[2Jc"), []string{"a", "b", "c"}},
		{"cleared to the end", small, out("a\r\nb\x1b[H\x1b[Jc"), []string{"a", "b", "c"}},
		{"reset", small, out("a\r\nb\x1bcc"), []string{"a", "b", "c"}},
		{"full screen", small, out("a\r\n\x1b[?1049h\x1b[H\x1b[2Jframe 1\x1b[Hframe 2\x1b[?1049lb"), []string{"a", "| frame 2", "b"}},
		{"full screen at the end", small, out("a\x1b[?1049hleft"), []string{"a", "|  left"}},
		{"shown again", small, out("a\r\nb\x1b[?1049hx\x1b[?1049l!\r\nc\r\nd\r\ne"), []string{"a", "b", "| ", "|  x", "b!", "c", "d", "e"}},
		{"same screen", small, out("a\r\n\x1b[?25l\x1b[H\x1b[Jone\x1b[H\x1b[Jtwo\x1b[?25h"), []string{"two"}},
		{"blank rows at the end", small, out("a\r\n\r\n"), []string{"a"}},
		{"any bytes", Options{}, out("gr\xc3\xbc\xc3\x9fe \xff\xc3( e\xcc\x81 \xe6\x97\xa5\xe6\x9c\xac\u009b"), []string{"grüße \xff\xc3( e\u0301 日本\ufffd"}},
		{"region", Options{Columns: 10, Rows: 4}, out("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\nx\x1b[r"), []string{"a", "c", "x", "d"}},
		{"lines and characters", Options{Columns: 10, Rows: 4}, out("abc\r\ndef\r\nghi\x1b[H\x1b[Lnew\x1b[3;1H\x1b[M\x1b[2;2H\x1b[P\x1b[@-\x1b[3;2H\x1b[X\x1b[3;1H\x1b[2b"), []string{"new", "a-c", "--i"}},
		{"moves", Options{Columns: 10, Rows: 4}, out("\x1b[2;3Ha\x1b[Bb\x1b[Ac\x1b[2Dd\x1b[1Ee\x1b[Ff\x1b[5Gg\x1b[4dh\x1b7\x1b[Hi\x1b8j\tk\x1b[Zl"), []string{"i", "f adg", "e  b", "     hj l"}},
		{"plain", Options{Plain: true}, out("a\nb\n\x1b[1mc"), []string{"a", "b", "c"}},
		{"entered", small, []step{{'o', "$ "}, {'i', "ls\r"}, {'o', "ls\r\nfile\r\n$ "}}, []string{"> $ ls", "file", "$"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rows(tt.o, tt.trace)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRowsOfScenes: each line that was echoed is in a row that is marked as entered.
func TestRowsOfScenes(t *testing.T) {
	for _, name := range []string{"simple", "history", "heredoc", "clear-command", "two-line-prompt", "dash-heredoc", "ash-history", "zsh-history", "vi", "much-output"} {
		for _, sc := range scenes {
			if sc.name != name {
				continue
			}
			var entered []string
			for _, r := range rows(Options{Columns: 80, Rows: 24}, readTrace(t, sc.file())) {
				if line, is := strings.CutPrefix(r, "> "); is {
					entered = append(entered, line)
				}
			}
			if len(entered) != len(sc.want) {
				t.Fatalf("%s: %q entered", name, entered)
			}
			for i, want := range sc.want {
				if sc.name != "two-line-prompt" && !strings.HasSuffix(entered[i], " "+want) {
					t.Errorf("%s: %q is not the row of %q", name, entered[i], want)
				}
			}
		}
	}
}
