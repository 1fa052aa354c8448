package leader

import (
	"bytes"
	"syscall"
	"unsafe"
)

// maxMotd bounds the message of the day, in bytes.
const maxMotd = 32 << 10

// The script that Debian has pam_motd(8) run at every login. When it is alone and
// as it came, its output is made here, which saves a shell.
const (
	motdScripts = "/etc/update-motd.d"
	motdScript  = "10-uname"
	motdContent = "#!/bin/sh\nuname -snrvm\n"
	motdDynamic = "/run/motd.dynamic"
)

// greeting is what a login shell's terminal shows first: what pam_motd(8) and sshd
// print, in the order of Debian's sshd.
func (l *login) greeting() []byte {
	text := l.motd()
	if at, host := l.lastLogin(); !at.IsZero() {
		text = append(text, "Last login: "+at.Local().Format("Mon Jan _2 15:04:05 2006")...)
		if host != "" {
			text = append(text, " from "+host...)
		}
		text = append(text, "\r\n"...)
	}
	return text
}

// hushed reports whether the account would rather not be greeted; see sshd(8).
func (l *login) hushed() bool {
	var st syscall.Stat_t
	return syscall.Stat(l.home+"/.hushlogin", &st) == nil
}

// motd is the message of the day, which pam_motd(8) has ready.
func (l *login) motd() []byte {
	text, _ := readFile(l.root+motdDynamic, maxMotd)
	motd, _ := readFile(l.root+"/etc/motd", maxMotd)
	return append(text, motd...)
}

// refreshMotd writes the dynamic message, as happens at every login, if it knows
// how.
func refreshMotd(root string) {
	var u syscall.Utsname
	if syscall.Geteuid() != 0 || !stockScripts(root) || syscall.Uname(&u) != nil {
		return
	}
	fields := unsafe.Slice((*byte)(unsafe.Pointer(&u)), unsafe.Sizeof(u))
	var text []byte
	for i := range 5 { // up to the machine
		field, _, _ := bytes.Cut(fields[i*len(u.Sysname):][:len(u.Sysname)], []byte{0})
		text = append(append(text, field...), ' ')
	}
	text[len(text)-1] = '\n'
	if createFile(root+motdDynamic+".new", text, 0o644) == nil {
		_ = syscall.Rename(root+motdDynamic+".new", root+motdDynamic)
	}
}

// stockScripts reports whether there is nothing else to run.
func stockScripts(root string) bool {
	names := entries(root + motdScripts)
	if len(names) != 1 || names[0] != motdScript {
		return false
	}
	content, err := readFile(root+motdScripts+"/"+motdScript, len(motdContent)+1)
	return err == nil && string(content) == motdContent
}
