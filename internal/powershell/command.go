package powershell

import (
	"strings"
	"unicode"
)

// pipeline reads an expression, an assignment or commands joined by |.
func (p *parser) pipeline() {
	defer p.deeper()()
	for first := true; ; first = false {
		p.element(first)
		p.ws()
		switch {
		case p.at(0) == '|' && p.at(1) == '|', p.at(0) == '&' && p.at(1) == '&':
			if !p.seven {
				p.fail(p.pos, "use if ($?) { … }, or ; between the commands", "'"+string(p.src[p.pos:p.pos+2])+"' is no separator of statements in Windows PowerShell")
			}
			p.pos += 2
			p.nl()
			p.statement() // a statement such as throw may follow
			return
		case p.at(0) == '|':
			bar := p.pos
			p.pos++
			p.nl()
			if p.eof() || strings.ContainsRune("|;)}", p.at(0)) {
				p.fail(bar, "write a command after |, or remove it", "an empty element of a pipeline: nothing follows |")
			}
		case p.at(0) == '&':
			if !p.seven {
				p.fail(p.pos, `quote it: "&"`, "the character & is not allowed here: it is reserved")
			}
			p.pos++
			return
		default:
			// PowerShell 7 lets the next line begin with |.
			if p.seven && p.newline() {
				end := p.pos
				p.nl()
				if p.at(0) == '|' && p.at(1) != '|' {
					p.pos++
					p.nl()
					continue
				}
				p.pos = end
			}
			return
		}
	}
}

// element is one part of a pipeline.
func (p *parser) element(first bool) {
	c := p.at(0)
	switch {
	case p.eof() || p.newline():
		p.unexpected("where a command or an expression begins")
	case c == '|':
		p.fail(p.pos, "put | at the end of the line before it", "an empty element of a pipeline: nothing stands before |")
	case c == '&' || c == '.' && !isDigit(p.at(1)) && (isSpace(p.at(1)) || strings.ContainsRune("$\"'({", p.at(1))):
		p.pos++
		p.ws()
		if p.eof() || p.newline() || !p.argument() {
			p.unexpected("after " + string(c) + ", where a command's name belongs")
		}
		p.elements()
	case p.startsExpression():
		begun := p.pos
		p.expression(true)
		if !first {
			p.fail(begun, "expressions may only begin a pipeline: put it before the first |, or into ForEach-Object { … }", "an expression after |")
		}
		p.ws()
		if p.assignment() {
			return
		}
		p.redirections()
	default:
		p.command()
	}
}

// startsExpression tells an expression from a command's name.
func (p *parser) startsExpression() bool {
	c := p.at(0)
	switch {
	case c == '$':
		return p.at(1) == '(' || p.at(1) == '{' || p.at(1) == '$' || p.at(1) == '^' || p.at(1) == '?' || p.at(1) == ':' || isWord(p.at(1))
	case isSingle(c), isDouble(c), c == '(', c == '[', c == '{', c == ',', c == '@', c == ')', c == '}', c == '!' && (endsWord(p.at(1)) || strings.ContainsRune("$([!'\"@", p.at(1))):
		return true
	case isDash(c):
		return !unicode.IsLetter(p.at(1)) && p.at(1) != '_' || p.unaryWord()
	case c == '+':
		return p.at(1) == '+' || p.at(1) == '$' || p.at(1) == '(' || isDigit(p.at(1))
	case isDigit(c) || c == '.' && isDigit(p.at(1)):
		start := p.pos
		ok := p.number(true)
		p.pos = start
		return ok
	}
	return false
}

// unaryWord tells whether an operator of letters begins here that may stand before a value.
func (p *parser) unaryWord() bool {
	i := 1
	for unicode.IsLetter(p.at(i)) {
		i++
	}
	switch strings.ToLower(string(p.src[p.pos+1 : min(p.pos+i, len(p.src))])) {
	case "not", "bnot", "join", "split", "isplit", "csplit":
		return true
	}
	return false
}

// assignment reads = and what follows it, where there is one.
func (p *parser) assignment() bool {
	switch c := p.at(0); {
	case c == '=':
		p.pos++
	case p.at(1) == '=' && (strings.ContainsRune("+*/%", c) || isDash(c)):
		p.pos += 2
	case p.seven && c == '?' && p.at(1) == '?' && p.at(2) == '=':
		p.pos += 3
	default:
		return false
	}
	sign := p.pos - 1
	p.nl()
	if p.eof() || strings.ContainsRune(";)}|", p.at(0)) {
		p.fail(sign, "write a value after it", "missing value after =")
	}
	p.statement()
	return true
}

// redirections reads > file and its kin after an expression.
func (p *parser) redirections() {
	for p.ws(); p.redirection(); p.ws() {
	}
}

func (p *parser) redirection() bool {
	n := 0
	if (p.at(0) >= '1' && p.at(0) <= '6') || p.at(0) == '*' {
		n = 1
	}
	if p.at(n) != '>' {
		return false
	}
	sign := p.pos
	p.pos += n + 1
	if p.at(0) == '>' {
		p.pos++
	}
	if p.at(0) == '&' && isDigit(p.at(1)) {
		p.pos += 2
		return true
	}
	p.ws()
	if p.eof() || p.newline() || !p.argument() {
		p.fail(sign, "name a file or $null after it", "missing file after >")
	}
	return true
}

// command reads a command's name and its arguments.
func (p *parser) command() {
	switch c := p.at(0); {
	case c == '<':
		p.fail(p.pos, "remove it; is it left from a merge?", "'<' is reserved and cannot begin a command")
	case endsWord(c):
		p.unexpected("where a command or an expression begins")
	}
	start := p.pos
	if c := p.at(0); isDash(c) {
		p.warn(start, "is a backtick missing at the end of the line before?", p.seen()+" begins a line: it is taken for a command's name, and there is no such command")
	}
	switch word := p.leading(); word {
	case "else", "elseif", "catch", "finally", "until":
		p.warn(start, "is a } too many or too few before it?", word+" stands alone: it is taken for a command's name, and there is no such command")
	}
	p.word()
	if p.pos == start {
		p.unexpected("where a command or an expression begins")
	}
	p.elements()
}

// elements reads a command's arguments up to its end, which is left where it is.
func (p *parser) elements() {
	comma := -1
	for {
		spaced := p.pos
		p.ws()
		if comma >= 0 {
			p.nl()
		}
		c := p.at(0)
		if p.eof() || p.newline() || c == ';' || c == '|' || c == ')' || c == '}' || c == '&' {
			if comma >= 0 {
				p.fail(comma, "remove the comma, or write a value after it", "missing value after a comma")
			}
			return
		}
		switch {
		case c == ',':
			if comma >= 0 {
				p.fail(p.pos, "remove a comma, or write a value between them", "missing value after a comma")
			}
			comma = p.pos
			p.pos++
			continue
		case p.redirection():
			continue
		case c == '<' && (p.pos > spaced || endsWord(p.at(-1))):
			p.fail(p.pos, "quote it, or pipe the text into the command", "'<' is reserved: nothing can be read from a file this way")
		case p.has("--%") && endsWord(p.at(3)):
			for !p.eof() && !p.newline() && p.at(0) != '|' {
				if p.at(0) == '"' {
					for p.pos++; !p.eof() && !p.newline() && p.at(0) != '"'; {
						p.pos++
					}
				}
				if !p.eof() && !p.newline() {
					p.pos++
				}
			}
			return
		case isDash(c) && (unicode.IsLetter(p.at(1)) || p.at(1) == '_' || p.at(1) == '?'):
			p.parameter()
		default:
			if !p.argument() {
				p.unexpected("in a command")
			}
		}
		comma = -1
	}
}

// parameter is -Name or -Name:, whose value is read as the next argument.
func (p *parser) parameter() {
	for p.pos++; !p.eof(); p.pos++ {
		c := p.at(0)
		if c == ':' {
			p.pos++
			return
		}
		if endsWord(c) || c == '.' || c == '[' || isSingle(c) || isDouble(c) || c == '$' || c == '=' || c == '`' {
			return
		}
	}
}

// argument reads one argument of a command; it reports false where none can begin.
func (p *parser) argument() bool {
	switch c := p.at(0); {
	case p.hereString():
		p.members(true)
	case isSingle(c):
		p.single()
		p.members(true)
	case isDouble(c):
		p.double()
		p.members(true)
	case c == '(':
		p.paren()
		p.members(true)
	case c == '{':
		p.scriptBlock()
		p.members(true)
	case c == '@' && p.at(1) == '(':
		p.array()
		p.members(true)
	case c == '@' && p.at(1) == '{':
		p.hash()
		p.members(true)
	case c == '$' && p.at(1) == '(':
		p.subexpression()
		p.members(true)
	case c == '$' && p.variable():
		if next := p.at(0); endsWord(next) || next == '.' || next == '[' || next == ':' {
			p.members(true)
		} else {
			p.word() // $folder\file is one word
		}
	case endsWord(c):
		return false
	default:
		start := p.pos
		p.word()
		return p.pos > start
	}
	return true
}
