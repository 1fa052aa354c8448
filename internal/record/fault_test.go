package record

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCreateLeavesNothingBehind(t *testing.T) {
	root := newRoot(t)
	must(t, root.WriteFile("c.cast", nil, 0o600))
	if _, err := Create(Options{Dir: root, Name: "c"}); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create over a cast: %v", err)
	}
	if _, err := root.Stat("c.raw"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("raw log was left: %v", err)
	}
	must(t, root.WriteFile("d.raw", []byte("old"), 0o600))
	if _, err := Create(Options{Dir: root, Name: "d"}); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create over a raw log: %v", err)
	}
	if string(content(t, root, "d.raw")) != "old" {
		t.Error("Create touched an existing file")
	}
	if _, err := Create(Options{Dir: root, Name: "../evil"}); err == nil {
		t.Error("Create left its directory")
	}
}

// faultyFile is a file on a disk that fills up.
type faultyFile struct {
	*os.File
	room     int // bytes until the disk is full
	syncErr  error
	truncErr error
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if len(p) <= f.room {
		f.room -= len(p)
		return f.File.Write(p)
	}
	n, _ := f.File.Write(p[:f.room])
	f.room = 0
	return n, syscall.ENOSPC
}

func (f *faultyFile) Sync() error { return f.syncErr }

func (f *faultyFile) Truncate(n int64) error {
	if f.truncErr != nil {
		return f.truncErr
	}
	return f.File.Truncate(n)
}

// faulty makes a recorder whose files have room for so many bytes.
func faulty(t *testing.T, root *os.Root, raw, castRoom int, truncErr error) (*Recorder, error) {
	t.Helper()
	return create(&Options{Dir: root, Name: "c", Terminal: "xterm"}, func(name string) (file, error) {
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
		room := raw
		if filepath.Ext(name) == ".cast" {
			room = castRoom
		}
		return &faultyFile{File: f, room: room, truncErr: truncErr}, err
	}, root.Remove)
}

func TestFullDisk(t *testing.T) {
	for _, tt := range []struct {
		name      string
		raw, cast int
		truncErr  error
		wantErr   error // at the end of the raw log
	}{
		{"raw log", 200, 1 << 20, nil, io.EOF},
		{"cast", 1 << 20, 300, nil, io.EOF},
		{"raw log with a torn tail", 200, 1 << 20, syscall.EIO, io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := newRoot(t)
			r, err := faulty(t, root, tt.raw, tt.cast, tt.truncErr)
			must(t, err)
			var forwarded int
			for err == nil && forwarded < 10000 {
				if err = r.Output([]byte("0123456789")); err == nil {
					forwarded += 10
				}
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Output on a full disk: %v", err)
			}
			if err := r.Input([]byte("x")); !errors.Is(err, syscall.ENOSPC) || !errors.Is(r.Err(), syscall.ENOSPC) {
				t.Errorf("the error did not stay: %v", err)
			}
			sum, err := r.Close()
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Close: %v", err)
			}
			raw := content(t, root, "c.raw")
			all, err := frames(t, raw)
			if got := len(joined(all, KindOutput)); got < forwarded || err != tt.wantErr {
				t.Errorf("raw log holds %d of %d forwarded bytes, ends with %v", got, forwarded, err)
			}
			castLines(t, content(t, root, "c.cast"))
			if sum.RawBytes != int64(len(raw)) || sum.OutputBytes != int64(forwarded) || sum.Truncated {
				t.Errorf("summary %+v", sum)
			}
		})
	}
}

func TestFullDiskAtStart(t *testing.T) {
	for _, room := range [][2]int{{0, 1000}, {1000, 0}} {
		root := newRoot(t)
		if _, err := faulty(t, root, room[0], room[1], nil); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Create on a full disk: %v", err)
		}
		if names, err := Names(root); err != nil || len(names) != 0 {
			t.Errorf("left behind: %q, %v", names, err)
		}
	}
}

func TestCloseReportsSync(t *testing.T) {
	root := newRoot(t)
	r, err := faulty(t, root, 1000, 1000, nil)
	must(t, err)
	r.raw.(*faultyFile).syncErr = syscall.EIO
	r.cast.(*faultyFile).File.Close()
	sum, err := r.Close()
	if !errors.Is(err, syscall.EIO) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
	if sum.Raw != "c.raw" {
		t.Errorf("summary %+v", sum)
	}
}
