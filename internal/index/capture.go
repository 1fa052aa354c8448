package index

import (
	"fmt"
	"os"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// maxCaptureFiles bounds what is taken of a session's capture.
const maxCaptureFiles = 100_000

// captured are the files that were captured of a session's target. The error tells of
// such as are beyond the bounds.
func captured(root *os.Root) (files []File, err error) {
	many := false
	err = evidence.ReadCapture(root, func(e *evidence.CaptureEntry, _ []byte) bool {
		if !evidence.IsHash(e.SHA256) {
			return true
		}
		if many = len(files) == maxCaptureFiles; !many {
			files = append(files, File{SHA256: e.SHA256, Name: cut(string(e.Path))})
		}
		return !many
	}, nil)
	if many {
		err = fmt.Errorf("read %s: more than %d files", evidence.CaptureFile, maxCaptureFiles)
	}
	return files, err
}
