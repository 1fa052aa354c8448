package term

import "bytes"

// maxDigits bounds a parameter: a terminal that repeats a character or scrolls
// millions of times is a terminal that hangs.
const maxDigits = 4

// maxColourDigits is for SGR, where a parameter is a code or a colour.
const maxColourDigits = 8

// endControl passes on the collected control sequence with the given final
// byte, or the harmless part of it, or nothing.
func (f *Filter) endControl(final byte) {
	params := f.seq
	switch {
	case len(params) > 0 && params[0] == '?':
		if final == 'h' || final == 'l' {
			f.setModes(params[1:], final)
		}
	case final == 'h' || final == 'l':
		// 4 is insert mode (IRM); the others concern the keyboard.
		if string(params) == "4" {
			f.passControl(params, final)
		}
	case final == 'm':
		if numbers(params, "0123456789;:", maxColourDigits) {
			f.passControl(params, final)
		}
	case numbers(params, "0123456789;", maxDigits) && movement(params, final):
		f.passControl(params, final)
	}
}

func (f *Filter) passControl(params []byte, final byte) {
	f.pass('[')
	f.out = append(append(f.out, params...), final)
}

// movement reports whether a control sequence moves, erases or scrolls.
func movement(params []byte, final byte) bool {
	switch final {
	case 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'Z', 'a', 'd', 'e', 'f', '`', // move
		'K', 'L', 'M', 'P', 'X', '@', // erase, insert, delete
		'S', 'r', 'b': // scroll, region, repeat
		return true
	case 'J':
		// 3 would wipe the operator's own scrollback.
		return len(params) == 0 || len(params) == 1 && params[0] <= '2'
	case 'T':
		// With more parameters this starts mouse tracking.
		return bytes.IndexByte(params, ';') < 0
	case 's', 'u':
		// Save and restore; with parameters they mean other things.
		return len(params) == 0
	}
	return false
}

// setModes passes on those of several private modes (DECSET, DECRST) that only
// concern the picture.
func (f *Filter) setModes(params []byte, final byte) {
	var kept []byte
	for p := range bytes.SplitSeq(params, []byte{';'}) {
		switch string(p) {
		case "47", "1047", "1049": // alternate screen
			f.alt = final == 'h'
		case "5", "6", "7", "12", "25", "1048": // reverse, origin, wrap, blink, cursor, save cursor
		default:
			continue
		}
		if kept != nil {
			kept = append(kept, ';')
		}
		kept = append(kept, p...)
	}
	if kept != nil {
		f.passControl(append([]byte{'?'}, kept...), final)
	}
}

// numbers reports whether params consist of the given bytes only and no number
// is longer than digits.
func numbers(params []byte, allowed string, digits int) bool {
	run := 0
	for _, c := range params {
		if bytes.IndexByte([]byte(allowed), c) < 0 {
			return false
		}
		if run++; c == ';' || c == ':' {
			run = 0
		}
		if run > digits {
			return false
		}
	}
	return true
}
