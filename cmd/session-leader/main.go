// No descriptors of cgroup files, which sshd would not have.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command session-leader is the program that runs inside targets. It is installed
// in their images, not on the machine; see docs/development.md.
package main

import (
	"syscall"

	"github.com/sandtrap/sandtrap/internal/leader"
)

func main() { syscall.Exit(leader.Main()) }
