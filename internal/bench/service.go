package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	unit      = "sandtrap.service"
	podmanAPI = "sandtrap-podman.service"
	podmanURL = "unix:///run/sandtrap-pods/podman.sock"
	// targetImage is what targets are made of.
	targetImage = "localhost/sandtrap-target-debian:latest"
	dropIn      = "/etc/sandtrap/conf.d/95-bench.yaml"
	// starting bounds how long the service may take until its targets are ready.
	starting = 2 * time.Minute
)

// service is SandTrap's service on this machine.
type service struct {
	current settings // what it runs with; the zero value is "not known"
}

// settings is what the measurements change in SandTrap's configuration.
type settings struct {
	ready int // targets kept ready
	// The password that alone gets in; empty for any.
	password string
}

func newService() *service { return &service{} }

// configure restarts the service with settings, unless it runs with them, and
// waits until all targets are ready.
func (s *service) configure(ctx context.Context, want settings) error {
	if want == s.current {
		return s.waitReady(ctx, want.ready)
	}
	if err := s.write(want); err != nil {
		return err
	}
	if err := systemctl(ctx, "restart", unit); err != nil {
		return err
	}
	s.current = want
	return s.waitReady(ctx, want.ready)
}

// write makes the drop-in file. The pool neither grows nor shrinks, so that it is
// known how many are ready; nobody gets an earlier visitor's target. The bound of
// a recording is raised, as the bulk transfers are larger than the default allows.
func (s *service) write(want settings) error {
	text := fmt.Sprintf(`# Written by the benchmark.
ssh: {max_startups: "1000"}
pool:
  min: %d
  max: %d
  max_leases: 320
  sticky: off
recording:
  max_bytes: 8GiB
`, want.ready, want.ready)
	if want.password != "" {
		text += "auth: {mode: static, credentials: [{user: root, password: \"" + want.password + "\"}]}\n"
	}
	return os.WriteFile(dropIn, []byte(text), 0o644)
}

// waitReady waits until as many containers run as are to be ready, and then
// until the machine has calmed down a little.
func (s *service) waitReady(ctx context.Context, ready int) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	for {
		running, err := running(ctx)
		if err == nil && running == ready {
			return pause(ctx, time.Second)
		}
		if waited := pause(ctx, 200*time.Millisecond); waited != nil {
			return fmt.Errorf("wait for %d ready targets, %d run: %w", ready, running, waited)
		}
	}
}

// restart starts the service anew with the settings it has.
func (s *service) restart(ctx context.Context) error {
	s.current = settings{}
	return systemctl(ctx, "restart", unit)
}

// mainPID is the process of a unit.
func mainPID(ctx context.Context, unit string) (int, error) {
	out, err := command(ctx, "systemctl", "show", "--property=MainPID", "--value", unit)
	if err != nil {
		return 0, err
	}
	var pid int
	if _, err := fmt.Sscan(out, &pid); err != nil || pid == 0 {
		return 0, fmt.Errorf("%s does not run", unit)
	}
	return pid, nil
}

// running counts the containers that run, stopped those that are kept.
func running(ctx context.Context) (int, error) { return containers(ctx, "status=running") }

func stopped(ctx context.Context) (int, error) { return containers(ctx, "status=exited") }

func containers(ctx context.Context, filter string) (int, error) {
	out, err := command(ctx, "podman", "--url", podmanURL, "ps", "--all", "--quiet", "--filter", filter)
	return len(strings.Fields(out)), err
}

func systemctl(ctx context.Context, args ...string) error {
	_, err := command(ctx, "systemctl", args...)
	return err
}

func command(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	var errors strings.Builder
	c.Stderr = &errors
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errors.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
