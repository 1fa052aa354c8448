package frame

// firstBuffer is the size in bytes that buffers begin with.
const firstBuffer = 4 << 10

// ring is a queue of bytes that grows as it must, up to maxKept, and owns no
// memory while it is empty.
type ring struct {
	b       []byte
	head, n int
}

// push appends p. The caller keeps n within maxKept.
func (r *ring) push(p []byte) {
	r.reserve(len(p))
	tail := (r.head + r.n) % max(len(r.b), 1)
	copied := copy(r.b[tail:], p)
	copy(r.b, p[copied:])
	r.n += len(p)
}

// reserve makes room for more bytes. What is handed out by slice stays as it is:
// moving copies.
func (r *ring) reserve(more int) {
	need := r.n + more
	if need <= len(r.b) {
		return
	}
	size := max(2*len(r.b), firstBuffer)
	for size < need {
		size *= 2
	}
	r.move(max(min(size, maxKept), need))
}

// slice is the bytes from the offset at on, at most limit and as far as they lie
// in one piece.
func (r *ring) slice(at, limit int) []byte {
	limit = min(limit, r.n-at)
	if limit <= 0 {
		return nil
	}
	from := (r.head + at) % len(r.b)
	return r.b[from:min(from+limit, len(r.b))]
}

// drop takes n bytes off the front. What little is left after a flood moves to
// less memory: it may have to stay for long.
func (r *ring) drop(n int) {
	if n == 0 {
		return
	}
	r.n -= n
	if r.n == 0 {
		*r = ring{}
		return
	}
	r.head = (r.head + n) % len(r.b)
	if size := max(2*r.n, firstBuffer); len(r.b) >= 4*size {
		r.move(size)
	}
}

// move copies what there is to memory of size bytes.
func (r *ring) move(size int) {
	b := make([]byte, size)
	first := copy(b, r.slice(0, r.n))
	copy(b[first:], r.slice(first, r.n-first))
	r.b, r.head = b, 0
}
