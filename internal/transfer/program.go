package transfer

import (
	"path"
	"strings"
)

// Kind is what a program speaks on its standard input and output.
type Kind int

// The kinds. A sink gets files from the client, a source sends them.
const (
	None Kind = iota
	SFTPServer
	SCPSink
	SCPSource
)

// OfSubsystem is the kind of a subsystem, RFC 4254 section 6.5.
func OfSubsystem(name string) Kind {
	if name == "sftp" {
		return SFTPServer
	}
	return None
}

// OfCommand is the kind of a command that is given to a shell. A command that
// starts with such a program is taken for it, whatever follows.
func OfCommand(command string) Kind {
	words := words(command)
	if len(words) > 0 && words[0] == "exec" {
		words = words[1:]
	}
	if len(words) == 0 {
		return None
	}
	switch path.Base(words[0]) {
	case "sftp-server":
		return SFTPServer
	case "scp":
		return ofOptions(words[1:])
	}
	return None
}

// ofOptions looks for -t and -f, which scp(1) does not describe: its own client
// starts the other side with them.
func ofOptions(words []string) Kind {
	const withArgument = "cDFiJloPSX"
	for i := 0; i < len(words); i++ {
		word := words[i]
		if len(word) < 2 || word[0] != '-' || word == "--" {
			return None
		}
		for j, option := range word[1:] {
			switch {
			case option == 't':
				return SCPSink
			case option == 'f':
				return SCPSource
			case strings.ContainsRune(withArgument, option):
				if j == len(word)-2 {
					i++ // the argument is the next word
				}
			default:
				continue
			}
			break
		}
	}
	return None
}

// words splits the first simple command of a line as sh(1) does, without
// expanding anything.
func words(line string) []string {
	var (
		all    []string
		word   []byte
		inWord bool
		quote  byte
	)
	end := func() {
		if inWord {
			all = append(all, string(word))
		}
		word, inWord = nil, false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			word = append(word, c)
		case c == '\\' && i+1 < len(line):
			i++
			word, inWord = append(word, line[i]), true
		case quote != 0:
			word = append(word, c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			end()
		case strings.IndexByte(";|&<>()\n", c) >= 0:
			end()
			return all
		default:
			word, inWord = append(word, c), true
		}
	}
	end()
	return all
}
