package session

import (
	"fmt"

	"github.com/sandtrap/sandtrap/internal/history"
	"github.com/sandtrap/sandtrap/internal/pool"
)

// bait makes the session's bait, once. What cannot be remembered is not planted.
// Session.leasing is held.
func (s *Session) bait() history.Bait {
	if s.service.Bait == nil || s.baited {
		return s.planted
	}
	s.baited = true
	b, err := s.service.Bait(s.login.ID)
	if err != nil {
		s.service.Log.Warn("no bait is planted for a session", "session", s.login.ID, "error", err)
		return s.planted
	}
	s.planted = b
	return b
}

var (
	scriptNames = []string{"backup.sh", "sync.sh", "nightly.sh", "copy.sh", "rsync-backup.sh"}
	servers     = []string{"backup", "nas", "files", "store", "vault"}
	modules     = []string{"data", "hosts", "servers", "daily", "archive"}
)

// script is the bait as a file that seems to copy this server to another. All of a
// site name the same server, and no two sites need to.
func script(b history.Bait) pool.Bait {
	if b.Password == "" {
		return pool.Bait{}
	}
	pick := func(words []string, shift uint) string { return words[(b.Site>>shift)%uint64(len(words))] }
	address := fmt.Sprintf("10.%d.%d.%d", 1+b.Site>>24%200, b.Site>>32%250, 2+b.Site>>40%200)
	return pool.Bait{Name: pick(scriptNames, 0), Content: fmt.Sprintf(`#!/bin/sh
# copy this host to %s, every night
export RSYNC_PASSWORD='%s'
for dir in /etc /home /srv; do
	rsync -a --delete "$dir" rsync://%s@%s/%s/"$(hostname)" || exit 1
done
`, pick(servers, 8), b.Password, pick(servers, 8), address, pick(modules, 16))}
}
