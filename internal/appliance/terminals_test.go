//go:build appliance

package appliance

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// mode is one encoded terminal mode; RFC 4254, section 8.
func mode(opcode byte, argument uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte{opcode}, argument))
}

// everyMode sets all modes that have a number to what argument returns.
func everyMode(from, to byte, argument func(opcode byte) uint32) string {
	var b strings.Builder
	for o := from; o <= to; o++ {
		b.WriteString(mode(o, argument(o)))
	}
	return b.String() + "\x00"
}

func always(argument uint32) func(byte) uint32 { return func(byte) uint32 { return argument } }

var encodedModes = []struct{ name, modes string }{
	{"none", ""},
	{"end", "\x00"},
	{"no end", mode(53, 0)},
	{"all characters", everyMode(1, 18, func(o byte) uint32 { return uint32(o) + 'A' })},
	{"no characters", everyMode(1, 18, always(255))},
	{"characters of 0", everyMode(1, 18, always(0))},
	{"large characters", everyMode(1, 18, always(0x10003))},
	{"all off", everyMode(30, 93, always(0))},
	{"all on", everyMode(30, 69, always(1))},
	{"all output on", everyMode(70, 93, always(1))},
	{"large arguments", mode(53, 0) + mode(50, 1<<31) + mode(72, 256) + "\x00"},
	{"off and on again", mode(53, 0) + mode(53, 1) + mode(54, 0) + "\x00"},
	{"UTF-8", mode(42, 1) + "\x00"},
	{"no UTF-8", mode(42, 0) + "\x00"},
	{"seven bits", mode(90, 1) + mode(91, 0) + "\x00"},
	{"speeds", mode(128, 9600) + mode(129, 115200) + "\x00"},
	{"speeds the other way round", mode(129, 115200) + mode(128, 9600) + "\x00"},
	{"speed in", mode(128, 1200) + "\x00"},
	{"speed out", mode(129, 19200) + "\x00"},
	{"no speed in", mode(128, 0) + "\x00"},
	{"no speed out", mode(129, 0) + "\x00"},
	{"odd speed", mode(129, 12345) + "\x00"},
	{"immense speed", mode(129, 1<<31) + "\x00"},
	{"speeds of long ago", mode(192, 1200) + mode(53, 0) + "\x00"},
	{"unknown", mode(19, 1) + mode(29, 1) + mode(127, 1) + mode(159, 1) + mode(53, 0) + "\x00"},
	{"undefined", mode(53, 0) + "\xa0"},
	{"undefined and more", mode(53, 0) + "\xff\x00"},
	{"more behind", mode(53, 0) + "\x00" + mode(54, 0)},
	{"of OpenSSH", mode(129, 38400) + mode(128, 38400) + everyMode(1, 18, always(3))},
}

// sizes of a terminal in columns, rows and pixels.
var sizes = [][]int{{80, 24, 0, 0}, {0, 0, 0, 0}, {1, 2, 3, 4}, {65536, 65537, 70000, 1 << 31}, {-1, -1, -1, -1}}

const showTerminal = `stty -a; stty -g; echo "$TERM"; perl -e '$b = "\0" x 8; ioctl(STDIN, 0x5413, $b) || die; print join(" ", "pixels", unpack("S4", $b)), "\n"'`

// terminals are visits that look at a terminal with odd modes and sizes.
func terminals() []visit {
	var all []visit
	ask := func(name, term, modes string, size []int) {
		all = append(all, visit{name: name, user: "root", play: func(f *frames) string {
			payload := [][]byte{str(term)}
			for _, n := range size {
				payload = append(payload, num(n))
			}
			f.open(0)
			f.request(0, "pty-req", append(payload, str(modes))...)
			f.exec(0, showTerminal)
			f.wait("< close")
			return f.output(0)
		}})
	}
	for _, m := range encodedModes {
		ask("modes: "+m.name, "xterm", m.modes, sizes[0])
	}
	for _, s := range sizes[1:] {
		ask(fmt.Sprint("size: ", s), "xterm", "", s)
	}
	for _, term := range []string{"a=b", "\x1b]0;x\a\xff", strings.Repeat("x", 1000), "x\x00"} {
		ask(fmt.Sprintf("TERM: %.20q", term), term, "", sizes[0])
	}
	return all
}
