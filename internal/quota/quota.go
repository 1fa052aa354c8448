// Package quota bounds what a container may write. The store of containers is an XFS
// file system with project quotas, see xfs_quota(8): every project may have so much,
// by a default that is set when the store is mounted, and each container's layer is
// made a project of its own before the container starts. The file system then counts
// and refuses by itself, whatever root in the container does.
//
// To make a directory a project takes the right to change files of all owners, which
// neither Podman's account nor the front end has: a small server of package helper
// does that one thing. A client asks by the layer's id, and the answer is the line
// "ok".
package quota

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sandtrap/sandtrap/internal/helper"
)

// ok is the answer to a layer that is bounded.
const ok = "ok"

// Bound has the helper at socket see to it that a layer is bounded. It is called
// before a container of the layer starts.
func Bound(ctx context.Context, socket, layer string) error {
	if err := bound(ctx, socket, layer); err != nil {
		return fmt.Errorf("bound the disk space of layer %.12s: %w", layer, err)
	}
	return nil
}

func bound(ctx context.Context, socket, layer string) error {
	server, stop, err := helper.Ask(ctx, socket, layer)
	if err != nil {
		return err
	}
	defer server.Close()
	answer, err := io.ReadAll(io.LimitReader(server, helper.MaxAnswer))
	if !stop() {
		return context.Cause(ctx)
	}
	line := string(bytes.TrimSuffix(answer, []byte("\n")))
	switch {
	case err != nil:
		return err
	case line == "":
		return errors.New("no answer")
	case line != ok:
		return fmt.Errorf("the helper says %q", line)
	}
	return nil
}
