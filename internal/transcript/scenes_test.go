package transcript

import (
	"strings"
	"time"
)

// scene is a piece of typing at a real shell. Its trace in testdata/scenes was made by
//
//	BUSYBOX=/path/to/busybox ZSH=/path/to/zsh go test ./internal/transcript -run TestScenes -update
type scene struct {
	name  string
	shell string   // a key of shells
	size  [2]int   // columns and rows; 80x24 when zero
	env   []string // more of it
	steps []string // sent one after the other, each when the terminal is quiet
	want  []string // lines; one that was not echoed begins with "!"
}

// Steps that are no typing.
const (
	narrow = "\x00resize 40x12" // the window changes
	wider  = "\x00resize 120x30"
	wait   = "\x00wait" // for a program that says nothing for a while
)

// waited is how long wait is.
const waited = 1500 * time.Millisecond

// slowly are the keys of a text, one at a time.
func slowly(s string) []string { return strings.Split(s, "") }

func join(parts ...any) (steps []string) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			steps = append(steps, p)
		case []string:
			steps = append(steps, p...)
		}
	}
	return steps
}

const (
	up, down, right, left = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
	home, end             = "\x1b[H", "\x1b[F"
)

func paste(s string) string { return "\x1b[200~" + s + "\x1b[201~" }

const long = "echo 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 end"

var scenes = []scene{
	{name: "simple", steps: join(slowly("echo one"), "\r"), want: []string{"echo one"}},
	{name: "at-once", steps: []string{"echo one\r"}, want: []string{"echo one"}},
	{name: "line-feed", steps: []string{"echo one\n"}, want: []string{"echo one"}},
	{name: "empty", steps: []string{"\r", "\r", "  \r", "echo a\r"}, want: []string{"echo a"}},
	{name: "backspace", steps: join(slowly("ecjo\x7f\x7fho one"), "\r"), want: []string{"echo one"}},
	{name: "kill-line", steps: []string{"rm -rf /", "\x15echo two\r"}, want: []string{"echo two"}},
	{name: "kill-word", steps: []string{"echo one two", "\x17three\r"}, want: []string{"echo one three"}},
	{name: "insert-at-home", steps: []string{"one", "\x01echo ", "\r"}, want: []string{"echo one"}},
	{name: "insert-in-the-middle", steps: join("echo oe", left, "n", "\r"), want: []string{"echo one"}},
	{name: "delete-forward", steps: join("eecho one", home, "\x04", "\r"), want: []string{"echo one"}},
	{name: "kill-and-yank", steps: []string{"one echo ", "\x01", "\x0b", "\x19", "\x01", "\x1bd\x04", "\x05", "\x19\r"}, want: []string{"echo one"}},
	{name: "transpose", steps: []string{"ehco one", "\x01\x06\x06\x14", "\r"}, want: []string{"echo one"}},
	{name: "undo", steps: []string{"echo one", "\x17two", "\x1f\x1f", "\r"}, want: []string{"echo one"}},
	{name: "edited-at-once", steps: []string{"one\x01echo \r"}, want: []string{"echo one"}},
	{name: "history", steps: []string{"echo one\r", up, "\r"}, want: []string{"echo one", "echo one"}},
	{name: "history-further", steps: []string{"echo one\r", "echo two\r", up, up, down, "\r"}, want: []string{"echo one", "echo two", "echo two"}},
	{name: "history-edited", steps: []string{"echo one\r", up, "\x7fy\r"}, want: []string{"echo one", "echo ony"}},
	{name: "history-at-once", steps: []string{"echo one\r", up + "\r"}, want: []string{"echo one", "echo one"}},
	{name: "history-wrapped", steps: []string{long + "\r", "true\r", up, up, "\x7f\x7f\x7fthe end\r"}, want: []string{long, "true", strings.TrimSuffix(long, "end") + "the end"}},
	{name: "operate-and-next", steps: []string{"echo one\r", "echo two\r", up, up, "\x0f", "\r"}, want: []string{"echo one", "echo two", "echo one", "echo two"}},
	{name: "search", steps: []string{"echo one\r", "true\r", "\x12", "on", "\r"}, want: []string{"echo one", "true", "echo one"}},
	{name: "search-by-key", steps: join("echo one\r", "true\r", "\x12", slowly("one"), "\x05", " more\r"), want: []string{"echo one", "true", "echo one more"}},
	{name: "search-given-up", steps: []string{"echo one\r", "\x12", "on", "\x07", "echo two\r"}, want: []string{"echo one", "echo two"}},
	{name: "bang", steps: []string{"echo one\r", "!!\r"}, want: []string{"echo one", "!!"}},
	{name: "completion", steps: []string{"cat alph", "\t", "\r"}, want: []string{"cat alphabet.txt"}},
	{name: "completion-list", steps: []string{"cat b", "\t", "\t", "o\t", "\r"}, want: []string{"cat bolt.txt"}},
	{name: "completion-list-at-once", steps: []string{"cat b\t\to\t\r"}, want: []string{"cat bolt.txt"}},
	{name: "completion-in-the-middle", steps: []string{"cat alph; true", "\x01\x06\x06\x06\x06\x06\x06\x06\x06", "\t", "\r"}, want: []string{"cat alphabet.txt; true"}},
	{name: "wrapped", steps: []string{long + "\r"}, want: []string{long}},
	{name: "wrapped-by-key", steps: join(slowly(long), "\r"), want: []string{long}},
	{name: "wrapped-edited", steps: []string{long, "\x01", "time ", "\r"}, want: []string{"time " + long}},
	{name: "wrapped-exactly", steps: []string{"echo 89012345678901234567890123456789012345678901234567890123456789", "\x1b0", "\x01\x05", "\r"}, size: [2]int{78, 24}, want: []string{"echo 89012345678901234567890123456789012345678901234567890123456789"}},
	{name: "wrapped-many-times", size: [2]int{20, 6}, steps: []string{long + " " + long, "\x7fD", "\r"}, want: []string{long + " " + strings.TrimSuffix(long, "d") + "D"}},
	{name: "bottom-of-screen", size: [2]int{30, 5}, steps: []string{"echo 1;echo 2;echo 3;echo 4;echo 5;echo 6\r", up, "\x7f7\r", long, left, "!\r"}, want: []string{"echo 1;echo 2;echo 3;echo 4;echo 5;echo 6", "echo 1;echo 2;echo 3;echo 4;echo 5;echo 7", strings.TrimSuffix(long, "d") + "!d"}},
	{name: "clear-screen", steps: []string{"echo on", "\x0c", "e\r", "x", left, "\x0c", "y", "\r"}, want: []string{"echo one", "yx"}},
	{name: "clear-command", steps: []string{"clear\r", "echo x", left, "y\r"}, want: []string{"clear", "echo yx"}},
	{name: "narrower", steps: join(long, narrow, "\x7f", "\r", "echo two", left, "o\r"), want: []string{strings.TrimSuffix(long, "d"), "echo twoo"}},
	{name: "wider", steps: join(long, wider, left, "x", "\r"), want: []string{strings.TrimSuffix(long, "d") + "xd"}},
	{name: "heredoc", steps: []string{"cat <<EOF\r", "hello\r", "  world\r", "EOF\r", "true\r"}, want: []string{"cat <<EOF", "hello", "  world", "EOF", "true"}},
	{name: "heredoc-at-once", steps: []string{"cat <<EOF\rhello\r  world\rEOF\rtrue\r"}, want: []string{"cat <<EOF", "hello", "  world", "EOF", "true"}},
	{name: "continued", steps: []string{"echo one \\\r", "two\r"}, want: []string{`echo one \`, "two"}},
	{name: "continued-quote", steps: []string{"echo 'one\r", "two", left, "'", "\x04", "\r"}, want: []string{"echo 'one", "tw'"}},
	{name: "loop", steps: []string{"for i in 1 2; do\r", "echo $i\r", "done\r", up, "\r"}, want: []string{"for i in 1 2; do", "echo $i", "done", "for i in 1 2; do echo $i; done"}},
	{name: "paste", steps: []string{paste("echo pasted"), "\r"}, want: []string{"echo pasted"}},
	{name: "paste-lines", steps: []string{paste("echo one\necho two"), "\r"}, want: []string{"echo one\necho two"}},
	{name: "paste-lines-edited", steps: []string{paste("echo one\recho two"), left, "w\r"}, want: []string{"echo one\necho twwo"}},
	{name: "paste-tab", steps: []string{paste("echo\tone"), "\r"}, want: []string{"echo\tone"}},
	{name: "paste-many-lines", size: [2]int{60, 8}, steps: []string{paste(strings.Repeat("echo line\n", 20) + "true"), "\r"}, want: []string{strings.Repeat("echo line\n", 20) + "true"}},
	{name: "coloured-prompt", env: []string{`PS1=\[\e[01;32m\]root@web\[\e[00m\]:\[\e[01;34m\]\w\[\e[00m\]\$ `}, steps: []string{"cd /tmp\r", "echo one", left, left, "\x7fn\r", up, "\r"}, want: []string{"cd /tmp", "echo nne", "echo nne"}},
	{name: "two-line-prompt", env: []string{`PS1=\[\e]0;web\a\]-- \w --\n\$ `}, steps: []string{"cd /tmp\r", "echo one", left, "x\r", up, "\r"}, want: []string{"cd /tmp", "echo onxe", "echo onxe"}},
	{name: "no-prompt", env: []string{`PS1=`}, steps: []string{"echo one\r", up, "\x01\x04e\r"}, want: []string{"echo one", "echo one"}},
	{name: "prompt-changes", steps: []string{"cd /usr\r", up, "\x17/tmp\r", up, "\r"}, want: []string{"cd /usr", "cd /tmp", "cd /tmp"}},
	{name: "interrupted", steps: []string{"rm -rf /", "\x03", "echo one\r", "echo tw", left, "\x03", "echo three\r"}, want: []string{"echo one", "echo three"}},
	{name: "typed-ahead", steps: []string{"sleep 1\r", "echo one\r", wait, "echo two\r"}, want: []string{"sleep 1", "echo one", "echo two"}},
	{name: "typed-ahead-half", steps: []string{"sleep 1\r", "echo ", wait, "one\r", up, "\r"}, want: []string{"sleep 1", "echo one", "echo one"}},
	{name: "typed-ahead-history", steps: []string{"echo one\r", "sleep 1\r", up, up + "\r", wait, "true\r"}, want: []string{"echo one", "sleep 1", "echo one", "true"}},
	{name: "script-at-once", steps: []string{"uname\nid -u\ncd /tmp; pwd\ntrue\n"}, want: []string{"uname", "id -u", "cd /tmp; pwd", "true"}},
	{name: "output-while-typing", steps: []string{"(sleep 0.5; echo noise) &\r", "echo on", wait, "e\r", "true\r"}, want: []string{"(sleep 0.5; echo noise) &", "echo one", "true"}},
	{name: "password-silent", steps: []string{"read -s -p 'Password: ' x; echo\r", "secret\r", "echo one\r"}, want: []string{"read -s -p 'Password: ' x; echo", "!secret", "echo one"}},
	{name: "password-no-line-feed", steps: []string{"read -s x\r", "secret\r", "echo one\r"}, want: []string{"read -s x", "!secret", "echo one"}},
	{name: "password-by-key", steps: join("stty -echo; echo Password:; cat >/dev/null; stty echo\r", slowly("secret"), "\r", "\x04", "echo one\r"), want: []string{"stty -echo; echo Password:; cat >/dev/null; stty echo", "!secret", "echo one"}},
	{name: "question", steps: []string{"read -p 'Continue? ' x\r", "yes\r", "echo one\r"}, want: []string{"read -p 'Continue? ' x", "yes", "echo one"}},
	{name: "into-cat", steps: []string{"cat >/dev/null\r", "first line\r", "seco\x7f\x7fcond\r", "\x04", "echo one\r"}, want: []string{"cat >/dev/null", "first line", "second", "echo one"}},
	{name: "out-of-cat", steps: []string{"cat >/dev/null\r", "first line\r", "half", "\x03", "echo one\r"}, want: []string{"cat >/dev/null", "first line", "echo one"}},
	{name: "vi-mode", steps: []string{"set -o vi\r", "echo one", "\x1b", "bcw", "two", "\x1b", "\r"}, want: []string{"set -o vi", "echo two"}},
	{name: "unicode", steps: []string{"echo grüße", "\x7f\x7fß", left, "x\r"}, want: []string{"echo grüxß"}},
	{name: "wide", size: [2]int{30, 10}, steps: []string{"echo 日本語日本語日本語日本語日本語", left, "x\r", "echo 日本\r"}, want: []string{"echo 日本語日本語日本語日本語日本x語", "echo 日本"}},
	{name: "not-utf-8", steps: []string{"echo caf\xe9\r"}, want: []string{"echo caf"}},
	{name: "dumb", env: []string{"TERM=dumb"}, steps: []string{"echo one\r", up, "\r", "ecjo\x7f\x7fho two\r"}, want: []string{"echo one", "echo one", "echo two"}},
	{name: "reports", steps: []string{"\x1b[24;80R", "echo\x1b[?1;2c one\x1b[I", "\x1b]10;rgb:0000/0000/0000\x1b\\", "\r"}, want: []string{";80Recho1;2c one10;rgb:0000/0000/0000"}},
	{name: "less", steps: []string{"less alphabet.txt\r", "/a\r", "q", "echo one\r"}, want: []string{"less alphabet.txt", "echo one"}},
	{name: "less-same-screen", env: []string{"TERM=vt100"}, steps: []string{"less alphabet.txt\r", "/a\r", "q", "echo one\r"}, want: []string{"less alphabet.txt", "echo one"}},
	{name: "vi", steps: []string{"vi -u NONE -n new.txt\r", "ihello\rworld\x1b", ":q!\r", "echo one\r"}, want: []string{"vi -u NONE -n new.txt", "echo one"}},
	{name: "vi-same-screen", env: []string{"TERM=vt100"}, steps: []string{"vi -u NONE -n new.txt\r", "ihello\rworld\x1b", ":q!\r", "echo one\r"}, want: []string{"vi -u NONE -n new.txt", "echo one"}},
	{name: "top", steps: []string{"top\r", wait, "\r", "q", "echo one\r"}, want: []string{"top", "echo one"}},
	{name: "much-output", steps: []string{"seq 3000\r", "echo one", left, "x\r"}, want: []string{"seq 3000", "echo onxe"}},
	{name: "no-new-line", steps: []string{"printf abc\r", "echo one\r", up, "\r"}, want: []string{"printf abc", "echo one", "echo one"}},
	{name: "shell-in-shell", steps: []string{"sh\r", "echo one\r", "exit\r", "echo two\r"}, want: []string{"sh", "echo one", "exit", "echo two"}},
	{name: "python", steps: []string{"python3 -q\r", wait, "x = 1\r", up, "\x7f2\r", "exit()\r", "echo one\r"}, want: []string{"python3 -q", "x = 1", "x = 2", "exit()", "echo one"}},

	{name: "dash-simple", shell: "dash", steps: join(slowly("echo one"), "\r"), want: []string{"echo one"}},
	{name: "dash-at-once", shell: "dash", steps: []string{"uname\nid -u\ntrue\n"}, want: []string{"uname", "id -u", "true"}},
	{name: "dash-backspace", shell: "dash", steps: join(slowly("ecjo\x7f\x7fho"), "\r", "abc", "\x15echo one\r"), want: []string{"echo", "echo one"}},
	{name: "dash-kill-word", shell: "dash", steps: []string{"echo one two", "\x17three\r"}, want: []string{"echo one three"}},
	{name: "dash-arrow", shell: "dash", steps: []string{"echo one\r", up + "\r"}, want: []string{"echo one", "^[[A"}},
	{name: "dash-heredoc", shell: "dash", steps: []string{"cat <<E\r", "a b\r", "E\r"}, want: []string{"cat <<E", "a b", "E"}},
	{name: "dash-wrapped", shell: "dash", steps: []string{long, "\x7fD\r"}, want: []string{strings.TrimSuffix(long, "d") + "D"}},
	{name: "dash-password", shell: "dash", steps: []string{"stty -echo\r", "read x\r", "secret\r", "stty echo\r", "echo one\r"}, want: []string{"stty -echo", "!read x", "!secret", "!stty echo", "echo one"}},
	{name: "dash-interrupted", shell: "dash", steps: []string{"rm -rf /", "\x03", "echo one\r"}, want: []string{"echo one"}},
	{name: "dash-typed-ahead", shell: "dash", steps: []string{"sleep 1; echo done\r", "echo one\r", wait, "echo two\r"}, want: []string{"sleep 1; echo done", "echo one", "echo two"}},
	{name: "dash-tab", shell: "dash", steps: []string{"echo\tone\r"}, want: []string{"echo one"}},
	{name: "dash-not-utf-8", shell: "dash", steps: []string{"echo caf\xe9\r"}, want: []string{"echo caf\xe9"}},
	{name: "dash-less", shell: "dash", env: []string{"TERM=vt100"}, steps: []string{"less alphabet.txt\r", "q", "echo one\r"}, want: []string{"less alphabet.txt", "echo one"}},

	{name: "ash-simple", shell: "ash", steps: join(slowly("echo one"), "\r"), want: []string{"echo one"}},
	{name: "ash-at-once", shell: "ash", steps: []string{"uname\nid -u\ntrue\n"}, want: []string{"uname", "id -u", "true"}},
	{name: "ash-history", shell: "ash", steps: []string{"echo one\r", "true\r", up, up, "\x7fy\r"}, want: []string{"echo one", "true", "echo ony"}},
	{name: "ash-completion", shell: "ash", steps: []string{"cat alph", "\t", "\r", "cat b", "\t", "\t", "o\t", "\r"}, want: []string{"cat alphabet.txt", "cat bolt.txt"}},
	{name: "ash-insert", shell: "ash", steps: join("echo oe", left, "n", "\r"), want: []string{"echo one"}},
	{name: "ash-without-search", shell: "ash", steps: []string{"echo one\r", "true\r", "\x12", "on", "\r"}, want: []string{"echo one", "true", "on"}},
	{name: "ash-wrapped", shell: "ash", steps: []string{long, home, "time ", "\r"}, want: []string{"time " + long}},
	{name: "ash-heredoc", shell: "ash", steps: []string{"cat <<E\r", "a b\r", "E\r"}, want: []string{"cat <<E", "a b", "E"}},
	{name: "ash-interrupted", shell: "ash", steps: []string{"rm -rf /", "\x03", "echo one\r"}, want: []string{"echo one"}},
	{name: "ash-clear-screen", shell: "ash", steps: []string{"echo on", "\x0c", "e", left, "x\r"}, want: []string{"echo onxe"}},
	{name: "ash-password", shell: "ash", steps: []string{"read -s x; echo\r", "secret\r", "echo one\r"}, want: []string{"read -s x; echo", "!secret", "echo one"}},
	{name: "ash-reports", shell: "ash", steps: []string{"\x1b[1;4R", "echo one", "\x1b[1;12R", "\r"}, want: []string{"echo one"}},
	{name: "ash-vi", shell: "ash", steps: []string{"busybox vi new.txt\r", "ihello\rworld\x1b", ":q!\r", "echo one\r"}, want: []string{"busybox vi new.txt", "echo one"}},

	{name: "zsh-simple", shell: "zsh", steps: join(slowly("echo one"), "\r"), want: []string{"echo one"}},
	{name: "zsh-history", shell: "zsh", steps: []string{"echo one\r", "true\r", up, up, "\x7fy\r"}, want: []string{"echo one", "true", "echo ony"}},
	{name: "zsh-completion", shell: "zsh", steps: []string{"cat b", "\t", "o\t", "\r"}, want: []string{"cat bolt.txt"}},
	{name: "zsh-paste", shell: "zsh", steps: []string{paste("echo one\necho two"), "\r"}, want: []string{"echo one\necho two"}},
	{name: "zsh-wrapped", shell: "zsh", steps: []string{long, "\x01", "time ", "\r"}, want: []string{"time " + long}},
	{name: "zsh-at-once", shell: "zsh", steps: []string{"uname\nid -u\ntrue\n"}, want: []string{"uname", "id -u", "true"}},
	{name: "zsh-right-prompt", shell: "zsh", env: []string{"RPS1=%~"}, steps: []string{"echo one", left, "x\r"}, want: []string{"echo onxe"}},
}
