package history

import (
	"crypto/rand"
	"encoding/binary"
	"math"
)

// tries are the different credentials that a source was refused: how many, and a Bloom
// filter of them, which takes the same space for any number. Of 64 credentials it takes
// about one in 25 for one tried before; a source is let in a try later then.
type tries struct {
	count uint16
	seen  [8]uint64
}

// bits are the places of a digest in the filter. Digests are as good as random.
func bits(d digest) [2]uint {
	return [2]uint{uint(binary.BigEndian.Uint16(d[0:])) % 512, uint(binary.BigEndian.Uint16(d[2:])) % 512}
}

func (t *tries) has(d digest) bool {
	for _, b := range bits(d) {
		if t.seen[b/64]&(1<<(b%64)) == 0 {
			return false
		}
	}
	return true
}

func (t *tries) add(d digest) {
	if t.has(d) {
		return
	}
	if t.count < math.MaxUint16 {
		t.count++
	}
	for _, b := range bits(d) {
		t.seen[b/64] |= 1 << (b % 64)
	}
}

const (
	passwordLength = 14
	// The letters of passwords: without those that look alike.
	passwordLetters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
)

// newPassword is one as a password manager makes them, of 81 bits.
func newPassword() string {
	out := make([]byte, 0, passwordLength)
	var random [64]byte
	for len(out) < passwordLength {
		_, _ = rand.Read(random[:]) // it never fails
		for _, b := range random {
			// Without bias: what is beyond the last whole multiple is left out.
			if n := len(passwordLetters); int(b) < 256/n*n && len(out) < passwordLength {
				out = append(out, passwordLetters[int(b)%n])
			}
		}
	}
	return string(out)
}
