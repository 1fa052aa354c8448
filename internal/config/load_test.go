package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDefaultIsValid(t *testing.T) {
	loaded, err := Load(LoadOptions{defaultPath: filepath.Join(t.TempDir(), "none.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), loaded.Config); diff != "" {
		t.Errorf("no file does not give the defaults (-want +got):\n%s", diff)
	}
	if len(loaded.Files) > 0 || len(loaded.Origins) != len(Keys()) {
		t.Errorf("got files %v and %d origins", loaded.Files, len(loaded.Origins))
	}
}

// TestLayers sets one key in each layer and one in all of them.
func TestLayers(t *testing.T) {
	dir := t.TempDir()
	main := filepath.Join(dir, "sandtrap.yaml")
	first, second := filepath.Join(dir, "conf.d/10-a.yaml"), filepath.Join(dir, "conf.d/20-b.yaml")
	write(t, main, "pool:\n  min: 5\n  retain: 7\nssh:\n  accept_env: [A, B, C]\n  listen: ['127.0.0.1:22']\n")
	write(t, first, "pool: {min: 6, max_leases: 9}\nssh:\n  accept_env:\n    - D\n")
	write(t, second, "pool:\n  min: 7\n  lease_timeout: 1m30s\n")
	write(t, filepath.Join(dir, "conf.d/30-c.yml"), "nonsense: true\n")
	write(t, filepath.Join(dir, "conf.d/.hidden.yaml"), "nonsense: true\n")
	loaded, err := Load(LoadOptions{
		Path: main,
		Environ: []string{
			"SANDTRAP_POOL__MIN=8", "SANDTRAP_TARGET__CPUS=0.5", "SANDTRAP_AUTH__ACCEPT_PUBLIC_KEYS=true",
			"SANDTRAP_SSH__HOST_KEYS=rsa, ed25519", "SANDTRAP_TARGET__MEMORY=1GiB", "PATH=/bin", "SANDTRAP_NOTHING",
			"STATE_DIRECTORY=/srv/trap:/srv/other",
		},
		Overrides: map[string]string{"pool.min": "9", "log.level": "debug"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Pool.Min, want.Pool.Retain, want.Pool.MaxLeases, want.Pool.LeaseTimeout = 9, 7, 9, 90*time.Second
	want.SSH.AcceptEnv, want.SSH.Listen, want.SSH.HostKeys = []string{"D"}, []string{"127.0.0.1:22"}, []string{KeyRSA, KeyEd25519}
	want.Target.CPUs, want.Target.Memory = 0.5, GiB
	want.Auth.AcceptPublicKeys = true
	want.StateDir, want.Log.Level = "/srv/trap", LogDebug
	if diff := cmp.Diff(want, loaded.Config); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{main, first, second}, loaded.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{
		"pool.min":           "command line",
		"pool.retain":        main + ":3",
		"pool.max_leases":    first + ":1",
		"pool.lease_timeout": second + ":3",
		"pool.burst":         "default",
		"ssh.accept_env":     first + ":4",
		"ssh.host_keys":      "environment SANDTRAP_SSH__HOST_KEYS",
		"state_dir":          "environment STATE_DIRECTORY",
	} {
		if got := loaded.Origins[key].String(); got != want {
			t.Errorf("%s comes from %q, want %q", key, got, want)
		}
	}
}

// TestStateDirectory keeps what was set from giving way to systemd's variable.
func TestStateDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	write(t, path, "state_dir: /srv/mine\n")
	for _, test := range []struct {
		name    string
		options LoadOptions
		want    string
	}{
		{"default", LoadOptions{Environ: []string{"STATE_DIRECTORY="}}, "/var/lib/sandtrap"},
		{"systemd", LoadOptions{Environ: []string{"STATE_DIRECTORY=/srv/unit"}}, "/srv/unit"},
		{"file", LoadOptions{Path: path, Environ: []string{"STATE_DIRECTORY=/srv/unit"}}, "/srv/mine"},
		{"variable", LoadOptions{Environ: []string{"SANDTRAP_STATE_DIR=/srv/env", "STATE_DIRECTORY=/srv/unit"}}, "/srv/env"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.options.defaultPath = filepath.Join(t.TempDir(), "none.yaml")
			loaded, err := Load(test.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := loaded.Config.StateDir; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestSections(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n...\n", "pool:\n  #min: 4\nlog: ~\n", "null\n"} {
		path := filepath.Join(t.TempDir(), "sandtrap.yaml")
		write(t, path, text)
		loaded, err := Load(LoadOptions{Path: path})
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if diff := Diff(Default(), loaded.Config); len(diff) > 0 {
			t.Errorf("%q changes %v", text, diff)
		}
	}
}

const someKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBx9IN43BZ8SK1LPPTCFn+bCMfDwMVU0OJbPjeqGKLPt deploy@srv01"

func TestCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	write(t, path, "auth:\n  mode: static\n  credentials:\n    - user: root\n      password: \"123456\"\n    - {user: deploy, public_key: "+someKey+"}\n")
	loaded, err := Load(LoadOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	want := []Credential{{User: "root", Password: "123456"}, {User: "deploy", PublicKey: someKey}}
	if diff := cmp.Diff(want, loaded.Config.Auth.Credentials); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
}

// TestRoundTrip loads what WriteYAML wrote.
func TestRoundTrip(t *testing.T) {
	want := Default()
	want.Auth.Mode = AuthStatic
	want.Auth.Credentials = []Credential{{User: "null", Password: "a\x1b\n\"' #:,]"}, {User: "0x10", PublicKey: someKey}}
	want.SSH.AcceptEnv = []string{}
	want.SSH.LoginGraceTime = time.Minute + 500*time.Millisecond
	want.Target.CPUs, want.Target.Memory = 0.25, 1000*KiB*17
	var text bytes.Buffer
	if err := want.WriteYAML(&text); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	write(t, path, text.String())
	loaded, err := Load(LoadOptions{Path: path})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	if diff := cmp.Diff(want, loaded.Config); diff != "" {
		t.Errorf("written and read (-want +got):\n%s", diff)
	}
	if strings.Index(text.String(), "\npool:") > strings.Index(text.String(), "\nlog:") {
		t.Error("sections are not in the order of the manual")
	}
}

func TestJSON(t *testing.T) {
	config := Default()
	config.Auth.Credentials = []Credential{{User: "root", Password: "x"}}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Auth struct{ Credentials []map[string]string }
		Pool struct {
			Min          int
			LeaseTimeout string `json:"lease_timeout"`
		}
		Target struct{ Memory string }
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.Pool.Min != 4 || got.Pool.LeaseTimeout != "10s" || got.Target.Memory != "256MiB" {
		t.Errorf("got %+v from %s", got, data)
	}
	if diff := cmp.Diff([]map[string]string{{"user": "root", "password": "x"}}, got.Auth.Credentials); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
}

func TestSettings(t *testing.T) {
	loaded, err := Load(LoadOptions{
		defaultPath: filepath.Join(t.TempDir(), "none.yaml"),
		Environ:     []string{"SANDTRAP_SSH__ACCEPT_ENV="},
	})
	if err != nil {
		t.Fatal(err)
	}
	settings, err := loaded.Settings()
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, s := range settings {
		lines[s.String()] = s.Origin.String()
	}
	for line, origin := range map[string]string{
		"ssh.login_grace_time = 2m":                  "persona debian-12",
		"ssh.client_alive_interval = 2m":             "persona debian-12:14",
		"ssh.listen = ['0.0.0.0:2222', '[::]:2222']": "default",
		"ssh.accept_env = []":                        "environment SANDTRAP_SSH__ACCEPT_ENV",
		"target.cpus = 1":                            "default",
		"target.memory = 256MiB":                     "default",
	} {
		if lines[line] != origin {
			t.Errorf("no line %q from %s in %q", line, origin, lines)
		}
	}
}

func TestDiff(t *testing.T) {
	old, changed := Default(), Default()
	old.Auth.Credentials = nil
	if diff := Diff(old, changed); len(diff) > 0 {
		t.Errorf("nil and empty lists differ: %v", diff)
	}
	changed.Target.CPUs = 2
	changed.StateDir = "/srv"
	changed.SSH.Listen = []string{":22"}
	changed.Auth.Credentials = []Credential{{User: "a", Password: "b"}}
	want := []string{"auth.credentials", "ssh.listen", "state_dir", "target.cpus"}
	if diff := cmp.Diff(want, Diff(old, changed)); diff != "" {
		t.Errorf("changed keys (-want +got):\n%s", diff)
	}
}

func TestTake(t *testing.T) {
	a, b := Default(), Default()
	b.Admission.Deny, b.SSH.MaxConnections, b.StateDir = []string{"192.0.2.1"}, 7, "/srv"
	got := a
	Take(&got, b, []string{"admission.deny", "ssh.max_connections"})
	if diff := cmp.Diff([]string{"admission.deny", "ssh.max_connections"}, Diff(a, got)); diff != "" {
		t.Error(diff)
	}
}

func TestProblemsUnwrap(t *testing.T) {
	_, err := Load(LoadOptions{Path: filepath.Join(t.TempDir(), "none.yaml")})
	var problem Problem
	if !errors.As(err, &problem) || problem.Origin.Kind != FromFile {
		t.Errorf("got %#v", err)
	}
}
