package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// running is one program, its stream and its recording. It implements
// sshd.Running. Every byte is recorded before it is passed on.
type running struct {
	session  *Session
	program  sshd.Program
	recorder *record.Recorder
	stream   pool.Stream
	began    time.Time
	tty      int           // number of its pseudo-terminal, -1 without one
	done     chan struct{} // closed when the program's output has ended
}

// stdinBuffer is the client's largest packet in bytes; RFC 4253, section 6.1.
const stdinBuffer = 32 << 10

// Serve moves bytes between the client and the program until the program is gone
// or ctx ends.
func (r *running) Serve(ctx context.Context, client sshd.Stream) (int, error) {
	// A read from the program does not heed ctx; closing the stream ends it.
	stop := context.AfterFunc(ctx, func() { r.stream.Close() })
	r.session.stdin.Go(func() {
		defer r.survive()
		r.copyInput(client)
	})
	resized := make(chan struct{})
	go func() {
		defer close(resized)
		defer r.survive()
		r.resize(ctx, client.Resize)
	}()
	err := r.stream.Copy(r.tee(r.recorder.Output, client.Stdout), r.tee(r.recorder.Stderr, client.Stderr))
	close(r.done)
	<-resized
	status, err := r.outcome(ctx, err)
	if stop() {
		_ = r.stream.Close()
	}
	return status, errors.Join(err, r.finish(err))
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
	buffer := make([]byte, stdinBuffer)
	gone := false // the program no longer reads; what comes is still recorded
	for {
		n, err := client.Stdin(buffer)
		if n > 0 {
			if r.recorder.Input(buffer[:n]) != nil {
				r.abandon()
				return
			}
			if !gone {
				_, werr := r.stream.Write(buffer[:n])
				gone = werr != nil
			}
		}
		if err != nil {
			break
		}
	}
	if r.recorder.InputEOF() != nil {
		r.abandon()
		return
	}
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

// resize hands window changes on until the program is gone.
func (r *running) resize(ctx context.Context, sizes <-chan sshd.Size) {
	for {
		select {
		case <-r.done:
			return
		case <-ctx.Done():
			return
		case size := <-sizes:
			if r.recorder.Resize(record.Size(size)) != nil {
				r.abandon()
				return
			}
			_ = r.stream.Resize(ctx, pool.Size(size)) // the program may be gone by now
		}
	}
}

// outcome is the program's exit status, or why there is none.
func (r *running) outcome(ctx context.Context, copied error) (int, error) {
	if err := r.recorder.Err(); err != nil { // the reason why the stream was closed
		copied = err
	}
	if copied != nil {
		return 0, copied
	}
	status, err := r.stream.Wait(ctx)
	if err != nil {
		return 0, err
	}
	r.session.events.Emit(event.ProgramExit, event.F("channel", r.program.Channel), event.F("exit_status", status))
	return status, r.recorder.Exit(status)
}

// finish closes the recording and links it to the session. served is why the
// program was cut short, if it was.
func (r *running) finish(served error) error {
	s := r.session
	sum, err := r.recorder.Close()
	if errors.Is(served, record.ErrQuota) {
		s.events.Emit(event.RecordingStop, event.F("channel", r.program.Channel), event.F("limit_bytes", s.service.MaxBytes))
	} else if err != nil {
		s.service.Log.Error("cannot record a channel", "session", s.login.ID, "channel", r.program.Channel, "error", err)
		s.events.Emit(event.SessionFail, event.F("stage", "record"), event.F("error", err.Error()))
	}
	p := r.program
	end := time.Now().UTC()
	channel := evidence.Channel{
		ID: p.Channel, Kind: p.Kind, Command: evidence.Text(p.Command), Terminal: evidence.Text(p.Term),
		Size: record.Size(p.Size), Start: r.began.UTC(), End: &end, Recording: sum,
	}
	for _, e := range p.Env {
		channel.Env = append(channel.Env, evidence.Text(e))
	}
	saveErr := s.keep(channel, r.tty)
	s.events.Emit(event.ChannelClose, event.F("channel", p.Channel), event.F("duration_ms", time.Since(r.began).Milliseconds()),
		event.F("input_bytes", sum.InputBytes), event.F("output_bytes", sum.OutputBytes+sum.StderrBytes), event.F("recording", sum.Cast))
	return saveErr
}
