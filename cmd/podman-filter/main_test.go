package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/filter"
)

// load takes text as the configuration.
func load(t *testing.T, text string) config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.LoadOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Config
}

// TestPolicy has each target with what holds for it.
func TestPolicy(t *testing.T) {
	debian := filter.Target{Name: "debian", Image: "localhost/sandtrap-target-debian:latest", Hostname: "srv01", Memory: 256 << 20, Pids: 128, CPUs: 1}
	web := filter.Target{Name: "web", Image: "web:2", Hostname: "web01", Memory: 512 << 20, Pids: 64, CPUs: 0.5}
	for text, want := range map[string]filter.Policy{
		"":                                   {Targets: []filter.Target{debian}},
		"limits: {enforcement: best-effort}": {Targets: []filter.Target{debian}, Unlimited: true},
		"targets: [{name: debian}, {name: web, image: 'web:2', hostname: web01, memory: 512MiB, pids: 64, cpus: 0.5}]": {
			Targets: []filter.Target{debian, web},
		},
	} {
		if diff := cmp.Diff(want, policy(load(t, text))); diff != "" {
			t.Errorf("policy of %q (-want +got):\n%s", text, diff)
		}
	}
}
