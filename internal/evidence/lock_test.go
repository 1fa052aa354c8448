package evidence

import (
	"errors"
	"testing"
)

func TestStateLock(t *testing.T) {
	dir := t.TempDir()
	l, err := LockState(dir)
	must(t, err)
	if _, err := LockState(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("second: %v", err)
	}
	must(t, l.Unlock())
	l, err = LockState(dir)
	must(t, err)
	must(t, l.Unlock())
}
