package main

import (
	"io"
	"time"
)

// further is how many commands run on a connection after its first.
const further = 5

// run runs a command without a terminal on a new channel. It returns how long it
// took from the request to the exit status, and when that came.
func (c *connection) run(command string) (took time.Duration, at time.Time, err error) {
	p, err := c.open()
	if err != nil {
		return 0, at, err
	}
	defer p.Close()
	begin := time.Now()
	if err := p.command(command); err != nil {
		return 0, at, err
	}
	go func() { _, _ = io.Copy(io.Discard, p) }() // ends with the channel
	at, err = p.succeeded()
	return at.Sub(begin), at, err
}

// visitExec measures the first command of a connection, then further ones, each
// on a channel of its own.
func (b *bench) visitExec(s *server, keep bool) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	took, at, err := c.run("true")
	if err != nil {
		return err
	}
	if keep {
		b.samples.duration(execStatus, s.name, took)
		b.samples.duration(authToStatus, s.name, at.Sub(c.authenticated))
	}
	for range further {
		took, _, err := c.run("true")
		if err != nil {
			return err
		}
		if keep {
			b.samples.duration(furtherExec, s.name, took)
		}
	}
	return nil
}
