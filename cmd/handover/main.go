// Command handover is the helper that gives the front end the streams of session
// leaders: see package handover. systemd starts it with its socket.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/sandtrap/sandtrap/internal/handover"
	"github.com/sandtrap/sandtrap/internal/helper"
)

func main() {
	runRoot := flag.String("run-root", "/run/pods/containers", "Podman's runroot")
	flag.Parse()
	server := &handover.Server{RunRoot: *runRoot}
	if err := helper.Main("sandtrap-handover.socket", server.Answer); err != nil {
		fmt.Fprintln(os.Stderr, "handover:", err)
		os.Exit(1)
	}
}
