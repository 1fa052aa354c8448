package leader

import (
	"strings"
	"syscall"
	"unsafe"
)

// arguments is what os.Args is, of which the runtime has a copy for whoever asks.
// The strings are the process's own argument area, see title.
//
//go:linkname arguments os.runtime_args
func arguments() []string

// title is the memory that ps(1) shows as a process's command line: its
// arguments, and the environment behind them for what is longer.
type title struct {
	area []byte
	name string // as it stands
}

// newTitle finds the area. It may be changed only when nobody needs the
// arguments and the environment any more.
func newTitle(args []string) *title {
	t := &title{}
	for _, s := range append(args, syscall.Environ()...) {
		p := unsafe.Slice(unsafe.StringData(s), len(s)+1) // with the zero byte
		switch {
		case len(t.area) == 0:
			t.area = p
		case uintptr(unsafe.Pointer(&t.area[0]))+uintptr(len(t.area)) == uintptr(unsafe.Pointer(&p[0])):
			t.area = unsafe.Slice(&t.area[0], len(t.area)+len(p))
		}
	}
	return t
}

// set shows name, as far as there is room.
func (t *title) set(name string) {
	if t.name == name || len(t.area) == 0 {
		return
	}
	t.name = strings.Clone(name)
	n := copy(t.area[:len(t.area)-1], name)
	clear(t.area[n:])
}
