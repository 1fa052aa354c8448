// Command balance has targets that use all the processor they can get go behind others:
// see package balance.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/balance"
)

func main() {
	group := flag.String("group", "", "directory of the group above those of containers; sandtrap-podman.service's beside our own without")
	flag.Parse()
	if *group == "" {
		var err error
		if *group, err = beside("sandtrap-podman.service"); err != nil {
			fmt.Fprintln(os.Stderr, "balance:", err)
			os.Exit(1)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	balancer := balance.Balancer{Group: *group, Log: os.Stderr}
	balancer.Run(ctx)
}

// beside returns the directory of the group of a unit in our own slice, see cgroups(7).
func beside(unit string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find our own group: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Join("/sys/fs/cgroup", path.Dir(own), unit), nil
		}
	}
	return "", fmt.Errorf("find our own group: this machine has no cgroup v2")
}
