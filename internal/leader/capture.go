package leader

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// Bounds of a capture beside those that the front end sets.
const (
	maxCaptureLines = 512 // of one file in /proc/net
	maxNet          = 128 << 10
	maxCaptureDepth = 32 // directories below each other
	maxLooked       = 1 << 16
	bigFile         = 1 << 20 // bytes, from which on holes matter
	clockTicks      = 100     // a second, as /proc tells times
	seekHole        = 4       // SEEK_HOLE of lseek(2)
)

// capturer tells the front end what goes with the target: its processes, its
// sockets, and files that are in memory only.
type capturer struct {
	w     *worker
	m     frame.CaptureMessage
	until time.Time
	end   frame.CapturedMessage
	told  uint32
	files int // looked at
	seen  map[inode]bool
	chunk []byte
}

type inode struct{ dev, ino uint64 }

// capture answers the front end's request. It is the last thing that a leader does.
func (w *worker) capture(payload []byte) error {
	var m frame.CaptureMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	if w.captured {
		return errors.Join(frame.ErrMalformed, errors.New("second capture"))
	}
	w.captured = true
	if w.decoys && ownUsers() {
		// Nobody can get in the way any more, nor change what is read. It does not
		// stop process 1 and this one.
		_ = syscall.Kill(-1, syscall.SIGSTOP)
	}
	c := &capturer{w: w, m: m, until: time.Now().Add(time.Duration(m.Milliseconds) * time.Millisecond), seen: map[inode]bool{}, chunk: make([]byte, frame.MaxContent)}
	c.processes()
	c.sockets()
	c.memory()
	w.send(frame.Captured, 0, c.end.Encode())
	return nil
}

// ownUsers reports whether this is a user namespace of a container's: where a signal
// to all reaches no further than that.
func ownUsers() bool {
	ids, err := readProc("/proc/self/uid_map")
	f := strings.Fields(string(ids))
	return err == nil && len(f) >= 3 && (f[1] != "0" || f[2] != "4294967295")
}

// over reports whether to stop, and notes why.
func (c *capturer) over() bool {
	if c.end.Stop == 0 && !time.Now().Before(c.until) {
		c.end.Stop = frame.StopTime
	}
	return c.end.Stop != 0 || c.w.broken != nil
}

// tell sends an item if it may, and reports whether it did.
func (c *capturer) tell(m *frame.ItemMessage) bool {
	if c.over() || c.told >= c.m.Items || len(m.Path) > frame.MaxItemPath || len(m.Link) > frame.MaxItemPath {
		if c.told >= c.m.Items && c.end.Stop == 0 {
			c.end.Stop = frame.StopItems
		}
		c.end.Omitted++
		return false
	}
	m.Text = m.Text[:min(len(m.Text), frame.MaxItemText)]
	c.told++
	c.w.send(frame.Item, 0, m.Encode())
	return true
}

// processes tells what runs, and what of that has no name in a file system.
func (c *capturer) processes() {
	boot := bootTime()
	var pids []int
	for name := range names("/proc") {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		if c.over() {
			return
		}
		c.process(pid, boot)
	}
	for _, pid := range pids {
		dir := "/proc/" + itoa(pid)
		c.nameless(pid, dir+"/exe")
		for fd := range names(dir + "/fd") {
			if c.over() {
				return
			}
			c.nameless(pid, dir+"/fd/"+fd)
		}
	}
}

// process tells of one process; see proc_pid_stat(5).
func (c *capturer) process(pid int, boot int64) {
	dir := "/proc/" + itoa(pid)
	stat, err := readProc(dir + "/stat")
	if err != nil { // it has ended
		return
	}
	m := frame.ItemMessage{Kind: frame.KindProcess, Origin: frame.OriginProcess, PID: uint32(pid)}
	open, closing := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || closing < open {
		return
	}
	// The fields behind the name, of which the first is the third of all.
	fields := bytes.Fields(stat[closing+1:])
	if len(fields) > 19 {
		parent, _ := strconv.ParseUint(string(fields[1]), 10, 32)
		ticks, _ := strconv.ParseInt(string(fields[19]), 10, 64)
		m.PPID, m.Modified = uint32(parent), boot+ticks*int64(time.Second/clockTicks)
	}
	m.UID, m.GID = owner(dir)
	cmdline, _ := readProc(dir + "/cmdline")
	if m.Text = string(cmdline); m.Text == "" { // a zombie, for one
		m.Text = "[" + string(stat[open+1:closing]) + "]"
	}
	if m.Path, err = readPath(dir + "/exe"); err != nil {
		m.Note = frame.NoteUnreadable
	}
	c.tell(&m)
}

// owner are the ids that a process has in effect.
func owner(dir string) (uid, gid uint32) {
	status, _ := readProc(dir + "/status")
	for line := range lines(status) {
		f := strings.Fields(string(line))
		if len(f) < 3 {
			continue
		}
		id, _ := strconv.ParseUint(f[2], 10, 32)
		switch f[0] {
		case "Uid:":
			uid = uint32(id)
		case "Gid:":
			gid = uint32(id)
		}
	}
	return uid, gid
}

// bootTime is when the machine was started, in nanoseconds since 1970.
func bootTime() int64 {
	stat, _ := readProc("/proc/stat") // its beginning may be long, with many processors
	for line := range lines(stat) {
		if seconds, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			n, _ := strconv.ParseInt(string(seconds), 10, 64)
			return n * int64(time.Second)
		}
	}
	var up syscall.Sysinfo_t
	_ = syscall.Sysinfo(&up)
	return time.Now().Add(-time.Duration(up.Uptime) * time.Second).UnixNano()
}

// nameless tells the file behind a link of /proc if no directory has it any more.
func (c *capturer) nameless(pid int, link string) {
	name, err := readPath(link)
	if err != nil || !strings.HasSuffix(name, " (deleted)") {
		return
	}
	m := frame.ItemMessage{Kind: frame.KindFile, Origin: frame.OriginProcess, Note: frame.NoteDeleted, PID: uint32(pid), Path: name}
	if strings.HasPrefix(name, "/memfd:") {
		m.Note = frame.NoteMemfd
	}
	c.file(link, m, 0)
}

// sockets tells what /proc/net tells of sockets.
func (c *capturer) sockets() {
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "unix"} {
		text, _ := readProcUpTo("/proc/net/"+name, maxNet)
		if len(text) == maxNet {
			c.end.Omitted++ // the last line may be torn
		}
		n := 0
		for line := range lines(text) {
			if n++; n == 1 { // the heading
				continue
			}
			if n > maxCaptureLines || c.over() {
				c.end.Omitted++
				break
			}
			c.tell(&frame.ItemMessage{Kind: frame.KindNet, Origin: frame.OriginProcess, Path: "/proc/net/" + name, Text: strings.TrimSpace(string(line))})
		}
	}
}

// memory tells the files in file systems that are in memory.
func (c *capturer) memory() {
	mounts, _ := readProcUpTo("/proc/self/mountinfo", maxNet)
	for line := range lines(mounts) {
		before, after, _ := strings.Cut(string(line), " - ")
		f := strings.Fields(before)
		if len(f) < 5 || !strings.HasPrefix(after, "tmpfs ") || f[3] != "/" || strings.ContainsRune(f[4], '\\') ||
			strings.HasPrefix(f[4], "/proc") || strings.HasPrefix(f[4], "/sys") {
			continue
		}
		var st syscall.Stat_t
		if syscall.Lstat(f[4], &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			c.directory(f[4], uint64(st.Dev), 0)
		}
	}
}

// directory tells the files in a directory of one file system and below it. Names that
// make nothing there, such as directories and links, are not told.
func (c *capturer) directory(path string, device uint64, depth int) {
	if depth > maxCaptureDepth {
		c.end.Omitted++
		return
	}
	for name := range names(path) {
		if c.files++; c.over() || c.files > maxLooked {
			c.end.Omitted++
			return
		}
		var st syscall.Stat_t
		below := path + "/" + name
		if syscall.Lstat(below, &st) != nil || uint64(st.Dev) != device {
			continue
		}
		m := frame.ItemMessage{Origin: frame.OriginTmpfs, Path: below}
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFDIR:
			c.directory(below, device, depth+1)
			continue
		case syscall.S_IFREG:
			m.Kind = frame.KindFile
			c.file(below, m, syscall.O_NOFOLLOW)
			continue
		case syscall.S_IFIFO:
			m.Kind = frame.KindFIFO
		case syscall.S_IFSOCK:
			m.Kind = frame.KindSocket
		default:
			continue
		}
		describe(&m, &st)
		c.tell(&m)
	}
}

// describe fills in what the kernel tells of a file.
func describe(m *frame.ItemMessage, st *syscall.Stat_t) {
	m.Mode, m.UID, m.GID, m.Links = st.Mode, st.Uid, st.Gid, uint32(st.Nlink)
	m.Size, m.Device, m.Inode = uint64(max(st.Size, 0)), uint64(st.Dev), st.Ino
	m.Modified, m.Altered = st.Mtim.Nano(), st.Ctim.Nano()
}
