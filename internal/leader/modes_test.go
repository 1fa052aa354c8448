package leader

import (
	"syscall"
	"testing"
)

func TestApplyModes(t *testing.T) {
	sane := syscall.Termios{Iflag: syscall.ICRNL, Oflag: syscall.OPOST, Cflag: syscall.CS8 | syscall.B38400, Lflag: syscall.ECHO | syscall.ICANON}
	for name, test := range map[string]struct {
		modes string
		want  func(*syscall.Termios)
	}{
		"none":        {"", func(*syscall.Termios) {}},
		"end":         {"\x00" + modes(53, 0), func(*syscall.Termios) {}},
		"off":         {modes(53, 0), func(s *syscall.Termios) { s.Lflag &^= syscall.ECHO }},
		"on":          {modes(50, 1), func(s *syscall.Termios) { s.Lflag |= syscall.ISIG }},
		"on, large":   {modes(72, 1<<31), func(s *syscall.Termios) { s.Oflag |= syscall.ONLCR }},
		"character":   {modes(1, 3), func(s *syscall.Termios) { s.Cc[syscall.VINTR] = 3 }},
		"no such key": {modes(1, 255), func(*syscall.Termios) {}},
		"speed":       {modes(192, 115200, 193, 115200), func(s *syscall.Termios) { s.Cflag = syscall.CS8 | syscall.B115200 }},
		"odd speed":   {modes(192, 12345), func(*syscall.Termios) {}},
		"unknown":     {modes(29, 1, 53, 0), func(s *syscall.Termios) { s.Lflag &^= syscall.ECHO }},
		"undefined":   {modes(160, 1, 53, 0), func(*syscall.Termios) {}},
		"cut off":     {modes(53, 0)[:4], func(*syscall.Termios) {}},
	} {
		got, want := sane, sane
		applyModes(&got, []byte(test.modes))
		test.want(&want)
		if got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func FuzzModes(f *testing.F) {
	f.Add([]byte(modes(53, 0, 3, 8, 192, 9600)))
	f.Add([]byte{1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		var once syscall.Termios
		applyModes(&once, b)
		twice := once
		applyModes(&twice, b)
		if once != twice {
			t.Errorf("%q is not the same twice: %+v, %+v", b, once, twice)
		}
	})
}
