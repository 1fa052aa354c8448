package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// maxKnown is more containers than Podman can have (its locks bound them).
const maxKnown = 4096

// known are containers that are targets: what a container is never changes, and to
// ask for every request would cost Podman as much as the request.
type known struct {
	mu     sync.Mutex // guards all below
	ids    map[string]bool
	oldest []string // in the order in which they came
}

func (k *known) add(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ids[id] {
		return
	}
	if len(k.oldest) == maxKnown {
		delete(k.ids, k.oldest[0])
		k.oldest = k.oldest[1:]
	}
	if k.ids == nil {
		k.ids = map[string]bool{}
	}
	k.ids[id] = true
	k.oldest = append(k.oldest, id)
}

func (k *known) has(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[id]
}

// learn takes the container's id from Podman's answer to a request that made one.
func (f *Filter) learn(resp *http.Response) error {
	if resp.StatusCode != http.StatusCreated || !strings.HasSuffix(resp.Request.URL.Path, "/containers/create") {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil {
		return fmt.Errorf("read Podman's answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var made struct {
		ID string `json:"Id"`
	}
	if json.Unmarshal(body, &made) == nil && wholeID.MatchString(made.ID) {
		f.known.add(made.ID)
	}
	return nil
}
