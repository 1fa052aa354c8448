package record

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkPass sends a line there and back over a socket, as an echo goes, with and
// without a recording of both directions: what recording adds to an echo.
func BenchmarkPass(b *testing.B) {
	for _, recorded := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "recorded"}[recorded], func(b *testing.B) {
			root, err := os.OpenRoot(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer root.Close()
			r, err := Create(Options{Dir: root, Name: "channel-0", Start: time.Now(), Terminal: "xterm"})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			client, server := socketPair(b)
			go func() { _, _ = io.Copy(server, server) }()
			line, back := make([]byte, 80), make([]byte, 80)
			for b.Loop() {
				if recorded {
					err = r.Input(line)
				}
				if err == nil {
					_, err = client.Write(line)
				}
				if err == nil {
					_, err = io.ReadFull(client, back)
				}
				if err == nil && recorded {
					err = r.Output(back)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// socketPair is two ends of a connection that the kernel carries.
func socketPair(b *testing.B) (client, server net.Conn) {
	b.Helper()
	l, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("unix", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}
