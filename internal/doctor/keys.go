package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Where sandtrap-hostkeys.service keeps the keys.
const (
	keyDir         = "/etc/sandtrap/hostkeys"
	sealKey        = "/etc/sandtrap/sealkey/seal_ed25519_key"
	allowedSigners = "/etc/sandtrap/allowed_signers"
)

// hostKeys looks whether the keys are there, and nobody's but root's.
func hostKeys(_ context.Context, m Machine) Finding {
	if m.credential("ssh_host_*_key") {
		return ok("credentials of your own")
	}
	if f := m.secret(append([]string{keyDir}, m.keyFiles()...), "put a key back that is missing alone"); f.Level != OK {
		return f
	}
	if old, _ := filepath.Glob(filepath.Join(m.Root, m.Config.StateDir, "hostkeys/ssh_host_*_key")); len(old) > 0 {
		return warn("remove them, if "+keyDir+" has those that visitors know", "%d keys are in %s/hostkeys, where the account %s may change them", len(old), m.Config.StateDir, frontEnd)
	}
	return ok("%s in %s", strings.Join(m.Config.SSH.HostKeys, ", "), keyDir)
}

// sealKeys looks whether the key that seals evidence is there and root's alone, and the
// public halves that "sandtrap verify" believes.
func sealKeys(_ context.Context, m Machine) Finding {
	own := m.credential("seal_ed25519_key")
	if !own {
		if f := m.secret([]string{filepath.Dir(sealKey), sealKey}, "with a new one earlier seals stay good"); f.Level != OK {
			return f
		}
	}
	info, err := os.Stat(filepath.Join(m.Root, allowedSigners))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return warn("run it as root", "not known: %v", err)
	case err != nil:
		return warn("systemctl restart sandtrap-hostkeys.service; put an earlier one back for earlier seals", "no public keys to verify seals with: %v", err)
	case info.Mode().Perm()&0o022 != 0:
		return fail("chmod go-w "+allowedSigners+", if nobody can have changed it", "%s may be changed by others (%#o)", allowedSigners, info.Mode().Perm())
	case own:
		return ok("a credential of your own")
	}
	return ok("%s", sealKey)
}

// credential reports whether systemd passes a key of the owner's.
func (m Machine) credential(pattern string) bool {
	own, _ := filepath.Glob(filepath.Join(m.Root, "/etc/credstore*", pattern))
	return len(own) > 0
}

// secret looks whether files are there and for nobody else.
func (m Machine) secret(paths []string, advice string) Finding {
	for _, path := range paths {
		info, err := os.Stat(filepath.Join(m.Root, path))
		switch {
		case errors.Is(err, fs.ErrPermission):
			return warn("run it as root", "not known: %v", err)
		case err != nil:
			return fail("systemctl start sandtrap-hostkeys.service; "+advice, "%v", err)
		case info.Mode().Perm()&0o077 != 0:
			return fail("chmod go= "+path+", if nobody can have read it", "%s is open to others (%#o)", path, info.Mode().Perm())
		}
	}
	return ok("")
}

func (m Machine) keyFiles() []string {
	var all []string
	for _, kind := range m.Config.SSH.HostKeys {
		all = append(all, keyDir+"/ssh_host_"+kind+"_key")
	}
	return all
}
