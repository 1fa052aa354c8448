package filter

import (
	"net/http"
	"testing"
)

// asWeb makes what is in a body that of the other target.
func asWeb(b map[string]any) {
	b["hostname"], b["image"], b["labels"] = "web01", webImageID, map[string]any{label: "web"}
	b["resource_limits"] = map[string]any{
		"memory": map[string]any{"limit": 512 << 20, "swap": 512 << 20}, "cpu": map[string]any{"quota": 200_000, "period": 100_000}, "pids": map[string]any{"limit": 64},
	}
}

// TestTargetsAreNotMixed: a container is one of the targets in all that it has. Each of
// these would be let through if it were held against all of them together.
func TestTargetsAreNotMixed(t *testing.T) {
	f := newFixture(t, testPolicy)
	limit := func(kind string, value map[string]any) func(map[string]any) {
		return func(b map[string]any) { b["resource_limits"].(map[string]any)[kind] = value }
	}
	for name, change := range map[string]func(map[string]any){
		"host name of another": func(b map[string]any) { b["hostname"] = "web01" },
		"image of another":     func(b map[string]any) { b["image"] = webImageID },
		"image by its name":    func(b map[string]any) { b["image"] = "localhost/web:latest" },
		"label of another":     func(b map[string]any) { b["labels"] = map[string]any{label: "web"} },
		"more memory":          limit("memory", map[string]any{"limit": 512 << 20, "swap": 512 << 20}),
		"more processors":      limit("cpu", map[string]any{"quota": 200_000, "period": 100_000}),
		"the other with more tasks": func(b map[string]any) {
			asWeb(b)
			limit("pids", map[string]any{"limit": 128})(b)
		},
		"the other with the first's image": func(b map[string]any) {
			asWeb(b)
			b["image"] = imageID
		},
		"all but the label": func(b map[string]any) {
			asWeb(b)
			b["labels"] = map[string]any{label: "debian"}
		},
		"both labels in one": func(b map[string]any) { b["labels"] = map[string]any{label: "debian,web"} },
		"no label":           func(b map[string]any) { b["labels"] = map[string]any{"io.sandtrap.image": "sha256:" + imageID} },
	} {
		status, why := f.send(t, "POST", api+"containers/create", body(t, change))
		if status != http.StatusForbidden || why == "" {
			t.Errorf("%s: %d, %q", name, status, why)
		}
		if got := f.up.take(); len(got) > 0 {
			t.Errorf("%s: Podman got %.200q", name, got)
		}
	}
}
