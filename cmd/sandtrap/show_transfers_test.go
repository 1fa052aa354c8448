package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

func TestShowTransfers(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	c := evidence.Channel{TransfersOmitted: 3, Transfers: []evidence.Transfer{
		{Direction: "upload", Name: "a\x1b[2J\xff", Size: 1536, Mode: "0755", SHA256: hash, Artifact: hash, Captured: 1536, Complete: true},
		{Direction: "upload", Name: "b", Size: 20, SHA256: "c0ffee", Artifact: hash, Captured: 10, Reason: "more than fits"},
		{Direction: "download", Name: "c", Size: 20, Offset: 7, SHA256: hash, Reason: "could not be stored"},
		{Direction: "download", Name: "d", Size: 0, Reason: "x\x1b"},
	}}
	var b strings.Builder
	describeTransfers(&b, c)
	want := fmt.Sprintf(`
    upload "a\x1b[2J\xff" 1.5 KiB mode 0755
      artifacts/sha256/ab/%[1]s
    upload "b" 20 B, incomplete: more than fits
      10 B of it in artifacts/sha256/ab/%[1]s
    download "c" 20 B from 7 on, incomplete: could not be stored
      SHA-256 %[1]s
    download "d" 0 B, incomplete: x\x1b
    and 3 more files
`[1:], hash)
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	b.Reset()
	c.Transfers = make([]evidence.Transfer, shownTransfers+2)
	if describeTransfers(&b, c); !strings.HasSuffix(b.String(), "    and 5 more files\n") {
		t.Errorf("many files:\n%s", b.String())
	}
}
