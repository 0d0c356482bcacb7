package powershell

import (
	"strings"
	"unicode"
)

// dashOperators are the words after a dash that stand between two values.
const dashOperators = " and or xor band bor bxor shl shr is isnot as f in notin join split isplit csplit replace ireplace creplace eq ieq ceq ne ine cne gt igt cgt ge ige cge lt ilt clt le ile cle " +
	"like ilike clike notlike inotlike cnotlike match imatch cmatch notmatch inotmatch cnotmatch contains icontains ccontains notcontains inotcontains cnotcontains " +
	"iin cin inotin cnotin "

// paren is ( pipeline ).
func (p *parser) paren() {
	defer p.deeper()()
	opened := p.pos
	p.pos++
	p.nl()
	if p.at(0) == ')' {
		p.fail(p.pos, "write an expression between ( and )", "missing expression after (")
	}
	if p.eof() {
		p.unclosed(')', opened)
	}
	p.pipeline()
	p.nl()
	p.close(')', opened)
}

// subexpression is $( statements ).
func (p *parser) subexpression() { p.list(2) }

// array is @( statements ).
func (p *parser) array() { p.list(2) }

func (p *parser) list(n int) {
	defer p.deeper()()
	opened := p.pos
	p.pos += n
	p.statements(')', opened)
	p.pos++
}

// hash is @{ key = value; … }.
func (p *parser) hash() {
	defer p.deeper()()
	opened := p.pos
	p.pos += 2
	for p.separators(); p.at(0) != '}'; p.separators() {
		if p.eof() {
			p.unclosed('}', opened)
		}
		key := p.pos
		switch c := p.at(0); {
		case isWord(c):
			for isWord(p.at(0)) || isDash(p.at(0)) || p.at(0) == '.' || p.at(0) == ':' {
				p.pos++
			}
		default:
			p.operand("where a key of a hash table begins")
		}
		if p.pos == key {
			p.unexpected("where a key of a hash table begins")
		}
		if p.nl(); p.at(0) != '=' {
			line, _ := p.place(opened)
			p.fail(p.pos, "write key = value; is } missing of the hash table that line "+itoa(line)+" begins?", "missing = after a key of a hash table")
		}
		sign := p.pos
		p.pos++
		p.nl()
		if p.eof() || p.at(0) == ';' || p.at(0) == '}' || p.at(0) == ')' {
			p.fail(sign, "write a value after it", "missing value after = in a hash table")
		}
		p.statement()
		if p.ws(); p.at(0) == ')' {
			p.unexpected("in a hash table")
		}
		p.terminator()
	}
	p.pos++
}

// expression reads values and the operators between them.
func (p *parser) expression(comma bool) {
	defer p.deeper()()
	p.operand("where an expression begins")
	for {
		p.ws()
		sign := p.pos
		op := p.operator(comma)
		if op == "" {
			return
		}
		if op == "++" || op == "--" {
			continue // they may stand apart from what they count
		}
		p.nl()
		if p.eof() || p.newline() || strings.ContainsRune(";)}|", p.at(0)) {
			p.fail(sign, "write a value after it, or remove it", "missing value after "+op)
		}
		if op == "?" {
			p.expression(comma)
			if p.nl(); p.at(0) != ':' {
				p.unexpected("in ? :")
			}
			p.pos++
			p.nl()
		}
		p.operand("after " + op)
	}
}

// operator reads the operator between two values; "" where there is none.
func (p *parser) operator(comma bool) string {
	c := p.at(0)
	n := 0
	switch {
	case c == ',':
		if !comma {
			return ""
		}
		n = 1
	case c == '.' && p.at(1) == '.':
		n = 2
	case c == '+' && p.at(1) == '+':
		p.pos += 2
		return "++"
	case isDash(c) && isDash(p.at(1)):
		p.pos += 2
		return "--"
	case isDash(c) && unicode.IsLetter(p.at(1)):
		i := 1
		for unicode.IsLetter(p.at(i)) {
			i++
		}
		word := string(p.src[p.pos+1 : p.pos+i])
		if !strings.Contains(dashOperators, " "+strings.ToLower(word)+" ") {
			p.fail(p.pos, "is it misspelt, or is a line break, a backtick or an operand missing before it?", "unexpected "+p.quote("-"+word)+" in an expression or statement: there is no such operator")
		}
		n = i
	case (strings.ContainsRune("+*/%", c) || isDash(c)) && p.at(1) != '=':
		if c == '*' && p.at(1) == '>' {
			return "" // all streams into a file
		}
		n = 1
	case !p.seven && c == '?':
		p.fail(p.pos, "write if (…) { … } else { … }", "? is an operator of PowerShell 7, not of Windows PowerShell")
	case p.seven && c == '?' && p.at(1) == '?' && p.at(2) != '=':
		n = 2
	case p.seven && c == '?' && p.at(1) != '?':
		n = 1
	}
	if n == 0 || p.pos >= len(p.src) {
		return ""
	}
	op := string(p.src[p.pos : p.pos+n])
	p.pos += n
	return op
}

// operand reads one value with the signs and casts before it and the members after it.
func (p *parser) operand(where string) {
	for {
		c := p.at(0)
		switch {
		case p.eof():
			p.unexpected(where)
		case c == '!' || c == ',' || c == '+' || isDash(c) && !unicode.IsLetter(p.at(1)):
			sign := p.pos
			p.pos++
			if (c == '+' || isDash(c)) && p.at(0) == c {
				p.pos++
			}
			p.nl()
			if p.eof() || strings.ContainsRune(";)}|", p.at(0)) {
				p.fail(sign, "write a value after it, or remove it", "missing value after "+string(c))
			}
		case isDash(c):
			i := 1
			for unicode.IsLetter(p.at(i)) {
				i++
			}
			word := strings.ToLower(string(p.src[p.pos+1 : p.pos+i]))
			if !p.unaryWord() {
				p.fail(p.pos, "is a backtick missing at the end of the line before, or a value before it?", "missing value: "+p.quote(string(p.src[p.pos:p.pos+i]))+" cannot begin an expression")
			}
			sign := p.pos
			p.pos += i
			p.nl()
			if p.eof() || strings.ContainsRune(";)}|", p.at(0)) {
				p.fail(sign, "write a value after it", "missing value after "+p.quote("-"+word))
			}
		case c == '[':
			attribute := p.typeName()
			if p.at(0) == ':' && p.at(1) == ':' {
				p.members(false)
				return
			}
			end := p.pos
			if attribute {
				p.nl()
			} else {
				p.ws()
			}
			if p.eof() || p.newline() || !p.castable() {
				p.pos = end
				p.members(false)
				return
			}
		default:
			p.primary(where)
			p.members(false)
			return
		}
	}
}

// castable tells whether a value begins that a type before it casts.
func (p *parser) castable() bool {
	c := p.at(0)
	return strings.ContainsRune("$(@{[", c) || isSingle(c) || isDouble(c) || isDigit(c) || c == '.' && isDigit(p.at(1)) ||
		isDash(c) && (p.has("-not") || p.has("-join") || p.has("-split") || p.has("-bnot"))
}

// primary is a value without signs.
func (p *parser) primary(where string) {
	switch c := p.at(0); {
	case p.hereString():
	case isSingle(c):
		p.single()
	case isDouble(c):
		p.double()
	case c == '(':
		p.paren()
	case c == '{':
		p.scriptBlock()
	case c == '@' && p.at(1) == '(':
		p.array()
	case c == '@' && p.at(1) == '{':
		p.hash()
	case c == '@' && isWord(p.at(1)):
		p.fail(p.pos, "write $ in the place of @", "a splatted variable, "+p.seen()+", is only allowed as an argument of a command")
	case c == '$' && p.at(1) == '(':
		p.subexpression()
	case c == '$' && p.variable():
	case (isDigit(c) || c == '.' && isDigit(p.at(1))) && p.number(false):
	default:
		p.unexpected(where)
	}
}

// members reads what follows a value at once: .name, ::name, [index], (arguments), ++ and --. In a command's arguments a dot or
// bracket that begins none of these belongs to the next word.
func (p *parser) members(command bool) {
	for {
		for p.at(0) == '<' && p.at(1) == '#' {
			p.blockComment()
		}
		c := p.at(0)
		n := 0
		switch {
		case p.seven && c == '?' && (p.at(1) == '.' || p.at(1) == '['):
			p.pos++
			continue
		case c == '.' && p.at(1) != '.' && !p.eof():
			n = 1
		case c == ':' && p.at(1) == ':':
			n = 2
		case c == '[':
			opened := p.pos
			p.pos++
			p.nl()
			if p.at(0) == ']' {
				p.fail(p.pos, "write an index between [ and ]", "missing index after [")
			}
			if p.eof() {
				p.unclosed(']', opened)
			}
			p.expression(true)
			p.nl()
			p.close(']', opened)
			continue
		case (c == '+' && p.at(1) == '+' || isDash(c) && isDash(p.at(1))) && !command:
			p.pos += 2
			return
		default:
			return
		}
		next := p.at(n)
		if command && !(isWord(next) || isSingle(next) || isDouble(next) || next == '$' || next == '(' || next == '{') {
			return
		}
		begun := p.pos
		p.pos += n
		p.nl()
		switch c := p.at(0); {
		case isWord(c):
			for isWord(p.at(0)) {
				p.pos++
			}
		case isSingle(c):
			p.single()
		case isDouble(c):
			p.double()
		case c == '(':
			p.paren()
		case c == '{':
			p.scriptBlock()
		case c == '@' && p.at(1) == '(':
			p.array()
		case c == '$' && p.at(1) == '(':
			p.subexpression()
		case c == '$' && p.variable():
		default:
			p.fail(begun, "write a member's name after it, or remove it", "missing name of a member after "+string(p.src[begun:begun+n]))
		}
		// Method[type](…) of PowerShell 7.3; (…) and { … } at once are a call.
		if p.seven && p.at(0) == '[' && p.generic() {
			p.typeName()
		}
		switch p.at(0) {
		case '(':
			p.arguments()
		case '{':
			p.scriptBlock()
		}
	}
}

// generic tells [type]( from [index].
func (p *parser) generic() bool {
	depth := 0
	for i := 0; ; i++ {
		switch c := p.at(i); {
		case c == '[':
			depth++
		case c == ']':
			if depth--; depth == 0 {
				return p.at(i+1) == '('
			}
		case !isWord(c) && !strings.ContainsRune("., ", c):
			return false
		}
	}
}

// arguments is ( value, … ) of a method.
func (p *parser) arguments() {
	defer p.deeper()()
	opened := p.pos
	p.pos++
	p.nl()
	if p.at(0) == ')' {
		p.pos++
		return
	}
	for {
		if p.eof() {
			p.unclosed(')', opened)
		}
		p.expression(false)
		p.nl()
		if p.at(0) == '=' {
			// An assignment as an argument; PowerShell refuses most, and says so itself.
			p.assignment()
			p.nl()
		}
		if p.at(0) != ',' {
			break
		}
		comma := p.pos
		p.pos++
		p.nl()
		if p.at(0) == ')' {
			p.fail(comma, "remove the comma, or write a value after it", "missing value after a comma")
		}
	}
	p.close(')', opened)
}

// typeName reads [type] or [attribute(…)], and reports whether it was an attribute.
func (p *parser) typeName() (attribute bool) {
	defer p.deeper()()
	opened := p.pos
	p.pos++
	p.nl()
	if p.at(0) == ']' {
		p.fail(p.pos, "write a type between [ and ]", "missing type after [")
	}
	for {
		p.nl()
		switch c := p.at(0); {
		case p.eof():
			p.unclosed(']', opened)
		case c == ']':
			p.pos++
			return attribute
		case c == '[':
			p.typeName1()
		case c == '(':
			attribute = true
			p.attributeArguments()
		case isWord(c) || strings.ContainsRune(".+,*&=:`", c) || isDash(c):
			p.pos++
		default:
			p.fail(p.pos, "close the [ that stands before it", "unexpected "+p.seen()+": ] is missing at the end of a type or attribute")
		}
	}
}

// typeName1 is a bracket within a type: generic arguments, or [] and [,] of an array.
func (p *parser) typeName1() {
	if p.at(1) == ']' {
		p.pos += 2
		return
	}
	p.typeName()
}

// attributeArguments is ( name, name = value, value … ).
func (p *parser) attributeArguments() {
	opened := p.pos
	p.pos++
	for {
		p.nl()
		switch {
		case p.eof():
			p.unclosed(')', opened)
		case p.at(0) == ')':
			p.pos++
			return
		}
		if unicode.IsLetter(p.at(0)) || p.at(0) == '_' {
			for isWord(p.at(0)) {
				p.pos++
			}
			if p.nl(); p.at(0) == '=' {
				p.pos++
				p.nl()
				p.expression(false)
			}
		} else {
			p.expression(false)
		}
		p.nl()
		if p.at(0) == ',' {
			p.pos++
			continue
		}
		p.close(')', opened)
		return
	}
}
