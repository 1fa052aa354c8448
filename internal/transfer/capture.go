package transfer

import "sync"

// Limits bound what is kept, in bytes. What is beyond still goes through.
type Limits struct {
	File    int64 // captured of one file
	Session int64 // captured of all files of a session
}

const (
	// maxFiles bounds the files of a session that are told.
	maxFiles = 2000
	// maxTemps bounds the temporary files of a session that are open at once.
	maxTemps = 64
)

// Capture is what all channels of a session share: the store and its limits.
type Capture struct {
	store  Store
	limits Limits

	mu     sync.Mutex // guards all below
	left   int64      // bytes that may still be captured
	temps  int        // temporary files that are open
	files  int        // files that were told
	failed error      // why the store is not used any more
}

// NewCapture returns the captures of a session that has none yet.
func NewCapture(store Store, limits Limits) *Capture {
	return &Capture{store: store, limits: limits, left: limits.Session}
}

// take grants some of n bytes.
func (c *Capture) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = int(min(int64(n), c.left))
	c.left -= int64(n)
	return n
}

// takeAll grants all of n bytes or nothing.
func (c *Capture) takeAll(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > c.left {
		return false
	}
	c.left -= n
	return true
}

// mayTell counts a file, and reports whether it may be told and whether it is the
// first that may not.
func (c *Capture) mayTell() (ok, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files++
	return c.files <= maxFiles, c.files == maxFiles+1
}

// fail notes that the store does not take more, and reports whether that is news.
func (c *Capture) fail(err error) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = c.failed == nil
	c.failed = err
	return first
}

// spool is a temporary file to which content is appended.
type spool struct {
	temp Temp
	size int64
	most int64 // bytes of this file that may be captured
	over bool  // its file was told
	done bool  // committed or discarded
}

// Why something was not captured, as in File.Reason.
const (
	reasonFileLimit    = "more than transfers.max_file_bytes"
	reasonSessionLimit = "more than transfers.max_session_bytes in this session"
	reasonTemps        = "too many files open at once"
	reasonStore        = "could not be stored"
)

// open makes a spool, or says why there is none.
func (w *Watcher) open() (*spool, string) {
	c := w.capture
	c.mu.Lock()
	var why string
	switch {
	case c.failed != nil:
		why = reasonStore
	case c.limits.File == 0:
		why = reasonFileLimit
	case c.limits.Session == 0:
		why = reasonSessionLimit
	case c.temps >= maxTemps:
		why = reasonTemps
	default:
		c.temps++
	}
	c.mu.Unlock()
	if why != "" {
		return nil, why
	}
	temp, err := c.store.Temp()
	if err != nil {
		w.storeFailed(err)
		w.closed()
		return nil, reasonStore
	}
	return &spool{temp: temp, most: c.limits.File}, ""
}

func (w *Watcher) closed() {
	w.capture.mu.Lock()
	w.capture.temps--
	w.capture.mu.Unlock()
}

// storeFailed ends capturing, not the transfer.
func (w *Watcher) storeFailed(err error) {
	if w.capture.fail(err) {
		w.report.Gap(w.protocol, "the content of files is not kept any more: "+err.Error())
	}
}

// add appends what the limits let in of p and says why it was not all.
func (w *Watcher) add(s *spool, p []byte) (n int, why string) {
	n = int(min(int64(len(p)), s.most-s.size))
	if n < len(p) {
		why = reasonFileLimit
	}
	if granted := w.capture.take(n); granted < n {
		n, why = granted, reasonSessionLimit
	}
	if n == 0 {
		return 0, why
	}
	if err := w.write(s, p[:n]); err != nil {
		return 0, reasonStore
	}
	return n, why
}

// write appends p without asking for the limits. After an error nothing more is to
// be written to s: it may hold more than its size says.
func (w *Watcher) write(s *spool, p []byte) error {
	if _, err := s.temp.Write(p); err != nil {
		w.storeFailed(err)
		return err
	}
	s.size += int64(len(p))
	return nil
}

// commit keeps a spool under its hash as the artifact of f.
func (w *Watcher) commit(f *File, s *spool, sha256 string) {
	s.done = true
	defer w.closed()
	if err := s.temp.Commit(sha256, s.size); err != nil {
		w.storeFailed(err)
		f.Reason = joined(f.Reason, reasonStore)
		return
	}
	f.Artifact, f.Captured = sha256, s.size
}

// discard drops a spool, which may be nil.
func (w *Watcher) discard(s *spool) {
	if s != nil && !s.done {
		s.done = true
		s.temp.Discard()
		w.closed()
	}
}
