package sshd

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// maxIdent is the longest identification line that OpenSSH takes, in bytes; see
// kex.c, SSH_MAX_BANNER_LEN.
const maxIdent = 8192

// maxLibraryIdent is the longest line that golang.org/x/crypto/ssh takes, without its
// end, in bytes; RFC 4253, section 4.2.
const maxLibraryIdent = 253

var errIdent = errors.New("client does not speak SSH")

// exchange exchanges identification lines (RFC 4253, section 4.2) in place of the SSH
// library, which puts up with things that OpenSSH answers. It sends our line, reads
// the client's and answers a bad one as OpenSSH does. The line is returned without
// its end, also next to an error. The library then writes and reads the same lines
// without anything reaching the wire twice.
func (c *clearConn) exchange(version string) (string, error) {
	ours := "SSH-2.0-" + version + "\r\n"
	if _, err := io.WriteString(c.Conn, ours); err != nil {
		return "", err
	}
	c.skipID = len(ours)
	line, err := c.readLine()
	if err != nil {
		return line, err
	}
	if text := refusal(line); text != "" {
		// OpenSSH sends the line end apart.
		_, _ = io.WriteString(c.Conn, text)
		_, _ = io.WriteString(c.Conn, "\r\n")
		return line, errIdent
	}
	// The library takes no longer line. The key exchange fails then, as its hash
	// covers the line, but not before a client has seen what we offer.
	c.replay = []byte(line[:min(len(line), maxLibraryIdent)] + "\r\n")
	return line, nil
}

// readLine reads byte by byte, as sshd does: what follows the line belongs to
// the key exchange.
func (c *clearConn) readLine() (string, error) {
	var line []byte
	var one [1]byte
	ended := false // a CR came: only the line's end may follow
	for len(line) <= maxIdent {
		if _, err := io.ReadFull(c.Conn, one[:]); err != nil {
			return string(line), err
		}
		switch {
		case one[0] == '\n':
			return string(line), nil
		case one[0] == '\r':
			ended = true
			continue
		case ended:
			line = append(line, '\r')
		}
		line = append(line, one[0])
		if one[0] == 0 || ended {
			break // a NUL, or a CR inside the line, ends OpenSSH's patience
		}
	}
	return string(line), nil
}

const (
	identInvalid  = "Invalid SSH identification string."
	identMismatch = "Protocol major versions differ."
)

// refusal returns what OpenSSH would say to a client's line, "" where it goes on.
func refusal(line string) string {
	rest, ok := bytes.CutPrefix([]byte(line), []byte("SSH-"))
	if !ok || len(line) > maxIdent || bytes.ContainsAny(rest, "\x00\r") {
		return identInvalid
	}
	number, software, ok := bytes.Cut(rest, []byte("-"))
	majorText, minorText, dotted := bytes.Cut(number, []byte("."))
	major, err1 := strconv.Atoi(string(majorText))
	minor, err2 := strconv.Atoi(string(minorText))
	if !ok || !dotted || err1 != nil || err2 != nil || len(software) == 0 {
		return identInvalid
	}
	if major != 2 && (major != 1 || minor != 99) {
		return identMismatch
	}
	return ""
}
