package frame

import "sync"

// Sizes of the pieces of memory of a backlog, in bytes. The first is for what a
// quiet link keeps.
const (
	smallBlock = 4 << 10
	largeBlock = 32 << 10
)

// blocks are large blocks that nobody uses: in bulk a backlog rises and falls all
// the time. The garbage collector takes them when nobody does.
var blocks = sync.Pool{New: func() any { return new([largeBlock]byte) }}

// backlog is a queue of bytes. Bytes do not move, and stay until they are dropped.
type backlog struct {
	blocks [][]byte // all full but the last
	head   int      // bytes of the first that were dropped
	n      int
}

// push appends p.
func (b *backlog) push(p []byte) {
	b.n += len(p)
	for len(p) > 0 {
		last := len(b.blocks) - 1
		if last < 0 || len(b.blocks[last]) == cap(b.blocks[last]) {
			b.grow(len(p))
			last++
		}
		tail := b.blocks[last]
		n := min(cap(tail)-len(tail), len(p))
		b.blocks[last] = append(tail, p[:n]...)
		p = p[n:]
	}
}

func (b *backlog) grow(n int) {
	if len(b.blocks) == 0 && n <= smallBlock {
		b.blocks = append(b.blocks, make([]byte, 0, smallBlock))
		return
	}
	b.blocks = append(b.blocks, blocks.Get().(*[largeBlock]byte)[:0])
}

// slice is the bytes from the offset at on, at most limit and as far as they lie
// in one piece.
func (b *backlog) slice(at, limit int) []byte {
	at += b.head
	for _, block := range b.blocks {
		if at < len(block) {
			return block[at:min(at+limit, len(block))]
		}
		at -= len(block)
	}
	return nil
}

// drop takes n bytes off the front, which nobody may use any more.
func (b *backlog) drop(n int) {
	b.n -= n
	b.head += n
	for len(b.blocks) > 0 && b.head >= len(b.blocks[0]) && (b.n == 0 || len(b.blocks) > 1) {
		first := b.blocks[0]
		b.head -= len(first)
		b.blocks[0] = nil
		b.blocks = b.blocks[1:]
		if cap(first) == largeBlock {
			blocks.Put((*[largeBlock]byte)(first[:largeBlock]))
		}
	}
	if b.n == 0 {
		*b = backlog{}
	}
}

// memory is how much of it the backlog owns, in bytes.
func (b *backlog) memory() int {
	total := 0
	for _, block := range b.blocks {
		total += cap(block)
	}
	return total
}
