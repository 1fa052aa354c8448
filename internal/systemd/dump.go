package systemd

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Undumpable keeps the memory of the process, which holds host keys, from other processes
// of its account and from core files: PR_SET_DUMPABLE(2const), ptrace(2). LimitCORE= does
// not keep a program that kernel.core_pattern names from getting it.
func Undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid dumps of memory: %w", err)
	}
	return nil
}
