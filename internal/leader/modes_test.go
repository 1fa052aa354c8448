package leader

import (
	"syscall"
	"testing"
)

func TestApplyModes(t *testing.T) {
	sane := syscall.Termios{Iflag: syscall.ICRNL, Oflag: syscall.OPOST, Cflag: syscall.CS8 | syscall.B38400, Lflag: syscall.ECHO | syscall.ICANON}
	for name, test := range map[string]struct {
		modes string
		want  func(*syscall.Termios) // nil when none are set
	}{
		"none":        {"", func(*syscall.Termios) {}},
		"no end":      {modes(53, 0)[:5], func(s *syscall.Termios) { s.Lflag &^= syscall.ECHO }},
		"after it":    {modes(53, 0) + "\x00", nil},
		"off":         {modes(53, 0), func(s *syscall.Termios) { s.Lflag &^= syscall.ECHO }},
		"on":          {modes(50, 1), func(s *syscall.Termios) { s.Lflag |= syscall.ISIG }},
		"on, large":   {modes(72, 1<<31), func(s *syscall.Termios) { s.Oflag |= syscall.ONLCR }},
		"character":   {modes(1, 3), func(s *syscall.Termios) { s.Cc[syscall.VINTR] = 3 }},
		"no such key": {modes(1, 255), func(*syscall.Termios) {}},
		"speed":       {modes(128, 115200, 129, 115200), func(s *syscall.Termios) { s.Cflag = syscall.CS8 | syscall.B115200 }},
		"odd speed":   {modes(128, 12345), func(s *syscall.Termios) { s.Cflag = syscall.CS8 | syscall.B9600 }},
		"no speed":    {modes(129, 0), func(s *syscall.Termios) { s.Cflag = syscall.CS8 | syscall.B0 }},
		"no in speed": {modes(128, 0), func(*syscall.Termios) {}},
		"unknown":     {modes(29, 1, 53, 0), func(s *syscall.Termios) { s.Lflag &^= syscall.ECHO }},
		"undefined":   {modes(53, 0)[:5] + "\xa0", func(s *syscall.Termios) { s.Lflag &^= syscall.ECHO }},
		"and more":    {modes(53, 0)[:5] + modes(160, 1), nil},
		"cut off":     {modes(53, 0)[:4], nil},
	} {
		got, want := sane, sane
		ok := applyModes(&got, []byte(test.modes))
		if ok != (test.want != nil) {
			t.Errorf("%s: to be set: %v", name, ok)
		}
		if ok && test.want != nil {
			if test.want(&want); got != want {
				t.Errorf("%s: got %+v, want %+v", name, got, want)
			}
		}
	}
}

func FuzzModes(f *testing.F) {
	f.Add([]byte(modes(53, 0, 3, 8, 128, 9600)))
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
