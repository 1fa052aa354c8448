package podman

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// upgrade posts to a path below the API's root and asks for the connection itself
// by an HTTP upgrade (RFC 9110, section 7.8), after which it carries a stream.
func (c *Client) upgrade(ctx context.Context, path string, body []byte) (*net.UnixConn, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	reader := newReader(conn)
	err = ask(conn, reader, fmt.Sprintf("http://d/v%s/libpod/%s", c.version, path), body)
	if !stop() { // the context ended first and has closed the connection
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), reader, nil
}

// newReader returns the reader of a stream. Podman's frames have 8 KiB at most.
func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 32<<10) }

func ask(conn net.Conn, reader *bufio.Reader, url string, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(reader, req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("answer %s: %q", resp.Status, text)
	}
	return nil
}
