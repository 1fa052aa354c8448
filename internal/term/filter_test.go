package term

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func filtered(t testing.TB, chunks ...string) string {
	t.Helper()
	var b bytes.Buffer
	f := NewFilter(&b)
	for _, c := range chunks {
		if n, err := f.Write([]byte(c)); n != len(c) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	return b.String()
}

func TestFilterPasses(t *testing.T) {
	for _, s := range []string{
		"plain text\r\n\ttab\b\v\f",
		"grüße 日本 👩‍🚀",
		"\x1b[0m\x1b[1;31m\x1b[38;5;200m\x1b[48:2::1:2:3m\x1b[m",
		"\x1b[H\x1b[2J\x1b[10;20H\x1b[5A\x1b[K\x1b[0J",
		"\x1b[2;10r\x1b[3S\x1b[3T\x1b[r",
		"\x1b[?1049h\x1b[?25l\x1b[?7h\x1b[?1049l",
		"\x1b7\x1b8\x1bM\x1bD\x1bE\x1b[s\x1b[u\x1b[4h\x1b[4l",
		"\x1b(0lqqk\x1b(B\x0e\x0f\x1b)0",
		"\x1b[5b",
	} {
		if got := filtered(t, s); got != s {
			t.Errorf("filter(%q) = %q", s, got)
		}
	}
}

func TestFilterDrops(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"title", "a\x1b]0;evil\ab", "ab"},
		{"title with ST", "a\x1b]2;evil\x1b\\b", "ab"},
		{"clipboard", "\x1b]52;c;ZXZpbA==\ax", "x"},
		{"hyperlink", "\x1b]8;;http://x/\x1b\\text\x1b]8;;\x1b\\", "text"},
		{"tab stops", "\x1bHa\x1b[3gb\x1b[gc\x1b[0gd\x1b[?5We", "abcde"},
		{"sixel", "\x1bP0;1q\"1;1;9;9#0;2;0;0;0#0!9~-\x1b\\x", "x"},
		{"settings queried", "\x1bP$qm\x1b\\\x1bP+q544e\x1b\\x", "x"},
		{"title queried", "\x1b[21t\x1b[20t\x1b]l\x1b\\x", "x"},
		{"colour queried", "\x1b]10;?\a\x1b]4;1;?\x1b\\x", "x"},
		{"status report, 8 bits as UTF-8", "\u009b6n\u009bcx", "6ncx"},
		{"status report, 8 bits", "\x9b6nx", "\ufffd6nx"},
		{"file transfer and notification", "\x1b]1337;File=name=eA==:AAAA\a\x1b]9;hi\a\x1b]777;notify;a;b\ax", "x"},
		{"keyboard protocol", "\x1b[>1u\x1b[=1;1u\x1b[?ux", "x"},
		{"window size and focus", "\x1b[14t\x1b[18t\x1b[?1004hx", "x"},
		{"terminal parameters, checksum", "\x1b[x\x1b[1;1;1;1;1;1*yx", "x"},
		{"soft reset, leds, cursor shape", "\x1b[!p\x1b[1q\x1b[5 qx", "x"},
		{"screen title", "\x1bkname\x1b\\x", "x"},
		{"dcs apc pm sos", "\x1bPq#0\x1b\\1\x1b_x\x1b\\2\x1b^x\x1b\\3\x1bXx\x1b\\4", "1234"},
		{"string ended by sequence", "\x1b]0;evil\x1b[1mx", "\x1b[1mx"},
		{"string cancelled", "\x1b]0;evil\x18x", "x"},
		{"unterminated string", "\x1b]" + strings.Repeat("a", maxString) + "x", "x"},
		{"device attributes", "\x1b[c\x1b[>c\x1b[=c\x1bZx", "x"},
		{"status report", "\x1b[6n\x1b[?6nx", "x"},
		{"answerback and bell", "\x05\ax\x00\x7f", "x"},
		{"window", "\x1b[8;1;1t\x1b[21tx", "x"},
		{"print", "\x1b[5i\x1b[?5ix", "x"},
		{"modes queried", "\x1b[?1$p\x1b[4$px", "x"},
		{"mouse and paste", "\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[?1hx", "x"},
		{"mixed modes", "\x1b[?1000;25;2004;1049h", "\x1b[?25;1049h"},
		{"keyboard locked", "\x1b[2h\x1b[20h\x1b=\x1b>x", "x"},
		{"key modifiers", "\x1b[>4;2m\x1b[?4mx", "x"},
		{"mouse tracking by T", "\x1b[1;1;1;1;1Tx", "x"},
		{"margins by s", "\x1b[1;9sx", "x"},
		{"scrollback", "\x1b[3Jx", "x"},
		{"reset", "\x1bcx", "x"},
		{"endless repeat", "y\x1b[99999999bx", "yx"},
		{"long sequence", "\x1b[" + strings.Repeat("1;", 60) + "mx", "x"},
		{"long sequence cut by control", "\x1b[" + strings.Repeat("1;", 60) + "\nx", "\nx"},
		{"control inside", "\x1b[1\nmx\x1b\n1\x7f", "\nmx\n1"},
		{"del inside", "\x1b[1\x7fmx", "\x1b[1mx"},
		{"colon in movement", "\x1b[1:2Hx", "x"},
		{"c1", "\u009b31m\u009d0;x\u009cy", "31m0;xy"},
		{"c1 bytes", "\x9b31mx\x90", "\ufffd31mx\ufffd"},
		{"bidi", "a\u202eb", "ab"},
		{"cut utf-8", "\xe2\x82x\xe2\x1b[mx", "\ufffdx\ufffd\x1b[mx"},
		{"other charsets", "\x1b%Gx\x1b#8y\x1b(Kz\x1b( Bw\x1b%\nv", "xyzw\nv"},
		{"escape twice", "\x1b\x1b[mx", "\x1b[mx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := filtered(t, tt.in); got != tt.want {
				t.Errorf("filter(%q) = %q, want %q", tt.in, got, tt.want)
			}
			if got := filtered(t, strings.Split(tt.in, "")...); utf8.ValidString(tt.in) && got != tt.want {
				t.Errorf("filter(%q) in single characters = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestFilterRestore(t *testing.T) {
	var b bytes.Buffer
	f := NewFilter(&b)
	f.Write([]byte("\x1b[?1049hx\x1b]0;half"))
	b.Reset()
	if err := f.Restore(); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.HasSuffix(got, "\x1b[?1049l") || !strings.Contains(got, "\x1b[?25h") {
		t.Errorf("Restore wrote %q", got)
	}
	b.Reset()
	f.Write([]byte("\x1b[my"))
	f.Restore()
	if got := b.String(); !strings.HasPrefix(got, "\x1b[my\x0f\x1b(B") || strings.Contains(got, "1049") {
		t.Errorf("second Restore wrote %q", got)
	}
	b.Reset()
	f.Write([]byte("z\n"))
	f.Restore()
	if got := b.String(); got != "z\n" {
		t.Errorf("Restore after text wrote %q", got)
	}
}

func TestFilterBrokenWriter(t *testing.T) {
	f := NewFilter(brokenWriter{})
	if _, err := f.Write([]byte("x\x0e")); !errors.Is(err, errBroken) {
		t.Errorf("Write: %v", err)
	}
	if err := f.Restore(); !errors.Is(err, errBroken) {
		t.Errorf("Restore: %v", err)
	}
}

// harmless describes everything the filter may ever emit after an ESC. It is
// written apart from the filter on purpose.
var harmless = regexp.MustCompile(`^(?:[78DEM]|[()][0B]|\[(?:` +
	`[0-9;:]*m|[0-9;]*[A-IKLMPSXZabdefr` + "`" + `@]|[0-2]?J|[0-9]*T|[su]|4[hl]|` +
	`\?(?:(?:5|6|7|12|25|47|1047|1048|1049);?)+[hl]))`)

func FuzzFilter(f *testing.F) {
	f.Add([]byte("\x1b[1;31mx\x1b]0;t\a\x1b[?1049;1000h\xe2\x82"), uint8(3))
	f.Add([]byte("\x1b\x1b]\x1b[\x1b[6n\x9b\xc2\x9b\x1bP\x1b\\"), uint8(1))
	f.Fuzz(func(t *testing.T, p []byte, size uint8) {
		whole := filtered(t, string(p))
		var chunks []string
		for rest := string(p); rest != ""; {
			n := min(int(size)+1, len(rest))
			chunks = append(chunks, rest[:n])
			rest = rest[n:]
		}
		if split := filtered(t, chunks...); split != whole {
			t.Fatalf("split %q, whole %q", split, whole)
		}
		if !utf8.ValidString(whole) {
			t.Fatalf("output is not UTF-8: %q", whole)
		}
		for i, r := range whole {
			switch {
			case r == 0x1b && !harmless.MatchString(whole[i+1:]):
				t.Fatalf("passed %q", whole[i:])
			case r != 0x1b && r < '\b', r > 0x0f && r < 0x1b, r > 0x1b && r < ' ', r >= 0x7f && r <= 0x9f:
				t.Fatalf("passed control %U", r)
			}
		}
	})
}
