//go:build browser

package report

import (
	"bytes"
	"context"
	"html"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// chromium runs the browser on the sample's page, without any network.
func chromium(t *testing.T, fragment string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	r := New(sample(t, dir), dir, nil, time.UTC)
	r.AddRecordings()
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "page.html")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile"),
		"--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1000,1400", "--virtual-time-budget=3000"}, args...)
	cmd := exec.CommandContext(ctx, "chromium", append(args, "file://"+name+fragment)...)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, errors.String())
	}
	return string(out)
}

var tags = regexp.MustCompile(`<[^>]*>`)

// screen is the text of the player's terminal.
func screen(t *testing.T, page string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, `class="screen">`)
	text, _, closed := strings.Cut(rest, "</pre>")
	if !found || !closed {
		t.Fatal("the page has no screen")
	}
	return html.UnescapeString(tags.ReplaceAllString(text, ""))
}

// The page's script runs under the page's policy, and nothing else does.
func TestPageInBrowser(t *testing.T) {
	page := chromium(t, "", "--dump-dom")
	if !strings.Contains(page, `data-ready="1"`) {
		t.Error("the player did not start")
	}
	if strings.Contains(page, "<title>owned") || !strings.Contains(page, "<title>Session 01KN2FQ6T0ZZZZZZZZZZZZZZZZ") {
		t.Error("an attacker's script ran")
	}
	if got := strings.TrimSpace(screen(t, page)); got != "" {
		t.Errorf("at the beginning the screen shows %q", got)
	}
	end := screen(t, chromium(t, "#end", "--dump-dom"))
	lines := strings.Split(strings.Trim(end, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	want := []string{"last picture </pre><script>document.titl", "e='owned'</script>"}
	if len(lines) != 10 || lines[0] != want[0] || lines[1] != want[1] {
		t.Errorf("at the end the screen shows %q", lines)
	}
}

func TestScreenshot(t *testing.T) {
	name := filepath.Join(t.TempDir(), "shot.png")
	chromium(t, "#end", "--screenshot="+name)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if keep := os.Getenv("SCREENSHOT"); keep != "" {
		b, _ := os.ReadFile(name)
		_ = os.WriteFile(keep, b, 0o644)
	}
	// The dark terminal, with light text in it.
	dark, light := count(picture, color.RGBA{0x11, 0x11, 0x11, 0xff}), count(picture, color.RGBA{0xdd, 0xdd, 0xdd, 0xff})
	if dark < 20000 || light < 100 {
		t.Errorf("%d dark and %d light pixels: no terminal is shown", dark, light)
	}
}

func count(p image.Image, want color.RGBA) (n int) {
	for y := p.Bounds().Min.Y; y < p.Bounds().Max.Y; y++ {
		for x := p.Bounds().Min.X; x < p.Bounds().Max.X; x++ {
			if color.RGBAModel.Convert(p.At(x, y)) == want {
				n++
			}
		}
	}
	return n
}
