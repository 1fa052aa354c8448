package main

import (
	"bytes"
	"path/filepath"
	"testing"
)

func TestHostKeysVerb(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hostkeys")
	var out, errs bytes.Buffer
	args := []string{"hostkeys", "--directory", dir, "--from", filepath.Join(dir, "none", "old")}
	if code := run(args, &out, &errs); code != exitOK || out.String() != "made host keys in "+dir+": rsa ecdsa ed25519\n" {
		t.Errorf("status %d: %s%s", code, out.String(), errs.String())
	}
	out.Reset()
	if code := run(args, &out, &errs); code != exitOK || out.Len() > 0 {
		t.Errorf("the second time: status %d: %s%s", code, out.String(), errs.String())
	}
}
