package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestHints(t *testing.T) {
	base := fmt.Errorf("open file: %w", fs.ErrNotExist)
	inner := Wrap(base, "inner")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"none", base, ""},
		{"direct", inner, "inner"},
		{"wrapped", fmt.Errorf("start: %w", inner), "inner"},
		{"joined", errors.Join(errors.New("other"), inner), "inner"},
		{"outermost wins", Wrap(fmt.Errorf("start: %w", inner), "outer"), "outer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Of(tt.err); got != tt.want {
				t.Errorf("Of = %q, want %q", got, tt.want)
			}
		})
	}
	if Wrap(nil, "x") != nil {
		t.Error("a hint made an error of none")
	}
	if inner.Error() != base.Error() || !errors.Is(inner, fs.ErrNotExist) {
		t.Errorf("the hint hides the error: %v", inner)
	}
}
