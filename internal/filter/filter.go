// Package filter stands between the front end and Podman's API. Requests come in; out
// go those that a pool of targets needs, written anew from what was understood of
// them, and everything else is refused. It does not trust the front end: whoever has
// taken that over can still make, stop and remove targets, and nothing else.
package filter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"time"
)

// Policy is what the installed configuration says about targets.
type Policy struct {
	Targets   []Target
	Unlimited bool   // containers may have no limits, on hosts that cannot enforce them
	Quota     string // socket of the helper that bounds what a container may write; "" for no bound
}

// Target is what it says about one of them.
type Target struct {
	Name     string  // the value of the label of its containers
	Image    string  // name of its image
	Hostname string  // inside
	Memory   int64   // bytes, at most
	Pids     int64   // tasks, at most
	CPUs     float64 // processors' worth of time, at most
}

// target returns the one of a name.
func (p Policy) target(name string) (Target, bool) {
	i := slices.IndexFunc(p.Targets, func(t Target) bool { return t.Name == name })
	if i < 0 {
		return Target{}, false
	}
	return p.Targets[i], true
}

// Filter is an http.Handler that forwards to Podman what Policy allows.
type Filter struct {
	policy Policy
	// refused is called with each request that is not forwarded, and why.
	refused func(method, path, reason string)
	proxy   *httputil.ReverseProxy
	client  *http.Client // for questions of our own
	known   known
	images  images
}

// Bounds of what is read, in bytes: what the pool sends has some kilobytes.
const (
	maxBody    = 1 << 20
	maxHeaders = 16 << 10
	maxAnswer  = 1 << 20 // to a question of our own
)

// askTimeout bounds a question of our own.
const askTimeout = 30 * time.Second

// New returns a filter before the API at a unix socket.
func New(socket string, p Policy, refused func(method, path, reason string)) *Filter {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
		MaxIdleConns:       16, MaxIdleConnsPerHost: 16,
		IdleConnTimeout: 30 * time.Second,
	}
	f := &Filter{
		policy: p, refused: refused,
		proxy: &httputil.ReverseProxy{
			Transport: transport, Rewrite: func(*httputil.ProxyRequest) {}, FlushInterval: -1,
			// The client sees what it would see of Podman: a broken connection.
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		},
		client: &http.Client{Transport: transport, Timeout: askTimeout},
	}
	f.proxy.ModifyResponse = f.learn
	return f
}

// maxClients bounds the connections at once; others wait.
const maxClients = 256

// Serve answers clients of l until ctx ends, and returns nil then.
func (f *Filter) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: f, ReadHeaderTimeout: askTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeaders,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err := server.Serve(newLimit(l, maxClients))
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve clients: %w", err)
}

// ServeHTTP implements http.Handler.
func (f *Filter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := f.judge(r)
	var no refusal
	var cannot unable
	switch {
	case errors.As(err, &no):
		f.refused(r.Method, r.URL.Path, string(no))
		answer(w, http.StatusForbidden, "refused by policy")
	case errors.As(err, &cannot):
		answer(w, http.StatusInternalServerError, cannot.Error())
	case err != nil: // Podman did not answer us
		panic(http.ErrAbortHandler)
	default:
		f.proxy.ServeHTTP(w, out)
	}
}

// answer answers in Podman's place, as Podman does.
func answer(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"cause": why, "message": why, "response": status})
}

// refusal is why a request is not forwarded.
type refusal string

// Error implements error.
func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// judge returns the request that goes to Podman in place of r.
func (f *Filter) judge(r *http.Request) (*http.Request, error) {
	rule, args, ok := find(r.Method, r.URL.EscapedPath())
	if !ok {
		return nil, refuse("no such request is needed")
	}
	query, err := rule.query(r.URL.Query())
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, refuse("its body is too long or does not come")
	}
	if rule.check != nil {
		if body, err = rule.check(f, r.Context(), args, body); err != nil {
			return nil, err
		}
	} else if len(body) > 0 {
		return nil, refuse("it has a body")
	}
	return f.anew(r, query, body)
}

// anew writes a request from what was checked of it, and nothing else.
func (f *Filter) anew(r *http.Request, query url.Values, body []byte) (*http.Request, error) {
	u := url.URL{Scheme: "http", Host: "d", Path: r.URL.Path, RawQuery: query.Encode()}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), newBody(body))
	if err != nil {
		return nil, refuse("it cannot be written anew")
	}
	out.ContentLength = int64(len(body))
	if len(body) > 0 {
		out.Header.Set("Content-Type", "application/json")
	}
	if r.Header.Get("Upgrade") == "tcp" {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", "tcp")
	}
	return out, nil
}
