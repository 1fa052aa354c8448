package leader

import (
	"regexp"
	"syscall"
	"time"
)

// deadline bounds waits for what other processes do.
const deadline = 20 * time.Second

// pause is a breath between two looks at another process.
func pause() { <-time.After(5 * time.Millisecond) }

var terminalName = regexp.MustCompile(`/dev/pts/[0-9]+`)

// reapAll waits for children that have been hung up.
func reapAll(lists ...[]int) {
	for _, list := range lists {
		for _, pid := range list {
			if pid > 0 {
				_, _ = syscall.Wait4(pid, nil, 0, nil)
			}
		}
	}
}
