// Package hint lets an error carry the one thing an operator should try next. It
// is printed on its own line below the error.
package hint

import "errors"

type hinted struct {
	error
	text string
}

func (h hinted) Unwrap() error { return h.error }

// Wrap adds a hint to err; a nil err stays nil.
func Wrap(err error, text string) error {
	if err == nil {
		return nil
	}
	return hinted{err, text}
}

// Of returns the outermost hint in err's chain, or "".
func Of(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.text
	}
	return ""
}
