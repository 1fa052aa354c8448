package leader

import (
	"encoding/binary"
	"syscall"
	"time"
)

// The files of utmp(5) and lastlog(8).
const (
	utmpPath    = "/run/utmp"
	wtmpPath    = "/var/log/wtmp"
	lastlogPath = "/var/log/lastlog"
)

// Types of records in utmp(5).
const (
	userProcess = 7
	deadProcess = 8
)

const (
	recordSize  = 384 // struct utmp
	lastSize    = 292 // struct lastlog
	maxRecords  = 1 << 12
	maxLastUser = 1 << 20 // user ids above would make the file huge
)

// records keeps the login records of a session. Descriptors are -1, and files
// opened for each record, as long as the worker may open them.
type records struct {
	root                string // before the paths
	source              string
	utmp, wtmp, lastlog int
}

func newRecords(root, source string) records {
	return records{root: root, source: source, utmp: -1, wtmp: -1, lastlog: -1}
}

// keepOpen opens the files for a worker that will not be allowed to.
func (r *records) keepOpen() {
	r.utmp = openRecords(r.root+utmpPath, 0)
	r.wtmp = openRecords(r.root+wtmpPath, syscall.O_APPEND)
	r.lastlog = openRecords(r.root+lastlogPath, 0)
}

// openRecords opens a regular file, which must exist, or returns -1.
func openRecords(path string, flag int) int {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC|flag, 0)
	if err != nil {
		return -1
	}
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		_ = syscall.Close(fd)
		return -1
	}
	return fd
}

// with calls f with a descriptor of a file, if there is one.
func with(kept int, path string, flag int, f func(fd int)) {
	fd := kept
	if fd < 0 {
		if fd = openRecords(path, flag); fd < 0 {
			return
		}
		defer closeAll(fd)
	}
	f(fd)
}

// record is struct utmp.
type record [recordSize]byte

func newRecord(kind uint16, pid int, line string, now time.Time) *record {
	var r record
	binary.NativeEndian.PutUint16(r[0:], kind)
	binary.NativeEndian.PutUint32(r[4:], uint32(pid))
	copy(r[8:40], line)
	r.stamp(now)
	return &r
}

func (r *record) kind() uint16 { return binary.NativeEndian.Uint16(r[0:]) }

func (r *record) stamp(now time.Time) {
	binary.NativeEndian.PutUint32(r[340:], uint32(now.Unix()))
	binary.NativeEndian.PutUint32(r[344:], uint32(now.Nanosecond()/1000))
}

// recordID is what tells the entries of utmp(5) apart: the end of the line's name.
func recordID(line string) (id [4]byte) {
	copy(id[:], line[max(0, len(line)-len(id)):])
	return id
}

// logIn writes what sshd writes when a program gets a terminal.
func (l *login) logIn(c *channel) {
	now, line := time.Now(), c.pty.line()
	pid := c.pid
	if l.monitor != syscall.Getpid() {
		pid = l.monitor
	}
	r := newRecord(userProcess, pid, line, now)
	id := recordID(line)
	copy(r[40:44], id[:])
	copy(r[44:76], l.name)
	copy(r[76:332], l.source)
	copy(r[348:364], address(l.source))
	with(l.utmp, l.root+utmpPath, 0, func(fd int) { putRecord(fd, r) })
	with(l.wtmp, l.root+wtmpPath, syscall.O_APPEND, func(fd int) { _, _ = syscall.Write(fd, r[:]) })
	if l.uid < maxLastUser {
		var last [lastSize]byte
		binary.NativeEndian.PutUint32(last[:], uint32(now.Unix()))
		copy(last[4:36], line)
		copy(last[36:], l.source)
		with(l.lastlog, l.root+lastlogPath, 0, func(fd int) { _, _ = syscall.Pwrite(fd, last[:], int64(l.uid)*lastSize) })
	}
}

// logOut writes what logout(3) and logwtmp(3) write.
func (l *login) logOut(c *channel) {
	if c.pid == 0 {
		return // it never ran
	}
	now, line := time.Now(), c.pty.line()
	with(l.utmp, l.root+utmpPath, 0, func(fd int) {
		for at, r := range eachRecord(fd) {
			if r.kind() != userProcess || cFields(r[8:40]) != line {
				continue
			}
			binary.NativeEndian.PutUint16(r[0:], deadProcess)
			clear(r[44:332])
			r.stamp(now)
			_, _ = syscall.Pwrite(fd, r[:], at)
			return
		}
	})
	r := newRecord(deadProcess, l.monitor, line, now)
	with(l.wtmp, l.root+wtmpPath, syscall.O_APPEND, func(fd int) { _, _ = syscall.Write(fd, r[:]) })
}

// putRecord replaces the entry with the same id, as pututline(3) does, or adds
// one.
func putRecord(fd int, r *record) {
	end := int64(0)
	for at, old := range eachRecord(fd) {
		end = at + recordSize
		if kind := old.kind(); kind >= 5 && kind <= deadProcess && string(old[40:44]) == string(r[40:44]) {
			end = at
			break
		}
	}
	_, _ = syscall.Pwrite(fd, r[:], end)
}

// eachRecord yields the offset and content of the records of a file, up to a
// bound.
func eachRecord(fd int) func(yield func(int64, *record) bool) {
	return func(yield func(int64, *record) bool) {
		var r record
		for at := int64(0); at < maxRecords*recordSize; at += recordSize {
			if n, err := syscall.Pread(fd, r[:], at); err != nil || n < recordSize || !yield(at, &r) {
				return
			}
		}
	}
}

// cFields is the string in a field that zero bytes fill up.
func cFields(b []byte) string { return cString(string(b)) }

// lastLogin is the lastlog(8) entry of the account: when and from where, zero when
// there is none.
func (l *login) lastLogin() (at time.Time, host string) {
	if l.uid >= maxLastUser {
		return time.Time{}, ""
	}
	with(l.lastlog, l.root+lastlogPath, 0, func(fd int) {
		var last [lastSize]byte
		n, err := syscall.Pread(fd, last[:], int64(l.uid)*lastSize)
		if err != nil || n < lastSize {
			return
		}
		if seconds := binary.NativeEndian.Uint32(last[:]); seconds != 0 {
			at, host = time.Unix(int64(seconds), 0), cFields(last[36:])
		}
	})
	return at, host
}
