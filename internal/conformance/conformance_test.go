//go:build appliance

// Package conformance runs scripts against the appliance and against a real sshd,
// with the same expectations: what a client sees of the one it must see of the
// other. It runs as root in the disposable system; see docs/conformance.md.
package conformance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// password is what the scripts log in with: SandTrap takes every one.
const password = "correct-horse"

// patience bounds every wait for something that happens soon, limit all scripts
// together: two minutes on a machine with two processors and nothing else to do.
const (
	patience = 60 * time.Second
	limit    = 8 * time.Minute
)

// atOnce is how many scripts run at the same time. They wait more than they
// compute.
const atOnce = "6"

// server is what the scripts talk to.
type server struct {
	name string // also a condition in the scripts
	port string
}

var servers = []server{{"sandtrap", "2222"}, {"reference", "2202"}}

// TestMain starts both servers. The same binary is the programs that the scripts
// call.
func TestMain(m *testing.M) {
	testscript.Main(starter{m}, map[string]func(){"status": status, "terminal": terminal, "bound": bound, "gossh": gossh})
}

type starter struct{ m *testing.M }

func (s starter) Run() int {
	flag.Parse()
	// As the command line would, but for who says otherwise there.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(atOnce)
	}
	defer stopReference()
	defer restore()
	// A client that hangs keeps its pipes, for which testing would wait for half an hour.
	time.AfterFunc(limit+2*patience, func() {
		fmt.Fprintln(os.Stderr, "the scripts do not end")
		stopReference()
		restore()
		os.Exit(1)
	})
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "start the servers:", err)
		return 1
	}
	return s.m.Run()
}

// The configuration that makes the appliance claim to be the reference.
const (
	personaFile = "/etc/sandtrap/conformance.sshd_config"
	dropIn      = "/etc/sandtrap/conf.d/99-conformance.yaml"
)

// start starts the appliance with the reference's own sshd_config for a persona,
// whether or not the tests of another package have enabled it, and the reference.
func start() error {
	config, err := os.ReadFile("testdata/sshd_config")
	if err != nil {
		return err
	}
	for path, text := range map[string]string{personaFile: string(config), dropIn: "ssh: {persona: " + personaFile + "}\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if out, err := output("systemctl", "enable", "--quiet", "sandtrap.socket"); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	if out, err := output("systemctl", "restart", "sandtrap.socket", "sandtrap.service"); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	err = eventually(func() error {
		if state, _ := output("systemctl", "is-active", "sandtrap.service"); state != "active" {
			return fmt.Errorf("sandtrap.service is %s", state)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return startReference()
}

// restore leaves the appliance as it was.
func restore() {
	_, _ = os.Remove(personaFile), os.Remove(dropIn)
	_, _ = output("systemctl", "restart", "sandtrap.service")
}

// update has "cmp" write the files in the scripts anew, from what the reference
// does.
var update = os.Getenv("TEST_UPDATE") != ""

func TestConformance(t *testing.T) {
	clients, err := filepath.Abs("testdata/clients")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		t.Run("server="+s.name, func(t *testing.T) {
			if update && s.name != "reference" {
				t.Skip("the expectations are written anew")
			}
			t.Parallel()
			key, err := hostKey(s.port)
			if err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{
				Dir:                "testdata/scripts",
				RequireUniqueNames: true, RequireExplicitExec: true,
				UpdateScripts: update,
				Deadline:      time.Now().Add(limit),
				Setup:         func(e *testscript.Env) error { return s.setup(e, clients, key) },
				Condition:     condition(s),
			})
		})
	}
}

// setup gives a script its environment. docs/conformance.md lists the variables.
func (s server) setup(e *testscript.Env, clients, hostKey string) error {
	home := filepath.Join(e.WorkDir, ".home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	source := freshSource()
	e.Vars = append(e.Vars,
		"HOME="+home, "LANG=C.UTF-8", "TERM=xterm-256color", "PYTHONDONTWRITEBYTECODE=1",
		"PATH="+clients+":"+os.Getenv("PATH"), "CLIENTS="+clients,
		"SSH_ASKPASS="+filepath.Join(clients, "askpass"), "SSH_ASKPASS_REQUIRE=force",
		"PORT="+s.port, "PASSWORD="+password, "SOURCE="+source, "HOSTKEY="+hostKey,
		// The reference is one machine for all scripts.
		"FAR=/var/tmp/"+strings.ReplaceAll(source, ".", "-"),
	)
	return nil
}

// condition knows [sandtrap] and [reference], which mark what differs.
func condition(s server) func(string) (bool, error) {
	return func(word string) (bool, error) {
		for _, other := range servers {
			if word == other.name {
				return word == s.name, nil
			}
		}
		return false, fmt.Errorf("unknown condition %q", word)
	}
}

// hostKey is the fingerprint of the server's Ed25519 key, which PuTTY prefers.
func hostKey(port string) (string, error) {
	out, err := exec.Command("sh", "-c", "ssh-keyscan -q -t ed25519 -p "+port+" 127.0.0.1 | ssh-keygen -l -f -").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 2 {
		return "", fmt.Errorf("no host key at port %s: %q, %w", port, out, err)
	}
	return fields[1], nil
}

var sources atomic.Uint32

func init() { sources.Store(rand.Uint32()) }

// freshSource is an address of this machine that no session came from yet: each
// script has the targets of its own visits and nobody else's.
func freshSource() string {
	n := sources.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 16+n>>16%200, byte(n>>8), byte(n))
}

// eventually tries until f succeeds or patience ends.
func eventually(f func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
