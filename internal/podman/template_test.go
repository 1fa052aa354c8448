package podman

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/filter"
)

var update = flag.Bool("update", false, "write the filter's template anew")

// The filter before Podman's API knows the body that makes a target: nothing else is
// let through.
func TestFilterKnowsTheBody(t *testing.T) {
	spec := Spec{Image: "image", Name: "name", Hostname: "hostname", Labels: map[string]string{}, Memory: 1, Pids: 1, CPUs: 1}
	body, err := json.MarshalIndent(spec.generate(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	body = append(body, '\n')
	if *update {
		if err := os.WriteFile("../filter/create.json", body, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(filter.Template(), string(body)); diff != "" {
		t.Errorf("run go test ./internal/podman -update and look at what changes (-filter +podman):\n%s", diff)
	}
}
