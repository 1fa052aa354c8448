package admission

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Set is a set of addresses. It is not changed once made; the zero value is empty.
type Set struct {
	ranges []span // in order, none touches another
}

// span is a range of addresses of one family, both ends included.
type span struct{ low, high netip.Addr }

// NewSet returns the addresses of all prefixes.
func NewSet(prefixes []netip.Prefix) Set {
	all := make([]span, 0, len(prefixes))
	for _, p := range prefixes {
		all = append(all, spanOf(p))
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(a.low.Compare(b.low), a.high.Compare(b.high)) })
	merged := all[:0]
	for _, s := range all {
		if n := len(merged); n > 0 && merged[n-1].reaches(s.low) {
			if merged[n-1].high.Less(s.high) {
				merged[n-1].high = s.high
			}
			continue
		}
		merged = append(merged, s)
	}
	return Set{ranges: slices.Clip(merged)}
}

// reaches reports whether an address that is not before the range is in it or next to
// it.
func (s span) reaches(a netip.Addr) bool {
	if s.high.BitLen() != a.BitLen() {
		return false
	}
	next := s.high.Next()
	return !next.IsValid() || !next.Less(a)
}

func spanOf(p netip.Prefix) span {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := range last {
		if free := 8*(i+1) - p.Bits(); free > 0 {
			last[i] |= byte(1<<min(free, 8) - 1)
		}
	}
	high, _ := netip.AddrFromSlice(last)
	return span{p.Addr(), high}
}

// Has reports whether an address, not an IPv4 one within IPv6, is in the set.
func (s Set) Has(addr netip.Addr) bool {
	i, found := slices.BinarySearchFunc(s.ranges, addr, func(r span, a netip.Addr) int { return r.low.Compare(a) })
	if found {
		return true
	}
	return i > 0 && s.ranges[i-1].high.BitLen() == addr.BitLen() && !s.ranges[i-1].high.Less(addr)
}

// Len is the number of ranges.
func (s Set) Len() int { return len(s.ranges) }

// ParsePrefix reads an address or a range in CIDR notation.
func ParsePrefix(text string) (netip.Prefix, error) {
	errNone := errors.New("is not an address or a range of them (such as 192.0.2.0/24 or 2001:db8::/32)")
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errNone
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, errNone
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// Bounds of a list in a file. Lists of the whole world's scanners have some 100,000
// lines.
const (
	maxListBytes    = 32 << 20
	maxListPrefixes = 1_000_000
	maxListLine     = 4096
)

// ReadPrefixes reads a list: one address or range a line. What follows # or ; is a
// comment, and so is anything behind the first word. Errors name the line.
func ReadPrefixes(r io.Reader) ([]netip.Prefix, error) {
	var list []netip.Prefix
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxListLine), maxListLine)
	number := 0
	for lines.Scan() {
		number++
		line := lines.Bytes()
		if i := bytes.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		words := strings.Fields(string(line))
		if len(words) == 0 {
			continue
		}
		p, err := ParsePrefix(words[0])
		if err != nil {
			return nil, fmt.Errorf("line %d: %.60q %w", number, words[0], err)
		}
		if len(list) == maxListPrefixes {
			return nil, fmt.Errorf("line %d: more than %d ranges", number, maxListPrefixes)
		}
		list = append(list, p)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d: longer than %d bytes", number+1, maxListLine)
	}
	return list, lines.Err()
}

// ReadPrefixFile reads such a list from a file of at most 32 MiB.
func ReadPrefixFile(path string) ([]netip.Prefix, error) {
	// Non-blocking, so that opening a FIFO does not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read list: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read list: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read list: %s is not a regular file", path)
	case info.Size() > maxListBytes:
		return nil, fmt.Errorf("read list: %s is larger than 32 MiB", path)
	}
	list, err := ReadPrefixes(io.LimitReader(f, maxListBytes))
	if err != nil {
		return nil, fmt.Errorf("read list: %s: %w", path, err)
	}
	return list, nil
}
