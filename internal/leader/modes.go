package leader

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// Opcodes of the encoded terminal modes, RFC 4254 section 8, beside those of the
// tables.
const (
	modesEnd      = 0
	modeInSpeed   = 128
	modeOutSpeed  = 129
	modeUndefined = 160 // from here on the length of arguments is unknown
	modeIUTF8     = 42  // RFC 8160
)

// characters are the opcodes of control characters and their places in c_cc, as
// far as Linux has them.
var characters = [...]struct{ opcode, place uint8 }{
	{1, syscall.VINTR}, {2, syscall.VQUIT}, {3, syscall.VERASE}, {4, syscall.VKILL},
	{5, syscall.VEOF}, {6, syscall.VEOL}, {7, syscall.VEOL2}, {8, syscall.VSTART},
	{9, syscall.VSTOP}, {10, syscall.VSUSP}, {12, syscall.VREPRINT}, {13, syscall.VWERASE},
	{14, syscall.VLNEXT}, {18, syscall.VDISCARD},
}

// Which of the flags of struct termios an opcode is about.
const (
	inputFlag = iota
	outputFlag
	controlFlag
	localFlag
)

// flags are the opcodes that are on or off. See termios(3); package syscall lacks
// names for some.
var flags = [...]struct {
	opcode uint8
	which  uint8
	mask   uint32
}{
	{30, inputFlag, syscall.IGNPAR}, {31, inputFlag, syscall.PARMRK}, {32, inputFlag, syscall.INPCK},
	{33, inputFlag, syscall.ISTRIP}, {34, inputFlag, syscall.INLCR}, {35, inputFlag, syscall.IGNCR},
	{36, inputFlag, syscall.ICRNL}, {37, inputFlag, syscall.IUCLC}, {38, inputFlag, syscall.IXON},
	{39, inputFlag, syscall.IXANY}, {40, inputFlag, syscall.IXOFF}, {41, inputFlag, syscall.IMAXBEL},
	{modeIUTF8, inputFlag, syscall.IUTF8},
	{50, localFlag, syscall.ISIG}, {51, localFlag, syscall.ICANON}, {52, localFlag, 0x4 /* XCASE */},
	{53, localFlag, syscall.ECHO}, {54, localFlag, syscall.ECHOE}, {55, localFlag, syscall.ECHOK},
	{56, localFlag, syscall.ECHONL}, {57, localFlag, syscall.NOFLSH}, {58, localFlag, syscall.TOSTOP},
	{59, localFlag, syscall.IEXTEN}, {60, localFlag, syscall.ECHOCTL}, {61, localFlag, syscall.ECHOKE},
	{62, localFlag, syscall.PENDIN},
	{70, outputFlag, syscall.OPOST}, {71, outputFlag, syscall.OLCUC}, {72, outputFlag, syscall.ONLCR},
	{73, outputFlag, syscall.OCRNL}, {74, outputFlag, syscall.ONOCR}, {75, outputFlag, syscall.ONLRET},
	{90, controlFlag, syscall.CS7}, {91, controlFlag, syscall.CS8},
	{92, controlFlag, syscall.PARENB}, {93, controlFlag, syscall.PARODD},
}

// speeds are the rates that have a constant, in bits a second.
var speeds = [...]struct{ rate, code uint32 }{
	{0, syscall.B0}, {50, syscall.B50}, {75, syscall.B75}, {110, syscall.B110}, {134, syscall.B134},
	{150, syscall.B150}, {200, syscall.B200}, {300, syscall.B300}, {600, syscall.B600},
	{1200, syscall.B1200}, {1800, syscall.B1800}, {2400, syscall.B2400}, {4800, syscall.B4800},
	{9600, syscall.B9600}, {19200, syscall.B19200}, {38400, syscall.B38400}, {57600, syscall.B57600},
	{115200, syscall.B115200}, {230400, syscall.B230400},
}

// speedMask are the bits of c_cflag that hold a rate: CBAUD and CBAUDEX.
const speedMask = 0x100f

// setModes sets the terminal modes that a client asked for.
func setModes(fd int, modes string) {
	var t syscall.Termios
	if modes == "" || ioctl(fd, syscall.TCGETS, unsafe.Pointer(&t)) != nil || !applyModes(&t, []byte(modes)) {
		return
	}
	_ = ioctl(fd, syscall.TCSETS, unsafe.Pointer(&t))
}

// applyModes decodes modes into t. It reports whether OpenSSH would set them: it does
// not where something is left behind their end, or is cut off.
func applyModes(t *syscall.Termios, modes []byte) bool {
	for len(modes) > 0 {
		opcode := modes[0]
		if opcode == modesEnd || opcode >= modeUndefined {
			return len(modes) == 1
		}
		if len(modes) < 5 {
			return false
		}
		argument := binary.BigEndian.Uint32(modes[1:])
		modes = modes[5:]
		// The kernel has one speed for both directions.
		if opcode == modeOutSpeed || opcode == modeInSpeed && argument != 0 { // 0 as cfsetispeed(3)
			t.Cflag = t.Cflag&^speedMask | speedCode(argument)
		} else {
			applyMode(t, opcode, argument)
		}
	}
	return true
}

func applyMode(t *syscall.Termios, opcode uint8, argument uint32) {
	for _, c := range characters {
		if c.opcode == opcode {
			if argument == 255 {
				argument = 0 // _POSIX_VDISABLE
			}
			t.Cc[c.place] = uint8(argument)
			return
		}
	}
	for _, f := range flags {
		if f.opcode != opcode {
			continue
		}
		field := [...]*uint32{inputFlag: &t.Iflag, outputFlag: &t.Oflag, controlFlag: &t.Cflag, localFlag: &t.Lflag}[f.which]
		if argument != 0 {
			*field |= f.mask
		} else {
			*field &^= f.mask
		}
		return
	}
}

// speedCode is the constant of a rate. Others become 9600, as with OpenSSH.
func speedCode(rate uint32) uint32 {
	for _, s := range speeds {
		if s.rate == rate {
			return s.code
		}
	}
	return syscall.B9600
}
