package powershell

import (
	"strings"
	"unicode"
)

// PowerShell's own sets of characters: typographic quotes and dashes count as the plain ones.
func isSingle(c rune) bool { return c == '\'' || c >= 0x2018 && c <= 0x201b }
func isDouble(c rune) bool { return c == '"' || c >= 0x201c && c <= 0x201e }
func isDash(c rune) bool   { return c == '-' || c >= 0x2013 && c <= 0x2015 }
func isSpace(c rune) bool {
	return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == 0x85 || c == 0xa0 || c > 256 && unicode.In(c, unicode.Z)
}
func isDigit(c rune) bool { return c >= '0' && c <= '9' }
func isWord(c rune) bool {
	return c == '_' || isDigit(c) || unicode.IsLetter(c) || c > 127 && unicode.IsDigit(c)
}

// endsWord tells the characters that no bare word can hold (ForceStartNewToken in PowerShell's tables).
func endsWord(c rune) bool {
	return c == 0 || c == '\n' || c == '\r' || isSpace(c) || strings.ContainsRune("{}();,|&", c)
}

func (p *parser) eof() bool { return p.pos >= len(p.src) }

// at is the character n further on; 0 past the end.
func (p *parser) at(n int) rune {
	if i := p.pos + n; i >= 0 && i < len(p.src) {
		return p.src[i]
	}
	return 0
}

func (p *parser) newline() bool { return p.at(0) == '\n' || p.at(0) == '\r' }

// has reports whether the plain text s stands here, whatever its case.
func (p *parser) has(s string) bool {
	i := 0
	for _, c := range s {
		if unicode.ToLower(p.at(i)) != c {
			return false
		}
		i++
	}
	return true
}

// keyword reports whether the word s stands here as a whole.
func (p *parser) keyword(s string) bool {
	if !p.has(s) {
		return false
	}
	return p.pos+len(s) >= len(p.src) || endsWord(p.at(len(s)))
}

// ws skips spaces, continued lines and comments.
func (p *parser) ws() {
	for !p.eof() {
		switch c := p.at(0); {
		case isSpace(c):
			p.pos++
		case c == '`' && p.at(1) == '\r' && p.at(2) == '\n':
			p.pos += 3
		case c == '`' && (p.at(1) == '\n' || p.at(1) == '\r'):
			p.pos += 2
		case c == '<' && p.at(1) == '#':
			p.blockComment()
		case c == '#':
			for !p.eof() && !p.newline() {
				p.pos++
			}
		default:
			return
		}
	}
}

func (p *parser) blockComment() {
	begun := p.pos
	p.pos += 2
	for !(p.at(0) == '#' && p.at(1) == '>') {
		if p.eof() {
			p.fail(begun, "end it with #>", "the comment <# is not closed")
		}
		p.pos++
	}
	p.pos += 2
}

// nl skips line ends too.
func (p *parser) nl() {
	for {
		p.ws()
		if !p.newline() {
			return
		}
		p.pos++
	}
}

// separators skips line ends and semicolons.
func (p *parser) separators() {
	for {
		p.nl()
		if p.at(0) != ';' {
			return
		}
		p.pos++
	}
}

// single reads a quoted text that is taken as it stands.
func (p *parser) single() {
	begun := p.pos
	for p.pos++; ; p.pos++ {
		if p.eof() {
			p.fail(begun, "close it with '; a ' inside it is written ''", "the text in single quotes is not closed")
		}
		if isSingle(p.at(0)) {
			if !isSingle(p.at(1)) {
				p.pos++
				return
			}
			p.pos++
		}
	}
}

// double reads a quoted text with variables and $( ) in it.
func (p *parser) double() {
	begun := p.pos
	for p.pos++; ; {
		switch c := p.at(0); {
		case p.eof():
			p.fail(begun, "close it with \"; a \" inside it is written `\"", "the text in double quotes is not closed")
		case isDouble(c):
			if !isDouble(p.at(1)) {
				p.pos++
				return
			}
			p.pos += 2
		case c == '`':
			p.pos += 2
		case c == '$':
			p.dollarInText()
		default:
			p.pos++
		}
	}
}

// dollarInText steps over a $ in a text, and over what it begins.
func (p *parser) dollarInText() {
	switch p.at(1) {
	case '(':
		p.subexpression()
	case '{':
		p.braced()
	case '$':
		p.pos += 2
	default:
		p.pos++
	}
}

// braced reads ${ … }.
func (p *parser) braced() {
	begun := p.pos
	for p.pos += 2; p.at(0) != '}'; p.pos++ {
		if p.eof() {
			p.fail(begun, "close it with }", "the variable name ${ is not closed")
		}
		if p.at(0) == '`' {
			if p.pos++; p.at(0) == 'u' && p.at(1) == '{' {
				for !p.eof() && p.at(0) != '}' {
					p.pos++
				}
			}
		}
	}
	p.pos++
}

// hereString reads @' … '@ and @" … "@; it reports false where none begins.
func (p *parser) hereString() bool {
	if p.at(0) != '@' || !isSingle(p.at(1)) && !isDouble(p.at(1)) {
		return false
	}
	begun, expand := p.pos, isDouble(p.at(1))
	quote, end := "'", "'@"
	if expand {
		quote, end = "\"", "\"@"
	}
	p.pos += 2
	for isSpace(p.at(0)) {
		p.pos++
	}
	if !p.eof() && !p.newline() {
		p.fail(p.pos, "put a line break after @"+quote, "characters after the beginning of a here-string, @"+quote+", on its line")
	}
	indented := 0
	for !p.eof() {
		if p.newline() {
			p.pos++
			if p.at(-1) == '\r' && p.at(0) == '\n' {
				p.pos++
			}
			if (expand && isDouble(p.at(0)) || !expand && isSingle(p.at(0))) && p.at(1) == '@' {
				p.pos += 2
				return true
			}
			i := 0
			for isSpace(p.at(i)) {
				i++
			}
			if i > 0 && (expand && isDouble(p.at(i)) || !expand && isSingle(p.at(i))) && p.at(i+1) == '@' && indented == 0 {
				indented, _ = p.place(p.pos + i)
			}
			continue
		}
		switch c := p.at(0); {
		case expand && c == '`' && p.at(1) != '\r' && p.at(1) != '\n':
			p.pos += 2
		case expand && c == '$':
			p.dollarInText()
		default:
			p.pos++
		}
	}
	remedy := "put " + end + " at the beginning of a line of its own"
	if indented > 0 {
		remedy = "the " + end + " on line " + itoa(indented) + " must be at the very beginning of its line"
	}
	p.fail(begun, remedy, "the here-string @"+quote+" is not closed")
	return false
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

// variable reads $name, $scope:name, ${name} and the special ones; it reports false where none begins.
func (p *parser) variable() bool {
	if p.at(0) != '$' {
		return false
	}
	switch c := p.at(1); {
	case c == '{':
		p.braced()
		return true
	case c == '$' || c == '^':
		p.pos += 2
		return true
	case c == '?' && !isWord(p.at(2)):
		p.pos += 2
		return true
	case !isWord(c) && c != '?' && !(c == ':' && isWord(p.at(2))):
		return false
	}
	p.pos++
	for !p.eof() {
		c := p.at(0)
		// A : belongs to the name when more name follows; :: is the access to a static member.
		if isWord(c) || c == '?' || c == ':' && p.at(1) != ':' && p.at(-1) != ':' && isWord(p.at(1)) {
			p.pos++
			continue
		}
		if c == ':' && p.at(1) != ':' && p.at(-1) != ':' {
			p.pos++ // "$x:" ends with it
		}
		break
	}
	return true
}

// number reads a number; it reports false where the characters are a bare word, as 7z is.
func (p *parser) number(command bool) bool {
	start := p.pos
	switch {
	case p.at(0) == '0' && (p.at(1) == 'x' || p.at(1) == 'X'), p.at(0) == '0' && (p.at(1) == 'b' || p.at(1) == 'B') && (p.at(2) == '0' || p.at(2) == '1'):
		p.pos += 2
		for isWord(p.at(0)) {
			p.pos++
		}
	default:
		for isDigit(p.at(0)) {
			p.pos++
		}
		if p.at(0) == '.' && p.at(1) != '.' && (isDigit(p.at(1)) || p.pos > start && !unicode.IsLetter(p.at(1))) {
			p.pos++
			for isDigit(p.at(0)) {
				p.pos++
			}
		}
		if p.pos == start || p.pos == start+1 && p.at(-1) == '.' {
			p.pos = start
			return false
		}
		if c := p.at(0); c == 'e' || c == 'E' {
			n := 1
			if p.at(n) == '+' || isDash(p.at(n)) {
				n++
			}
			if isDigit(p.at(n)) {
				for p.pos += n; isDigit(p.at(0)); {
					p.pos++
				}
			}
		}
		for strings.ContainsRune("uUlLdDsSyYnN", p.at(0)) && p.at(0) != 0 {
			p.pos++
		}
		if strings.ContainsRune("kKmMgGtTpP", p.at(0)) && p.at(0) != 0 && (p.at(1) == 'b' || p.at(1) == 'B') {
			p.pos += 2
		}
	}
	c := p.at(0)
	if p.eof() || endsWord(c) || !command && strings.ContainsRune("!#%*+.-/<=>]?:[", c) || command && strings.ContainsRune("!#%*+.-/<=>]", c) || !command && isDash(c) {
		return true
	}
	p.pos = start
	return false
}

// word reads a bare word with what may stand in it: quotes, variables, $( ).
func (p *parser) word() {
	for !p.eof() {
		switch c := p.at(0); {
		case endsWord(c):
			return
		case c == '`':
			if p.at(1) == '\n' || p.at(1) == '\r' {
				return
			}
			p.pos += 2
			if p.seven && p.at(-1) == 'u' && p.at(0) == '{' {
				for !p.eof() && p.at(-1) != '}' {
					p.pos++
				}
			}
		case isSingle(c):
			p.single()
		case isDouble(c):
			p.double()
		case c == '$':
			p.dollarInText()
		default:
			p.pos++
		}
	}
}
