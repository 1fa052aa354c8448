package transfer

import "math"

// request waits for its answer.
type request struct {
	id     uint32
	kind   byte
	handle string
	offset int64 // of a read
	*detail
}

// detail is what only some requests have.
type detail struct {
	extension     int
	path, newPath string
	handle2       string
	flags         uint32
	attributes    attributes
	// Of a write: its content, and the file where it went when it arrived. That is
	// nil when nobody knew the handle, see sending.begin.
	arrival arrival
	into    *content
}

func (r *request) cost() int {
	cost := requestCost + len(r.handle)
	if r.detail != nil {
		cost += detailCost + len(r.path) + len(r.newPath) + len(r.handle2)
	}
	return cost
}

// expect waits for the answer to r.
func (s *sftp) expect(r request) error {
	if s.held += r.cost(); s.held > maxHeld {
		return errTooMuch
	}
	s.outstanding = append(s.outstanding, r)
	return nil
}

// answered finds the request that an answer belongs to. The first of several with
// one id is meant: servers work in order.
func (s *sftp) answered(id uint32) (request, bool) {
	for i := range s.outstanding {
		if s.outstanding[i].id != id {
			continue
		}
		r := s.outstanding[i]
		if i == 0 {
			s.outstanding[0] = request{}
			s.outstanding = s.outstanding[1:]
		} else {
			s.outstanding = append(s.outstanding[:i], s.outstanding[i+1:]...)
		}
		s.held -= r.cost()
		return r, true
	}
	return request{}, false
}

// sending takes what the client sends.
type sending struct {
	*sftp
	write *request // whose content arrives
}

// need implements packetSink: of a write all before the content.
func (s *sending) need(head []byte, length int) int {
	if head[0] != sftpWrite {
		return length
	}
	const upToHandle = 1 + 4 + 4
	if len(head) < upToHandle {
		return upToHandle
	}
	f := fields{left: head[1+4:]}
	return upToHandle + int(f.uint32()) + 8 + 4
}

// packet implements packetSink.
func (s *sending) packet(head []byte, rest int) (content int, err error) {
	f := fields{left: head}
	kind := f.byte()
	if kind < sftpOpen || kind > sftpLastRequest && kind != sftpExtended {
		return 0, nil // it has no answer that matters
	}
	r := request{kind: kind, id: f.uint32()}
	switch kind {
	case sftpOpen:
		r.detail = &detail{path: f.name(), flags: f.uint32(), attributes: f.attributes()}
	case sftpClose, sftpFstat, sftpRead:
		r.handle = f.handle()
	case sftpWrite:
		r.handle = f.handle()
	case sftpSetstat, sftpMkdir:
		r.detail = &detail{path: f.name(), attributes: f.attributes()}
	case sftpFsetstat:
		r.handle = f.handle()
		r.detail = &detail{attributes: f.attributes()}
	case sftpRemove, sftpRmdir, sftpStat, sftpLstat:
		r.detail = &detail{path: f.name()}
	case sftpRename, sftpSymlink:
		r.detail = &detail{path: f.name(), newPath: f.name()}
	case sftpExtended:
		s.extended(&r, &f)
	}
	if kind == sftpRead || kind == sftpWrite {
		r.offset = int64(min(f.uint64(), math.MaxInt64))
		content = int(f.uint32())
	}
	if kind == sftpRead {
		content = 0 // that was how much it wants
	}
	if f.bad || content > rest {
		return 0, errMalformed
	}
	switch kind {
	case sftpWrite:
		s.begin(&r)
		return content, nil
	case sftpClose:
		if h := s.handles[r.handle]; h != nil {
			h.closing = true
		}
	}
	return 0, s.expect(r)
}

// extended takes the requests of OpenSSH's that change files.
func (s *sending) extended(r *request, f *fields) {
	switch string(f.bytes()) {
	case "posix-rename@openssh.com":
		r.kind = sftpRename
		r.detail = &detail{path: f.name(), newPath: f.name()}
	case "hardlink@openssh.com":
		r.detail = &detail{extension: extensionLink, path: f.name(), newPath: f.name()}
	case "lsetstat@openssh.com":
		r.detail = &detail{extension: extensionLsetstat, path: f.name(), attributes: f.attributes()}
	case "copy-data":
		r.detail = &detail{extension: extensionCopy}
		r.handle = f.handle()
		f.take(8 + 8)
		r.handle2 = f.handle()
		f.take(8)
	}
}

// begin finds the place for the content of a write. A client that guesses handles
// may write before it has been told the handle: that content waits elsewhere.
func (s *sending) begin(r *request) {
	r.detail = &detail{}
	s.write = r
	h := s.handles[r.handle]
	if h == nil || h.closing {
		r.arrival = s.w.waiting(r.offset)
		return
	}
	c := s.written(h)
	offset := r.offset
	if h.flags&openAppend != 0 && c.hash != nil {
		offset = c.next
	}
	r.into, r.arrival = c, c.begin(offset)
}

// content implements packetSink.
func (s *sending) content(p []byte) {
	if r := s.write; r.into != nil {
		r.into.arrive(&r.arrival, p)
	} else {
		s.w.keepWaiting(&r.arrival, p)
	}
}

// end implements packetSink.
func (s *sending) end() error {
	if s.write == nil {
		return nil
	}
	r := *s.write
	s.write = nil
	return s.expect(r)
}
