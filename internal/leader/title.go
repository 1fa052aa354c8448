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
// arguments any more. The kernel puts the environment right behind them.
func newTitle(args []string) *title {
	if len(args) == 0 {
		return &title{}
	}
	size := 0
	for _, s := range args {
		size += len(s) + 1
	}
	for _, s := range syscall.Environ() {
		size += len(s) + 1
	}
	return &title{area: unsafe.Slice(unsafe.StringData(args[0]), size)}
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
