package frame

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

func TestReaderShrinks(t *testing.T) {
	big := new(wire).frame(Open, 1, make([]byte, MaxPayload)).Bytes()
	small := new(wire).frame(Data, 1, []byte("x")).Bytes()
	source := &chunks{rest: append(bytes.Clone(big), bytes.Repeat(small, 200)...)}
	r := reader{src: source, keep: 16 << 10}
	for frames := 0; frames < 201; {
		f, _, err := r.next()
		if err == nil && f.Type == 0 {
			if frames > 0 {
				source.limit = len(small)
			}
			err = r.fill()
		} else if err == nil {
			frames++
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(r.b) > firstBuffer {
		t.Errorf("the buffer holds %d bytes", len(r.b))
	}
}

// chunks hands out at most limit bytes a read.
type chunks struct {
	rest  []byte
	limit int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	if c.limit > 0 {
		p = p[:min(len(p), c.limit)]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func TestBacklog(t *testing.T) {
	source := rand.New(rand.NewPCG(1, 2))
	var b backlog
	var model []byte
	for i := range 20000 {
		limit := 9000
		if i/1000%2 == 1 {
			limit = 90000 // by and by it holds much, then little
		}
		if source.IntN(2) == 0 {
			p := make([]byte, source.IntN(limit))
			for i := range p {
				p[i] = byte(source.Uint32())
			}
			if b.n+len(p) <= maxKept {
				b.push(p)
				model = append(model, p...)
			}
		} else if n := source.IntN(limit); n <= b.n {
			b.drop(n)
			model = model[n:]
		}
		if b.n != len(model) || b.memory() > b.n+2*largeBlock || b.n == 0 && b.blocks != nil || b.n < 10 && b.memory() > largeBlock {
			t.Fatalf("%d bytes in %d, want %d", b.n, b.memory(), len(model))
		}
		if b.n > 0 {
			at := source.IntN(b.n)
			got := b.slice(at, 5000)
			if len(got) == 0 || len(got) > 5000 || !bytes.Equal(got, model[at:at+len(got)]) {
				t.Fatalf("slice at %d differs", at)
			}
		}
	}
	if b.slice(b.n, 1) != nil {
		t.Error("bytes behind the end")
	}
}

// TestSmallBacklog: a few small frames take little memory.
func TestSmallBacklog(t *testing.T) {
	l := NewLink()
	for range 10 {
		_ = l.Send(Frame{Data, 1, make([]byte, 100)})
	}
	if got := l.kept.memory(); got != smallBlock {
		t.Errorf("%d bytes of memory", got)
	}
}

// TestReaderGrows: bulk takes few reads, and no more memory than it may.
func TestReaderGrows(t *testing.T) {
	source := &chunks{rest: bytes.Repeat(new(wire).frame(Data, 1, make([]byte, 1000)).Bytes(), 1000)}
	r := reader{src: source, keep: 64 << 10}
	reads := 0
	for {
		f, _, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Type != 0 {
			continue
		}
		if r.fill() != nil {
			break
		}
		reads++
	}
	if reads > 30 || len(r.b) != r.keep {
		t.Errorf("%d reads into %d bytes", reads, len(r.b))
	}
}
