package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	signals  bool // the program gets those that the client sends
	began    time.Time
	done     chan struct{} // closed when the program's output has ended
}

// stdinBuffer is the client's largest packet in bytes; RFC 4253, section 6.1.
const stdinBuffer = 32 << 10

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
	helpers.Go(func() {
		defer r.survive()
		exit = r.exit(client)
	})
	err := r.stream.Copy(r.tee(r.recorder.Output, client.Stdout), r.tee(r.recorder.Stderr, client.Stderr))
	close(r.done)
	if err != nil {
		_ = r.stream.Close() // its exit is not awaited
	}
	helpers.Wait()
	if err = r.cause(errors.Join(err, exit)); err == nil {
		client.End() // nobody waits for the evidence to reach the disk
	}
	if stop() {
		_ = r.stream.Close()
	}
	return errors.Join(err, r.finish(err))
}

// exit waits for the program's end, which may come before the end of its output,
// and records and tells how it ended.
func (r *running) exit(client sshd.Stream) error {
	<-r.stream.Exited()
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
	client.Exit(sshd.Exit(e))
	return nil
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

// control hands window changes and signals on until the program's output has
// ended.
func (r *running) control(ctx context.Context, client sshd.Stream) {
	for {
		var err error
		select {
		case <-r.done:
			return
		case <-ctx.Done():
			return
		case s := <-client.Resize:
			if err = r.recorder.Resize(record.Size(s)); err == nil {
				_ = r.stream.Resize(ctx, size(s)) // the program may be gone by now
			}
		case name := <-client.Signals:
			if err = r.recorder.Signal(name); err == nil && r.signals {
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
// program was cut short, if it was.
func (r *running) finish(served error) error {
	s := r.session
	sum, err := r.recorder.End()
	s.putAway(r)
	if errors.Is(served, record.ErrQuota) {
		s.events.Emit(event.RecordingStop, event.F("channel", r.program.Channel), event.F("limit_bytes", s.service.MaxBytes))
	} else if err != nil {
		s.recordingFailed(r, err)
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
	saveErr := s.keep(channel)
	s.events.Emit(event.ChannelClose, event.F("channel", p.Channel), event.F("duration_ms", time.Since(r.began).Milliseconds()),
		event.F("input_bytes", sum.InputBytes), event.F("output_bytes", sum.OutputBytes+sum.StderrBytes), event.F("recording", sum.Cast))
	return saveErr
}
