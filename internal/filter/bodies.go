package filter

import (
	"context"
	_ "embed"
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"time"
)

// template is the body that makes a target, as internal/podman writes it: a test there
// keeps both the same. A front end may fill in what changeable names, within the
// policy; anything else in a body, or missing from it, is refused.
//
//go:embed create.json
var template []byte

// Template is the body that makes a target, to compare with.
func Template() string { return string(template) }

// changeable is what differs from target to target.
type changeable struct {
	Name      string            `json:"name"`
	Hostname  string            `json:"hostname"`
	Image     string            `json:"image"`
	Labels    map[string]string `json:"labels"`
	Resources struct {
		Memory *struct{ Limit, Swap int64 }   `json:"memory"`
		CPU    *struct{ Quota, Period int64 } `json:"cpu"`
		Pids   struct{ Limit int64 }          `json:"pids"`
	} `json:"resource_limits"`
}

// create checks the body that makes a container.
func (f *Filter) create(ctx context.Context, _ []string, body []byte) ([]byte, error) {
	var got map[string]any
	var c changeable
	if json.Unmarshal(body, &got) != nil || json.Unmarshal(body, &c) != nil {
		return nil, refuse("its body is not that of a target")
	}
	want := map[string]any{}
	if err := json.Unmarshal(template, &want); err != nil {
		return nil, err
	}
	for _, field := range []string{"name", "hostname", "image", "labels", "resource_limits"} {
		want[field] = got[field]
	}
	for field := range got {
		if _, ok := want[field]; !ok {
			return nil, refuse("field %.40q is not what a target has", field)
		}
	}
	for field := range want {
		if !reflect.DeepEqual(got[field], want[field]) {
			return nil, refuse("field %.40q is not that of a target", field)
		}
	}
	// All of it must be of one target: what another one has is no excuse.
	target, ok := f.policy.target(c.Labels[label])
	if !ok {
		return nil, refuse("label %s is not that of a configured target", label)
	}
	if err := f.within(c, target); err != nil {
		return nil, err
	}
	if err := f.imageOf(ctx, c.Image, target.Image); err != nil {
		return nil, err
	}
	c.fill(want)
	return json.Marshal(want)
}

// labels that a target may have beside the one that makes it ours.
var labels = map[string]bool{label: true, "io.sandtrap.leader": true, "io.sandtrap.image": true}

// within holds what may differ against what a target has.
func (f *Filter) within(c changeable, t Target) error {
	switch {
	case !name.MatchString(c.Name):
		return refuse("name %.40q is not a target's", c.Name)
	case c.Hostname != t.Hostname:
		return refuse("host name %.40q is not the configured one of %s", c.Hostname, t.Name)
	}
	for key, value := range c.Labels {
		if !labels[key] || len(value) > 256 {
			return refuse("label %.40q is not a target's", key)
		}
	}
	r := c.Resources
	if r.Memory == nil && r.CPU == nil && r.Pids.Limit == 0 && f.policy.Unlimited {
		return nil
	}
	switch {
	case r.Memory == nil || r.Memory.Limit <= 0 || r.Memory.Limit > t.Memory || r.Memory.Swap != r.Memory.Limit:
		return refuse("it has more memory than configured for %s, or swap", t.Name)
	case r.CPU == nil || r.CPU.Quota <= 0 || r.CPU.Period != period || r.CPU.Quota > int64(t.CPUs*period):
		return refuse("it has more processor time than configured for %s", t.Name)
	case r.Pids.Limit <= 0 || r.Pids.Limit > t.Pids:
		return refuse("it may have more tasks than configured for %s", t.Name)
	}
	return nil
}

// period is what processor time is counted in, in microseconds.
const period = 100_000

// fill writes the fields anew, so that nothing goes through that was not understood.
func (c changeable) fill(want map[string]any) {
	resources := map[string]any{"pids": map[string]any{"limit": c.Resources.Pids.Limit}}
	if m := c.Resources.Memory; m != nil {
		resources["memory"] = map[string]any{"limit": m.Limit, "swap": m.Swap}
	}
	if cpu := c.Resources.CPU; cpu != nil {
		resources["cpu"] = map[string]any{"quota": cpu.Quota, "period": cpu.Period}
	}
	want["name"], want["hostname"], want["image"], want["labels"], want["resource_limits"] = c.Name, c.Hostname, c.Image, c.Labels, resources
}

// images are those that Podman has just told of, by name. To tell takes it a tenth of the
// time of making a container, so it is asked once for those that are made together.
type images struct {
	mu   sync.Mutex // guards told
	told map[string]image
}

type image struct {
	id string
	at time.Time
}

// imageFresh is for how long what a name stands for may be what it stood for.
const imageFresh = time.Second

func (i *images) put(name, id string, at time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.told == nil {
		i.told = map[string]image{}
	}
	i.told[name] = image{id, at}
}

// has reports whether an image has just been told to be that of a name.
func (i *images) has(name, id string, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	last := i.told[name]
	return last.id == id && now.Sub(last.at) < imageFresh
}

// imageOf refuses an image that is not the configured one now.
func (f *Filter) imageOf(ctx context.Context, id, configured string) error {
	now := time.Now()
	if f.images.has(configured, id, now) {
		return nil
	}
	var told struct {
		ID string `json:"Id"`
	}
	found, err := f.ask(ctx, "/v5.0.0/libpod/images/"+url.PathEscape(configured)+"/json", &told)
	switch {
	case err != nil:
		return err
	case !found:
		return refuse("the configured image %.80q is not there", configured)
	case id != told.ID && id != configured:
		return refuse("image %.80q is not the configured one", id)
	}
	f.images.put(configured, told.ID, now)
	return nil
}

// ownImage refuses questions about images of no target.
func (f *Filter) ownImage(_ context.Context, args []string, body []byte) ([]byte, error) {
	asked, err := url.PathUnescape(args[0])
	ours := slices.ContainsFunc(f.policy.Targets, func(t Target) bool { return t.Image == asked })
	if err != nil || !ours || len(body) > 0 {
		return nil, refuse("image %.80q is not a configured one", asked)
	}
	return nil, nil
}

// execConfig is what a program in a target may be started with: containers without a
// session leader need it.
type execConfig struct {
	User         string
	WorkingDir   string
	Cmd          []string
	Env          []string
	Tty          bool
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
}

// execCreate checks the body that prepares a program. What it leaves out is what
// would give it more than its container has.
func (f *Filter) execCreate(ctx context.Context, args []string, body []byte) ([]byte, error) {
	var refusable struct {
		execConfig
		Privileged, Detach bool
		DetachKeys         *string
		ConsoleSize        *[2]uint
	}
	err := strict(body, &refusable, "User", "WorkingDir", "Cmd", "Env", "Tty", "AttachStdin", "AttachStdout", "AttachStderr",
		"Privileged", "Detach", "DetachKeys", "ConsoleSize")
	switch {
	case err != nil:
		return nil, err
	case refusable.Privileged:
		return nil, refuse("the program would be privileged")
	}
	if err := f.owns(ctx, args[0]); err != nil {
		return nil, err
	}
	return json.Marshal(refusable.execConfig)
}

// execStart checks the body that starts a program.
func (f *Filter) execStart(ctx context.Context, args []string, body []byte) ([]byte, error) {
	var start struct {
		Detach, Tty bool
		W           uint16 `json:"w,omitempty"`
		H           uint16 `json:"h,omitempty"`
	}
	if err := strict(body, &start, "Detach", "Tty", "w", "h"); err != nil {
		return nil, err
	}
	if _, err := f.ownExec(ctx, args, nil); err != nil {
		return nil, err
	}
	return json.Marshal(start)
}

// removeExec checks the body that removes a program.
func (f *Filter) removeExec(ctx context.Context, args []string, body []byte) ([]byte, error) {
	var remove struct{ Force bool }
	if err := strict(body, &remove, "Force"); err != nil {
		return nil, err
	}
	if _, err := f.ownExec(ctx, args, nil); err != nil {
		return nil, err
	}
	return json.Marshal(remove)
}
