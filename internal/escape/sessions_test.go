package escape

import (
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What another session has, under names that both know.
var sessionRows = []row{
	{name: "a file of another session", try: func(f facts) string { return opens(f.Witness.Canary, os.O_RDONLY)(f) }, want: "ENOENT", user: "EACCES|ENOENT", outside: "canaries"},
	{name: "shared memory of another session, /dev/shm", try: func(f facts) string { return opens(f.Witness.Shared, os.O_RDONLY)(f) }, want: "ENOENT", outside: "canaries"},
	{name: "System V shared memory of another session", try: func(f facts) string { return call(unix.SYS_SHMGET, uintptr(f.Witness.Key), 0, 0) }, want: "ENOENT", outside: "canaries"},
	{name: "message queue of another session", try: func(f facts) string { return opensQueue(f.Witness.Queue) }, want: "ENOENT", outside: "canaries"},
	{name: "abstract socket of another session", try: func(f facts) string { return dial("unix", f.Witness.Abstract) }, want: "ECONNREFUSED", outside: "canaries"},
	{name: "listener of another session on 127.0.0.1", try: dialsWitness, want: "ECONNREFUSED", outside: "canaries"},
	{name: "processes of another session", try: looksForWitness, want: confined, outside: "canaries"},
	{name: "System V shared memory of the machine", try: func(f facts) string { return call(unix.SYS_SHMGET, uintptr(f.Key), 0, 0) }, want: "ENOENT", outside: "canaries"},
	{name: "System V shared memory that is listed", try: listsSegments, want: "none", outside: "canaries"},
	{name: "message queue of the machine", try: func(f facts) string { return opensQueue(f.Queue) }, want: "ENOENT", outside: "canaries"},
}

// opensQueue is mq_open(3) without its leading slash.
func opensQueue(name string) string {
	p, _ := unix.BytePtrFromString(name)
	return call(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), unix.O_RDONLY, 0, 0)
}

func dialsWitness(f facts) string {
	g := f
	g.Port = f.Witness.Port
	return dialsMachine("127.0.0.1")(g)
}

// looksForWitness looks for the argument that only the witness was started with.
func looksForWitness(facts) string {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		if text, _ := os.ReadFile(path); strings.Contains(string(text), "\x00witness\x00") {
			return "there is " + path
		}
	}
	return confined
}

func listsSegments(facts) string {
	text, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return outcome(err)
	}
	if strings.Count(string(text), "\n") > 1 {
		return "there are some"
	}
	return "none"
}

func makeQueue(name string) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), unix.O_RDWR|unix.O_CREAT, 0o666, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func removeQueue(name string) {
	if p, err := unix.BytePtrFromString(name); err == nil {
		call(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)))
	}
}
