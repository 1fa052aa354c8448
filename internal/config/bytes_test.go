package config

import (
	"strings"
	"testing"
)

func TestBytes(t *testing.T) {
	for _, test := range []struct {
		text string
		want Bytes
		back string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1000"},
		{"1024", KiB, "1KiB"},
		{"1536KiB", 1536 * KiB, "1536KiB"},
		{"2048MiB", 2 * GiB, "2GiB"},
		{"256 MiB", 256 * MiB, "256MiB"},
		{"-1KiB", -KiB, "-1KiB"},
	} {
		var b Bytes
		if err := b.UnmarshalText([]byte(test.text)); err != nil || b != test.want {
			t.Errorf("%q: got %d, %v, want %d", test.text, b, err, test.want)
		}
		if text, _ := b.MarshalText(); string(text) != test.back {
			t.Errorf("%d: got %s, want %s", b, text, test.back)
		}
	}
	for _, text := range []string{"", "MiB", "1.5GiB", "256MB", "256mib", "0x10", "1_000", "010", "8589934592GiB", strings.Repeat("9", 100)} {
		b := Bytes(7)
		if err := b.UnmarshalText([]byte(text)); err == nil || b != 7 {
			t.Errorf("%q: got %d, %v, want an error and no change", text, b, err)
		}
	}
}
