package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/record"
)

// Several watch one recording at once, from the start and from now.
func TestRecordingIsFollowed(t *testing.T) {
	st := setUp(t)
	r := st.recorder()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Output([]byte("before ")))
	var watching sync.WaitGroup
	got := make([]string, 4)
	started := make(chan struct{}, len(got))
	for i := range got {
		watching.Go(func() {
			body, err := st.client.Recording(t.Context(), sessionID, 0, i%2 == 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer body.Close()
			raw, err := record.NewReader(body)
			started <- struct{}{}
			for err == nil {
				var f record.Frame
				if f, err = raw.Next(); f.Kind == record.KindOutput {
					got[i] += string(f.Data)
				}
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("watcher %d: %v", i, err)
			}
		})
	}
	for range got {
		<-started
	}
	must(r.Output([]byte("during")))
	_, err := r.Close()
	must(err)
	watching.Wait()
	if diff := cmp.Diff([]string{"before during", "during", "before during", "during"}, got); diff != "" {
		t.Error(diff)
	}
}

// A stream that is cut off does not look whole.
func TestCutStreamIsAnError(t *testing.T) {
	st := setUp(t)
	r := st.recorder()
	if err := r.Output([]byte("x")); err != nil {
		t.Fatal(err)
	}
	body, err := st.client.Recording(t.Context(), sessionID, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	st.over.Store(true)
	if all, err := io.ReadAll(body); err == nil {
		t.Errorf("a recording without an end was sent as whole: %q", all)
	}
}

// A watcher who takes nothing holds up neither the recording nor other watchers, and
// leaves nothing behind when the service ends.
func TestWatcherThatDoesNotRead(t *testing.T) {
	st := setUp(t)
	r := st.recorder()
	stuck, err := st.client.Recording(t.Context(), sessionID, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	const chunks = 400
	chunk := bytes.Repeat([]byte("x"), 64<<10) // more than sockets hold
	for range chunks {
		if err := r.Output(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Close(); err != nil {
		t.Fatal(err)
	}
	body, err := st.client.Recording(t.Context(), sessionID, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	n, err := io.Copy(io.Discard, body)
	if err != nil || n < chunks*int64(len(chunk)) {
		t.Errorf("the other got %d bytes, %v", n, err)
	}
	began := time.Now()
	st.server.Close()
	if took := time.Since(began); took > patience {
		t.Errorf("the end took %s", took)
	}
}

// As many streams as there may be leave room for questions.
func TestManyStreams(t *testing.T) {
	st := setUp(t)
	st.recorder()
	for range maxStreams {
		body, err := st.client.Recording(t.Context(), sessionID, 0, true)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
	if _, err := st.client.Recording(t.Context(), sessionID, 0, true); err == nil || !strings.Contains(err.Error(), "which is the most") {
		t.Errorf("one more: %v", err)
	}
	if _, err := st.client.Status(t.Context()); err != nil {
		t.Errorf("a question: %v", err)
	}
}

func TestEventsStream(t *testing.T) {
	st := setUp(t)
	lines, err := event.NewJSONLines(filepath.Join(st.dir, "events"), event.FileLimits{})
	if err != nil {
		t.Fatal(err)
	}
	emitter := event.New(lines)
	defer func() { _ = emitter.Close() }()
	emitter.Emit(event.ServerStart, event.F("version", "1"))
	emitter.Emit(event.PoolWarm, event.F("warm", 1))
	body, err := st.client.Events(t.Context(), EventQuery{Last: -1, Kind: "server.*", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	emitter.Emit(event.ServerStop, event.F("reason", "\x1b[2J"))
	d := json.NewDecoder(body)
	for _, want := range []string{"server.start", "server.stop"} {
		var e map[string]any
		if err := d.Decode(&e); err != nil || e["event"] != want {
			t.Errorf("%v, %v, want %s", e, err, want)
		}
	}
	whole, err := st.client.Events(t.Context(), EventQuery{Last: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	if all, err := io.ReadAll(whole); err != nil || bytes.Count(all, []byte("\n")) != 1 {
		t.Errorf("the newest: %q, %v", all, err)
	}
}
