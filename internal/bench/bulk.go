package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// transfer is one way of moving many bytes through a session.
type transfer struct {
	figure *figure
	bytes  int64
	run    func(*connection, int64) error
}

// measureBulk moves many bytes down, up, and as lines on a pseudo-terminal,
// everything recorded. The first round is not counted.
func (b *bench) measureBulk(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: 4}); err != nil {
		return err
	}
	for _, t := range []transfer{
		{down, b.size.bulkBytes, (*connection).download},
		{up, b.size.bulkBytes, (*connection).upload},
		{ptyOut, b.size.ptyBytes, (*connection).printLines},
	} {
		for round := range 1 + b.size.bulkRounds {
			for _, s := range b.order(round) {
				rate, err := move(s, t)
				if err != nil {
					s.fail(t.figure.name, err)
				} else if round > 0 {
					b.samples.add(t.figure, s.name, rate)
				}
				if err := pause(ctx, 3*gap); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// move makes one transfer on a connection of its own, in MB/s (10^6 bytes). The
// command's start counts.
func move(s *server, t transfer) (float64, error) {
	c, err := s.connect()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, _, err := c.run("true"); err != nil { // the session is there: only the bytes count
		return 0, err
	}
	begin := time.Now()
	if err := t.run(c, t.bytes); err != nil {
		return 0, err
	}
	return float64(t.bytes) / 1e6 / time.Since(begin).Seconds(), nil
}

func (c *connection) download(size int64) error {
	p, err := c.open()
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.command(fmt.Sprintf("head -c %d /dev/zero", size)); err != nil {
		return err
	}
	return p.receive(size)
}

// receive reads output to its end, which must be of the size given.
func (p *program) receive(size int64) error {
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{p}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%d bytes came in place of %d", n, size)
	}
	_, err = p.succeeded()
	return err
}

// zeros is an endless supply of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (c *connection) upload(size int64) error {
	p, err := c.open()
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.command("cat >/dev/null"); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{p}, io.LimitReader(zeros{}, size), make([]byte, 256<<10)); err != nil {
		return err
	}
	if err := p.CloseWrite(); err != nil {
		return err
	}
	return p.receive(0)
}

// line is what fills the terminal; its newline becomes two bytes there.
var line = strings.Repeat("x", 63)

func (c *connection) printLines(size int64) error {
	p, err := c.open()
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.terminal(); err != nil {
		return err
	}
	lines := size / int64(len(line)+2)
	if err := p.command(fmt.Sprintf("yes %s | head -n %d", line, lines)); err != nil {
		return err
	}
	return p.receive(lines * int64(len(line)+2))
}
