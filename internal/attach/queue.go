package attach

import (
	"iter"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// queue is output in its order. The window bounds its bytes, and so its runs.
type queue struct {
	bytes []byte
	runs  []int32 // lengths of bytes of one stream: positive for stdout, negative for stderr
}

// Memory of a queue in bytes: what it begins with, and what it keeps while there
// is no output.
const (
	firstBuffer = 4 << 10
	idleBuffer  = 64 << 10
)

func (q *queue) push(p []byte, stderr bool) {
	if need := len(q.bytes) + len(p); need > cap(q.bytes) {
		grown := make([]byte, len(q.bytes), min(max(2*cap(q.bytes), need, firstBuffer), frame.InitialWindow))
		copy(grown, q.bytes)
		q.bytes = grown
	}
	q.bytes = append(q.bytes, p...)
	n := int32(len(p))
	if stderr {
		n = -n
	}
	if last := len(q.runs) - 1; last >= 0 && q.runs[last] < 0 == stderr {
		q.runs[last] += n
		return
	}
	q.runs = append(q.runs, n)
}

// chunks are the bytes in pieces of at most maxChunk, and whether they are stderr.
func (q *queue) chunks() iter.Seq2[[]byte, bool] {
	return func(yield func([]byte, bool) bool) {
		rest := q.bytes
		for _, run := range q.runs {
			stderr := run < 0
			for left := int(max(run, -run)); left > 0; {
				n := min(left, maxChunk)
				if !yield(rest[:n:n], stderr) {
					return
				}
				rest, left = rest[n:], left-n
			}
		}
	}
}

// reset empties the queue and keeps its memory.
func (q *queue) reset() { q.bytes, q.runs = q.bytes[:0], q.runs[:0] }

// shrink gives memory of an empty queue back.
func (q *queue) shrink() {
	if cap(q.bytes) > idleBuffer {
		q.bytes = nil
	}
	if cap(q.runs) > firstBuffer/4 {
		q.runs = nil
	}
}
