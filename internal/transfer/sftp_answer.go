package transfer

// receiving takes what the server answers.
type receiving struct {
	*sftp
	into    *content // the file whose content arrives, if it is followed
	arrival arrival
}

// need implements packetSink: of data all before the content.
func (s *receiving) need(head []byte, length int) int {
	if head[0] == sftpData {
		return 1 + 4 + 4
	}
	return length
}

// packet implements packetSink.
func (s *receiving) packet(head []byte, rest int) (content int, err error) {
	f := fields{left: head}
	kind, id := f.byte(), f.uint32()
	if kind == sftpVersion {
		if !f.bad && id != 3 {
			return 0, errVersion
		}
		return 0, nil
	}
	if kind < sftpFirstAnswer {
		return 0, errMalformed // whatever was printed before the server ran
	}
	var (
		code uint32
		key  []byte
		a    attributes
	)
	switch kind {
	case sftpData:
		content = int(f.uint32())
	case sftpStatus:
		code = f.uint32()
	case sftpHandle:
		key = f.bytes()
	case sftpAttrs:
		a = f.attributes()
	}
	if f.bad || content > rest || len(key) > maxHandle {
		return 0, errMalformed
	}
	r, ok := s.answered(id)
	switch {
	case !ok:
		return 0, errAnswer
	case kind == sftpData && r.kind == sftpRead:
		s.begin(&r)
	case kind == sftpStatus:
		s.status(&r, code)
	case kind == sftpHandle && r.kind == sftpOpen:
		s.opened(string(key), r.detail)
	case kind == sftpAttrs:
		s.attrs(&r, a)
	}
	return content, nil
}

func (s *receiving) begin(r *request) {
	h := s.handles[r.handle]
	if h == nil {
		return
	}
	if h.down == nil {
		h.down = &content{w: s.w}
	}
	s.into, s.arrival = h.down, h.down.begin(r.offset)
}

// content implements packetSink.
func (s *receiving) content(p []byte) {
	if s.into != nil {
		s.into.arrive(&s.arrival, p)
	}
}

// end implements packetSink. What was sent needs no acknowledgement.
func (s *receiving) end() error {
	if s.into != nil && !s.into.over {
		s.into.acknowledge(s.arrival, false)
	}
	s.into = nil
	return nil
}

// attrs takes what the server tells of a file.
func (s *sftp) attrs(r *request, a attributes) {
	switch r.kind {
	case sftpStat, sftpLstat:
		s.seen = seen{r.path, a}
	case sftpFstat:
		if h := s.handles[r.handle]; h != nil {
			s.learn(h, a)
		}
	}
}

// status takes the end of a request that asked for nothing else.
func (s *sftp) status(r *request, code uint32) {
	ok := code == statusOK
	h := s.handles[r.handle]
	switch r.kind {
	case sftpClose:
		s.close(r.handle, "") // it is closed even where that failed, see close(2)
	case sftpRead:
		if h != nil && code == statusEOF && (h.eof < 0 || r.offset < h.eof) {
			h.eof = r.offset
		}
	case sftpWrite:
		s.wrote(h, r, ok)
	case sftpOpen:
		if !ok {
			s.operation("open", r, ok)
		}
	case sftpFsetstat:
		if h != nil {
			r.path = h.path
			if ok {
				s.changed(h, r.attributes)
			}
		}
		s.operation("setstat", r, ok)
	case sftpExtended:
		s.statusExtended(r, ok)
	default:
		if name := operations[r.kind]; name != "" {
			s.operation(name, r, ok)
		}
	}
}

// operations are the words for requests.
var operations = map[byte]string{
	sftpSetstat: "setstat", sftpRemove: "remove", sftpMkdir: "mkdir", sftpRmdir: "rmdir", sftpRename: "rename", sftpSymlink: "symlink",
}

func (s *sftp) operation(name string, r *request, ok bool) {
	s.w.operation(Operation{
		Operation: name, Path: r.path, NewPath: r.newPath, Accepted: ok,
		Mode: r.attributes.permissions(), Size: r.attributes.length(),
	})
}

// statusExtended takes the end of an extended request.
func (s *sftp) statusExtended(r *request, ok bool) {
	if r.detail == nil {
		return
	}
	switch r.extension {
	case extensionLsetstat:
		s.operation("lsetstat", r, ok)
	case extensionLink:
		s.operation("link", r, ok)
	case extensionCopy:
		if h := s.handles[r.handle]; h != nil {
			r.path = h.path
		}
		if h := s.handles[r.handle2]; h != nil {
			r.newPath = h.path
			if ok {
				s.written(h).strange = reasonCopied
			}
		}
		s.operation("copy", r, ok)
	}
}

// wrote takes the answer to a write.
func (s *sftp) wrote(h *handle, r *request, ok bool) {
	if !ok || h == nil {
		return
	}
	c := s.written(h)
	if c != r.into { // it waited elsewhere
		c.begin(r.arrival.off)
		c.ordered = false
	}
	c.acknowledge(r.arrival, h.flags&openAppend != 0)
}

// changed takes the new attributes of an open file.
func (s *sftp) changed(h *handle, a attributes) {
	if a.has&hasMode != 0 {
		h.mode = a.permissions()
	}
	if a.has&hasTimes != 0 {
		h.modified = a.time()
	}
	if size := a.length(); size >= 0 && h.flags&openWrite != 0 {
		s.written(h).truncate(size)
	}
}
