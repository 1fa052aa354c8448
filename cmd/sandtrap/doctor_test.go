package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/doctor"
)

// emptyMachine has nothing that SandTrap needs.
func emptyMachine(t *testing.T) doctor.Machine {
	m := doctor.Local(config.Default())
	m.Root = t.TempDir()
	return m
}

func TestDoctor(t *testing.T) {
	var out bytes.Buffer
	if err := runDoctor(t.Context(), "text", emptyMachine(t), &out); !errors.Is(err, errUnfit) {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(out.String(), "failure  cgroup           no cgroup v2 at /sys/fs/cgroup\n                    hint: boot with") {
		t.Errorf("it prints\n%s", out.String())
	}
	out.Reset()
	if err := runDoctor(t.Context(), "json", emptyMachine(t), &out); !errors.Is(err, errUnfit) {
		t.Errorf("error %v", err)
	}
	var findings []doctor.Finding
	if err := json.Unmarshal(out.Bytes(), &findings); err != nil || len(findings) < 10 {
		t.Errorf("%d findings, %v", len(findings), err)
	}
	var usage usageError
	if err := runDoctor(t.Context(), "xml", emptyMachine(t), &out); !errors.As(err, &usage) {
		t.Errorf("format xml: %v", err)
	}
}
