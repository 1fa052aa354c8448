package main

import (
	"bytes"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

func TestPin(t *testing.T) {
	state, path := sampleState(t)
	store, err := evidence.Open(state)
	ok(t, err)
	defer store.Close()
	for _, tt := range []struct {
		verb, id, out string
		status        int
		kept          bool
	}{
		{"pin", idClosed, "pinned " + idClosed + "\n", exitOK, true},
		{"pin", "01KN1W7MG00000000000000009", "", exitNotFound, true},
		{"unpin", idClosed, "unpinned " + idClosed + "\n", exitOK, false},
		{"unpin", "", "", exitUsage, false},
	} {
		var out, errs bytes.Buffer
		args := []string{"--config", path, tt.verb}
		if tt.id != "" {
			args = append(args, tt.id)
		}
		if status := run(args, &out, &errs); status != tt.status || out.String() != tt.out {
			t.Errorf("%s %s: status %d, %q, %q", tt.verb, tt.id, status, out.String(), errs.String())
		}
		if store.Keeps(idClosed) != tt.kept {
			t.Errorf("after %s %s: kept is %v", tt.verb, tt.id, !tt.kept)
		}
	}
}
