package filter

import (
	"context"
	"errors"
	"regexp"

	"github.com/sandtrap/sandtrap/internal/quota"
)

// upperDir is where a container's own layer is, as Podman tells it.
var upperDir = regexp.MustCompile(`/overlay/([0-9a-f]{64})/diff$`)

// start checks a request that starts a container: nothing runs here that can write
// without bounds.
func (f *Filter) start(ctx context.Context, args []string, body []byte) ([]byte, error) {
	if _, err := f.ownContainer(ctx, args, body); err != nil {
		return nil, err
	}
	if f.policy.Quota == "" {
		return nil, nil
	}
	if err := f.bound(ctx, args[0]); err != nil && !f.policy.Unlimited {
		return nil, unable{err}
	}
	return nil, nil
}

// unable is why a request cannot be forwarded although nothing is wrong with it.
type unable struct{ error }

// Unwrap returns the reason.
func (u unable) Unwrap() error { return u.error }

// bound has the layer of a container bounded.
func (f *Filter) bound(ctx context.Context, id string) error {
	var container struct {
		GraphDriver struct {
			Data struct{ UpperDir string }
		}
	}
	found, err := f.ask(ctx, "/v5.0.0/libpod/containers/"+id+"/json", &container)
	if err != nil || !found { // Podman's own answer is that it is not there
		return err
	}
	m := upperDir.FindStringSubmatch(container.GraphDriver.Data.UpperDir)
	if m == nil {
		return errors.New("bound the disk space of a container: Podman does not use its overlay driver")
	}
	return quota.Bound(ctx, f.policy.Quota, m[1])
}
