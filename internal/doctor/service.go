package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandtrap/sandtrap/internal/config"
)

const podmanSocket = "/run/sandtrap-pods/podman.sock"

func systemdVersion(ctx context.Context, m Machine) Finding {
	out, err := m.Run(ctx, "systemctl", "--version")
	if err != nil {
		return fail("SandTrap is a systemd service", "systemctl does not run: %v", err)
	}
	first, _, _ := strings.Cut(out, "\n")
	fields := strings.Fields(first)
	if len(fields) < 2 || !atLeast(fields[1]+".0", 254, 0) {
		return fail("use a distribution with systemd 254 or later", "%s lacks settings that the units need", first)
	}
	return ok("%s", first)
}

// podmanInfo is what Podman says about itself; see podman-info(1).
type podmanInfo struct {
	Host struct {
		OCIRuntime struct{ Name, Version string } `json:"ociRuntime"`
		Security   struct {
			Rootless       bool   `json:"rootless"`
			SeccompEnabled bool   `json:"seccompEnabled"`
			SeccompProfile string `json:"seccompProfilePath"`
		} `json:"security"`
		CgroupVersion     string   `json:"cgroupVersion"`
		CgroupControllers []string `json:"cgroupControllers"`
		FreeLocks         *int     `json:"freeLocks"`
	} `json:"host"`
	Store struct {
		Driver string            `json:"graphDriverName"`
		Status map[string]string `json:"graphStatus"`
	} `json:"store"`
	Version struct{ Version string } `json:"version"`
}

// askPodman asks the service itself: it is what the pool has to do with.
func (m Machine) askPodman(ctx context.Context) (podmanInfo, error) {
	var info podmanInfo
	out, err := m.Run(ctx, "podman", "--url", "unix://"+podmanSocket, "info", "--format", "json")
	if err != nil {
		line, _, _ := strings.Cut(out, "\n")
		return info, fmt.Errorf("%s: %w", line, err)
	}
	return info, json.Unmarshal([]byte(out), &info)
}

const podmanHint = "see systemctl status sandtrap-podman.socket sandtrap-podman.service"

func podmanVersion(_ context.Context, m Machine) Finding {
	info, err := m.podman()
	switch {
	case err != nil:
		return fail(podmanHint, "its service does not answer: %v", err)
	case !info.Host.Security.Rootless:
		return fail("the unit's User= must be "+pods, "it runs as root")
	case !atLeast(info.Version.Version, 5, 2):
		return fail("use Podman 5.2 or later", "version %s", info.Version.Version)
	}
	locks := ""
	if free := info.Host.FreeLocks; free != nil {
		locks = fmt.Sprintf(", %d locks free", *free)
		if *free < 2*m.Config.Pool.MaxLeases {
			return warn("keep fewer stopped containers (pool.retain), or raise num_locks in containers.conf(5)", "version %s%s", info.Version.Version, locks)
		}
	}
	return ok("version %s, rootless%s", info.Version.Version, locks)
}

func runtime(_ context.Context, m Machine) Finding {
	info, err := m.podman()
	r := info.Host.OCIRuntime
	switch {
	case err != nil:
		return fail(podmanHint, "not known: Podman does not answer")
	case r.Name != "crun":
		return warn("install crun: others are slower, and not tested", "%s", r.Name)
	case !info.Host.Security.SeccompEnabled:
		return fail("use a crun with seccomp", "crun filters no system calls")
	case info.Host.Security.SeccompProfile != "" && !strings.HasPrefix(info.Host.Security.SeccompProfile, "/usr/lib/sandtrap/"):
		return warn("see seccomp_profile in /usr/lib/sandtrap/pods/containers/containers.conf", "the profile of targets is %s", info.Host.Security.SeccompProfile)
	}
	first, _, _ := strings.Cut(r.Version, "\n")
	if !atLeast(first, 1, 8) {
		return warn("use crun 1.8 or later: older ones were never tried", "%s", first)
	}
	return ok("%s", first)
}

func storage(_ context.Context, m Machine) Finding {
	info, err := m.podman()
	switch {
	case err != nil:
		return fail(podmanHint, "not known: Podman does not answer")
	case info.Store.Driver != "overlay":
		return warn("use overlay: others copy every file of a target", "%s", info.Store.Driver)
	case info.Store.Status["Native Overlay Diff"] == "false" && strings.Contains(info.Store.Status["Using metacopy"], "true"):
		return warn("", "overlay without native diff")
	}
	return ok("overlay on %s", info.Store.Status["Backing Filesystem"])
}

// shipped are the targets whose images have a unit that builds them, by Quadlet.
var shipped = []string{"debian", "web"}

// image looks for the image of each target.
func image(ctx context.Context, m Machine) Finding {
	var there, missing []string
	for _, t := range m.Config.AllTargets() {
		out, err := m.Run(ctx, "podman", "--url", "unix://"+podmanSocket, "image", "inspect", "--format", "{{.Id}}", t.Image)
		if err != nil {
			missing = append(missing, t.Image)
		} else {
			there = append(there, fmt.Sprintf("%s is %.19s", t.Image, out))
		}
	}
	switch len(missing) {
	case 0:
		return ok("%s", strings.Join(there, ", "))
	case 1:
		return fail(imageHint(missing), "%s is not there", missing[0])
	}
	return fail(imageHint(missing), "%s are not there", strings.Join(missing, ", "))
}

// imageHint says where images come from: those that are shipped from their units.
func imageHint(missing []string) string {
	var start []string
	own := slices.Clone(missing)
	for _, name := range shipped {
		if i := slices.Index(own, config.TargetImage(name)); i >= 0 {
			own = slices.Delete(own, i, i+1)
			start = append(start, "sandtrap-target-"+name+"-build.service")
		}
	}
	units := "systemctl start " + strings.Join(start, " ")
	switch {
	case len(start) == 0:
		return "build your own"
	case len(own) == 0:
		return units + ", or build your own"
	}
	return units + "; build your own " + strings.Join(own, " ")
}

// sockets looks who may talk to Podman.
func sockets(ctx context.Context, m Machine) Finding {
	for _, path := range []string{podmanSocket, "/run/sandtrap-pods/filter.sock", "/run/sandtrap-pods/handover.sock", "/run/sandtrap-pods/quota.sock", "/run/sandtrap-pods/layer.sock"} {
		info, err := os.Stat(filepath.Join(m.Root, path))
		if err != nil {
			return fail("systemctl enable --now sandtrap.socket", "%v", err)
		}
		if info.Mode()&fs.ModeSocket == 0 || info.Mode().Perm()&0o007 != 0 {
			return fail("systemctl restart sandtrap-podman.socket sandtrap-filter.socket sandtrap-handover.socket sandtrap-quota.socket sandtrap-layer.socket", "%s has mode %s", path, info.Mode())
		}
	}
	if m.Config.Podman.Socket == podmanSocket {
		return warn("leave podman.socket at its default", "podman.socket passes by the filter")
	}
	return ok("closed to others")
}

// running are the units that serve attackers.
var running = []string{"sandtrap.socket", "sandtrap-podman.socket", "sandtrap-filter.socket", "sandtrap-handover.socket", "sandtrap-quota.socket", "sandtrap-layer.socket"}

func units(ctx context.Context, m Machine) Finding {
	if state, _ := m.Run(ctx, "systemctl", "is-enabled", "sandtrap.socket"); state != "enabled" {
		return warn("systemctl enable --now sandtrap.socket", "sandtrap.socket is %s", state)
	}
	for _, unit := range running {
		if state, _ := m.Run(ctx, "systemctl", "is-active", unit); state != "active" {
			return fail("systemctl start sandtrap.socket; journalctl -u "+unit, "%s is %s", unit, state)
		}
	}
	if state, _ := m.Run(ctx, "systemctl", "is-active", "sandtrap.service"); state != "active" && state != "inactive" {
		return fail("journalctl -u sandtrap", "sandtrap.service is %s", state)
	}
	return ok("enabled and active")
}

// port looks whether somebody else has a port that sandtrap.socket wants.
func port(ctx context.Context, m Machine) Finding {
	listen, err := m.Run(ctx, "systemctl", "show", "-P", "Listen", "sandtrap.socket")
	if err != nil || listen == "" {
		return fail("install the package again", "sandtrap.socket is not known")
	}
	ports := map[string]bool{}
	var all []string
	for _, line := range strings.Split(listen, "\n") {
		address, _, _ := strings.Cut(line, " ")
		if i := strings.LastIndexByte(address, ':'); i >= 0 && !ports[address[i+1:]] {
			ports[address[i+1:]] = true
			all = append(all, address[i+1:])
		}
	}
	sshd, err := m.Run(ctx, "systemctl", "show", "-P", "ActiveState", "ssh.service", "sshd.service", "ssh.socket")
	if err == nil && ports["22"] && strings.Contains(sshd, "\nactive") || strings.HasPrefix(sshd, "active") && ports["22"] {
		if state, _ := m.Run(ctx, "systemctl", "is-active", "sandtrap.socket"); state != "active" {
			return fail("move the real sshd to another port first, see sandtrap.service(8)", "port 22 is wanted, and the real sshd is active")
		}
	}
	if ports["22"] {
		return ok("port %s", strings.Join(all, ", "))
	}
	return warn("attackers come to port 22: see sandtrap.service(8)", "port %s", strings.Join(all, ", "))
}
