package transfer

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The programs of OpenSSH run against each other here, with this test's binary in
// the place of ssh(1): it starts the other side and writes down what passes. What
// it wrote is kept in testdata, for machines without those programs.

var update = flag.Bool("update", false, "record testdata/*.tap anew")

const (
	tapVariable    = "TRANSFER_TAP" // where to write, which makes a tap of the binary
	serverVariable = "SFTP_SERVER"  // where sftp-server(8) is, if not in its place
	serverPath     = "/usr/lib/openssh/sftp-server"
)

func sftpServer() string {
	if path := os.Getenv(serverVariable); path != "" {
		return path
	}
	return serverPath
}

// chunk is what passed at once.
type chunk struct {
	input bool
	data  []byte
}

// tap is ssh(1) for clients on this machine: options, "--", host, command. With -s
// the command is a subsystem.
func tap(path string) int {
	at := slices.Index(os.Args, "--")
	command := strings.Join(os.Args[at+2:], " ")
	if slices.Contains(os.Args[:at], "-s") {
		command = sftpServer()
	}
	if err := runTap(path, command); err != nil {
		fmt.Fprintln(os.Stderr, "tap:", err)
		return 1
	}
	return 0
}

func runTap(path, command string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var mu sync.Mutex
	pass := func(kind byte, from io.Reader, to io.WriteCloser) {
		defer to.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(n))
			_, _ = f.Write(append(head, buffer[:n]...))
			mu.Unlock()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go pass('i', os.Stdin, in)
	pass('o', out, os.Stdout)
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return f.Close()
}

// readTap reads what a tap wrote.
func readTap(t testing.TB, path string) []chunk {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var chunks []chunk
	for len(raw) > 5 {
		n := int(binary.BigEndian.Uint32(raw[1:]))
		chunks = append(chunks, chunk{raw[0] == 'i', raw[5 : 5+n]})
		raw = raw[5+n:]
	}
	return chunks
}

// record runs a client of OpenSSH's in dir and returns what passed, or skips where
// the programs are not.
func record(t *testing.T, dir, tapFile, stdin string, args ...string) []chunk {
	t.Helper()
	for _, program := range []string{args[0], sftpServer()} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not here", program)
		}
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(tapFile); err != nil {
		t.Fatal(err)
	}
	tapFile, _ = filepath.Abs(tapFile)
	cmd := exec.Command(args[0], append([]string{"-S", binary}, args[1:]...)...)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, strings.NewReader(stdin), append(os.Environ(), tapVariable+"="+tapFile, "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	t.Logf("%q: %v\n%s", args, err, out)
	return readTap(t, tapFile)
}
