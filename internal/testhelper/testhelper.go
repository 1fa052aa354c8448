// Package testhelper runs a server of package helper for a test.
package testhelper

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/sandtrap/sandtrap/internal/helper"
)

// Serve answers clients until the test ends, and returns the server's socket.
func Serve(t *testing.T, answer helper.Answer) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "he") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- helper.Serve(ctx, l, answer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return socket
}
