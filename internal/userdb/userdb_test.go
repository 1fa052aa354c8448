package userdb

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/auth"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestEveryForm compares what becomes of every form of a line with the golden file.
func TestEveryForm(t *testing.T) {
	content, err := os.ReadFile("testdata/every.txt")
	if err != nil {
		t.Fatal(err)
	}
	rules, remarks, err := Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "%v %s users=%q passwords=%q methods=%v\n", r.Lines, r.Action, r.Users, r.Passwords, r.Methods)
	}
	for _, r := range remarks {
		fmt.Fprintf(&b, "%d: %s\n", r.Line, r.Text)
	}
	const golden = "testdata/every.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestAnswers: the rules answer as Cowrie does, here told again in a few lines, for
// many pairs.
func TestAnswers(t *testing.T) {
	content, err := os.ReadFile("testdata/every.txt")
	if err != nil {
		t.Fatal(err)
	}
	p := policy(t, content)
	words := []string{"root", "123456", "HoneyPot1", "richard", "tomcat", "password1", "spaced", " spaced ", "oracle", "ora12", "ora1234", "admin", "xadmin", "COWRIE", "ADMIRAL", "letme in", "", "glob", "a", "nobody", "extra", "one", "two", "regexp", "fallback", "deny", "*"}
	let := 0
	for _, user := range words {
		for _, password := range words {
			want := asCowrie(string(content), user, password)
			got := p.Decide(auth.Attempt{User: user, Method: auth.Password, Password: password, Source: netip.MustParseAddr("192.0.2.1")}, auth.History{})
			if got.Accept != want {
				t.Errorf("%q/%q: accept %t by rule %s, Cowrie %t", user, password, got.Accept, got.Rule, want)
			}
			if want {
				let++
			}
		}
	}
	if let < 50 {
		t.Errorf("only %d pairs get in", let)
	}
}

func policy(t *testing.T, content []byte) *auth.Rules {
	t.Helper()
	rules, _, err := Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	var plain []auth.Rule
	for _, r := range rules {
		plain = append(plain, r.Rule)
	}
	p, err := auth.NewRules(plain, auth.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asCowrie is what Cowrie answers.
func asCowrie(content, user, password string) bool {
	type pair struct{ user, password string }
	var order []pair
	answer := map[pair]bool{}
	for line := range strings.SplitSeq(content, "\n") {
		f := strings.Split(line, ":")
		if strings.HasPrefix(line, "#") || len(f) < 3 {
			continue
		}
		p, deny := strings.CutPrefix(strings.TrimSpace(f[2]), "!")
		key := pair{f[0], p}
		if _, known := answer[key]; !known {
			order = append(order, key)
		}
		answer[key] = !deny
	}
	matches := func(rule, text string) bool {
		if body, ok := strings.CutPrefix(rule, "/"); ok {
			if b, ok := strings.CutSuffix(body, "/i"); ok {
				return regexp.MustCompile("(?i)" + b).MatchString(text)
			}
			if b, ok := strings.CutSuffix(body, "/"); ok {
				return regexp.MustCompile(b).MatchString(text)
			}
		}
		return rule == "*" || rule == text
	}
	for _, key := range order {
		if matches(key.user, user) && matches(key.password, password) {
			return answer[key]
		}
	}
	return false
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"root:x:":                              "empty password",
		"root:x:  ":                            "empty password",
		"root:x:päss":                          "not ASCII",
		"root:x:/(?=a)b/":                      `"(?="`,
		"root:x:/a{,3}/":                       `"{,"`,
		`root:x:/(a)\1/`:                       `"\\1"`,
		`/^a\Z/:x:b`:                           `"\\Z"`,
		"root:x:/(/":                           "no regular expression",
		"root:x:/a**/":                         "no regular expression",
		"root:x:/(a{999}){9}/":                 "regular expression",
		"root:x:" + strings.Repeat("y", 1025):  "longer than 1024",
		"root:x:" + strings.Repeat("y", 10000): "longer than",
	} {
		_, _, err := Parse([]byte("# first\nroot:x:fine\n" + line + "\n"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "line 3: ") {
			t.Errorf("%.40q: %v, want line 3 and %q", line, err, want)
		}
	}
	if _, _, err := Parse(make([]byte, MaxBytes+1)); err == nil {
		t.Error("a file beyond the bound was read")
	}
	var many strings.Builder
	for i := range maxEntries + 1 {
		fmt.Fprintf(&many, "u%d:x:p\n", i)
	}
	if _, _, err := Parse([]byte(many.String())); err == nil || !strings.Contains(err.Error(), "line 5001") {
		t.Errorf("many lines: %v", err)
	}
}

func TestRemarks(t *testing.T) {
	_, remarks, err := Parse([]byte("root:x:*\r\nroot:x:secret\vx\n\nroot:x:!*\n/(?:a)/:x:b\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Remark{
		{3, "has fewer than three fields: Cowrie passes it over"},
		{5, "says otherwise than line 1 about the same, and counts in its place"},
		{6, "what comes after the third colon is passed over, as by Cowrie"},
		{6, `"/(?" is plain text to Cowrie, for it has a colon or no second slash`},
		{2, "is never reached: line 1 takes all that it would"},
	}
	if diff := cmp.Diff(want, remarks); diff != "" {
		t.Errorf("remarks (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	if content, err := os.ReadFile("testdata/every.txt"); err == nil {
		f.Add(content)
	}
	for _, s := range []string{"root:x:*\n", "a:b:!\n", "/a/i:x:!/b+/\n", ":::\n", "#", "a:x:b\x1ca:x:!b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 4096 {
			return
		}
		rules, _, err := Parse(content)
		if err != nil {
			return
		}
		var plain []auth.Rule
		for _, r := range rules {
			plain = append(plain, r.Rule)
		}
		p, err := auth.NewRules(plain, auth.Secret{})
		if err != nil {
			t.Fatal(errors.Join(errors.New("what was read is no policy"), err))
		}
		for _, c := range p.Conflicts() {
			if c.Unreachable {
				t.Errorf("rule %d would be refused: %s", c.Rule, c.Message)
			}
		}
	})
}
