// Package layer reads what a container has written over its image. Podman's overlay
// driver keeps that in a directory of its own, and nothing else is needed to tell what
// was added, changed and deleted: no mount, no lock, and none of Podman, which an
// export of the whole file system keeps busy with all of the image, and which a
// hostile container can hang when files are asked for one by one.
//
// The files belong to subordinate ids, so that only a process with the right to read
// files of all owners can open them. A small server of package helper does that: a
// client asks by the layer's id and gets records, each a header (the length of the
// payload, 4 bytes, and a type, 1 byte) and a payload. The first tells of the lists of
// accounts (accounts.go), and may be all that is read. The other
// types are Item and, once and last, Captured of package frame. With the header of an
// Item that has content comes a descriptor from which the client reads that itself. The
// server closes instead where there is something else to say: an answer that begins
// with '!' is a line of text.
//
// Nothing is ever made of a name but a name: no link is followed, no directory of
// another file system entered, nothing opened that is not a regular file.
package layer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/descriptor"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/helper"
)

const headerSize = 5

// refused begins the answer of a server that cannot read the layer.
const refused = '!'

// errMalformed is wrapped by errors about what the server sent.
var errMalformed = errors.New("malformed answer")

// Read has the server at socket tell what a layer holds and hands it on. content is nil
// or a regular file, which is closed after the call. An error of each ends the reading.
func Read(ctx context.Context, socket, layer string, each func(m frame.ItemMessage, content *os.File) error) (frame.CapturedMessage, error) {
	end, err := read(ctx, socket, layer, each)
	if err != nil {
		return end, fmt.Errorf("read layer %.12s: %w", layer, err)
	}
	return end, nil
}

func read(ctx context.Context, socket, layer string, each func(frame.ItemMessage, *os.File) error) (end frame.CapturedMessage, err error) {
	r, err := ask(ctx, socket, layer)
	if err != nil {
		return end, err
	}
	defer r.hangUp()
	for {
		m, content, last, err := r.next(&end)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil && last {
			return end, nil
		}
		if err == nil {
			err = each(m, content)
		}
		if content != nil {
			content.Close()
		}
		if err != nil {
			return end, err
		}
	}
}

// ask asks the server at socket for a layer, and reads of its lists of accounts. The rest
// of the answer is read until hangUp.
func ask(ctx context.Context, socket, layer string) (*reader, error) {
	r := &reader{oob: make([]byte, unix.CmsgSpace(4))}
	server, stop, err := helper.Ask(ctx, socket, layer)
	if err == nil {
		r.server, r.close = server, func() { stop(); server.Close() }
		err = r.accounts()
	}
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		r.hangUp()
		return nil, err
	}
	return r, nil
}

// stream is the part of net.UnixConn that is read.
type stream interface {
	io.Reader
	ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
}

// reader takes records off a stream.
type reader struct {
	server stream
	oob    []byte
	header [headerSize]byte
	close  func() // of the connection, or nil

	sound  bool     // the lists of accounts are regular files
	passwd *os.File // one of them, or nil
}

func (r *reader) hangUp() {
	if r.passwd != nil {
		r.passwd.Close()
	}
	if r.close != nil {
		r.close()
	}
}

// next returns an item with its content, or fills in the end.
func (r *reader) next(end *frame.CapturedMessage) (m frame.ItemMessage, content *os.File, last bool, err error) {
	payload, kind, content, err := r.record()
	switch {
	case err != nil:
	case kind == frame.Captured && content == nil:
		return m, nil, true, end.Decode(payload)
	case kind != frame.Item:
		err = fmt.Errorf("%w: type %q", errMalformed, kind)
	default:
		err = m.Decode(payload)
	}
	if err == nil && (m.Content != (content != nil) || m.Origin != frame.OriginLayer) {
		err = fmt.Errorf("%w: an item that is not as its descriptors are", errMalformed)
	}
	if err != nil && content != nil {
		content.Close()
		content = nil
	}
	return m, content, false, err
}

// record takes the next record off the stream, with the file that came along.
func (r *reader) record() (payload []byte, kind frame.Type, content *os.File, err error) {
	// The header alone, so that the descriptor that comes along is of this record.
	n, oobn, flags, _, err := r.server.ReadMsgUnix(r.header[:], r.oob)
	fds := descriptor.FromMessage(r.oob[:oobn])
	defer func() { descriptor.Close(fds) }()
	switch {
	case err != nil:
		return nil, 0, nil, unexpected(err)
	case flags&unix.MSG_CTRUNC != 0 || len(fds) > 1:
		return nil, 0, nil, fmt.Errorf("%w: more descriptors than one", errMalformed)
	case n > 0 && r.header[0] == refused:
		line, _ := io.ReadAll(io.LimitReader(r.server, helper.MaxAnswer))
		return nil, 0, nil, fmt.Errorf("the helper says %q", strings.TrimSpace(string(r.header[1:n])+string(line)))
	}
	if _, err := io.ReadFull(r.server, r.header[n:]); err != nil {
		return nil, 0, nil, unexpected(err)
	}
	size := binary.BigEndian.Uint32(r.header[:4])
	if size > frame.MaxItem {
		return nil, 0, nil, fmt.Errorf("%w: a record of %d bytes", errMalformed, size)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(r.server, payload); err != nil {
		return nil, 0, nil, unexpected(err)
	}
	if len(fds) == 1 {
		if !descriptor.IsRegular(fds[0]) {
			return nil, 0, nil, fmt.Errorf("%w: content that is no regular file", errMalformed)
		}
		content, fds = os.NewFile(uintptr(fds[0]), "content"), nil
	}
	return payload, frame.Type(r.header[4]), content, nil
}

// unexpected is the error of a stream that ends before its last record.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
