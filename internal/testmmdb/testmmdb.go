// Package testmmdb makes MaxMind DB files, which tests give to what reads them.
package testmmdb

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
)

// Database is a file of IPv6 addresses, IPv4 below ::/96, with records by prefix: maps,
// lists, text and unsigned numbers of 16, 32 and 64 bits. No prefix may be within another.
func Database(records map[string]map[string]any) []byte {
	type node [2]uint32
	const empty = math.MaxUint32
	tree := []node{{empty, empty}}
	var data []byte
	offsets := map[int]uint32{} // in place of a node's number
	for text, record := range records {
		p := netip.MustParsePrefix(text)
		address, bits := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			copy(address[:12], make([]byte, 12))
			bits += 96
		}
		at := 0
		for i := range bits {
			side := address[i/8] >> (7 - i%8) & 1
			if i == bits-1 {
				tree[at][side] = uint32(1<<31 | len(offsets))
				offsets[len(offsets)] = uint32(len(data))
				data = append(data, field(record)...)
				break
			}
			if tree[at][side] == empty {
				tree = append(tree, node{empty, empty})
				tree[at][side] = uint32(len(tree) - 1)
			}
			at = int(tree[at][side])
		}
	}
	var out []byte
	for _, n := range tree {
		for _, child := range n {
			switch {
			case child == empty:
				child = uint32(len(tree))
			case child>>31 == 1:
				child = uint32(len(tree)) + 16 + offsets[int(child&math.MaxInt32)]
			}
			out = binary.BigEndian.AppendUint32(out, child)
		}
	}
	out = append(append(out, make([]byte, 16)...), data...)
	out = append(out, "\xAB\xCD\xEFMaxMind.com"...)
	return append(out, field(map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1), "database_type": "Test",
		"description": map[string]any{"en": "test"}, "ip_version": uint16(6), "languages": []any{"en"}, "node_count": uint32(len(tree)), "record_size": uint16(32),
	})...)
}

// field encodes a value as the MaxMind DB format has it.
func field(value any) []byte {
	control := func(kind, size int) []byte {
		b := []byte{byte(kind << 5)}
		if kind > 7 {
			b = []byte{0, byte(kind - 7)}
		}
		switch {
		case size < 29:
			b[0] |= byte(size)
		case size < 285:
			b[0] |= 29
			b = append(b, byte(size-29))
		default:
			b[0] |= 30
			b = binary.BigEndian.AppendUint16(b, uint16(size-285))
		}
		return b
	}
	switch v := value.(type) {
	case string:
		return append(control(2, len(v)), v...)
	case uint16:
		return append(control(5, 2), byte(v>>8), byte(v))
	case uint32:
		return binary.BigEndian.AppendUint32(control(6, 4), v)
	case uint64:
		return binary.BigEndian.AppendUint64(control(9, 8), v)
	case []any:
		b := control(11, len(v))
		for _, e := range v {
			b = append(b, field(e)...)
		}
		return b
	case map[string]any:
		b := control(7, len(v))
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b = append(append(b, field(name)...), field(v[name])...)
		}
		return b
	}
	panic("what is that?")
}
