package config

import (
	"strings"
	"testing"
)

func TestSyntaxLengths(t *testing.T) {
	for name, tt := range map[string]struct {
		syntax  syntax
		longest int
	}{
		"list of sources":       {listName, 64},
		"rule or honeytoken":    {tokenName, 64},
		"key shown as it is":    {plainKey, 80},
		"pattern of accept_env": {acceptPattern, 128},
		"target":                {targetName, 32},
		"label of a host":       {hostLabel, 63},
		"account":               {accountName, 32},
		"image":                 {imageName, 512},
	} {
		for length, want := range map[int]bool{0: false, 1: true, tt.longest: true, tt.longest + 1: false} {
			if got := tt.syntax.matches(strings.Repeat("a", length)); got != want {
				t.Errorf("%s of %d bytes is taken: %t, want %t", name, length, got, want)
			}
		}
	}
}
