//go:build appliance

package conformance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

// gossh is the program "gossh [OPTION...] [COMMAND]": the client of
// golang.org/x/crypto/ssh. It says on its standard error what the server answered
// and how the command ended, which most clients do not show.
func gossh() {
	user := flag.String("user", "root", "login name")
	env := flag.String("env", "", "variables to ask for, NAME=VALUE,...")
	term := flag.String("pty", "", "ask for a terminal of this kind")
	signal := flag.String("signal", "", "send this signal when the command asks for it with a line")
	subsystem := flag.Bool("subsystem", false, "the command is a subsystem's name")
	flag.Parse()
	conn, err := dial()
	if err != nil {
		fail("gossh", err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, "server", &ssh.ClientConfig{
		User: *user, Auth: []ssh.AuthMethod{ssh.Password(os.Getenv("PASSWORD"))}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		fail("gossh", err)
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		fail("gossh", err)
	}
	for variable := range strings.SplitSeq(*env, ",") {
		if name, value, ok := strings.Cut(variable, "="); ok {
			tell("env "+name, s.Setenv(name, value))
		}
	}
	if *term != "" {
		tell("pty "+*term, s.RequestPty(*term, 24, 80, ssh.TerminalModes{ssh.ECHO: 0}))
	}
	s.Stdin, s.Stderr = os.Stdin, os.Stderr
	s.Stdout = os.Stdout
	if *signal != "" {
		s.Stdout = onLine{func() { _ = s.Signal(ssh.Signal(*signal)) }}
	}
	command := strings.Join(flag.Args(), " ")
	switch {
	case *subsystem:
		err = s.RequestSubsystem(command)
		tell("subsystem "+command, err)
		if err != nil {
			return
		}
		return
	case command == "":
		err = s.Shell()
	default:
		err = s.Start(command)
	}
	tell("start", err)
	if err == nil {
		ended(s.Wait())
	}
}

// tell says what the server answered.
func tell(what string, err error) {
	answer := "yes"
	if err != nil {
		answer = "no"
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", what, answer)
}

// ended says how a program ended; RFC 4254, section 6.10.
func ended(err error) {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		fmt.Fprintln(os.Stderr, "exit-status 0")
	case !errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, err)
	case exit.Signal() != "":
		fmt.Fprintf(os.Stderr, "exit-signal %s %q %q\n", exit.Signal(), exit.Msg(), exit.Lang())
	default:
		fmt.Fprintf(os.Stderr, "exit-status %d\n", exit.ExitStatus())
	}
}

// onLine does something when a line ends, beside writing it.
type onLine struct{ do func() }

func (o onLine) Write(p []byte) (int, error) {
	n, err := os.Stdout.Write(p)
	if strings.Contains(string(p), "\n") {
		o.do()
	}
	return n, err
}
