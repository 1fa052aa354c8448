package filter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
)

// rule is one kind of request that a pool needs.
type rule struct {
	method string
	path   *regexp.Regexp // of the path after the version; groups are what check gets
	params map[string]*regexp.Regexp
	// check looks at a request and returns the body that goes on. Without it there
	// must be none.
	check func(f *Filter, ctx context.Context, args []string, body []byte) ([]byte, error)
}

const (
	containerID = `([0-9a-f]{64})`
	execID      = `([0-9a-f]{64})`
)

func exactly(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

func path(pattern string) *regexp.Regexp {
	return exactly(`/v[0-9]+(?:\.[0-9]+){0,2}/libpod/` + pattern)
}

var (
	boolean = exactly("true|false")
	number  = exactly("[0-9]{1,5}")
	// wholeID is a container's id and nothing else.
	wholeID = exactly(containerID)
	// name is a container's: of stock, or a session's ULID.
	name = exactly("(?:warm-)?[0-9A-HJKMNP-TV-Z]{26}")
)

// rules are all requests that are forwarded; see podman-system-service(1).
var rules = []rule{
	{method: http.MethodGet, path: path("_ping")},
	{method: http.MethodGet, path: path("version")},
	{method: http.MethodGet, path: path("info")},
	{method: http.MethodGet, path: path("images/(.+)/json"), check: (*Filter).ownImage, params: map[string]*regexp.Regexp{"size": boolean}},
	{method: http.MethodGet, path: path("containers/json"), params: map[string]*regexp.Regexp{
		"all": boolean, "filters": exactly(`\{"label":\["io\.sandtrap\.target(?:=[a-z0-9-]{1,32})?"\]\}`),
	}},
	{method: http.MethodPost, path: path("containers/create"), check: (*Filter).create},
	{method: http.MethodPost, path: path("containers/" + containerID + "/start"), check: (*Filter).start},
	{method: http.MethodPost, path: path("containers/" + containerID + "/stop"), check: (*Filter).ownContainer, params: map[string]*regexp.Regexp{"timeout": number}},
	{method: http.MethodPost, path: path("containers/" + containerID + "/rename"), check: (*Filter).ownContainer, params: map[string]*regexp.Regexp{"name": name}},
	{method: http.MethodDelete, path: path("containers/" + containerID), check: (*Filter).ownContainer, params: map[string]*regexp.Regexp{
		"force": boolean, "ignore": boolean, "v": boolean, "volumes": boolean, "timeout": number,
	}},
	{method: http.MethodGet, path: path("containers/" + containerID + "/json"), check: (*Filter).ownContainer, params: map[string]*regexp.Regexp{"size": boolean}},
	{method: http.MethodGet, path: path("containers/" + containerID + "/archive"), check: (*Filter).ownContainer, params: map[string]*regexp.Regexp{"path": exactly("/etc/passwd")}},
	{method: http.MethodHead, path: path("containers/" + containerID + "/archive"), check: (*Filter).ownContainer, params: map[string]*regexp.Regexp{"path": exactly("/etc/(?:passwd|group)")}},
	{method: http.MethodPost, path: path("containers/" + containerID + "/exec"), check: (*Filter).execCreate},
	{method: http.MethodPost, path: path("exec/" + execID + "/start"), check: (*Filter).execStart},
	{method: http.MethodPost, path: path("exec/" + execID + "/resize"), check: (*Filter).ownExec, params: map[string]*regexp.Regexp{"w": number, "h": number, "running": boolean}},
	{method: http.MethodGet, path: path("exec/" + execID + "/json"), check: (*Filter).ownExec},
	{method: http.MethodPost, path: path("exec/" + execID + "/remove"), check: (*Filter).removeExec},
}

// find returns the rule of a request and what its path names.
func find(method, escaped string) (rule, []string, bool) {
	for _, r := range rules {
		if r.method != method {
			continue
		}
		if m := r.path.FindStringSubmatch(escaped); m != nil {
			return r, m[1:], true
		}
	}
	return rule{}, nil, false
}

// query checks the parameters of a request and returns them.
func (r rule) query(got url.Values) (url.Values, error) {
	for key, values := range got {
		pattern, ok := r.params[key]
		if !ok || len(values) != 1 || !pattern.MatchString(values[0]) {
			return nil, refuse("parameter %.40q is not what a pool asks for", key)
		}
	}
	// Podman lists what it is not kept from listing.
	if _, must := r.params["filters"]; must && !got.Has("filters") {
		return nil, refuse("it does not ask for targets only")
	}
	return got, nil
}

// label marks the containers that are ours; see package target.
const label = "io.sandtrap.target"

// ownContainer refuses what is about a container that is none of ours.
func (f *Filter) ownContainer(ctx context.Context, args []string, body []byte) ([]byte, error) {
	if len(body) > 0 {
		return nil, refuse("it has a body")
	}
	return nil, f.owns(ctx, args[0])
}

// owns asks Podman whose container that is.
func (f *Filter) owns(ctx context.Context, id string) error {
	if f.known.has(id) {
		return nil
	}
	var container struct {
		Config struct{ Labels map[string]string }
	}
	found, err := f.ask(ctx, "/v5.0.0/libpod/containers/"+id+"/json", &container)
	if err != nil || !found { // Podman's own answer is that it is not there
		return err
	}
	if _, ok := container.Config.Labels[label]; !ok {
		return refuse("the container is not a target")
	}
	f.known.add(id)
	return nil
}

// ownExec refuses what is about a program in a container that is none of ours.
func (f *Filter) ownExec(ctx context.Context, args []string, body []byte) ([]byte, error) {
	if len(body) > 0 {
		return nil, refuse("it has a body")
	}
	var exec struct{ ContainerID string }
	found, err := f.ask(ctx, "/v5.0.0/libpod/exec/"+args[0]+"/json", &exec)
	if err != nil || !found {
		return nil, err
	}
	if !wholeID.MatchString(exec.ContainerID) {
		return nil, refuse("the program is in no container")
	}
	return nil, f.owns(ctx, exec.ContainerID)
}

// ask asks Podman something. found is false where there is no such thing.
func (f *Filter) ask(ctx context.Context, path string, answer any) (found bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://d"+path, nil)
	if err != nil {
		return false, err
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return false, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return true, json.Unmarshal(body, answer)
	case http.StatusNotFound:
		return false, nil
	default: // it is in trouble, which is nobody's attempt at anything
		var trouble struct{ Cause string }
		_ = json.Unmarshal(body, &trouble)
		return false, unable{fmt.Errorf("ask Podman: %s: %.200s", resp.Status, trouble.Cause)}
	}
}

// strict decodes one JSON object that has the fields of into and no others, spelt
// as they are there: Podman takes them in any case.
func strict(body []byte, into any, names ...string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return refuse("its body is not an object")
	}
	for field := range fields {
		if !slices.Contains(names, field) {
			return refuse("field %.40q is not what a pool asks for", field)
		}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return refuse("its body has a field of another type")
	}
	return nil
}

func newBody(body []byte) io.Reader {
	if len(body) == 0 {
		return http.NoBody
	}
	return bytes.NewReader(body)
}
