package filter

import (
	"net"
	"sync"
)

// limit is a listener with so many connections at once.
type limit struct {
	net.Listener
	places chan struct{}
}

func newLimit(l net.Listener, most int) *limit { return &limit{l, make(chan struct{}, most)} }

// Accept implements net.Listener.
func (l *limit) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limited{Conn: c, free: sync.OnceFunc(func() { <-l.places })}, nil
}

// limited is a connection that gives its place back when it is closed.
type limited struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *limited) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// CloseWrite lets the end of a stream's input go through; see shutdown(2).
func (c *limited) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
