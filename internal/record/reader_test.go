package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"
)

func TestRawRoundTrip(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{1})
	root := newRoot(t)
	r, err := Create(Options{Dir: root, Name: "c"})
	must(t, err)
	var out, in []byte
	for range 100 {
		p := make([]byte, rng.Uint64()%5000)
		rng.Read(p)
		must(t, r.Output(p))
		out = append(out, p...)
		must(t, r.Input(p[:len(p)/2]))
		in = append(in, p[:len(p)/2]...)
	}
	_, err = r.Close()
	must(t, err)
	all, err := frames(t, content(t, root, "c.raw"))
	if err != io.EOF || !bytes.Equal(joined(all, KindOutput), out) || !bytes.Equal(joined(all, KindInput), in) {
		t.Errorf("raw log is not what was recorded; ended with %v", err)
	}
	castLines(t, content(t, root, "c.cast"))
}

// sample is a raw log of two output frames, and the offset of the second.
func sample() (log []byte, second int) {
	b := appendHeader(nil, time.Unix(1700000000, 5))
	b = appendFrame(b, KindOutput, time.Second, []byte("first"))
	second = len(b)
	return appendFrame(b, KindOutput, 2*time.Second, []byte("second")), second
}

func TestTornTail(t *testing.T) {
	log, second := sample()
	for n := headerSize; n < len(log); n++ {
		all, err := frames(t, log[:n])
		wantFrames, wantErr := 0, io.ErrUnexpectedEOF
		if n >= second {
			wantFrames = 1
		}
		if n == headerSize || n == second {
			wantErr = io.EOF
		}
		if len(all) != wantFrames || err != wantErr {
			t.Errorf("cut at %d: %d frames, then %v", n, len(all), err)
		}
	}
	for n := range headerSize {
		if _, err := NewReader(bytes.NewReader(log[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("header cut at %d: %v", n, err)
		}
	}
}

func TestDamage(t *testing.T) {
	log, second := sample()
	for n := headerSize; n < len(log); n++ {
		bad := bytes.Clone(log)
		bad[n] ^= 0x40
		all, err := frames(t, bad)
		// A damaged length may also look like a torn tail, never like data.
		if err == io.EOF || n >= second && len(all) != 1 || n < second && len(all) != 0 {
			t.Errorf("damage at %d: %d frames, then %v", n, len(all), err)
		}
		if n >= second+frameHeader && !errors.Is(err, ErrCorrupt) {
			t.Errorf("damaged payload at %d: %v", n, err)
		}
	}
	r, err := NewReader(bytes.NewReader(log))
	must(t, err)
	if !r.Start().Equal(time.Unix(1700000000, 5)) || r.Offset() != headerSize {
		t.Errorf("Start %v, Offset %d", r.Start(), r.Offset())
	}
	log[len(log)-1]++
	r, err = NewReader(bytes.NewReader(log))
	must(t, err)
	r.Next()
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, ErrCorrupt) || r.Offset() != int64(second) {
			t.Errorf("Next on damage: %v at %d", err, r.Offset())
		}
	}
}

func TestForeignFiles(t *testing.T) {
	log, _ := sample()
	for name, tt := range map[string]struct {
		change func([]byte)
		want   error
	}{
		"magic":   {func(b []byte) { b[0] = 'x' }, ErrFormat},
		"version": {func(b []byte) { b[11] = 2 }, ErrFormat},
		"start":   {func(b []byte) { b[15]++ }, ErrCorrupt},
	} {
		bad := bytes.Clone(log)
		tt.change(bad)
		if _, err := NewReader(bytes.NewReader(bad)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewReader(bytes.NewReader([]byte("short but foreign"))); !errors.Is(err, ErrFormat) {
		t.Errorf("short foreign file: %v", err)
	}
	// A length that nobody would write is refused before memory is taken.
	huge := appendHeader(nil, time.Time{}.AddDate(2000, 0, 0))
	huge = append(huge, 'o', 0, 0, 0)
	huge = binary.BigEndian.AppendUint64(huge, 0)
	huge = binary.BigEndian.AppendUint32(huge, 1<<31)
	huge = binary.BigEndian.AppendUint32(huge, crc32.Checksum(huge[headerSize:], castagnoli))
	if _, err := frames(t, huge); !errors.Is(err, ErrCorrupt) {
		t.Errorf("huge frame: %v", err)
	}
}

func TestReaderPassesErrorsOn(t *testing.T) {
	log, second := sample()
	broken := errors.New("broken disk")
	for _, n := range []int{3, headerSize, headerSize + 3, second + frameHeader + 1} {
		r, err := NewReader(io.MultiReader(bytes.NewReader(log[:n]), iotest.ErrReader(broken)))
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, broken) {
			t.Errorf("broken at %d: %v", n, err)
		}
	}
}

func TestFrameAccessors(t *testing.T) {
	if _, ok := (Frame{Kind: KindResize, Data: []byte{1}}).Size(); ok {
		t.Error("Size of a short frame")
	}
	if _, ok := (Frame{Kind: KindOutput, Data: make([]byte, 4)}).ExitStatus(); ok {
		t.Error("ExitStatus of an output frame")
	}
	if s, ok := (Frame{Kind: KindResize, Data: Size{80, 24}.bytes()}).Size(); !ok || s != (Size{80, 24}) {
		t.Errorf("Size = %v, %v", s, ok)
	}
}

func FuzzReader(f *testing.F) {
	log, _ := sample()
	f.Add(log)
	f.Add(log[headerSize:])
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, in := range [][]byte{p, append(appendHeader(nil, time.Unix(0, 0)), p...)} {
			r, err := NewReader(bytes.NewReader(in))
			if err != nil {
				continue
			}
			for {
				frame, err := r.Next()
				if err != nil {
					break
				}
				if len(frame.Data) > maxPayload || frame.Time < 0 {
					t.Fatalf("frame of %d bytes at %v", len(frame.Data), frame.Time)
				}
				frame.Size()
				frame.ExitStatus()
			}
			if r.Offset() > int64(len(in)) {
				t.Fatalf("Offset %d of %d", r.Offset(), len(in))
			}
		}
	})
}
