// Command session-leader is the program that runs inside targets. It is installed
// in their images, not on the machine; see docs/development.md.
package main

import (
	"syscall"

	"github.com/sandtrap/sandtrap/internal/leader"
)

func main() { syscall.Exit(leader.Main()) }
