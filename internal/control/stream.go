package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/record"
)

// errStreams means that as many clients are reading as may.
var errStreams = fmt.Errorf("%d streams are open, which is the most", maxStreams)

// stream serves what goes on for as long as the client likes. One that takes nothing
// for stallTimeout is dropped.
func (s *Server) stream(serve func(context.Context, *flow, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
		default:
			refuse(w, errStreams)
			return
		}
		f := &flow{w: w, control: http.NewResponseController(w)}
		if err := serve(r.Context(), f, r); err != nil && !f.begun {
			refuse(w, err)
		} else if err != nil {
			s.cfg.Log.Debug("a stream has ended early", "path", r.URL.Path, "operator", peerOf(r.Context()).String(), "error", err)
			panic(http.ErrAbortHandler) // the client must not take it for the whole
		}
	}
}

// flow writes a stream.
type flow struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (f *flow) begin(contentType string) error {
	f.begun = true
	f.w.Header().Set("Content-Type", contentType)
	return f.flush()
}

func (f *flow) write(p []byte) error {
	if err := f.patience(); err != nil {
		return err
	}
	_, err := f.w.Write(p)
	return err
}

// flush sends what was written.
func (f *flow) flush() error {
	if err := f.patience(); err != nil {
		return err
	}
	return f.control.Flush()
}

// patience gives the client its time once more.
func (f *flow) patience() error {
	return f.control.SetWriteDeadline(time.Now().Add(stallTimeout))
}

// recording sends a recording as it is made, in its own format.
func (s *Server) recording(ctx context.Context, f *flow, r *http.Request) error {
	channel, err := channelNumber(r.PathValue("channel"))
	if err != nil {
		return err
	}
	fromStart := true
	if text := r.URL.Query().Get("from_start"); text != "" {
		if fromStart, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%w: from_start is %q", errRequest, text)
		}
	}
	following, err := s.cfg.Recording(r.PathValue("id"), channel)
	if err != nil {
		return err
	}
	var buffer []byte
	following.FromNow = !fromStart
	following.Begin = func(start time.Time) error {
		if err := f.begin("application/octet-stream"); err != nil {
			return err
		}
		return f.write(record.AppendHeader(nil, start))
	}
	following.Frame = func(frame record.Frame) error {
		buffer = record.AppendFrame(buffer[:0], frame)
		return f.write(buffer)
	}
	following.Idle = f.flush
	return record.Follow(ctx, following)
}

// events sends events, one JSON object a line.
func (s *Server) events(ctx context.Context, f *flow, r *http.Request) error {
	q, err := ParseEventQuery(r.URL.Query())
	if err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	log, err := event.OpenLog(s.cfg.EventDir)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := f.begin("application/jsonl"); err != nil {
		return err
	}
	var line []byte
	err = log.Read(ctx, event.ReadOptions{Since: q.Since, Last: q.Last, Match: q.Match, Follow: q.Follow}, func(e *event.Record) error {
		line = append(append(line[:0], e.Line...), '\n')
		if err := f.write(line); err != nil || !q.Follow {
			return err
		}
		return f.flush()
	})
	if q.Follow && errors.Is(err, context.Canceled) {
		return nil // the service ends, or the client has gone
	}
	return err
}
