package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/transfer"
)

// running is one program, its stream and its recording. It implements
// sshd.Running. Every byte is recorded before it is passed on.
type running struct {
	session  *Session
	program  sshd.Program
	recorder *record.Recorder
	stream   pool.Stream
	began    time.Time
	signals  bool          // sshd would deliver signals to it
	output   chan struct{} // closed when the program's output has ended
	done     chan struct{} // closed when the program has, too
	endInput sync.Once     // done when the input has ended, or nobody reads it
	// inputEnded says that the client has ended its input.
	inputEnded atomic.Bool

	transfers *transfers
	watcher   *transfer.Watcher // nil for a program that transfers no files
	commands  *commands
	beside    atomic.Int32 // files of other channels, see transfers.mark
}

// TakesSignals implements sshd.Running.
func (r *running) TakesSignals() bool { return r.signals }

// The buffer of an input, in bytes: it grows with what comes at once. A client's
// largest packets are of 32 KiB, RFC 4253, section 6.1.
const (
	firstStdin   = 4 << 10
	longestStdin = 64 << 10
)

// Serve moves bytes between the client and the program until the program's
// output has ended or ctx ends, then completes the evidence.
func (r *running) Serve(ctx context.Context, client sshd.Stream) error {
	// A read from the program does not heed ctx; closing the stream ends it.
	stop := context.AfterFunc(ctx, func() { _ = r.stream.Close() })
	r.session.stdin.Go(func() {
		defer r.survive()
		r.copyInput(client)
	})
	var helpers sync.WaitGroup
	helpers.Go(func() {
		defer r.survive()
		r.control(ctx, client)
	})
	var exit error
	exited := make(chan struct{})
	helpers.Go(func() {
		defer close(exited)
		defer r.survive()
		exit = r.exit(client)
	})
	err := r.stream.Copy(r.tee(r.recordOutput, client.Stdout), r.tee(r.recorder.Stderr, r.stderr(client)))
	if err != nil {
		_ = r.stream.Close() // its exit is not awaited
	}
	close(r.output)
	if err == nil {
		r.endOutput(client)
	}
	<-exited
	close(r.done)
	helpers.Wait()
	reason := ""
	if err = r.cause(errors.Join(err, exit)); err == nil {
		client.End() // nobody waits for the evidence to reach the disk
	} else {
		reason = r.cut(client)
	}
	if stop() {
		_ = r.stream.Close()
	}
	return errors.Join(err, r.finish(err, reason))
}

// cut says why we have ended the program, nothing where we have not, and marks it in
// the recording.
func (r *running) cut(client sshd.Stream) string {
	if failed := r.recorder.Err(); failed != nil {
		return notRecorded(failed)
	}
	reason := client.Ended()
	if reason != "" {
		_ = r.recorder.Cut(endedHere + reason) // End meets its error again
	}
	return reason
}

// endedHere begins the remark in a recording that we have cut off.
const endedHere = "ended here: "

// stderr is where standard error goes: that of a subsystem reaches nobody.
func (r *running) stderr(client sshd.Stream) func([]byte) (int, error) {
	if r.program.Kind == sshd.Subsystem {
		return io.Discard.Write
	}
	return client.Stderr
}

// farewell is how long the end of a program's output waits for the program's own.
const farewell = 100 * time.Millisecond

// endOutput tells the client that the output has ended, unless the program ends too:
// exit tells both then. A client whose own input has ended closes the channel as soon
// as it hears of it, and the SSH library does the same before the client has heard
// how the program ended; so it hears of that first.
func (r *running) endOutput(client sshd.Stream) {
	select {
	case <-r.stream.Exited():
	case <-time.After(farewell):
		if !r.inputEnded.Load() {
			client.EndOutput()
		}
	}
}

// lastWords is how long the news of a program's end waits for what it wrote just
// before, and for the end of that: with sshd they mostly come first.
const lastWords = 2 * time.Millisecond

// exit waits for the program's end, which may come before the end of its output,
// and records and tells how it ended.
func (r *running) exit(client sshd.Stream) error {
	<-r.stream.Exited()
	select {
	case <-r.output:
	case <-time.After(lastWords):
	}
	e, err := r.stream.Wait(context.Background())
	if err != nil {
		return err
	}
	fields := []event.Field{event.F("channel", r.program.Channel), event.F("exit_status", e.Status)}
	if e.Signal == "" {
		err = r.recorder.Exit(e.Status)
	} else {
		err = r.recorder.ExitSignal(e.Signal, e.CoreDumped)
		fields = []event.Field{fields[0], event.F("exit_signal", e.Signal), event.F("core_dumped", e.CoreDumped)}
	}
	if err != nil {
		return err
	}
	r.session.events.Emit(event.ProgramExit, fields...)
	client.Together(func() {
		// As sshd: a terminal's output ends after the news of what ended it.
		if r.hasEnded() && !r.program.PTY {
			client.EndOutput()
		}
		client.Exit(sshd.Exit(e))
		r.endInput.Do(client.EndInput)
		if r.hasEnded() {
			client.EndOutput()
		}
	})
	<-r.output
	client.EndOutput()
	return nil
}

// hasEnded reports whether the output has.
func (r *running) hasEnded() bool {
	select {
	case <-r.output:
		return true
	default:
		return false
	}
}

// survive, deferred in every goroutine of a program, keeps a mistake of ours from
// ending other sessions. The program ends: it is no longer recorded.
func (r *running) survive() {
	if p := recover(); p != nil {
		s := r.session
		s.service.Log.Error("program's streams panicked", "session", s.login.ID, "panic", fmt.Sprint(p), "stack", hclog.Stacktrace())
		_ = r.stream.Close()
	}
}

// recordOutput records what the program wrote and looks at it.
func (r *running) recordOutput(p []byte) error {
	err := r.recorder.Output(p)
	if err == nil {
		r.watcher.Output(p)
		r.commands.output(p)
	}
	return err
}

// tee records a chunk, then passes it on.
func (r *running) tee(rec func([]byte) error, client func([]byte) (int, error)) func([]byte) error {
	return func(p []byte) error {
		if err := rec(p); err != nil {
			return err
		}
		_, err := client(p)
		return err
	}
}

// copyInput passes on what the client sends. It ends with the client's EOF or
// channel, which may be later than the program.
func (r *running) copyInput(client sshd.Stream) {
	buffer := make([]byte, firstStdin)
	gone := false // the program no longer reads; what comes is still recorded
	for {
		n, err := client.Stdin(buffer)
		if n > 0 {
			if r.recorder.Input(buffer[:n]) != nil {
				r.abandon()
				return
			}
			r.watcher.Input(buffer[:n])
			r.commands.input(buffer[:n])
			if !gone {
				_, werr := r.stream.Write(buffer[:n])
				gone = werr != nil
			}
			if gone {
				r.endInput.Do(client.EndInput)
			}
		}
		if err != nil {
			break
		}
		if n == len(buffer) && n < longestStdin {
			buffer = make([]byte, 2*n)
		}
	}
	r.inputEnded.Store(true)
	if r.recorder.InputEOF() != nil {
		r.abandon()
		return
	}
	r.endInput.Do(func() {})
	_ = r.stream.CloseWrite() // fails when the program is gone, which is fine
}

// abandon ends a program whose input cannot be recorded. After the program's own
// end the recording is closed and this changes nothing.
func (r *running) abandon() {
	select {
	case <-r.done:
	default:
		_ = r.stream.Close()
	}
}

// control hands window changes and signals on until the program and its output
// have ended.
func (r *running) control(ctx context.Context, client sshd.Stream) {
	enough := client.Enough
	for {
		var err error
		select {
		case <-r.done:
			return
		case <-ctx.Done():
			return
		case <-enough:
			enough = nil
			_ = r.stream.CloseRead() // the program may be gone by now
		case s := <-client.Resize:
			if err = r.recorder.Resize(cells(s)); err == nil {
				r.commands.resize(s)
				_ = r.stream.Resize(ctx, size(s)) // the program may be gone by now
			}
		case name := <-client.Signals:
			if err = r.recorder.Signal(name); err == nil {
				_ = r.stream.Signal(ctx, name)
			}
		}
		if err != nil {
			r.abandon()
			return
		}
	}
}

// cause is why the program was cut short: a recording that failed is the reason
// why its stream was closed.
func (r *running) cause(err error) error {
	if failed := r.recorder.Err(); failed != nil {
		return failed
	}
	return err
}

// finish closes the recording and links it to the session. served is why the
// program was cut short, if it was, and reason why we have ended it.
func (r *running) finish(served error, reason string) error {
	s := r.session
	lines, omitted := r.commands.close()
	sum, err := r.recorder.End()
	s.leave(r)
	r.watcher.Close()
	s.putAway(r.recorder, r.transfers.sync)
	if !s.truncated(r.program.Channel, served) && err != nil {
		s.recordingFailed(sum, err)
	}
	p := r.program
	end := time.Now().UTC()
	channel := evidence.Channel{
		ID: p.Channel, Kind: p.Kind, Command: evidence.Text(p.Command), Terminal: evidence.Text(p.Term),
		Size: cells(p.Size), Start: r.began.UTC(), End: &end, EndReason: reason, Recording: sum,
		Transfers: r.transfers.list, TransfersOmitted: r.transfers.omitted, Commands: lines, CommandsOmitted: omitted,
	}
	for _, e := range p.Env {
		channel.Env = append(channel.Env, evidence.Text(e))
	}
	saveErr := s.keep(channel)
	s.events.Emit(event.ChannelClose, event.F("channel", p.Channel), event.F("duration_ms", time.Since(r.began).Milliseconds()),
		event.F("input_bytes", sum.InputBytes), event.F("output_bytes", sum.OutputBytes+sum.StderrBytes), event.F("recording", sum.Cast), event.F("reason", reason))
	return saveErr
}
