// Command quota is the helper that bounds what a container may write: see package
// quota. systemd starts it with its socket.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/sandtrap/sandtrap/internal/helper"
	"github.com/sandtrap/sandtrap/internal/quota"
)

func main() {
	layers := flag.String("layers", "/var/lib/pods/data/containers/storage/overlay", "where Podman's storage keeps layers")
	flag.Parse()
	server := &quota.Server{Layers: *layers}
	if err := helper.Main("sandtrap-quota.socket", server.Answer); err != nil {
		fmt.Fprintln(os.Stderr, "quota:", err)
		os.Exit(1)
	}
}
