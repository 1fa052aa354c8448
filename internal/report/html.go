package report

import (
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"github.com/sandtrap/sandtrap/internal/term"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var style string

//go:embed player.js
var script string

// Text that a browser would show in another order, or not at all, is escaped as for a
// terminal; the template does the rest.
var page = template.Must(template.New("page").Funcs(template.FuncMap{"safe": func(text any) string {
	return term.Safe(fmt.Sprint(text))
}}).Parse(pageSource))

// policy lets the page run its own script and style and nothing else, and load
// nothing: should a text get out of its place, it stays text. See CSP level 3.
func policy() string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; base-uri 'none'; form-action 'none'", hash(script), hash(style))
}

// Base64 is the cast as the player takes it.
func (r Recording) Base64() string { return base64.StdEncoding.EncodeToString(r.Cast) }

// HTML writes the report as one page that needs nothing else. See AddRecordings.
func (r *Report) HTML(w io.Writer) error {
	err := page.Execute(w, struct {
		Report *Report
		Policy string
		Style  template.CSS
		Script template.JS
	}{r, policy(), template.CSS(style), template.JS(script)})
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
