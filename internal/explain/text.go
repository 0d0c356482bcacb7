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
	whole := lower(text)
	l := lines{text: text, lower: bare(whole), whole: whole, starts: []int{0}}
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			return l
		}
		at += i + 1
		l.starts = append(l.starts, at)
	}
}

// lower is the text as patterns see it: ASCII in lower case, quotes alike, blanks in the place of the line ends that JSON writes out.
// Every byte keeps its place.
func lower(s string) string {
	b := []byte(s)
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case 'A' <= c && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c == '"' || c == '`':
			b[i] = '\''
		case c == '\\':
			for n := lineEnd(b, i); n > 0; n-- {
				b[i+n-1] = ' '
			}
		}
	}
	return string(b)
}

// bare has blanks in the place of what is put before each line.
func bare(s string) string {
	b := []byte(s)
	for from := 0; from < len(b); {
		end := len(b)
		if i := strings.IndexByte(s[from:], '\n'); i >= 0 {
			end = from + i
		}
		for at := from; ; {
			n := prefix(s[at:end])
			if n == 0 {
				break
			}
			for i := range n {
				b[at+i] = ' '
			}
			at += n
		}
		from = end + 1
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

// prefix is the length of what a console, a build or a pipeline puts before a line in lower case, with the blanks before it: a time, Image
// Builder's "[id] packer out", Packer's "==> azure-arm:", a pipeline's "##[error]", the bars of Terraform, PowerShell and quoted mail.
func prefix(line string) int {
	rest := strings.TrimLeft(line, " \t")
	n := len(line) - len(rest)
	if rest == "" {
		return 0
	}
	// upTo is the place after the first end, if only such bytes come before it.
	upTo := func(from int, end byte, allowed string) int {
		for i := from; i < min(len(rest), from+100); i++ {
			switch c := rest[i]; {
			case c == end:
				return n + i + 1
			case c >= '0' && c <= '9', strings.IndexByte(allowed, c) >= 0:
			default:
				return 0
			}
		}
		return 0
	}
	const letters = "abcdefghijklmnopqrstuvwxyz"
	switch {
	case rest[0] == '|' || rest[0] == '>':
		return n + 1
	case strings.HasPrefix(rest, "│"), strings.HasPrefix(rest, "┃"), strings.HasPrefix(rest, "╷"), strings.HasPrefix(rest, "╵"):
		return n + len("│")
	case rest[0] == '[':
		if at := upTo(1, ']', "abcdef-"); at > n+5 {
			return at
		}
	case strings.HasPrefix(rest, "==> "):
		return upTo(4, ':', letters+"-._")
	case strings.HasPrefix(rest, "##["):
		return upTo(3, ']', letters)
	case strings.HasPrefix(rest, "packer out"), strings.HasPrefix(rest, "packer err") && !strings.HasPrefix(rest, "packer erro"):
		return n + len("packer out")
	case strings.HasPrefix(rest, "azure-arm"):
		return upTo(len("azure-arm"), ':', letters+"-._")
	case rest[0] >= '0' && rest[0] <= '9' && len(rest) > len("2026/01/01 00:00:00"):
		switch {
		case rest[4] == '-' && rest[10] == 't':
			return upTo(0, 'z', "-t:.")
		case rest[4] == '/' && rest[7] == '/' && rest[13] == ':':
			at := len("2026/01/01 00:00:00")
			for _, ui := range []string{" ui:", " ui error:"} {
				if strings.HasPrefix(rest[at:], ui) {
					return n + at + len(ui)
				}
			}
			return n + at
		}
	}
	return 0
}

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
