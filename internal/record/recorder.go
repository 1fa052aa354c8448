package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"
)

// Size is a window size in characters.
type Size struct {
	Columns uint32 `json:"columns"`
	Rows    uint32 `json:"rows"`
}

// Cells returns both sides as far as they are numbers that a screen may have.
func (s Size) Cells() (columns, rows int) {
	return int(min(s.Columns, math.MaxInt16)), int(min(s.Rows, math.MaxInt16))
}

// Options describe a recording. Command and Terminal come from the attacker.
type Options struct {
	Dir      *os.Root  // the session's directory
	Name     string    // ours, such as "channel-0"; makes Name.raw and Name.cast
	Title    string    // the cast's title; Name when empty
	Start    time.Time // what times count from; now when zero
	Terminal string    // TERM, empty without a pty
	Shell    string    // the login shell, empty when unknown
	Size     Size      // zero without a pty
	Command  string    // exec command, empty for a shell
	MaxBytes int64     // most bytes both files may take together; 0 for no limit
	Budget   *Budget   // shared with others; nil for no limit
	Space    *Space    // where Dir is; nil for any
	// Forward makes it the recording of a forward, without a cast: type of the channel,
	// destination, port, originator and its port, separated by NUL.
	Forward string
}

func (o *Options) title() string {
	if o.Title == "" {
		return o.Name
	}
	return o.Title
}

// ErrQuota means that MaxBytes is reached: the chunk was not recorded, so it
// must not be forwarded either. Both files say that they were cut off.
var ErrQuota = errors.New("recording reached its size limit")

// errClosed is what a recorder answers after Close.
var errClosed = errors.New("recording is closed")

// Summary is what a recording came to.
type Summary struct {
	Raw         string    `json:"raw"`       // file name in the session's directory, see Open
	Cast        string    `json:"cast"`      // the same; empty for a forward
	RawBytes    int64     `json:"raw_bytes"` // before it was compressed
	CastBytes   int64     `json:"cast_bytes"`
	InputBytes  int64     `json:"input_bytes"`  // recorded bytes from the client
	OutputBytes int64     `json:"output_bytes"` // recorded bytes of output, or of the pty
	StderrBytes int64     `json:"stderr_bytes"`
	Start       time.Time `json:"start"`
	End         time.Time `json:"end,omitzero"` // of the last frame; zero while recording
	Truncated   bool      `json:"truncated"`    // a limit was reached
	ExitStatus  *int      `json:"exit_status,omitempty"`
	ExitSignal  string    `json:"exit_signal,omitempty"` // a name as in RFC 4254, section 6.10, or SIG and a number
	CoreDumped  bool      `json:"core_dumped,omitempty"`
	// CaptureMarkers are those at the end of the cast that name files captured from the
	// target. They are added later; nothing here does.
	CaptureMarkers int `json:"capture_markers,omitempty"`
}

// file is what a Recorder needs of *os.File.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// Recorder writes one channel's raw log and cast. Its methods are safe for
// concurrent use. Data must be recorded before it is forwarded; when a method
// fails, what it was given must not be forwarded and the channel should end.
// The first error stays and is returned by every later call. Nothing is
// buffered: a killed process loses nothing it has forwarded.
type Recorder struct {
	mu       sync.Mutex // guards everything below
	raw      file
	cast     file
	enc      cast
	opened   time.Time     // when the recorder was made, with the monotonic clock
	base     time.Duration // from Options.Start to opened
	last     time.Duration // time of the newest frame
	maxBytes int64
	budget   *Budget
	space    *Space
	sum      Summary
	err      error
	ended    bool
	closed   bool

	rawBuf, castBuf []byte // scratch
}

// Create makes both files, which must not exist, and writes their beginnings.
// On error it leaves no file behind.
func Create(o Options) (*Recorder, error) {
	return create(&o, func(name string) (file, error) {
		return o.Dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
	}, o.Dir.Remove)
}

func create(o *Options, open func(string) (file, error), remove func(string) error) (_ *Recorder, err error) {
	now := time.Now()
	if o.Start.IsZero() {
		o.Start = now
	}
	r := &Recorder{
		enc:      cast{pty: o.Terminal != "" || o.Size != Size{}},
		opened:   now,
		base:     max(0, now.Sub(o.Start)),
		maxBytes: o.MaxBytes, budget: o.Budget, space: o.Space,
		sum: Summary{Raw: o.Name + ".raw", Cast: o.Name + ".cast", Start: o.Start.UTC()},
	}
	if r.raw, err = open(r.sum.Raw); err != nil {
		return nil, fmt.Errorf("create raw log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.raw.Close(), remove(r.sum.Raw))
		}
	}()
	if o.Forward != "" {
		r.cast, r.sum.Cast = nowhere{}, ""
	} else if r.cast, err = open(r.sum.Cast); err != nil {
		return nil, fmt.Errorf("create cast: %w", err)
	}
	defer func() {
		if err != nil && r.sum.Cast != "" {
			err = errors.Join(err, r.cast.Close(), remove(r.sum.Cast))
		}
	}()
	if err = r.begin(o); err != nil {
		return nil, err
	}
	return r, nil
}

// begin writes the headers and what is known about the channel.
func (r *Recorder) begin(o *Options) error {
	raw := appendHeader(nil, o.Start)
	at := r.elapsed()
	if o.Terminal != "" {
		raw = appendFrame(raw, KindTerminal, at, []byte(o.Terminal[:min(len(o.Terminal), maxPayload)]))
	}
	if o.Size != (Size{}) {
		raw = appendFrame(raw, KindResize, at, o.Size.bytes())
	}
	if o.Forward != "" {
		raw = appendFrame(raw, KindForward, at, []byte(o.Forward[:min(len(o.Forward), maxPayload)]))
		return r.writeAnyway(raw, nil)
	}
	for rest := o.Command; rest != ""; {
		n := min(len(rest), maxPayload)
		raw = appendFrame(raw, KindCommand, at, []byte(rest[:n]))
		rest = rest[n:]
	}
	return r.writeAnyway(raw, r.enc.appendHeader(nil, o, o.Start))
}

func (s Size) bytes() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, s.Columns), s.Rows)
}

// Output records standard output or what the pty gave. The error may be
// that of a limit.
func (r *Recorder) Output(p []byte) error { return r.stream(KindOutput, p, &r.sum.OutputBytes) }

// Stderr records standard error. The error may be that of a limit.
func (r *Recorder) Stderr(p []byte) error { return r.stream(KindStderr, p, &r.sum.StderrBytes) }

// Input records what the client sent. The error may be that of a limit.
func (r *Recorder) Input(p []byte) error { return r.stream(KindInput, p, &r.sum.InputBytes) }

// InputEOF records that the client closed its side.
func (r *Recorder) InputEOF() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.elapsed()
	r.castBuf = r.enc.flush(r.castBuf[:0], at, KindInput)
	return r.frame(at, KindInputEOF, nil)
}

// Resize records a new window size.
func (r *Recorder) Resize(s Size) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.elapsed()
	r.castBuf = r.enc.appendResize(r.castBuf[:0], at, s)
	return r.frame(at, KindResize, s.bytes())
}

// Marker records a remark. The text may hold an attacker's words; more than
// 64 KiB of it are cut off.
func (r *Recorder) Marker(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.elapsed()
	text = text[:min(len(text), maxPayload)]
	r.castBuf = r.enc.appendEvent(r.castBuf[:0], at, 'm', text)
	return r.frame(at, KindMarker, []byte(text))
}

// Exit records the program's exit status. The summary has it even when the
// files could not take it.
func (r *Recorder) Exit(status int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.ExitStatus = &status
	at := r.elapsed()
	r.castBuf = r.enc.appendEvent(r.castBuf[:0], at, 'm', fmt.Sprintf("exit status %d", status))
	return r.frame(at, KindExit, binary.BigEndian.AppendUint32(nil, uint32(int32(status))))
}

// ExitSignal records that a signal ended the program. The summary has it even
// when the files could not take it.
func (r *Recorder) ExitSignal(name string, coreDumped bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.ExitSignal, r.sum.CoreDumped = name, coreDumped
	at := r.elapsed()
	r.castBuf = r.enc.appendEvent(r.castBuf[:0], at, 'm', "ended by signal "+name)
	return r.frame(at, KindExitSignal, exitSignal(name, coreDumped))
}

func exitSignal(name string, coreDumped bool) []byte {
	core := byte(0)
	if coreDumped {
		core = 1
	}
	return append([]byte{core}, name[:min(len(name), maxPayload-1)]...)
}

// Signal records a signal that the client asked for.
func (r *Recorder) Signal(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.elapsed()
	name = name[:min(len(name), maxPayload)]
	r.castBuf = r.enc.appendEvent(r.castBuf[:0], at, 'm', "client sent signal "+name)
	return r.frame(at, KindSignal, []byte(name))
}

// Err returns the error that stopped the recording, which may be that of a limit, or
// nil while it goes on.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Summary returns what has been recorded so far.
func (r *Recorder) Summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum
}

// End ends the recording and returns its summary, which holds what is known even
// when there is an error: the one that ended the recording early, other than
// those of a limit, or one of writing the end. Later calls return the same summary and nil.
func (r *Recorder) End() (Summary, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return r.sum, nil
	}
	r.ended = true
	err := r.end()
	r.sum.End = r.sum.Start.Add(r.last)
	r.err = errClosed
	return r.sum, err
}

// Close ends the recording if End has not, waits until it is on disk and returns
// its summary. Later calls return the same summary and nil.
func (r *Recorder) Close() (Summary, error) {
	sum, err := r.End()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return sum, nil
	}
	r.closed = true
	errs := []error{err}
	for _, f := range []file{r.raw, r.cast} {
		if err := f.Sync(); err != nil {
			errs = append(errs, fmt.Errorf("sync recording: %w", err))
		}
		if err := f.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close recording: %w", err))
		}
	}
	return sum, errors.Join(errs...)
}

// end writes the last frame, unless writing is what went wrong.
func (r *Recorder) end() error {
	if r.err != nil && !r.sum.Truncated {
		return r.err
	}
	at := r.elapsed()
	r.rawBuf = appendFrame(r.rawBuf[:0], KindEnd, at, nil)
	r.castBuf = r.castBuf[:0]
	for _, k := range []Kind{KindOutput, KindStderr, KindInput} {
		r.castBuf = r.enc.flush(r.castBuf, at, k)
	}
	return r.writeAnyway(r.rawBuf, r.castBuf)
}

// stream records a chunk of one direction in frames of at most maxPayload.
func (r *Recorder) stream(kind Kind, p []byte, count *int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := r.elapsed(); len(p) > 0; {
		n := min(len(p), maxPayload)
		r.castBuf = r.enc.appendStream(r.castBuf[:0], at, kind, p[:n])
		if err := r.frame(at, kind, p[:n]); err != nil {
			return err
		}
		*count += int64(n)
		p = p[n:]
	}
	return r.err
}

// frame writes a raw frame, then the cast lines in castBuf, if both fit.
func (r *Recorder) frame(at time.Duration, kind Kind, data []byte) error {
	if r.err != nil {
		return r.err
	}
	r.rawBuf = appendFrame(r.rawBuf[:0], kind, at, data)
	if err := r.fits(); err != nil {
		return r.truncate(at, err)
	}
	return r.write(r.rawBuf, r.castBuf)
}

// write appends to both files, the raw log first: it is the one that counts.
func (r *Recorder) write(raw, cast []byte) error {
	if r.sum.Cast == "" {
		cast = nil
	}
	err := appendTo(r.raw, raw, &r.sum.RawBytes)
	if err != nil {
		err = fmt.Errorf("write raw log: %w", err)
	} else if err = appendTo(r.cast, cast, &r.sum.CastBytes); err != nil {
		err = fmt.Errorf("write cast: %w", err)
	}
	r.err = err
	return err
}

// appendTo writes p with one write(2) and adds it to size. What a full disk
// left of a frame or line is taken off again, so that the file stays whole.
func appendTo(f file, p []byte, size *int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := f.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		if n > 0 && f.Truncate(*size) != nil {
			// The torn tail stays; readers stop before it.
			*size += int64(n)
		}
		return err
	}
	*size += int64(n)
	return nil
}

// elapsed returns the time of a frame written now. It never goes back.
func (r *Recorder) elapsed() time.Duration {
	since := time.Since(r.opened)
	if since > math.MaxInt64-r.base {
		since = math.MaxInt64 - r.base
	}
	r.last = max(r.last, r.base+since)
	return r.last
}
