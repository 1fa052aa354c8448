package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// recorded makes a recording of so many chunks and returns its raw log.
func recorded(t testing.TB, root *os.Root, name string, chunks int) []byte {
	t.Helper()
	r, err := Create(Options{Dir: root, Name: name, Terminal: "xterm"})
	must(t, err)
	for i := range chunks {
		must(t, r.Output(bytes.Repeat([]byte{byte('a' + i%26)}, 1000)))
	}
	_, err = r.Close()
	must(t, err)
	return content(t, root, name+".raw")
}

// readLog reads a log through Open.
func readLog(root *os.Root, name string) (all []Frame, err error) {
	r, c, err := Open(root, name)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for {
		f, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

func TestCompress(t *testing.T) {
	root, ctx := newRoot(t), context.Background()
	raw := recorded(t, root, "c", 100)
	plain, err := Inspect(root, "c")
	must(t, err)
	must(t, root.WriteFile("c.raw.zst", []byte("of a crash"), 0o600))
	must(t, root.WriteFile("c.raw.zst.new", []byte("of a crash"), 0o600))
	must(t, Compress(ctx, root, "c"))
	if !bytes.Equal(content(t, root, "c.raw"), raw) {
		t.Error("the log was changed")
	}
	packed := content(t, root, "c.raw.zst")
	d, err := zstd.NewReader(nil)
	must(t, err)
	defer d.Close()
	if back, err := d.DecodeAll(packed, nil); err != nil || !bytes.Equal(back, raw) || len(packed) > len(raw)/10 {
		t.Errorf("%d of %d bytes, %v", len(packed), len(raw), err)
	}
	if _, err := root.Lstat("c.raw.zst.new"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a draft was left")
	}
	want, _ := readLog(root, "c.raw")
	if names, err := Names(root); err != nil || !cmp.Equal(names, []string{"c"}) {
		t.Errorf("names %v, %v", names, err)
	}
	must(t, root.Remove("c.raw"))
	for _, name := range []string{"c.raw", "c.raw.zst"} { // by its old name too
		if got, err := readLog(root, name); err != io.EOF || !cmp.Equal(got, want) {
			t.Errorf("%s: %d frames, %v", name, len(got), err)
		}
	}
	info, err := Inspect(root, "c")
	plain.Summary.Raw = "c.raw.zst"
	if diff := cmp.Diff(plain, info); diff != "" || err != nil {
		t.Errorf("%v; inspect (-want +got):\n%s", err, diff)
	}
	if names, err := Names(root); err != nil || !cmp.Equal(names, []string{"c"}) {
		t.Errorf("names %v, %v", names, err)
	}
	must(t, Compress(ctx, root, "c")) // is done
	if !bytes.Equal(content(t, root, "c.raw.zst"), packed) {
		t.Error("compressed again")
	}
	if _, err := readLog(root, "d.raw"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestCompressFails(t *testing.T) {
	root := newRoot(t)
	recorded(t, root, "c", 100)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Compress(ctx, root, "c"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(t, root.Symlink("c.raw", "l.raw"))
	if err := Compress(context.Background(), root, "l"); err == nil {
		t.Error("a link was compressed")
	}
	must(t, root.Mkdir("c.raw.zst", 0o700))
	must(t, root.Mkdir("c.raw.zst/x", 0o700))
	if err := Compress(context.Background(), root, "c"); err == nil {
		t.Error("a directory was replaced")
	}
	d, err := root.Open(".")
	must(t, err)
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	if len(names) != 4 {
		t.Errorf("left: %v", names)
	}
}

// TestDamagedCompressed: what comes before the damage is there, and damage is never
// taken for a log that goes on.
func TestDamagedCompressed(t *testing.T) {
	root := newRoot(t)
	r, err := Create(Options{Dir: root, Name: "c"})
	must(t, err)
	b := make([]byte, 2000)
	for i := range 500 {
		for j := range b {
			b[j] = byte(i*j ^ j>>3 ^ i)
		}
		must(t, r.Output(b))
	}
	_, err = r.Close()
	must(t, err)
	must(t, Compress(context.Background(), root, "c"))
	must(t, root.Remove("c.raw"))
	packed := content(t, root, "c.raw.zst")
	for name, damaged := range map[string][]byte{
		"cut":     packed[:len(packed)*2/3],
		"flipped": flip(packed, len(packed)*2/3),
		"garbage": append(bytes.Clone(packed[:len(packed)*2/3]), bytes.Repeat([]byte{0xa5}, 1000)...),
	} {
		must(t, root.WriteFile("c.raw.zst", damaged, 0o600))
		got, err := readLog(root, "c.raw.zst")
		if !errors.Is(err, ErrCorrupt) || len(got) < 100 {
			t.Errorf("%s: %d frames, %v", name, len(got), err)
		}
		if _, err := Inspect(root, "c"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: inspect: %v", name, err)
		}
	}
	must(t, root.WriteFile("c.raw.zst", []byte("none"), 0o600))
	if _, err := readLog(root, "c.raw.zst"); err == nil {
		t.Error("garbage was read")
	}
}

// epoch is when the logs begin that are made here.
var epoch = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x55
	return b
}

// TestBomb: a small file that claims to hold much costs little memory.
func TestBomb(t *testing.T) {
	root := newRoot(t)
	f, err := root.Create("c.raw.zst")
	must(t, err)
	e, err := zstd.NewWriter(f, zstd.WithWindowSize(window))
	must(t, err)
	_, err = e.Write(appendHeader(nil, epoch))
	must(t, err)
	frame := appendFrame(nil, KindOutput, 1, make([]byte, maxPayload))
	for range 4096 { // 256 MiB
		_, err = e.Write(frame)
		must(t, err)
	}
	must(t, errors.Join(e.Close(), f.Close()))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	info, err := Inspect(root, "c")
	runtime.ReadMemStats(&after)
	if err != nil || info.Summary.OutputBytes != 4096*maxPayload || after.HeapSys > before.HeapSys+64<<20 {
		t.Errorf("%d bytes, %v, %d MiB more", info.Summary.OutputBytes, err, (after.HeapSys-before.HeapSys)>>20)
	}
	u := &unpacker{r: strings.NewReader("four more"), left: 4}
	if b, err := io.ReadAll(u); string(b) != "four" || !errors.Is(err, ErrCorrupt) {
		t.Errorf("%q, %v", b, err)
	}
	// A window that no log has is refused.
	f, err = root.Create("w.raw.zst")
	must(t, err)
	e, err = zstd.NewWriter(f, zstd.WithWindowSize(64<<20))
	must(t, err)
	for range 1100 {
		_, err = e.Write(frame)
		must(t, err)
	}
	must(t, errors.Join(e.Close(), f.Close()))
	if _, err := readLog(root, "w.raw.zst"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a window of 64 MiB: %v", err)
	}
}

// TestSkip: one damaged frame costs that frame.
func TestSkip(t *testing.T) {
	root := newRoot(t)
	raw := recorded(t, root, "c", 10)
	const frame = frameHeader + 1000
	whole, err := NewReader(bytes.NewReader(raw))
	must(t, err)
	_, err = whole.Next() // the terminal
	must(t, err)
	first := int(whole.Offset())
	for name, tt := range map[string]struct {
		damage func([]byte)
		frames int // that can be read
		skips  int
	}{
		"a payload":          {func(b []byte) { b[first+3*frame+500] ^= 1 }, 11, 1},
		"a time":             {func(b []byte) { b[first+3*frame+10] ^= 1 }, 11, 1},
		"two apart":          {func(b []byte) { b[first+3*frame+500] ^= 1; b[first+5*frame+500] ^= 1 }, 10, 2},
		"two together":       {func(b []byte) { b[first+3*frame+500] ^= 1; b[first+4*frame+500] ^= 1 }, 4, 1},
		"a length":           {func(b []byte) { b[first+3*frame+14] ^= 1 }, 4, 1},
		"impossible length":  {func(b []byte) { b[first+3*frame+12] ^= 1 }, 4, 0},
		"nothing whatsoever": {func([]byte) {}, 12, 0},
	} {
		b := bytes.Clone(raw)
		tt.damage(b)
		r, err := NewReader(bytes.NewReader(b))
		must(t, err)
		frames, skips := 0, 0
		for {
			_, err := r.Next()
			if errors.Is(err, ErrCorrupt) && r.Skip() {
				skips++
				continue
			}
			if err != nil {
				break
			}
			frames++
		}
		if frames != tt.frames || skips != tt.skips {
			t.Errorf("%s: %d frames after %d skips, want %d after %d", name, frames, skips, tt.frames, tt.skips)
		}
		if r.Skip() {
			t.Errorf("%s: skipped the end", name)
		}
		must(t, root.WriteFile("c.raw", b, 0o600))
		info, err := Inspect(root, "c")
		if (tt.skips > 0 || tt.frames < 12) != errors.Is(err, ErrCorrupt) || int(info.Summary.OutputBytes) < 1000*(tt.frames-2) {
			t.Errorf("%s: inspect: %d bytes, %v", name, info.Summary.OutputBytes, err)
		}
		told, played := 0, 0
		r, err = NewReader(bytes.NewReader(b))
		must(t, err)
		_ = Play(context.Background(), r, PlayOptions{Damaged: func(error) { told++ }}, func(Frame) error { played++; return nil })
		if told != tt.skips || played != tt.frames {
			t.Errorf("%s: played %d, told of %d", name, played, told)
		}
	}
}

// long makes a raw log of about so many bytes.
func long(t testing.TB, root *os.Root, size int) {
	t.Helper()
	f, err := root.Create("c.raw")
	must(t, err)
	_, err = f.Write(appendHeader(nil, epoch))
	must(t, err)
	frame := appendFrame(nil, KindOutput, 1, bytes.Repeat([]byte("some output\r\n"), maxPayload/13))
	for n := 0; n < size; n += len(frame) {
		_, err = f.Write(frame)
		must(t, err)
	}
	must(t, f.Close())
}

// TestLongRecording goes through in bounded memory. BenchmarkLong has a gigabyte.
func TestLongRecording(t *testing.T) { compressLong(t, 128<<20) }

func BenchmarkLong(b *testing.B) {
	b.SetBytes(1 << 30)
	for b.Loop() {
		compressLong(b, 1<<30)
	}
}

func compressLong(t testing.TB, size int) {
	root := newRoot(t)
	long(t, root, size)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	must(t, Compress(context.Background(), root, "c"))
	must(t, root.Remove("c.raw"))
	info, err := Inspect(root, "c")
	runtime.ReadMemStats(&after)
	if err != nil || info.Summary.RawBytes < int64(size) || after.HeapSys > before.HeapSys+64<<20 {
		t.Errorf("%d bytes, %v, %d MiB more", info.Summary.RawBytes, err, (after.HeapSys-before.HeapSys)>>20)
	}
}

func FuzzOpen(f *testing.F) {
	root := newRoot(f)
	recorded(f, root, "c", 20)
	must(f, Compress(context.Background(), root, "c"))
	packed := content(f, root, "c.raw.zst")
	f.Add(packed)
	f.Add(packed[:len(packed)/2])
	f.Add(flip(packed, len(packed)/2))
	f.Add(content(f, root, "c.raw"))
	f.Add([]byte("(\xb5/\xfd\x00\x00"))
	must(f, root.Remove("c.raw"))
	f.Fuzz(func(t *testing.T, b []byte) {
		must(t, root.WriteFile("c.raw.zst", b, 0o600))
		info, err := Inspect(root, "c")
		frames, next := readLog(root, "c.raw.zst")
		if next == nil {
			t.Error("no end")
		}
		if err == nil && next == nil && len(frames) > 0 && info.Summary.RawBytes == 0 {
			t.Error("a log without bytes")
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	root := newRoot(b)
	raw := recorded(b, root, "c", 1000)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		must(b, Compress(context.Background(), root, "c"))
	}
}
