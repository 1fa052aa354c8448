package frame

import "encoding/binary"

// Policy says which account a login lands in.
type Policy byte

// The policies. An account counts when it has a login shell.
const (
	PolicyExisting Policy = 'e' // the account of that name, else the fallback
	PolicyCreate   Policy = 'c' // the account of that name, else one made on the fly
	PolicyFallback Policy = 'f' // the fallback, whatever the name
)

// LoginMessage is the payload of Login.
type LoginMessage struct {
	User     string // as the attacker gave it: any bytes
	Fallback string // an account of the target
	Policy   Policy
	Source   string // the attacker's address in text, for utmp(5)
	// Bait is the content of a script to leave in the account's home directory under
	// BaitName. There is none without a name.
	BaitName, Bait string
}

// AccountMessage is the payload of Account: a line of passwd(5).
type AccountMessage struct {
	Name     string
	UID, GID uint32
	Home     string
	Shell    string
	Made     bool // it was made for this login
	Baited   bool // the bait of Login is in its home directory
}

// Size is a terminal's size; pixels may be 0. See ioctl_tty(2), TIOCSWINSZ.
type Size struct{ Columns, Rows, Width, Height uint16 }

// OpenMessage is the payload of Open: a program to run as the account of Login.
type OpenMessage struct {
	Path string
	Argv []string // with argv[0]
	Env  []string // NAME=value, all of it
	Dir  string
	// PTY gives the program a pseudo-terminal of Size with Modes, the encoded
	// terminal modes of RFC 4254, section 8. The leader adds SSH_TTY to Env.
	PTY   bool
	Size  Size
	Modes string
	// LoginShell is greeted with the message of the day.
	LoginShell bool
	// Subsystem runs without the account's ~/.ssh/rc; see sshd(8), SSHRC.
	Subsystem bool
}

// ExitMessage is the payload of Exit. Either Signal is set, to a name as in RFC
// 4254 section 6.10 or to "SIG" and a number, or Status counts.
type ExitMessage struct {
	Status     uint32
	Signal     string
	CoreDumped bool
}

// HelloMessage is the payload of Hello.
type HelloMessage struct{ Version uint16 }

// Encode returns the payload of m; the other messages have the same method.
func (m *HelloMessage) Encode() []byte {
	var e encoder
	e.uint16(m.Version)
	return e.b
}

// Decode reads a payload into m; the other messages have the same method.
func (m *HelloMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.Version = d.uint16()
	return d.end("hello")
}

// Encode returns the payload of m.
func (m *LoginMessage) Encode() []byte {
	var e encoder
	e.string(m.User)
	e.string(m.Fallback)
	e.b = append(e.b, byte(m.Policy))
	e.string(m.Source)
	e.string(m.BaitName)
	e.string(m.Bait)
	return e.b
}

// Decode reads a payload into m.
func (m *LoginMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.User, m.Fallback = d.string(), d.string()
	m.Policy = Policy(d.byte())
	m.Source = d.string()
	m.BaitName, m.Bait = d.string(), d.string()
	return d.end("login")
}

// Encode returns the payload of m.
func (m *AccountMessage) Encode() []byte {
	var e encoder
	e.string(m.Name)
	e.uint32(m.UID)
	e.uint32(m.GID)
	e.string(m.Home)
	e.string(m.Shell)
	e.bool(m.Made)
	e.bool(m.Baited)
	return e.b
}

// Decode reads a payload into m.
func (m *AccountMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.Name = d.string()
	m.UID, m.GID = d.uint32(), d.uint32()
	m.Home, m.Shell = d.string(), d.string()
	m.Made, m.Baited = d.bool(), d.bool()
	return d.end("account")
}

// Encode returns the payload of m.
func (m *OpenMessage) Encode() []byte {
	var e encoder
	e.string(m.Path)
	e.strings(m.Argv)
	e.strings(m.Env)
	e.string(m.Dir)
	e.bool(m.PTY)
	e.size(m.Size)
	e.string(m.Modes)
	e.bool(m.LoginShell)
	e.bool(m.Subsystem)
	return e.b
}

// Decode reads a payload into m.
func (m *OpenMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.Path, m.Argv, m.Env, m.Dir = d.string(), d.strings(), d.strings(), d.string()
	m.PTY, m.Size, m.Modes = d.bool(), d.size(), d.string()
	m.LoginShell = d.bool()
	m.Subsystem = d.bool()
	return d.end("open")
}

// Encode returns the payload of m.
func (m *ExitMessage) Encode() []byte {
	var e encoder
	e.uint32(m.Status)
	e.string(m.Signal)
	e.bool(m.CoreDumped)
	return e.b
}

// Decode reads a payload into m.
func (m *ExitMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.Status, m.Signal, m.CoreDumped = d.uint32(), d.string(), d.bool()
	return d.end("exit")
}

// encoder appends fields. Strings are preceded by their length, 4 bytes; lists by
// their number of strings.
type encoder struct{ b []byte }

func (e *encoder) uint16(n uint16) { e.b = binary.BigEndian.AppendUint16(e.b, n) }
func (e *encoder) uint32(n uint32) { e.b = binary.BigEndian.AppendUint32(e.b, n) }

func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
		return
	}
	e.b = append(e.b, 0)
}

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.uint32(uint32(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) size(s Size) {
	e.uint16(s.Columns)
	e.uint16(s.Rows)
	e.uint16(s.Width)
	e.uint16(s.Height)
}

// decoder takes fields off the front. After the first that is not there all are
// zero, and end says so.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	b := d.byte()
	d.bad = d.bad || b > 1
	return b == 1
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) string() string {
	n := d.uint32()
	if uint64(n) > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	return string(d.take(int(n)))
}

// strings trusts the number of strings only as far as there are bytes for them.
func (d *decoder) strings() []string {
	n := d.uint32()
	var list []string
	for i := uint32(0); i < n && !d.bad; i++ {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) size() Size {
	return Size{Columns: d.uint16(), Rows: d.uint16(), Width: d.uint16(), Height: d.uint16()}
}

func (d *decoder) end(what string) error {
	if d.bad || len(d.b) > 0 {
		return malformed("payload of " + what)
	}
	return nil
}
