//go:build appliance

package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// fail ends a program of ours that could not do what the script asked for.
func fail(program string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	os.Exit(1)
}

// status is the program "status N PROGRAM ARGUMENT...": it runs a program and
// fails unless that ends with exit status N.
func status() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fail("status", err)
	}
	c := exec.Command(os.Args[2], os.Args[3:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		fail("status", err)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		fail("status", fmt.Errorf("%s ended with %d (%s), want %d", os.Args[2], got, c.ProcessState, want))
	}
}

// bound is the program "bound HOST PORT": a connection from the script's source
// address, for clients that cannot choose one.
func bound() {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(os.Getenv("SOURCE"))}, Timeout: patience}
	c, err := d.Dial("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	if err != nil {
		fail("bound", err)
	}
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, c) // until the server closes
}

// dial connects from the script's source address.
func dial() (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(os.Getenv("SOURCE"))}, Timeout: patience}
	c, err := d.Dial("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(limit))
}
