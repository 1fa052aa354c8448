package main

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// keys is how many keys are typed at each prompt, and keyPause how fast: a
// server that has just been busy would answer sooner than one that sleeps.
const (
	keys     = 6
	keyPause = 10 * time.Millisecond
)

// atPrompt reads until a shell's prompt is the last that was printed: "# " or
// "$ ", whatever came before it.
func atPrompt(out []byte) bool {
	return bytes.HasSuffix(out, []byte("# ")) || bytes.HasSuffix(out, []byte("$ "))
}

// shell starts a login shell on a pseudo-terminal and waits for its prompt.
func (c *connection) shell() (*program, error) {
	p, err := c.open()
	if err != nil {
		return nil, err
	}
	if err := p.terminal(); err != nil {
		return nil, err
	}
	if err := p.ask("shell", nil); err != nil {
		return nil, err
	}
	return p, p.readUntil("a prompt", atPrompt)
}

// readUntil reads output until done says so.
func (p *program) readUntil(what string, done func([]byte) bool) error {
	var out []byte
	chunk := make([]byte, 4096)
	for !done(out) {
		n, err := p.Read(chunk)
		if err != nil {
			return fmt.Errorf("read until %s: %w (so far %q)", what, err, out)
		}
		if out = append(out, chunk[:n]...); len(out) > 64<<10 {
			return fmt.Errorf("read until %s: none in %d bytes", what, len(out))
		}
	}
	return nil
}

// visitShell measures the way to a prompt, and the echo of keys typed there.
func (b *bench) visitShell(ctx context.Context, s *server, keep bool) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := c.shell()
	if err != nil {
		return err
	}
	prompted := time.Now()
	if keep {
		b.samples.duration(loginTime, s.name, c.authenticated.Sub(c.connecting))
		b.samples.duration(authToPrompt, s.name, prompted.Sub(c.authenticated))
		b.samples.duration(connectPrompt, s.name, prompted.Sub(c.connecting))
	}
	for range keys {
		if err := pause(ctx, keyPause); err != nil {
			return err
		}
		typed := time.Now()
		if _, err := p.Write([]byte("a")); err != nil {
			return fmt.Errorf("type: %w", err)
		}
		if err := p.readUntil("an echo", func(out []byte) bool { return bytes.IndexByte(out, 'a') >= 0 }); err != nil {
			return err
		}
		if keep {
			b.samples.duration(echo, s.name, time.Since(typed))
		}
	}
	return nil
}
