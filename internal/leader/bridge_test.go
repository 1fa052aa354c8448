package leader

import (
	"io"
	"os"
	"os/exec"
	"testing"
)

// bridge starts a bridge for a worker and returns its stream.
func (p *process) bridge(t *testing.T) (io.ReadWriteCloser, error) {
	stream, in, out := newPipes(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=bridge:"+p.root)
	cmd.Stdin, cmd.Stdout = in, out
	err := cmd.Start()
	in.Close()
	out.Close()
	if err != nil {
		stream.Close()
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		stream.Close()
		<-done
	})
	return stream, nil
}
