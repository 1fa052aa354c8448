package term

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSafe(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", `uname -a; echo "hi"`, `uname -a; echo "hi"`},
		{"letters", "grüße, 日本", "grüße, 日本"},
		{"escape", "\x1b]0;x\a", `\x1b]0;x\a`},
		{"lines", "a\r\nb\tc\x00\x7f", `a\r\nb\tc\x00\x7f`},
		{"c1 as text", "\u009b31m", `\u009b31m`},
		{"c1 as byte", "\x9b31m", `\x9b31m`},
		{"bidi", "a\u202eb\u2066", `a\u202eb\u2066`},
		{"format", "\u200b\ufeff\U000e0041", `\u200b\ufeff\U000e0041`},
		{"cut utf-8", "\xe2\x82", `\xe2\x82`},
		{"replacement", "\ufffd", "\ufffd"},
		{"backslash", `\x1b`, `\\x1b`},
		{"quote", "'\"\x00", `'"\x00`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Safe(tt.in); got != tt.want {
				t.Errorf("Safe(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		in    string
		width int
		want  string
	}{
		{"short", 5, "short"},
		{"longer", 5, "long…"},
		{"\x1b\x1b\x1b", 5, `\x1b…`},
		{strings.Repeat("日", 1000), 3, "日日…"},
		{strings.Repeat("\xff", 1000), 3, `\x…`},
		{"a" + strings.Repeat("日", 1000), 1, "…"},
		{"anything", 0, "anything"},
	} {
		if got := Clip(tt.in, tt.width); got != tt.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tt.in, tt.width, got, tt.want)
		}
	}
}

func TestDocument(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":"b"}`:                                 `{"a":"b"}`,
		"{\"a\":\"gr\u00fc\u65e5\U0001f469\"}":      "{\"a\":\"gr\u00fc\u65e5\U0001f469\"}",
		"\"\u009b31m\u009d\x7f\u202e\u2028\ufeff\"": `"\u009b31m\u009d\u007f\u202e\u2028\ufeff"`,
		"\"\u00ad\u200b\U000e0041\"":                `"\u00ad\u200b\udb40\udc41"`,
		"\"\x9b\"":                                  "\"\ufffd\"",
	} {
		if got := string(Document([]byte(in))); got != want {
			t.Errorf("Document(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	in, want := "read \"a\\x1b\": \x1b]0;x\a\u009b\u202e\xff\tend\nx \r日", "read \"a\\x1b\": \\x1b]0;x\\a\\u009b\\u202e\\xff\\tend; x \\r日"
	if got := Printable(in); got != want {
		t.Errorf("Printable = %q, want %q", got, want)
	}
}

func TestAppendJSONEscapes(t *testing.T) {
	in := "\"\\\n\r\t\x00\x1b\x7f\u0085\u202e\u2028\ufeff\xff日"
	want := `"\"\\\n\r\t\u0000\u001b\u007f\u0085\u202e\u2028\ufeff` + "\ufffd日\""
	if got := string(AppendJSON(nil, in)); got != want {
		t.Errorf("AppendJSON = %s, want %s", got, want)
	}
}

func FuzzSafe(f *testing.F) {
	f.Add("\x1b]52;c;\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Safe(s) {
			if !unicode.IsPrint(r) {
				t.Fatalf("Safe(%q) holds %U", s, r)
			}
		}
		if c := Clip(s, 9); utf8.RuneCountInString(c) > 9 {
			t.Fatalf("Clip(%q) is %d wide", s, utf8.RuneCountInString(c))
		}
		b := AppendJSON(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("AppendJSON(%q): %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back != want {
			t.Fatalf("AppendJSON(%q) reads back as %q", s, back)
		}
		if bytes.IndexFunc(b, func(r rune) bool { return unicode.IsControl(r) || bidi(r) }) >= 0 {
			t.Fatalf("AppendJSON(%q) holds a control", s)
		}
	})
}

func TestTable(t *testing.T) {
	tab := NewTable(Column{"ID", 0}, Column{"COMMAND", 8}, Column{"STATE", 0})
	tab.Add("01J", "rm\x1b", "open")
	tab.Add("日本語", "")
	tab.Add("\\", "a long command", "")
	var b bytes.Buffer
	if err := tab.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := "ID   COMMAND   STATE\n01J  rm\\x1b    open\n日本語\n\\\\   a long …\n"
	if b.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", b.String(), want)
	}
	if err := tab.Print(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("Print to a broken writer: %v", err)
	}
}

var errBroken = errors.New("broken pipe")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
