package session

import (
	"bytes"
	"context"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// BenchmarkCat is what 10 MB of output at a terminal cost, recorded, and with somebody
// who looks for lines.
func BenchmarkCat(b *testing.B) {
	text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, and then 0123456789 more.\r\n"), 10<<20/73)
	for _, looks := range []bool{false, true} {
		name := "recorded"
		if looks {
			name = "recorded-and-followed"
		}
		b.Run(name, func(b *testing.B) {
			store, err := evidence.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			service := &Service{Store: store, Log: hclog.NewNullLogger()}
			st := &stage{emitter: event.New(&sink{})}
			opened, err := service.Open(context.Background(), st.login())
			if err != nil {
				b.Fatal(err)
			}
			s := opened.(*Session)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r, err := record.Create(record.Options{Dir: s.dir.Root(), Name: "channel-0", Terminal: "xterm", Size: record.Size{Columns: 80, Rows: 24}})
				if err != nil {
					b.Fatal(err)
				}
				c := s.entered(sshd.Program{Kind: sshd.Exec, PTY: looks, Size: sshd.Size{Columns: 80, Rows: 24}}, r)
				c.input([]byte("cat file\r"))
				for rest := text; len(rest) > 0; {
					n := min(32<<10, len(rest))
					if err := r.Output(rest[:n]); err != nil {
						b.Fatal(err)
					}
					c.output(rest[:n])
					rest = rest[n:]
				}
				c.close()
				b.StopTimer()
				_, _ = r.End()
				_ = s.dir.Root().Remove("channel-0.raw")
				_ = s.dir.Root().Remove("channel-0.cast")
				b.StartTimer()
			}
		})
	}
}
