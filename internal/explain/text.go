package explain

import (
	"regexp"
	"slices"
	"strings"
)

// lines is a text as it is searched: of the same length in all forms, so that a place in one is a place in the other.
type lines struct {
	text, lower string
	whole       string // in lower case with what is put before the lines, which tells where a text comes from
	starts      []int
}

// colours are the escape sequences that Packer and pipelines put into their logs.
var colours = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// plain takes back what JSON, HTML and word processors make of a message's quotes and spaces.
var plain = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u00a0", " ", "‘", "'", "’", "'", "“", `"`, "”", `"`,
	`\u0027`, "'", `\u0022`, `"`, `\u003c`, "<", `\u003C`, "<", `\u003e`, ">", `\u003E`, ">", `\u0026`, "&",
	"&quot;", `"`, "&#39;", "'", "&#x27;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&")

func read(text string) lines {
	if strings.Contains(text, "\x1b") {
		text = colours.ReplaceAllString(text, "")
	}
	// Errors travel as JSON inside JSON inside logs.
	for strings.Contains(text, `\"`) {
		text = strings.ReplaceAll(text, `\"`, `"`)
	}
	text = plain.Replace(text)
	whole := lower(text, false)
	l := lines{text: text, lower: lower(text, true), whole: whole, starts: []int{0}}
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			return l
		}
		at += i + 1
		l.starts = append(l.starts, at)
	}
}

// lower is the text as patterns see it: ASCII in lower case, quotes alike, blanks in the place of the line ends that JSON writes out and,
// if asked for, of what is put before a line. Every byte keeps its place.
func lower(s string, bare bool) string {
	b := []byte(s)
	fresh := true // only prefixes in this line so far
	for i := 0; i < len(b); {
		if fresh && bare {
			if n := prefix(b[i:]); n > 0 {
				for j := range n {
					b[i+j] = ' '
				}
				i += n
				continue
			}
		}
		switch c := b[i]; {
		case c == '\n':
			fresh = true
			i++
			continue
		case 'A' <= c && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c == '"' || c == '`':
			b[i] = '\''
		case c == '\\':
			if n := lineEnd(b, i); n > 0 {
				for j := range n {
					b[i+j] = ' '
				}
				i += n
				continue
			}
		}
		fresh = false
		i++
	}
	return string(b)
}

// lineEnd is the length of a line end that JSON writes out at a place: \r\n, however often its backslashes are doubled, or \n after the end
// of a sentence or a value, which cannot be a path's.
func lineEnd(b []byte, at int) int {
	slash := func(i int) int {
		for i < len(b) && b[i] == '\\' {
			i++
		}
		return i
	}
	i := slash(at)
	if i >= len(b) {
		return 0
	}
	if b[i] == 'r' {
		if j := slash(i + 1); j > i+1 && j < len(b) && b[j] == 'n' {
			return j + 1 - at
		}
	}
	if b[i] == 'n' && at > 0 && strings.IndexByte(`.,;")]}'`, b[at-1]) >= 0 {
		return i + 1 - at
	}
	return 0
}

// prefix is the length of what a console, a build or a pipeline puts before a line, with the blanks around it: a time, Image Builder's
// "[id] PACKER OUT", Packer's "==> azure-arm:", a pipeline's "##[error]", the bars of Terraform and PowerShell, and of quoted mail.
func prefix(b []byte) int {
	n := 0
	for n < len(b) && (b[n] == ' ' || b[n] == '\t') {
		n++
	}
	rest := b[n:]
	if len(rest) > 200 {
		rest = rest[:200]
	}
	if len(rest) == 0 || rest[0] == '\n' {
		return 0
	}
	switch c := rest[0]; {
	case c == '|' || c == '>':
		return n + 1
	case c == 0xe2 && len(rest) > 2 && rest[1] == 0x94 && (rest[2] == 0x82 || rest[2] == 0x83), // │ ┃
		c == 0xe2 && len(rest) > 2 && rest[1] == 0x95 && 0xb5 <= rest[2] && rest[2] <= 0xb7: // ╵ ╷
		return n + 3
	case '0' <= c && c <= '9' || c == '[' || c == '=' || c == '#' || c|0x20 == 'a':
		if at := begins.FindIndex(rest); at != nil {
			return n + at[1]
		}
	case strings.HasPrefix(string(rest[:min(len(rest), 40)]), "PACKER "):
		if at := begins.FindIndex(rest); at != nil {
			return n + at[1]
		}
	}
	return 0
}

var begins = regexp.MustCompile(`^(?:\d{4}-\d\d-\d\dT[\d:.]+Z:?|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?: ui(?: error)?:)?|\[[0-9a-f-]{6,36}\]|PACKER (?:OUT|ERR)|==> [\w.-]+:|##\[\w+\]|azure-arm(?:\.[\w-]+)?:)(?:\s|$|\b)`)

// number is the line, from 0, in which a place is.
func (l lines) number(at int) int {
	n, exact := slices.BinarySearch(l.starts, at)
	if exact {
		return n
	}
	return n - 1
}

// span is the text of the lines first to last, as far as there are such.
func (l lines) span(first, last int) (from, to int) {
	from, to = l.starts[max(first, 0)], len(l.text)
	if last+1 < len(l.starts) {
		to = l.starts[last+1]
	}
	return from, to
}
