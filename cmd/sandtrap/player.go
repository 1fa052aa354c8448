package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/term"
)

const (
	// seekStep is how far the arrow keys go, in recorded time.
	seekStep = 5 * time.Second

	// maxRedraw bounds what is written to the terminal at once after a seek, in bytes:
	// the end of what led there.
	maxRedraw = 256 << 10

	// maxMarkers bounds the places that can be jumped to.
	maxMarkers = 10000
)

// clearScreen empties the terminal before it is drawn again.
const clearScreen = "\x1b[H\x1b[2J"

// player plays one recording by the keys of a terminal.
type player struct {
	open     func() (*record.Reader, io.Closer, error)
	keys     *keyboard
	options  record.PlayOptions
	sink     func(record.Frame) error // through filter, if there is one, into screen
	filter   *term.Filter             // nil where all bytes pass
	screen   *redraw
	markers  []time.Duration
	marked   bool // markers are known
	sequence []byte

	reader *record.Reader
	closer io.Closer
	next   *record.Frame // read, and not shown
	at     time.Duration // time of the last frame that was shown
	since  time.Time     // when that was, or when the wait for the next began anew
	begun  bool          // at is a time of this recording
	paused bool
}

// errQuit ends a replay at the operator's wish.
var errQuit = errors.New("quit")

// Play plays until the end of the recording, q or the end of ctx.
func (p *player) Play(ctx context.Context) error {
	defer func() {
		p.screen.holds = false
		if p.closer != nil {
			p.closer.Close()
		}
	}()
	err := p.rewind()
	for err == nil {
		if err = p.load(); err == nil {
			err = p.wait(ctx)
		}
	}
	if errors.Is(err, errQuit) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// rewind goes to the beginning.
func (p *player) rewind() (err error) {
	if p.closer != nil {
		p.closer.Close()
	}
	p.next, p.at, p.begun = nil, 0, false
	p.reader, p.closer, err = p.open()
	p.since = time.Now()
	return err
}

// load reads the next frame that is shown.
func (p *player) load() error {
	for p.next == nil {
		f, err := p.reader.NextIntact(p.options.Damaged)
		if err != nil {
			return err
		}
		if p.options.Show(f) {
			p.next = &f
		}
	}
	if !p.begun { // what was before the first output is not waited for
		p.begun, p.at = true, p.next.Time
	}
	return nil
}

// show shows the loaded frame.
func (p *player) show() error {
	f := *p.next
	p.next, p.at, p.since = nil, f.Time, time.Now()
	return p.sink(f)
}

// wait shows the loaded frame when it is due, or does what a key says.
func (p *player) wait(ctx context.Context) error {
	var due <-chan time.Time
	if !p.paused {
		left := p.options.Pause(p.next.Time-p.at) - time.Since(p.since)
		timer := time.NewTimer(max(0, left))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.keys.stops:
		return p.suspend()
	case key := <-p.keys.pressed:
		return p.press(key)
	case <-due:
		return p.show()
	}
}

// position is how far the replay is, in recorded time.
func (p *player) position() time.Duration {
	if p.paused || p.next == nil {
		return p.at
	}
	gone := float64(time.Since(p.since)) * p.options.Speed
	return p.at + time.Duration(min(gone, float64(max(0, p.next.Time-p.at))))
}

// Keys that send more than one byte.
var sequences = map[string]string{"\x1b[C": "right", "\x1bOC": "right", "\x1b[D": "left", "\x1bOD": "left"}

// press does what a key says. Arrow keys come in three bytes.
func (p *player) press(key byte) error {
	if len(p.sequence) > 0 || key == 0x1b {
		p.sequence = append(p.sequence, key)
		switch s := string(p.sequence); {
		case len(s) == 1, len(s) == 2 && (key == '[' || key == 'O'):
			return nil
		default:
			p.sequence = p.sequence[:0]
			switch sequences[s] {
			case "right":
				return p.seek(p.position() + seekStep)
			case "left":
				return p.seek(p.position() - seekStep)
			}
			return nil
		}
	}
	switch key {
	case ' ':
		if !p.paused {
			p.at = p.position()
		}
		p.paused, p.since = !p.paused, time.Now()
	case '.':
		p.paused = true
		return p.show()
	case '[', ']':
		return p.jump(key == ']')
	case 'q', 'Q':
		return errQuit
	}
	return nil
}

// seek goes to a time of the recording; beyond the end it goes to the end.
func (p *player) seek(to time.Duration) error {
	p.screen.begin()
	if to < p.at {
		if p.filter != nil {
			if err := p.filter.Restore(); err != nil {
				return err
			}
		}
		p.screen.clear()
		if err := p.rewind(); err != nil {
			return err
		}
	}
	for {
		err := p.load()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.Join(p.screen.end(p.filter), err)
		}
		if err != nil {
			return err
		}
		if p.next.Time > to {
			break
		}
		if err := p.show(); err != nil {
			return err
		}
	}
	p.at, p.since = max(p.at, to), time.Now()
	return p.screen.end(p.filter)
}

// jump goes to the next marker, or to the one before: at once after one that is to the
// one before that.
func (p *player) jump(forward bool) error {
	if err := p.findMarkers(); err != nil {
		return err
	}
	now := p.position()
	if forward {
		for _, m := range p.markers {
			if m > now {
				return p.seek(m)
			}
		}
		return nil
	}
	const atOnce = time.Second
	for _, m := range slices.Backward(p.markers) {
		if m < now && (p.paused || m < now-atOnce) {
			return p.seek(m)
		}
	}
	return p.seek(0)
}

// findMarkers reads where the markers are.
func (p *player) findMarkers() error {
	if p.marked {
		return nil
	}
	r, closer, err := p.open()
	if err != nil {
		return err
	}
	defer closer.Close()
	p.marked = true
	for len(p.markers) < maxMarkers {
		f, err := r.NextIntact(nil)
		if err != nil {
			return nil // what is behind it cannot be played either
		}
		if f.Kind == record.KindMarker {
			p.markers = append(p.markers, f.Time)
		}
	}
	return nil
}

// suspend stops the process with the terminal in order, and draws anew afterwards.
func (p *player) suspend() error {
	now := p.position()
	if p.filter != nil {
		if err := p.filter.Restore(); err != nil {
			return err
		}
	}
	if err := p.keys.suspend(); err != nil {
		return err
	}
	p.at = now + 1 // so that seek begins anew
	return p.seek(now)
}

// redraw is the terminal. Between begin and end it keeps the last of what is written.
type redraw struct {
	w     io.Writer
	held  []byte
	holds bool
	whole bool // nothing was left out
	empty bool // the terminal is to be emptied first
}

// Write implements io.Writer.
func (d *redraw) Write(p []byte) (int, error) {
	if !d.holds {
		return d.w.Write(p)
	}
	d.held = append(d.held, p...)
	if over := len(d.held) - maxRedraw; over > maxRedraw { // not for each write
		d.held, d.whole = slices.Delete(d.held, 0, over), false
	}
	return len(p), nil
}

func (d *redraw) begin() { d.holds, d.whole, d.empty, d.held = true, true, false, d.held[:0] }

// clear has the terminal emptied before what comes from now on is written.
func (d *redraw) clear() {
	_, _ = d.w.Write(d.held) // what puts it back in order; end meets its error again
	d.held, d.empty = d.held[:0], true
}

// end writes what was kept. After a gap it begins with a line.
func (d *redraw) end(f *term.Filter) error {
	d.holds = false
	b := d.held
	if !d.whole {
		if i := slices.Index(b, '\n'); i >= 0 {
			b = b[i+1:]
		}
		if f != nil && f.Alternate() {
			b = append([]byte("\x1b[?1049h"), b...)
		}
	}
	if d.empty || !d.whole {
		b = append([]byte(clearScreen), b...)
	}
	if len(b) == 0 {
		return nil
	}
	_, err := d.w.Write(b)
	return err
}
