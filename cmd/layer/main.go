// Command layer is the helper that tells what containers have written: see package
// layer. systemd starts it with its socket.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/sandtrap/sandtrap/internal/helper"
	"github.com/sandtrap/sandtrap/internal/layer"
)

func main() {
	layers := flag.String("layers", "/var/lib/pods/data/containers/storage/overlay", "where Podman's storage keeps layers")
	flag.Parse()
	server := &layer.Server{Layers: *layers}
	if err := helper.Main("sandtrap-layer.socket", server.Answer); err != nil {
		fmt.Fprintln(os.Stderr, "layer:", err)
		os.Exit(1)
	}
}
