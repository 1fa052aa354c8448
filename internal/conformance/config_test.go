package conformance

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/config"
)

// The reference has the algorithms that SandTrap has by default, and lets the same
// variables in.
func TestReferenceHasTheDefaults(t *testing.T) {
	text, err := os.ReadFile("testdata/sshd_config")
	if err != nil {
		t.Fatal(err)
	}
	reference := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			reference[key] = value
		}
	}
	ssh := config.Default().SSH
	for key, want := range map[string]string{
		"KexAlgorithms": strings.Join(ssh.KexAlgorithms, ","),
		"Ciphers":       strings.Join(ssh.Ciphers, ","),
		"MACs":          strings.Join(ssh.MACs, ","),
		"AcceptEnv":     strings.Join(ssh.AcceptEnv, " "),
	} {
		if diff := cmp.Diff(want, reference[key]); diff != "" {
			t.Errorf("%s (-default +reference):\n%s", key, diff)
		}
	}
}
