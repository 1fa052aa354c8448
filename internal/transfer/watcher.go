package transfer

import (
	"errors"
	"sync"
)

// Watcher watches one channel. Its methods are safe for concurrent use; what is
// passed in one direction must be passed in order. They keep none of the bytes
// that they are given.
type Watcher struct {
	capture  *Capture
	report   Reporter
	protocol string
	passes   sync.WaitGroup // artifacts that are put together
	slots    chan struct{}  // one for each

	mu      sync.Mutex // guards all below
	decoder decoder    // nil when there is nothing to follow any more
	pieces  int        // of all files
	told    int        // operations
	spare   *spool     // content for files that nobody has opened yet
	noSpare string     // why there is none
}

// decoder follows a protocol. An error ends that.
type decoder interface {
	input(p []byte) error  // from the client
	output(p []byte) error // from the program
	// end tells the files that are open, with the reason why they are not complete.
	end(reason string)
}

const (
	// maxOperations bounds what is told of a channel beside files.
	maxOperations = 1000
	// maxPasses bounds the artifacts of a channel that are put together while the
	// transfer goes on. More are waited for.
	maxPasses = 2
)

// Watch begins to watch a program's streams. It returns nil for None, and all
// methods of a nil Watcher do nothing.
func Watch(kind Kind, capture *Capture, report Reporter) *Watcher {
	w := &Watcher{capture: capture, report: report, protocol: SCP, slots: make(chan struct{}, maxPasses)}
	switch kind {
	case SFTPServer:
		w.protocol = SFTP
		w.decoder = newSFTP(w)
	case SCPSink:
		w.decoder = newSCP(w, Upload)
	case SCPSource:
		w.decoder = newSCP(w, Download)
	default:
		return nil
	}
	return w
}

// Input takes what the client sends, before the program gets it.
func (w *Watcher) Input(p []byte) { w.pass(decoder.input, p) }

// Output takes what the program writes, before the client gets it.
func (w *Watcher) Output(p []byte) { w.pass(decoder.output, p) }

func (w *Watcher) pass(to func(decoder, []byte) error, p []byte) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.decoder == nil {
		return
	}
	defer w.survive()
	if err := to(w.decoder, p); err != nil {
		w.stop(reasonStopped)
		w.report.Gap(w.protocol, err.Error())
	}
}

// Close tells the files that are still open and returns when all files are told.
// What is passed later is ignored.
func (w *Watcher) Close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	if w.decoder != nil {
		func() {
			defer w.survive()
			w.stop(reasonCut)
		}()
	}
	w.mu.Unlock()
	w.passes.Wait()
	w.mu.Lock()
	w.discard(w.spare)
	w.mu.Unlock()
}

// stop ends decoding.
func (w *Watcher) stop(reason string) {
	d := w.decoder
	w.decoder = nil
	d.end(reason)
}

// survive keeps a mistake of ours from ending the session: decoding ends.
func (w *Watcher) survive() {
	if p := recover(); p != nil {
		w.panicked(p)
		if w.decoder != nil {
			defer w.survive()
			w.stop(reasonStopped)
		}
	}
}

// later does something slow beside the transfer.
func (w *Watcher) later(do func()) {
	w.slots <- struct{}{}
	w.passes.Go(func() {
		defer func() { <-w.slots }()
		defer w.surviveLater()
		do()
	})
}

func (w *Watcher) surviveLater() {
	if p := recover(); p != nil {
		w.panicked(p)
	}
}

func (w *Watcher) panicked(value any) {
	w.report.Panic(value)
	w.report.Gap(w.protocol, "internal error")
}

// operation tells what was done to a file, as far as there is room for it.
func (w *Watcher) operation(o Operation) {
	w.told++
	if w.told <= maxOperations {
		o.Protocol = w.protocol
		w.report.Operation(o)
	} else if w.told == maxOperations+1 {
		w.report.Gap(w.protocol, "more operations than are told of one channel")
	}
}

// maxName bounds a name in bytes. Linux takes 4096 with the zero at the end, so
// that a longer one was refused.
const maxName = 4096

func clip(name string) string { return name[:min(len(name), maxName)] }

// Errors that end decoding.
var (
	errMalformed = errors.New("malformed")
	errTooMuch   = errors.New("more at once than is followed")
)
