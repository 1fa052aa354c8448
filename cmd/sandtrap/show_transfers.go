package main

import (
	"fmt"
	"strings"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

// shownTransfers is how many files of a channel the text form of show lists.
const shownTransfers = 100

// describeTransfers tells the files that went through a channel.
func describeTransfers(b *strings.Builder, c evidence.Channel) {
	for i, t := range c.Transfers {
		if i == shownTransfers {
			fmt.Fprintf(b, "    and %d more files\n", len(c.Transfers)-i+c.TransfersOmitted)
			return
		}
		describeTransfer(b, t)
	}
	if c.TransfersOmitted > 0 {
		fmt.Fprintf(b, "    and %d more files\n", c.TransfersOmitted)
	}
}

func describeTransfer(b *strings.Builder, t evidence.Transfer) {
	fmt.Fprintf(b, "    %s %q %s", term.Safe(t.Direction), t.Name, byteWords(t.Size))
	if t.Offset > 0 {
		fmt.Fprintf(b, " from %d on", t.Offset)
	}
	if t.Mode != "" {
		fmt.Fprintf(b, " mode %s", term.Safe(t.Mode))
	}
	if !t.Complete {
		fmt.Fprintf(b, ", incomplete: %s", term.Safe(t.Reason))
	}
	b.WriteByte('\n')
	switch {
	case t.Artifact != "" && t.Artifact == t.SHA256:
		fmt.Fprintf(b, "      %s\n", term.Safe(evidence.ArtifactPath(t.Artifact)))
	case t.Artifact != "":
		fmt.Fprintf(b, "      %s of it in %s\n", byteWords(t.Captured), term.Safe(evidence.ArtifactPath(t.Artifact)))
	case t.SHA256 != "":
		fmt.Fprintf(b, "      SHA-256 %s\n", term.Safe(t.SHA256))
	}
}
