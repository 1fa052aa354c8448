// Package leader is the session leader: the program that waits inside a warm
// target and runs what an attacker asks for. Frames go over a socket of which the
// front end takes the other end; internal/frame and docs/leader-protocol.md
// describe them. Inside, it looks and behaves like the sshd of one connection.
//
// One binary has two roles:
//
//   - process 1 of the container greets the front end, starts the other processes and
//     becomes the image's own init (boot.go, listener.go);
//   - the worker serves one link and runs its programs (worker.go, loop.go).
//
// Until somebody logs in the worker dozes, without a Go runtime (decoy.go): that is what
// waits in every warm target. The package uses syscall where os, net, fmt and their like
// would each cost memory and time at a start.
package leader

import "syscall"

// Main runs the role that the arguments and the circumstances call for and
// returns an exit status.
func Main() int {
	args := arguments()
	switch {
	case len(args) == 0:
	case syscall.Getpid() == 1:
		return boot(args)
	case len(args) == 2 && args[1] == "-R" && sameProgram(syscall.Getppid()):
		return newWorker(newTitle(args)).process()
	case len(args) > 5 && args[1] == rcOption && isWorker(syscall.Getppid()):
		return runRC(args)
	}
	// Somebody has found the binary. This is what OpenSSH says.
	_, _ = syscall.Write(2, []byte("sshd-session should not be executed directly\r\n"))
	return 255
}

// sameProgram reports whether a process runs this binary.
func sameProgram(pid int) bool {
	own, err := readLink("/proc/self/exe")
	if err != nil {
		return false
	}
	other, err := readLink("/proc/" + itoa(pid) + "/exe")
	return err == nil && own == other
}
