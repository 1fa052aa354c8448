package evidence

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/sandtrap/sandtrap/internal/term"
)

// Text is a string that came from an attacker. It may hold any bytes and keeps
// them through JSON: valid UTF-8 is a JSON string, in which whatever a terminal
// would act on is escaped; anything else is {"base64":"..."}.
type Text string

type binaryText struct {
	Base64 string `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return term.AppendJSON(nil, string(t)), nil
	}
	return json.Marshal(binaryText{base64.StdEncoding.EncodeToString([]byte(t))})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var bin binaryText
		if err := json.Unmarshal(b, &bin); err != nil {
			return fmt.Errorf("read binary text: %w", err)
		}
		p, err := base64.StdEncoding.DecodeString(bin.Base64)
		if err != nil {
			return fmt.Errorf("read binary text: %w", err)
		}
		*t = Text(p)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read text: %w", err)
	}
	*t = Text(s)
	return nil
}
