package powershell

import (
	"strings"
	"unicode"
)

// dashOperators are the words after a dash that stand between two values.
const dashOperators = " and or xor band bor bxor shl shr is isnot as f in notin join split isplit csplit replace ireplace creplace eq ieq ceq ne ine cne gt igt cgt ge ige cge lt ilt clt le ile cle " +
	"like ilike clike notlike inotlike cnotlike match imatch cmatch notmatch inotmatch cnotmatch contains icontains ccontains notcontains inotcontains cnotcontains " +
	"iin cin inotin cnotin "

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
