package powershell

import (
	"strings"
	"unicode"
)

// script is the whole text.
func (p *parser) script() {
	p.body(0, -1)
	if !p.eof() {
		p.unexpected("at the end")
	}
}

// body is what a script or a script block holds, up to closer (0 for the end of the text); the closer is left where it is.
func (p *parser) body(closer rune, opened int) {
	defer p.deeper()()
	p.separators()
	for p.keyword("using") {
		p.restOfLine()
		p.separators()
	}
	p.paramBlock()
	if p.namedBlock() {
		for p.separators(); p.namedBlock(); p.separators() {
		}
		p.end(closer, opened, "after a named block, where only begin, process, end or dynamicparam may stand")
		return
	}
	p.statements(closer, opened)
}

// end checks that the closer comes next.
func (p *parser) end(closer rune, opened int, where string) {
	switch {
	case closer == 0 && p.eof(), closer != 0 && p.at(0) == closer:
	case p.eof():
		p.unclosed(closer, opened)
	default:
		p.unexpected(where)
	}
}

func (p *parser) unclosed(closer rune, opened int) {
	p.fail(opened, "close it with "+string(closer), "missing "+string(closer)+": what begins here with "+p.opener(opened)+" is not closed")
}

func (p *parser) opener(at int) string {
	if at+1 < len(p.src) && strings.ContainsRune("$@", p.src[at]) {
		return string(p.src[at : at+2])
	}
	return string(p.src[at])
}

// statements reads statements up to closer, which is left where it is.
func (p *parser) statements(closer rune, opened int) {
	for {
		p.separators()
		if p.eof() {
			if closer != 0 {
				p.unclosed(closer, opened)
			}
			return
		}
		c := p.at(0)
		if closer != 0 && c == closer {
			return
		}
		if c == '}' || c == ')' {
			open := map[rune]string{'}': "{", ')': "("}[c]
			if closer != 0 {
				line, _ := p.place(opened)
				p.fail(p.pos, "close what line "+itoa(line)+" begins with "+p.opener(opened)+" first, or remove it", "unexpected "+string(c)+": "+string(closer)+" is missing before it")
			}
			p.fail(p.pos, "remove it, or add the "+open+" that it closes", "unexpected "+string(c)+": nothing is open that it could close")
		}
		p.statement()
		p.terminator()
	}
}

// terminator checks that a statement ends here.
func (p *parser) terminator() {
	p.ws()
	if p.eof() || p.newline() || p.at(0) == ';' || p.at(0) == ')' || p.at(0) == '}' {
		return
	}
	p.unexpected("in an expression or statement")
}

// block is { … }, after line ends.
func (p *parser) block(of string) {
	from := p.pos
	p.nl()
	if p.at(0) != '{' {
		p.pos = max(from, 0)
		p.ws()
		p.fail(p.pos, "write { … } after it", "missing { of "+of)
	}
	p.scriptBlock()
}

// scriptBlock is { … }.
func (p *parser) scriptBlock() {
	opened := p.pos
	p.pos++
	p.body('}', opened)
	p.pos++
}

// condition is ( pipeline ).
func (p *parser) condition(of string) {
	p.nl()
	if p.at(0) != '(' {
		p.fail(p.pos, "write ( … ) after "+of, "missing ( after "+of)
	}
	p.paren()
}

// statement reads one statement; the parser stands at its first character.
func (p *parser) statement() {
	defer p.deeper()()
	if p.at(0) == ':' && isWord(p.at(1)) {
		start := p.pos
		for p.pos++; isWord(p.at(0)); {
			p.pos++
		}
		p.nl()
		for _, loop := range []string{"foreach", "for", "while", "do", "switch"} {
			if p.keyword(loop) {
				start = -1
				break
			}
		}
		if start >= 0 {
			p.pos = start
		}
	}
	if p.at(0) == '[' {
		start := p.pos
		if !p.attributesThen("class") && !p.attributesThen("enum") && !p.attributesThen("configuration") {
			p.pos = start
		}
	}
	if !unicode.IsLetter(p.at(0)) {
		p.pipeline()
		return
	}
	start := p.pos
	word := p.leading()
	read, ok := keywords()[word]
	if !ok {
		p.pipeline()
		return
	}
	p.pos += len(word)
	if !read(p) {
		p.pos = start
		p.pipeline()
	}
}

// leading is the bare word that stands here, in lower case.
func (p *parser) leading() string {
	i := p.pos
	for i < len(p.src) && !endsWord(p.src[i]) && i-p.pos < 20 {
		i++
	}
	return strings.ToLower(string(p.src[p.pos:i]))
}

// keywords are the words that begin a statement. A reader reports false where the word is a command's name after all.
func keywords() map[string]func(*parser) bool {
	return map[string]func(*parser) bool{
		"if": (*parser).ifStatement, "while": (*parser).while, "for": (*parser).forLoop, "foreach": (*parser).foreach, "do": (*parser).do,
		"switch": (*parser).switchStatement, "try": (*parser).try, "trap": (*parser).trap,
		"function": (*parser).function, "filter": (*parser).function, "workflow": (*parser).function,
		"class": (*parser).class, "enum": (*parser).enum, "data": (*parser).data, "configuration": (*parser).configuration,
		"return": (*parser).flow, "throw": (*parser).flow, "exit": (*parser).flow, "break": (*parser).jump, "continue": (*parser).jump,
	}
}

func (p *parser) ifStatement() bool {
	p.condition("if")
	p.block("if")
	for {
		end := p.pos
		p.nl()
		switch {
		case p.keyword("elseif"):
			p.pos += len("elseif")
			p.condition("elseif")
			p.block("elseif")
			continue
		case p.keyword("else"):
			p.pos += len("else")
			p.block("else")
			return p.ended()
		}
		p.pos = end
		return p.ended()
	}
}

// ended puts nothing in the way of a statement that follows a closing brace on the same line, as in "if ($a) { } Write-Host".
func (p *parser) ended() bool {
	p.ws()
	if !p.eof() && !p.newline() && !strings.ContainsRune(";)}", p.at(0)) {
		p.statement()
	}
	return true
}

func (p *parser) while() bool {
	p.condition("while")
	p.block("while")
	return p.ended()
}

func (p *parser) do() bool {
	p.block("do")
	p.nl()
	switch {
	case p.keyword("while"):
		p.pos += len("while")
		p.condition("while")
	case p.keyword("until"):
		p.pos += len("until")
		p.condition("until")
	default:
		p.fail(p.pos, "write while (…) or until (…) after the block", "missing while or until of do")
	}
	return true
}

func (p *parser) forLoop() bool {
	p.nl()
	if p.at(0) != '(' {
		p.fail(p.pos, "write for (start; condition; step) { … }", "missing ( after for")
	}
	opened := p.pos
	p.pos++
	for part := 0; part < 3; part++ {
		p.nl()
		if c := p.at(0); c != ';' && c != ')' && !p.eof() {
			p.pipeline()
			p.ws()
		}
		for part < 2 && p.newline() {
			p.nl()
		}
		if p.at(0) == ';' && part < 2 {
			p.pos++
		}
	}
	p.nl()
	p.close(')', opened)
	p.block("for")
	return p.ended()
}

func (p *parser) foreach() bool {
	p.ws()
	for isDash(p.at(0)) { // -parallel and -throttlelimit of workflows
		p.word()
		p.ws()
		for isDigit(p.at(0)) || p.at(0) == '$' {
			p.word()
			p.ws()
		}
	}
	p.nl()
	if p.at(0) != '(' {
		p.fail(p.pos, "write foreach ($item in $list) { … }", "missing ( after foreach")
	}
	opened := p.pos
	p.pos++
	p.nl()
	if !p.variable() {
		p.fail(p.pos, "write foreach ($item in $list) { … }", "missing variable after foreach (")
	}
	p.nl()
	if !p.has("in") || isWord(p.at(2)) {
		p.fail(p.pos, "write foreach ($item in $list) { … }", "missing in after the variable of foreach")
	}
	p.pos += 2
	p.nl()
	if p.at(0) == ')' || p.eof() {
		p.fail(p.pos, "write foreach ($item in $list) { … }", "missing expression after in")
	}
	p.pipeline()
	p.nl()
	p.close(')', opened)
	p.block("foreach")
	return p.ended()
}

// close checks for the closing character and steps over it.
func (p *parser) close(closer rune, opened int) {
	if p.at(0) == closer && !p.eof() {
		p.pos++
		return
	}
	if p.eof() {
		p.unclosed(closer, opened)
	}
	line, _ := p.place(opened)
	p.fail(p.pos, "close what line "+itoa(line)+" begins with "+p.opener(opened), "unexpected "+p.seen()+": "+string(closer)+" is missing before it")
}

func (p *parser) switchStatement() bool {
	on := false
	for p.nl(); isDash(p.at(0)); p.nl() {
		file := p.has("-f") || p.at(1) == 'f' || p.at(1) == 'F'
		p.word()
		if file {
			p.ws()
			if !p.argument() {
				p.unexpected("after switch -file")
			}
			on = true
		}
	}
	if !on {
		p.condition("switch")
	}
	p.nl()
	if p.at(0) != '{' {
		p.fail(p.pos, "write { … } with the cases after it", "missing { of switch")
	}
	opened := p.pos
	p.pos++
	for p.separators(); p.at(0) != '}'; p.separators() {
		if p.eof() {
			p.unclosed('}', opened)
		}
		if !p.argument() {
			p.unexpected("where a case of switch begins")
		}
		p.block("a case of switch")
	}
	p.pos++
	return p.ended()
}

func (p *parser) try() bool {
	begun := p.pos - len("try")
	p.block("try")
	handled := false
	for {
		end := p.pos
		p.nl()
		switch {
		case p.keyword("catch") || p.has("catch["):
			p.pos += len("catch")
			for p.nl(); p.at(0) == '['; p.nl() {
				p.typeName()
				p.nl()
				if p.at(0) == ',' {
					p.pos++
				}
			}
			p.block("catch")
			handled = true
			continue
		case p.keyword("finally"):
			p.pos += len("finally")
			p.block("finally")
			return p.ended()
		}
		p.pos = end
		if !handled {
			p.fail(begun, "add catch { … } or finally { … } after its block", "try without catch or finally")
		}
		return p.ended()
	}
}

func (p *parser) trap() bool {
	if p.nl(); p.at(0) == '[' {
		p.typeName()
	}
	p.block("trap")
	return p.ended()
}

func (p *parser) flow() bool {
	p.ws()
	if p.eof() || p.newline() || strings.ContainsRune(";)}", p.at(0)) {
		return true
	}
	p.pipeline()
	return true
}

func (p *parser) jump() bool {
	p.ws()
	if p.eof() || p.newline() || strings.ContainsRune(";)}", p.at(0)) {
		return true
	}
	if isWord(p.at(0)) {
		p.word()
	} else {
		p.expression(true)
	}
	return true
}

// restOfLine steps to the line's end.
func (p *parser) restOfLine() {
	for !p.eof() && !p.newline() && p.at(0) != ';' {
		p.pos++
	}
}
