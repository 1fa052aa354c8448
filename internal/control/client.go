package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/hint"
)

// maxAnswer bounds what a client takes of an answer, in bytes.
const maxAnswer = 64 << 20

// Client asks the running service. Its methods are safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the service at a socket. Errors of its methods wrap
// ErrUnreachable where no service answers and fs.ErrPermission where this process may
// not ask it.
func NewClient(socket string) *Client {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: answerTimeout,
	}}}
}

// Status asks what goes on.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, http.MethodGet, "status", &s)
}

// Sessions asks for the sessions that go on, the oldest first.
func (c *Client) Sessions(ctx context.Context) (s []Session, err error) {
	return s, c.ask(ctx, http.MethodGet, "sessions", &s)
}

// Terminate ends a session and waits for its evidence, though not for ever.
func (c *Client) Terminate(ctx context.Context, id string) (t Terminated, err error) {
	return t, c.ask(ctx, http.MethodPost, "sessions/"+url.PathEscape(id)+"/terminate", &t)
}

// Reload has the configuration read again.
func (c *Client) Reload(ctx context.Context) (r Reloaded, err error) {
	return r, c.ask(ctx, http.MethodPost, "reload", &r)
}

// Collect has evidence removed that is beyond its bounds, and waits for it.
func (c *Client) Collect(ctx context.Context) (r Collected, err error) {
	return r, c.ask(ctx, http.MethodPost, "gc", &r)
}

// Drain removes the warm targets and has no others made.
func (c *Client) Drain(ctx context.Context) (p Pool, err error) {
	return p, c.ask(ctx, http.MethodPost, "pool/drain", &p)
}

// Refill ends Drain, and has missing targets made at once.
func (c *Client) Refill(ctx context.Context) (p Pool, err error) {
	return p, c.ask(ctx, http.MethodPost, "pool/refill", &p)
}

// Metrics asks for the metrics, in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	body, err := c.open(ctx, http.MethodGet, "metrics", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, maxAnswer))
}

// Recording follows the recording of a channel, as the raw log that record.NewReader
// reads. The caller closes it.
func (c *Client) Recording(ctx context.Context, id string, channel int, fromStart bool) (io.ReadCloser, error) {
	path := "sessions/" + url.PathEscape(id) + "/channels/" + strconv.Itoa(channel) + "/recording"
	return c.open(ctx, http.MethodGet, path, url.Values{"from_start": {strconv.FormatBool(fromStart)}})
}

// Events asks for events, one JSON object a line. The caller closes it.
func (c *Client) Events(ctx context.Context, q EventQuery) (io.ReadCloser, error) {
	return c.open(ctx, http.MethodGet, "events", q.Values())
}

// ask makes a request and reads the answer into value.
func (c *Client) ask(ctx context.Context, method, path string, value any) error {
	body, err := c.open(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(value); err != nil {
		return fmt.Errorf("read the answer of the service: %w", err)
	}
	return nil
}

// open makes a request and returns the body of its answer. The path is escaped.
func (c *Client) open(ctx context.Context, method, path string, query url.Values) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://sandtrap/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the service: %w", err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	return nil, refused(answer)
}

// refused is the error of an answer that is none.
func refused(answer *http.Response) error {
	var p problem
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxHeader)).Decode(&p); err != nil || p.Error == "" {
		p.Error = answer.Status
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return answerError{p.Error, ErrNotFound}
	case http.StatusServiceUnavailable:
		return answerError{p.Error, ErrStopping}
	}
	return answerError{p.Error, nil}
}

// answerError has the words of the service.
type answerError struct {
	text string
	is   error
}

func (e answerError) Error() string { return e.text }
func (e answerError) Unwrap() error { return e.is }

// explain says why nobody could be asked.
func (c *Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrPermission):
		return hint.Wrap(fmt.Errorf("ask the service at %s: %w", c.socket, fs.ErrPermission), "it answers root and members of the group sandtrap")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return hint.Wrap(fmt.Errorf("%w: nothing listens at %s", ErrUnreachable, c.socket), "see systemctl status sandtrap.service; it answers when a target is warm")
	}
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err // without a URL that means nothing to people
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
