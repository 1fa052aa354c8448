package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// measureAlone has Podman make containers of the target's image that do nothing, and
// remove them, through the API that SandTrap uses and two at a time: what a pool costs
// that has nothing of ours. SandTrap does not run meanwhile.
func (b *bench) measureAlone(ctx context.Context) error {
	p := newAPI()
	defer p.client.CloseIdleConnections()
	var mu sync.Mutex // guards made and failed
	var made []string
	var failed error
	begin := time.Now()
	forEach(filled, 2, func() {
		id, err := p.run(ctx)
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
		if id != "" {
			made = append(made, id)
		}
	})
	ready := time.Since(begin)
	forEach(len(made), 2, func() {
		mu.Lock()
		id := made[0]
		made = made[1:]
		mu.Unlock()
		err := p.remove(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	})
	if failed != nil { // not ours to mend, and no reason to measure nothing else
		progress("podman alone: %v", failed)
		return ctx.Err()
	}
	b.samples.add(fillTime, alone, ready.Seconds())
	b.samples.add(aloneRate, alone, filled/time.Since(begin).Seconds())
	return nil
}

// api is Podman's, of SandTrap's account; see podman-system-service(1).
type api struct{ client *http.Client }

func newAPI() api {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(podmanURL, "unix://"))
	}
	return api{&http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: starting}}
}

// run makes a container and starts it.
func (p api) run(ctx context.Context) (id string, err error) {
	const body = `{"image": "` + targetImage + `", "command": ["/bin/sleep", "1000"], "netns": {"nsmode": "none"},
		"userns": {"nsmode": "no-map"}, "cgroupns": {"nsmode": "private"}, "log_configuration": {"driver": "none"},
		"systemd": "false", "image_volume_mode": "ignore"}`
	answer, err := p.ask(ctx, http.MethodPost, "create", body)
	if err != nil {
		return "", err
	}
	var created struct{ ID string }
	if err := json.Unmarshal(answer, &created); err != nil {
		return "", fmt.Errorf("create a container: %w", err)
	}
	_, err = p.ask(ctx, http.MethodPost, created.ID+"/start", "")
	return created.ID, err
}

// remove ends a container and removes it.
func (p api) remove(ctx context.Context, id string) error {
	_, err := p.ask(ctx, http.MethodPost, id+"/stop?timeout=0", "")
	if err == nil {
		_, err = p.ask(ctx, http.MethodDelete, id, "")
	}
	return err
}

func (p api) ask(ctx context.Context, method, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://podman/v5.0.0/libpod/containers/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := p.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask Podman: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("ask Podman for %s: %s: %s", path, answer.Status, text)
	}
	return text, err
}
