package leader

import (
	"regexp"
	"time"
)

// deadline bounds waits for what other processes do.
const deadline = 20 * time.Second

// pause is a breath between two looks at another process.
func pause() { <-time.After(5 * time.Millisecond) }

var terminalName = regexp.MustCompile(`/dev/pts/[0-9]+`)
