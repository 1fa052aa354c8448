package frame

// What a target holds is told as items, by the leader of one that still runs (frames
// Item) and by the helper that reads the layer of one that has stopped (package
// layer).

// ItemKind says what an item is.
type ItemKind byte

// The kinds. Those of files are the letters of find(1), -type.
const (
	KindFile        ItemKind = 'f'
	KindDirectory   ItemKind = 'd'
	KindLink        ItemKind = 'l' // symbolic
	KindFIFO        ItemKind = 'p'
	KindSocket      ItemKind = 's' // a name in the file system
	KindCharDevice  ItemKind = 'c'
	KindBlockDevice ItemKind = 'b'
	KindUnknown     ItemKind = '?' // gone from the layer: nobody looks what it was
	KindProcess     ItemKind = 'P'
	KindNet         ItemKind = 'N' // a line of a file in /proc/net
)

// Origin says where an item was found.
type Origin byte

// The origins.
const (
	OriginLayer   Origin = 'l' // what the container wrote over its image
	OriginTmpfs   Origin = 't' // a file system in memory
	OriginProcess Origin = 'p' // a process, and what it alone holds
)

// Change is how an item of a layer differs from the image; 0 elsewhere.
type Change byte

// The changes.
const (
	Added   Change = 'a'
	Changed Change = 'c'
	Deleted Change = 'd'
)

// Note says what is particular about an item.
type Note byte

// The notes; 0 is none.
const (
	NoteUnreadable Note = 'u' // it has content, and that could not be read
	NoteHardLink   Note = 'h' // its content came with an earlier item of the same inode
	NoteSparse     Note = 's' // content ends at its first hole
	NoteDeleted    Note = 'd' // a file without a name, which a process holds
	NoteMemfd      Note = 'm' // the same, of memfd_create(2)
	NoteReplaced   Note = 'r' // a directory in the place of the image's: what that had is gone
)

// Bounds of an item's texts, in bytes.
const (
	MaxItemPath = 4096
	MaxItemText = 8192
	// MaxContent bounds the payload of Content.
	MaxContent = 64 << 10
	// MaxItem bounds the payload of Item.
	MaxItem = 2*MaxItemPath + MaxItemText + 128
)

// ItemMessage is the payload of Item. What does not apply is zero.
type ItemMessage struct {
	Kind     ItemKind
	Origin   Origin
	Change   Change
	Note     Note
	Content  bool   // frames with it follow, as far as it could be read
	Path     string // from the root; of a process the file it executes; of a KindNet the file's name
	Link     string // where a symbolic link points
	Text     string // a command line with zero bytes between arguments; a line
	Size     uint64 // bytes
	Device   uint64 // with Inode: which file it is
	Inode    uint64
	Modified int64 // mtime, or when a process began; nanoseconds since 1970
	Altered  int64 // ctime, see inode(7)
	Mode     uint32
	UID, GID uint32
	Links    uint32
	PID      uint32
	PPID     uint32
}

// CaptureMessage is the payload of Capture: the bounds of the answer.
type CaptureMessage struct {
	Items        uint32
	FileBytes    uint64 // of the content of one item
	Bytes        uint64 // of all content
	Milliseconds uint32
}

// Stop is why there are no more items.
type Stop byte

// The reasons; 0 is that all were told.
const (
	StopItems Stop = 'i'
	StopTime  Stop = 't'
	StopError Stop = 'e'
)

// CapturedMessage is the payload of Captured.
type CapturedMessage struct {
	Stop    Stop
	Omitted uint32 // items that are known of and were not told
}

// Encode returns the payload of m.
func (m *CaptureMessage) Encode() []byte {
	var e encoder
	e.uint32(m.Items)
	e.uint64(m.FileBytes)
	e.uint64(m.Bytes)
	e.uint32(m.Milliseconds)
	return e.b
}

// Decode reads a payload into m.
func (m *CaptureMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.Items, m.FileBytes, m.Bytes, m.Milliseconds = d.uint32(), d.uint64(), d.uint64(), d.uint32()
	return d.end("capture")
}

// Encode returns the payload of m.
func (m *CapturedMessage) Encode() []byte {
	var e encoder
	e.b = append(e.b, byte(m.Stop))
	e.uint32(m.Omitted)
	return e.b
}

// Decode reads a payload into m.
func (m *CapturedMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.Stop = Stop(d.byte())
	m.Omitted = d.uint32()
	d.bad = d.bad || !oneOf(byte(m.Stop), "\x00ite")
	return d.end("captured")
}

// Encode returns the payload of m, whose texts must be within their bounds.
func (m *ItemMessage) Encode() []byte {
	var e encoder
	e.b = append(e.b, byte(m.Kind), byte(m.Origin), byte(m.Change), byte(m.Note))
	e.bool(m.Content)
	e.string(m.Path)
	e.string(m.Link)
	e.string(m.Text)
	for _, n := range [...]uint64{m.Size, m.Device, m.Inode, uint64(m.Modified), uint64(m.Altered)} {
		e.uint64(n)
	}
	for _, n := range [...]uint32{m.Mode, m.UID, m.GID, m.Links, m.PID, m.PPID} {
		e.uint32(n)
	}
	return e.b
}

// Decode reads a payload into m. What it holds are the words of this file and texts
// within their bounds; paths have no NUL.
func (m *ItemMessage) Decode(payload []byte) error {
	d := decoder{b: payload}
	m.Kind, m.Origin, m.Change, m.Note = ItemKind(d.byte()), Origin(d.byte()), Change(d.byte()), Note(d.byte())
	m.Content = d.bool()
	m.Path, m.Link, m.Text = d.string(), d.string(), d.string()
	m.Size, m.Device, m.Inode, m.Modified, m.Altered = d.uint64(), d.uint64(), d.uint64(), int64(d.uint64()), int64(d.uint64())
	m.Mode, m.UID, m.GID, m.Links, m.PID, m.PPID = d.uint32(), d.uint32(), d.uint32(), d.uint32(), d.uint32(), d.uint32()
	d.bad = d.bad || !m.valid()
	return d.end("item")
}

func (m *ItemMessage) valid() bool {
	return oneOf(byte(m.Kind), "fdlpscb?PN") && oneOf(byte(m.Origin), "ltp") && oneOf(byte(m.Change), "\x00acd") &&
		oneOf(byte(m.Note), "\x00uhsdmr") && len(m.Path) <= MaxItemPath && len(m.Link) <= MaxItemPath && len(m.Text) <= MaxItemText &&
		(!m.Content || m.Kind == KindFile) && int64(m.Size) >= 0 && !hasNUL(m.Path) && !hasNUL(m.Link)
}

func oneOf(b byte, set string) bool {
	for i := range len(set) {
		if set[i] == b {
			return true
		}
	}
	return false
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

func (e *encoder) uint64(n uint64) {
	e.uint32(uint32(n >> 32))
	e.uint32(uint32(n))
}

func (d *decoder) uint64() uint64 { return uint64(d.uint32())<<32 | uint64(d.uint32()) }
