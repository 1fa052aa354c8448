package leader

import (
	"path/filepath"
	"strings"
	"testing"
)

// What sshd runs before a program: the account's file, or that of the machine.
func TestRC(t *testing.T) {
	p := run(t)
	l := p.connect(t)
	command := shell(`echo "command $0 $A"; exit 3`)
	command.Env = append(command.Env, "A=b")
	subsystem := command
	subsystem.Subsystem = true
	write(t, filepath.Join(p.root, systemRC), `echo "machine's $A"; cat`)
	for _, one := range []struct {
		name  string
		run   func() result
		wants string
	}{
		{"machine's", func() result { return output(t, l, command) }, "machine's b\ncommand sh b\n"},
		{"machine's, subsystem", func() result { return output(t, l, subsystem) }, "machine's b\ncommand sh b\n"},
		{"account's", func() result {
			write(t, filepath.Join(p.root, userRC), `echo "own $A"; echo err >&2; exit 9`)
			return output(t, l, command)
		}, "own b\ncommand sh b\n"},
		{"account's, subsystem", func() result { return output(t, l, subsystem) }, "machine's b\ncommand sh b\n"},
	} {
		got := one.run()
		if got.stdout != one.wants || got.exit.Status != 3 || strings.Contains(one.wants, "own") != (got.stderr == "err\n") {
			t.Errorf("%s: %+v, want %q", one.name, got, one.wants)
		}
	}
	missing := command
	missing.Path = "/nonexistent/sh"
	if got := output(t, l, missing); got.exit.Status != 1 || !strings.HasSuffix(got.stderr, "/nonexistent/sh: No such file or directory\n") {
		t.Errorf("a shell that is not there: %+v", got)
	}
}
