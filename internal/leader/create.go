package leader

import (
	"bytes"
	"strconv"
	"strings"
	"syscall"
)

// The range of adduser(8).
const (
	firstUser = 1000
	lastUser  = 59999
)

// subordinate is how many subordinate ids useradd(8) gives an account.
const subordinate = 65536

// create makes an account as Debian's adduser(8) does, with files that look as old
// as the others. It returns the zero account when it cannot.
func (d databases) create(name string) account {
	if !acceptableName(name) {
		return account{}
	}
	files, ok := d.readAll("passwd", "group", "shadow", "gshadow")
	if !ok || hasEntry(files["group"], name) || hasEntry(files["shadow"], name) {
		return account{}
	}
	id, ok := freeID(files["passwd"], files["group"])
	if !ok {
		return account{}
	}
	n := strconv.FormatUint(uint64(id), 10)
	day := strconv.FormatInt(d.modified("shadow").Sec/86400, 10)
	home := "/home/" + name
	changes := []struct {
		name string
		text []byte
	}{
		{"group", addLine(addMember(files["group"], "users", name), name+":x:"+n+":")},
		{"gshadow", addLine(addMember(files["gshadow"], "users", name), name+":!::")},
		{"passwd", addLine(files["passwd"], name+":x:"+n+":"+n+":,,,:"+home+":/bin/bash")},
		{"shadow", addLine(files["shadow"], name+":"+passwordHash()+":"+day+":0:99999:7:::")},
	}
	for _, c := range changes {
		if d.replace(c.name, c.text) != nil {
			return account{}
		}
	}
	d.addSubordinates(name)
	makeHome(d.root, home, int(id), d.modified("passwd"))
	a, state := d.lookUp(name)
	if state != usable {
		return account{}
	}
	a.made = true
	return a
}

// acceptableName reports whether adduser(8) would accept a name, or nearly: an
// underscore may come first.
func acceptableName(name string) bool {
	if name == "" || len(name) > 32 {
		return false
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

// readAll reads files that are to be written again, which must be whole.
func (d databases) readAll(names ...string) (map[string][]byte, bool) {
	files := map[string][]byte{}
	for _, name := range names {
		text, err := readFile(d.path(name), maxDatabase+1)
		if err != nil || len(text) > maxDatabase {
			return nil, false
		}
		files[name] = text
	}
	return files, true
}

func hasEntry(text []byte, name string) bool {
	for line := range lines(text) {
		if first, _, _ := bytes.Cut(line, []byte{':'}); string(first) == name {
			return true
		}
	}
	return false
}

// freeID is the lowest id that neither a user nor a group has.
func freeID(passwd, group []byte) (uint32, bool) {
	used := make([]bool, lastUser+1)
	for _, text := range [][]byte{passwd, group} {
		for line := range lines(text) {
			f := bytes.SplitN(line, []byte{':'}, 4)
			if len(f) < 4 {
				continue
			}
			if id, err := strconv.ParseUint(string(f[2]), 10, 32); err == nil && id <= lastUser {
				used[id] = true
			}
		}
	}
	for id := firstUser; id <= lastUser; id++ {
		if !used[id] {
			return uint32(id), true
		}
	}
	return 0, false
}

// addLine appends a line.
func addLine(text []byte, line string) []byte {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return append(append(text, line...), '\n')
}

// addMember appends a name to the last field of an entry, if there is that entry.
func addMember(text []byte, entry, member string) []byte {
	var out []byte
	for line := range lines(text) {
		out = append(out, line...)
		if bytes.HasPrefix(line, []byte(entry+":")) {
			if line[len(line)-1] != ':' {
				out = append(out, ',')
			}
			out = append(out, member...)
		}
		out = append(out, '\n')
	}
	return out
}

// addSubordinates adds to subuid(5) and subgid(5), where they are.
func (d databases) addSubordinates(name string) {
	for _, file := range []string{"subuid", "subgid"} {
		files, ok := d.readAll(file)
		if !ok {
			continue
		}
		next := uint64(100000)
		for line := range lines(files[file]) {
			f := strings.Split(string(line), ":")
			if len(f) != 3 {
				continue
			}
			from, err1 := strconv.ParseUint(f[1], 10, 31)
			count, err2 := strconv.ParseUint(f[2], 10, 31)
			if err1 == nil && err2 == nil {
				next = max(next, from+count)
			}
		}
		line := name + ":" + strconv.FormatUint(next, 10) + ":" + strconv.Itoa(subordinate)
		_ = d.replace(file, addLine(files[file], line))
	}
}

// modified is when a file was changed last.
func (d databases) modified(name string) syscall.Timespec {
	var st syscall.Stat_t
	_ = syscall.Stat(d.path(name), &st)
	return st.Mtim
}

// replace puts a file in the place of an old one at once. The new one has its
// owner, mode and times; the old one is kept with a dash, as by the tools of
// shadow.
func (d databases) replace(name string, text []byte) error {
	path := d.path(name)
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return err
	}
	temporary := path + "+"
	if err := createFile(temporary, text, st.Mode&0o777); err != nil {
		return err
	}
	if err := syscall.Chown(temporary, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	_ = syscall.Chmod(temporary, st.Mode&0o7777)
	_ = syscall.UtimesNano(temporary, []syscall.Timespec{st.Atim, st.Mtim})
	_ = syscall.Unlink(path + "-")
	_ = syscall.Link(path, path+"-")
	return syscall.Rename(temporary, path)
}

// alphabet is that of crypt(5).
const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// passwordHash is a hash as in shadow(5) that no password has: random bytes. The
// last digits hold what is left of 128 and 256 bits.
func passwordHash() string {
	var b [65]byte
	if fd, err := syscall.Open("/dev/urandom", syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
		_, _ = syscall.Read(fd, b[:])
		_ = syscall.Close(fd)
	}
	for i := range b {
		b[i] = alphabet[b[i]%64]
	}
	b[21] = alphabet[b[21]%4]
	b[64] = alphabet[b[64]%16]
	return "$y$j9T$" + string(b[:22]) + "$" + string(b[22:])
}
