package podman

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/containers/podman/v5/pkg/bindings/containers"
	"github.com/containers/podman/v5/pkg/bindings/images"
	"github.com/containers/podman/v5/pkg/specgen"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Spec is what SandTrap asks of a container. Everything it does not name is
// fixed: no network, no capabilities but the few listed, no new privileges, own
// namespaces of every kind, a user namespace without the pods account in it, no
// mounts, no log, the limits of each process.
type Spec struct {
	Image    string
	ImageID  string // what it is made from, whatever Image stands for by now; "" for Image
	Name     string
	Hostname string
	Labels   map[string]string
	// Command replaces the image's command when not empty.
	Command []string
	// Memory in bytes (swap is not given), Pids in tasks, CPUs in cores. All
	// three are ignored when Unlimited is set: a host without delegated cgroup
	// controllers cannot enforce them.
	Memory    int64
	Pids      int64
	CPUs      float64
	Unlimited bool
}

// keptCapabilities are what an ordinary root shell needs to feel ordinary inside
// its own user namespace: see capabilities(7).
var keptCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
	"CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// processLimits are the limits of setrlimit(2) that are not the machine's: those that a
// Debian without systemd has from its kernel, and those against harm. Core dumps are
// off, as anywhere, and whoever turns them on fills their own disk; a
// kernel.core_pattern that starts a program of the machine's heeds no limit, and
// sandtrap doctor warns of it.
var processLimits = []specs.POSIXRlimit{
	// The kernel's own, INR_OPEN_CUR and INR_OPEN_MAX.
	{Type: "nofile", Soft: 1024, Hard: 4096},
	// What would be larger is a sparse file, made to harm whoever copies it.
	{Type: "fsize", Soft: maxFile, Hard: maxFile},
	{Type: "memlock", Soft: 8 << 20, Hard: 8 << 20},
}

// maxFile is how large a file of a target may become, in bytes. It is above what
// anybody writes to measure a disk, since SIGXFSZ would tell.
const maxFile = 4 << 30

func (s Spec) generate() *specgen.SpecGenerator {
	g := specgen.NewSpecGenerator(cmp.Or(s.ImageID, s.Image), false)
	yes, no := true, false
	timeout := uint(0)
	g.Name, g.Hostname, g.Labels, g.Command = s.Name, s.Hostname, s.Labels, s.Command
	g.UserNS = specgen.Namespace{NSMode: specgen.NoMap}
	g.PidNS = specgen.Namespace{NSMode: specgen.Private}
	g.IpcNS = specgen.Namespace{NSMode: specgen.Private}
	g.UtsNS = specgen.Namespace{NSMode: specgen.Private}
	g.CgroupNS = specgen.Namespace{NSMode: specgen.Private}
	g.NetNS = specgen.Namespace{NSMode: specgen.NoNetwork}
	g.CapDrop = []string{"all"}
	g.CapAdd = keptCapabilities
	g.NoNewPrivileges = &yes
	g.ImageVolumeMode = "ignore"
	g.HTTPProxy = &no
	g.EnvHost = &no
	g.Init = &no
	g.Systemd = "false"
	// container=podman in the environment and generated names in /etc/hosts and
	// /etc/hostname would tell the visitor where they are.
	g.UnsetEnv = []string{"container"}
	g.UseImageHosts = &yes
	g.UseImageHostname = &yes
	g.UseImageResolvConf = &yes
	// ping(8) without a raw socket, which would take a capability.
	g.Sysctl = map[string]string{"net.ipv4.ping_group_range": "0 1000000"}
	g.LogConfiguration = &specgen.LogConfig{Driver: "none"}
	g.StopTimeout = &timeout
	g.Rlimits = processLimits
	// A file of Podman's on the machine's own /run, which root of the target could fill.
	g.Mask = []string{"/run/.containerenv"}
	// Without an entry Podman would set a limit on pids of its own; 0 is none.
	g.ResourceLimits = &specs.LinuxResources{Pids: &specs.LinuxPids{}}
	if !s.Unlimited {
		g.ResourceLimits.Pids.Limit = s.Pids
		memory, period := s.Memory, uint64(100_000) // microseconds, the kernel's default
		quota := int64(s.CPUs * float64(period))
		g.ResourceLimits.Memory = &specs.LinuxMemory{Limit: &memory, Swap: &memory}
		g.ResourceLimits.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	return g
}

// Create makes a container and returns its id.
func (c *Client) Create(ctx context.Context, s Spec) (string, error) {
	// One at a time: Podman looks subordinate ids up with a library that is not
	// safe for several threads, and its service crashes over two at once.
	select {
	case c.creating <- struct{}{}:
		defer func() { <-c.creating }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	ctx, cancel := c.with(ctx, createTimeout)
	defer cancel()
	answer, err := containers.CreateWithSpec(ctx, s.generate(), nil)
	if err != nil {
		return "", wrap(err, "create container from %s", s.Image)
	}
	return answer.ID, nil
}

// Start starts a created or stopped container.
func (c *Client) Start(ctx context.Context, id string) error {
	ctx, cancel := c.with(ctx, startTimeout)
	defer cancel()
	return wrap(containers.Start(ctx, id, nil), "start container %.12s", id)
}

// accountFiles are what Podman opens in a container to start it, whoever the process
// is to run as.
var accountFiles = []string{"/etc/passwd", "/etc/group"}

// StartAgain starts a stopped container in which somebody hostile was root. Podman
// would open a FIFO that lies there for a list of accounts, wait for ever with the
// container's lock, and then not even list containers. So both must be regular files.
func (c *Client) StartAgain(ctx context.Context, id string) error {
	for _, path := range accountFiles {
		if err := c.regular(ctx, id, path); err != nil {
			return err
		}
	}
	return c.Start(ctx, id)
}

// regular is an error unless a path of the container is a regular file.
func (c *Client) regular(ctx context.Context, id, path string) error {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	report, err := containers.Stat(ctx, id, path)
	switch {
	case err != nil:
		return wrap(err, "look at %s of container %.12s", path, id)
	case !report.Mode.IsRegular():
		return fmt.Errorf("start container %.12s again: its %s is not a regular file", id, path)
	}
	return nil
}

// Rename gives a container another name. Podman cannot change the labels of a
// container that exists, so the name carries the session.
func (c *Client) Rename(ctx context.Context, id, name string) error {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	return wrap(containers.Rename(ctx, id, new(containers.RenameOptions).WithName(name)), "rename container %.12s to %s", id, name)
}

// Stop kills everything in the container at once and keeps the container. A
// stopped container is no error.
func (c *Client) Stop(ctx context.Context, id string) error {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	return wrap(containers.Stop(ctx, id, new(containers.StopOptions).WithTimeout(0)), "stop container %.12s", id)
}

// Remove removes a container, running or not. One that is gone is no error.
func (c *Client) Remove(ctx context.Context, id string) error {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	_, err := containers.Remove(ctx, id, new(containers.RemoveOptions).WithForce(true).WithTimeout(0).WithIgnore(true).WithVolumes(true))
	if err = wrap(err, "remove container %.12s", id); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Running reports whether the container's main process is alive.
func (c *Client) Running(ctx context.Context, id string) (bool, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	data, err := containers.Inspect(ctx, id, nil)
	if err != nil {
		return false, wrap(err, "inspect container %.12s", id)
	}
	return data.State != nil && data.State.Running, nil
}

// Confined reports whether a container that runs has a cgroup of its own. Podman that
// may make none, as without Delegate= in systemd.resource-control(5), starts a container
// in its own group and says nothing: no limit holds there.
func (c *Client) Confined(ctx context.Context, id string) (bool, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	data, err := containers.Inspect(ctx, id, nil)
	if err != nil {
		return false, wrap(err, "inspect container %.12s", id)
	}
	return data.State != nil && strings.HasSuffix(data.State.CgroupPath, "/"+id), nil
}

// Container is one line of List.
type Container struct {
	ID      string
	Name    string
	Labels  map[string]string
	Created time.Time
	Running bool
}

// List returns every container, in any state, that carries label (a name, or
// name=value).
func (c *Client) List(ctx context.Context, label string) ([]Container, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	options := new(containers.ListOptions).WithAll(true).WithFilters(map[string][]string{"label": {label}})
	found, err := containers.List(ctx, options)
	if err != nil {
		return nil, wrap(err, "list containers labelled %s", label)
	}
	list := make([]Container, 0, len(found))
	for _, f := range found {
		one := Container{ID: f.ID, Labels: f.Labels, Created: f.Created, Running: f.State == "running"}
		if len(f.Names) > 0 {
			one.Name = f.Names[0]
		}
		list = append(list, one)
	}
	return list, nil
}

// Image is what a name stands for now.
type Image struct {
	// Digest is the image's id: the SHA-256 of its configuration, which names every
	// layer.
	Digest string
	Labels map[string]string
}

// Image looks an image up.
func (c *Client) Image(ctx context.Context, name string) (Image, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	image, err := images.GetImage(ctx, name, nil)
	if err != nil {
		return Image{}, wrap(err, "look up image %s", name)
	}
	return Image{Digest: "sha256:" + image.ID, Labels: image.Labels}, nil
}

// Size returns what the container has written to its own layer, in bytes. Podman
// walks the whole layer for it.
func (c *Client) Size(ctx context.Context, id string) (int64, error) {
	ctx, cancel := c.with(ctx, createTimeout)
	defer cancel()
	data, err := containers.Inspect(ctx, id, new(containers.InspectOptions).WithSize(true))
	if err != nil {
		return 0, wrap(err, "measure container %.12s", id)
	}
	if data.SizeRw == nil {
		return 0, fmt.Errorf("measure container %.12s: Podman does not tell", id)
	}
	return *data.SizeRw, nil
}

// upperDir is where a container's own layer is, as Podman tells it.
var upperDir = regexp.MustCompile(`/overlay/([0-9a-f]{64})/diff$`)

// Layer returns the id of the container's own layer.
func (c *Client) Layer(ctx context.Context, id string) (string, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	data, err := containers.Inspect(ctx, id, nil)
	if err != nil {
		return "", wrap(err, "inspect container %.12s", id)
	}
	if data.GraphDriver != nil {
		if m := upperDir.FindStringSubmatch(data.GraphDriver.Data["UpperDir"]); m != nil {
			return m[1], nil
		}
	}
	return "", fmt.Errorf("find the layer of container %.12s: Podman does not use its overlay driver", id)
}

// ReadFile returns a regular file of the container, which must not be larger
// than limit bytes. The container may be running or not.
func (c *Client) ReadFile(ctx context.Context, id, path string, limit int64) ([]byte, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	archive := &bounded{left: limit + 64<<10} // tar headers and padding
	copyOut, err := containers.CopyToArchive(ctx, id, path, archive)
	if err == nil {
		err = copyOut()
	}
	if err != nil {
		return nil, wrap(err, "copy %s out of container %.12s", path, id)
	}
	r := tar.NewReader(&archive.buffer)
	head, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("read %s of container %.12s: %w", path, id, err)
	}
	if head.Typeflag != tar.TypeReg || head.Size > limit {
		return nil, fmt.Errorf("read %s of container %.12s: not a regular file of at most %d bytes", path, id, limit)
	}
	return io.ReadAll(io.LimitReader(r, limit))
}

// bounded is a buffer that refuses more than it was made for: what a container
// hands out is hostile.
type bounded struct {
	buffer bytes.Buffer // not embedded: io.Copy would fill it by ReadFrom, past the bound
	left   int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errors.New("answer is too large")
	}
	return b.buffer.Write(p)
}
