package layer

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/testhelper"
)

func TestAccounts(t *testing.T) {
	for name, tt := range map[string]struct {
		left   func(s *store)
		want   error
		passwd string
	}{
		"nothing":         {func(*store) {}, nil, "root"},
		"another file":    {func(s *store) { s.write(s.in(own, "etc/motd"), "x") }, nil, "root"},
		"another account": {func(s *store) { s.write(s.in(own, "etc/passwd"), "x") }, nil, "x"},
		"a FIFO":          {func(s *store) { s.mknod(s.in(own, "etc/passwd"), unix.S_IFIFO, 0) }, ErrAccounts, ""},
		"a FIFO of groups": {func(s *store) {
			s.write(s.in(own, "etc/passwd"), "x")
			s.mknod(s.in(own, "etc/group"), unix.S_IFIFO, 0)
		}, ErrAccounts, ""},
		"a socket":           {func(s *store) { s.mknod(s.in(own, "etc/group"), unix.S_IFSOCK, 0) }, ErrAccounts, ""},
		"a device":           {func(s *store) { s.mknod(s.in(own, "etc/group"), unix.S_IFCHR, int(unix.Mkdev(1, 5))) }, ErrAccounts, ""},
		"a directory":        {func(s *store) { s.mkdir(s.in(own, "etc/passwd")) }, ErrAccounts, ""},
		"a link":             {func(s *store) { s.mkdir(s.in(own, "etc")); s.symlink("/tmp/fifo", s.in(own, "etc/passwd")) }, ErrAccounts, ""},
		"none":               {func(s *store) { s.mknod(s.in(own, "etc/passwd"), unix.S_IFCHR, 0) }, ErrAccounts, ""},
		"no directory":       {func(s *store) { s.mknod(s.in(own, "etc"), unix.S_IFCHR, 0) }, ErrAccounts, ""},
		"a directory's link": {func(s *store) { s.symlink("/tmp/etc", s.in(own, "etc")) }, ErrAccounts, ""},
		"another directory":  {func(s *store) { s.opaque("etc") }, ErrAccounts, ""},
		"another, with lists": {func(s *store) {
			s.opaque("etc")
			s.write(s.in(own, "etc/passwd"), "")
			s.write(s.in(own, "etc/group"), "")
		}, nil, ""},
		"an image with a link": {func(s *store) {
			s.check(os.Remove(s.at(s.in(base, "etc/passwd"))))
			s.symlink("/tmp/passwd", s.in(base, "etc/passwd"))
		}, ErrAccounts, ""},
		"an image whose upper layer removes it": {func(s *store) { s.mknod(s.in(image, "etc/group"), unix.S_IFCHR, 0) }, ErrAccounts, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.write(s.in(base, "etc/passwd"), "root")
			s.write(s.in(base, "etc/group"), "root")
			tt.left(s)
			socket := testhelper.Serve(t, (&Server{Layers: s.dir}).Answer)
			if err := Accounts(t.Context(), socket, own); err != tt.want {
				t.Errorf("Accounts = %v, want %v", err, tt.want)
			}
			got, err := Passwd(t.Context(), socket, own, 4)
			if err != tt.want || err == nil && string(got) != tt.passwd {
				t.Errorf("Passwd = %q, %v, want %q, %v", got, err, tt.passwd, tt.want)
			}
			if _, err := Read(t.Context(), socket, own, func(frame.ItemMessage, *os.File) error { return nil }); err != nil {
				t.Errorf("Read = %v", err)
			}
		})
	}
}

// TestPasswdRefused: what is no list of accounts is an error, and nothing is read beyond
// the limit.
func TestPasswdRefused(t *testing.T) {
	s := newStore(t)
	s.write(s.in(base, "etc/passwd"), "root:")
	s.write(s.in(base, "etc/group"), "")
	file, err := os.Open(s.at(s.in(base, "etc/passwd")))
	s.check(err)
	t.Cleanup(func() { file.Close() }) // after the servers
	for name, tt := range map[string]struct{ socket, want string }{
		"too long":       {testhelper.Serve(t, (&Server{Layers: s.dir}).Answer), "larger than 4 bytes"},
		"no file":        {answer(t, nil, fine, nil), "cannot read"},
		"a file and no":  {answer(t, nil, record(accounts, []byte("n")), file), ErrAccounts.Error()},
		"another record": {answer(t, nil, item(func(*frame.ItemMessage) {}), file), "does not begin"},
		"no helper":      {filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		if got, err := Passwd(t.Context(), tt.socket, own, 4); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
	}
}

// opaque makes a directory that hides what the image has in it.
func (s *store) opaque(path string) {
	s.Helper()
	s.mkdir(s.in(own, path))
	if err := unix.Setxattr(s.at(s.in(own, path)), "user.overlay.opaque", []byte("y"), 0); err != nil {
		s.Skip("no extended attributes here: ", err)
	}
}

// TestAccountsUnknown: what is not known is not ErrAccounts.
func TestAccountsUnknown(t *testing.T) {
	socket := func(said []byte) string { return answer(t, said, nil, nil) }
	s := newStore(t)
	s.check(os.RemoveAll(s.at(own)))
	for name, tt := range map[string]struct{ socket, want string }{
		"no helper":        {filepath.Join(t.TempDir(), "none"), "no such file"},
		"no layer":         {testhelper.Serve(t, (&Server{Layers: s.dir}).Answer), "no such file"},
		"an older helper":  {socket(item(func(*frame.ItemMessage) {})), "does not begin"},
		"nothing":          {socket(nil), "EOF"},
		"half a record":    {socket(fine[:5]), "EOF"},
		"too long a word":  {socket(record(accounts, []byte("yy"))), "does not begin"},
		"an empty record":  {socket(record(accounts, nil)), "does not begin"},
		"a refusal":        {socket([]byte("!no\n")), `"no"`},
		"a lying header":   {socket([]byte{0xff, 0, 0, 0, byte(accounts)}), "malformed"},
		"not a known word": {socket(record(accounts, []byte("?"))), ErrAccounts.Error()},
	} {
		err := Accounts(t.Context(), tt.socket, own)
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrAccounts) != (tt.want == ErrAccounts.Error()) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	hung := testhelper.Serve(t, func(ctx context.Context, _ *net.UnixConn, _ string) { <-ctx.Done() })
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	if err := Accounts(ctx, hung, own); !errors.Is(err, errEnough) {
		t.Errorf("Accounts = %v", err)
	}
}
