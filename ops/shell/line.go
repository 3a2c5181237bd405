// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"errors"
	"strings"
)

// errQuotes is what an unbalanced or badly placed quotation mark ends in. The text is that of the
// original shell.
//
//lint:ignore ST1005 scripts look for this very spelling
var errQuotes = errors.New("Invalid argument(s)")

// splitLine splits a line into words as redis-cli does: words are separated by white space;
// "..." may contain the escapes \n \r \t \b \a, \xHH and a backslash before any other character;
// '...' knows only \'. A closing quotation mark ends the word.
func splitLine(line string) ([]string, error) {
	var words []string
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return words, nil
		}
		word, rest, err := splitWord(line[i:])
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		i = len(line) - len(rest)
	}
}

// splitWord takes the first word off a line that does not begin with white space.
func splitWord(s string) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isSpace(c):
			return b.String(), s[i:], nil
		case c == '"' || c == '\'':
			n, err := unquote(&b, s[i:])
			if err != nil {
				return "", "", err
			}
			i += n
			if i < len(s) && !isSpace(s[i]) {
				return "", "", errQuotes
			}
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", nil
}

// unquote appends the text between the quotation marks s begins with and returns how much of s
// they span.
func unquote(b *strings.Builder, s string) (int, error) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == quote:
			return i + 1, nil
		case c == '\\' && quote == '\'' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case c == '\\' && quote == '"' && i+3 < len(s) && s[i+1] == 'x' && isHex(s[i+2]) && isHex(s[i+3]):
			b.WriteByte(unhex(s[i+2])<<4 | unhex(s[i+3]))
			i += 3
		case c == '\\' && quote == '"' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case 'b':
				b.WriteByte('\b')
			case 'a':
				b.WriteByte('\a')
			default:
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return 0, errQuotes
}

// splitScript splits a script into commands at semicolons and line ends outside quotation marks.
// Empty commands are left out.
func splitScript(script string) []string {
	var commands []string
	start, quote := 0, byte(0)
	add := func(end int) {
		if c := strings.TrimSpace(script[start:end]); c != "" {
			commands = append(commands, c)
		}
		start = end + 1
	}
	for i := 0; i < len(script); i++ {
		switch c := script[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == ';' || c == '\n':
			add(i)
		}
	}
	if start < len(script) {
		add(len(script))
	}
	return commands
}

// escape makes bytes printable so that splitLine, between double quotes, reads them back. all
// escapes every byte.
func escape(s []byte, all bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range s {
		switch {
		case all || c < ' ' && c != '\n' && c != '\r' && c != '\t' || c > '~':
			b.WriteString(`\x`)
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}
