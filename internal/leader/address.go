package leader

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// address is an IP address as the ut_addr_v6 field of utmp(5) has it: 4 or 16
// bytes, or none when text is no address.
func address(text string) []byte {
	if strings.Contains(text, ":") {
		return address6(text)
	}
	return address4(text)
}

func address4(text string) []byte {
	var out []byte
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return nil
		}
		out = append(out, byte(n))
	}
	if len(out) != 4 {
		return nil
	}
	return out
}

func address6(text string) []byte {
	text, _, _ = strings.Cut(text, "%")
	head, tail, short := strings.Cut(text, "::")
	front, ok1 := groups6(head)
	back, ok2 := groups6(tail)
	missing := 16 - len(front) - len(back)
	if !ok1 || !ok2 || missing < 0 || short != (missing > 0) {
		return nil
	}
	return append(append(front, make([]byte, missing)...), back...)
}

// groups6 reads groups of hexadecimal digits.
func groups6(text string) ([]byte, bool) {
	var out []byte
	if text == "" {
		return nil, true
	}
	for part := range strings.SplitSeq(text, ":") {
		if n, err := strconv.ParseUint(part, 16, 16); err == nil {
			out = binary.BigEndian.AppendUint16(out, uint16(n))
		} else if a := address4(part); a != nil {
			out = append(out, a...)
		} else {
			return nil, false
		}
	}
	return out, true
}
