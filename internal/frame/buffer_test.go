package frame

import (
	"bytes"
	"io"
	"testing"
)

func TestReaderShrinks(t *testing.T) {
	big := new(wire).frame(Open, 1, make([]byte, MaxPayload)).Bytes()
	small := new(wire).frame(Signal, 1, []byte("X")).Bytes()
	source := &chunks{rest: append(bytes.Clone(big), bytes.Repeat(small, 200)...)}
	r := &Reader{src: source, valid: Type.toLeader, hello: true}
	for frames := 0; frames < 201; {
		_, ok, err := r.Next()
		if err == nil && !ok {
			if frames > 0 {
				source.limit = len(small)
			}
			err = r.Fill()
		} else if err == nil {
			frames++
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(r.b) > usualBuffer {
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
