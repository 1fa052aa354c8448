package escape

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// foreignRows are made with numbers of x86: its port calls, and the two other ways
// into the same kernel, of 32-bit programs and of x32. A filter must know all three.
var foreignRows = orNoCalls([]row{
	{name: "iopl", try: calls(172, 3), want: "EPERM", outside: "settings"},
	{name: "ioperm", try: calls(173, 0x80, 1, 1), want: "EPERM", outside: "settings"},
	{name: "x32: getpid", try: callsX32(39), want: "ENOSYS|killed by SIGSYS", outside: "settings", unshown: "not every kernel has x32"},
	{name: "32-bit: mount", try: calls32(21, 0, 0, 0, 0, 0), want: "EPERM", outside: "mounts"},
	{name: "32-bit: unshare, user namespace", try: calls32(310, unix.CLONE_NEWUSER), want: "EPERM", outside: "processes"},
	{name: "32-bit: clone, user namespace", try: calls32(120, unix.CLONE_NEWUSER|uint32(unix.SIGCHLD)), want: "EPERM", outside: "processes"},
	{name: "32-bit: setns", try: calls32(346, badDescriptor, 0), want: "EPERM", outside: "processes"},
	{name: "32-bit: clone3", try: calls32(435, 0, 0), want: "ENOSYS", outside: "processes"},
	{name: "32-bit: bpf", try: calls32(357, 99, 0, 0), want: "EPERM", outside: "settings"},
	{name: "32-bit: keyctl", try: calls32(288, 0, 0xfffffffd, 0), want: "EPERM", outside: "settings"},
	{name: "32-bit: io_uring_setup", try: calls32(425, 1, 0), want: "EPERM", outside: "settings"},
	{name: "32-bit: socket, AF_VSOCK", try: calls32(359, unix.AF_VSOCK, unix.SOCK_STREAM, 0), want: "EAFNOSUPPORT", outside: "modules"},
	{name: "32-bit: socketcall, AF_VSOCK", try: calls32(102, 1, inMemory, unix.AF_VSOCK, unix.SOCK_STREAM, 0), want: "EAFNOSUPPORT|ENOSYS|EPERM", outside: "modules"},
	{name: "32-bit: socketcall, AF_ALG", try: calls32(102, 1, inMemory, unix.AF_ALG, unix.SOCK_SEQPACKET, 0), want: "EAFNOSUPPORT|ENOSYS|EPERM", outside: "modules", unshown: moduleMissing},
	{name: "32-bit: socketcall, netlink of the firewall", try: calls32(102, 1, inMemory, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), want: "EPROTONOSUPPORT|EAFNOSUPPORT|ENOSYS|EPERM", outside: "modules", unshown: moduleMissing},
	{name: "32-bit: socketcall, netlink of device events", try: calls32(102, 1, inMemory, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT), want: "EPROTONOSUPPORT|EAFNOSUPPORT|ENOSYS|EPERM", outside: "modules"},
})

// orNoCalls allows for kernels that refuse the 32-bit ones all together.
func orNoCalls(rows []row) []row {
	for i := range rows {
		if strings.Contains(rows[i].name, "32") {
			rows[i].want += "|" + noCalls
		}
	}
	return rows
}

// inMemory is an argument that points to those that follow it.
const inMemory = 0x77777777

const image32 = 0x400000 // where the program below is loaded

// calls32 makes a system call as a 32-bit program does, by int 0x80. A program of
// some twenty instructions does it and ends with the error as its status.
func calls32(number uint32, args ...uint32) func(facts) string {
	return func(facts) string {
		dir, remove := scratch()
		defer remove()
		path := dir + "/call"
		if err := os.WriteFile(path, program32(number, args), 0o755); err != nil {
			return err.Error()
		}
		return status(exec.Command(path).Run())
	}
}

// callsX32 makes a system call as an x32 program does: with one more bit. Not in this
// process, since the filter may end a thread for it and leave others waiting.
func callsX32(number uint32) func(facts) string {
	return func(facts) string {
		dir, remove := scratch()
		defer remove()
		path := dir + "/call"
		program := bytes.Replace(program32(0x40000000|number, nil), []byte{0xcd, 0x80}, []byte{0x0f, 0x05}, 1) // syscall
		if err := os.WriteFile(path, program, 0o755); err != nil {
			return err.Error()
		}
		return status(exec.Command(path).Run())
	}
}

// status is how such a program ended. A kernel without calls of that kind faults it.
func status(err error) string {
	exit, ok := err.(*exec.ExitError)
	switch {
	case err == nil:
		return done
	case !ok:
		return outcome(err)
	case exit.ExitCode() > 0:
		return outcome(syscall.Errno(exit.ExitCode()))
	case exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGSEGV:
		return noCalls
	}
	return "killed by " + unix.SignalName(exit.Sys().(syscall.WaitStatus).Signal())
}

// noCalls is the answer of a kernel that does not run 32-bit programs.
const noCalls = "no such calls"

// program32 is an ELF file; see elf(5).
func program32(number uint32, args []uint32) []byte {
	const head = 64 + 56 // one program header
	le := binary.LittleEndian
	code := le.AppendUint32([]byte{0xb8}, number) // mov eax, number
	registers := []byte{0xbb, 0xb9, 0xba, 0xbe, 0xbf}
	var memory []uint32
	for i, a := range args {
		if a == inMemory {
			memory = args[i+1:]
			a = image32 + head + 128
		}
		code = le.AppendUint32(append(code, registers[i]), a)
		if memory != nil {
			break
		}
	}
	code = append(code, 0xcd, 0x80, // int 0x80
		0x85, 0xc0, 0x79, 0x06, // test eax, eax; jns
		0xf7, 0xd8, 0x89, 0xc3, 0xeb, 0x02, // neg eax; mov ebx, eax; jmp
		0x31, 0xdb, // xor ebx, ebx
		0xb8, 1, 0, 0, 0, 0xcd, 0x80) // exit(ebx)
	code = append(code, make([]byte, 128-len(code))...)
	for _, m := range memory {
		code = le.AppendUint32(code, m)
	}
	file := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	file = le.AppendUint16(file, 2)  // an executable
	file = le.AppendUint16(file, 62) // for x86-64
	file = le.AppendUint32(file, 1)
	file = le.AppendUint64(file, image32+head) // it starts here
	file = le.AppendUint64(file, 64)           // program headers
	file = le.AppendUint64(file, 0)
	file = le.AppendUint32(file, 0)
	for _, n := range []uint16{64, 56, 1, 64, 0, 0} {
		file = le.AppendUint16(file, n)
	}
	file = le.AppendUint32(le.AppendUint32(file, 1), 5) // to be loaded, read and run
	size := uint64(head + len(code))
	for _, n := range []uint64{0, image32, image32, size, size, 0x1000} {
		file = le.AppendUint64(file, n)
	}
	return append(file, code...)
}
