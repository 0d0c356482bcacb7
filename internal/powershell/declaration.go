package powershell

import (
	"strings"
)

func (p *parser) function() bool {
	p.nl()
	if p.eof() || strings.ContainsRune("{}();|,&", p.at(0)) {
		p.fail(p.pos, "write function Name { … }", "missing name of a function")
	}
	p.word()
	end := p.pos
	if p.nl(); p.at(0) == '(' {
		p.parameters()
	} else {
		p.pos = end
	}
	p.block("the function")
	return p.ended()
}

func (p *parser) data() bool {
	p.ws()
	for !p.eof() && !p.newline() && p.at(0) != '{' {
		if !p.argument() {
			return false
		}
		p.ws()
		if p.at(0) == ',' {
			p.pos++
			p.ws()
		}
	}
	if p.nl(); p.at(0) != '{' {
		return false
	}
	p.scriptBlock()
	return p.ended()
}

// configuration is lenient: what is in it belongs to its resources.
func (p *parser) configuration() bool {
	p.ws()
	if p.eof() || p.newline() || !p.argument() {
		return false
	}
	if p.nl(); p.at(0) != '{' {
		return false
	}
	p.scriptBlock()
	return p.ended()
}

// paramBlock reads param ( … ) with the attributes before it, where there is one.
func (p *parser) paramBlock() {
	start := p.pos
	if p.at(0) == '[' && !p.attributesThen("param") {
		return
	}
	if !p.has("param") || isWord(p.at(5)) {
		p.pos = start
		return
	}
	p.pos += len("param")
	if p.nl(); p.at(0) != '(' {
		p.pos = start
		return
	}
	p.parameters()
}

// attributesThen looks over balanced attributes for a word, and steps to it; what is wrong in them is found when they are read.
func (p *parser) attributesThen(word string) (yes bool) {
	start, warned := p.pos, len(p.warnings)
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(failure); !ok {
				panic(r)
			}
			yes = false
		}
		if !yes {
			p.pos, p.warnings = start, p.warnings[:warned]
		}
	}()
	for p.at(0) == '[' {
		p.typeName()
		p.nl()
	}
	return p.has(word) && !isWord(p.at(len(word)))
}

// parameters is ( [type]$name = value, … ).
func (p *parser) parameters() {
	opened := p.pos
	p.pos++
	for p.nl(); p.at(0) != ')' || p.eof(); p.nl() {
		if p.eof() {
			p.unclosed(')', opened)
		}
		for p.at(0) == '[' {
			p.typeName()
			p.nl()
		}
		if !p.variable() {
			p.unexpected("where a parameter begins")
		}
		p.nl()
		if p.at(0) == '=' {
			p.pos++
			p.nl()
			p.expression(false)
			p.nl()
		}
		if p.at(0) == ',' {
			comma := p.pos
			p.pos++
			if p.nl(); p.at(0) == ')' {
				p.fail(comma, "remove the comma", "missing parameter after the last comma")
			}
			continue
		}
		p.close(')', opened)
		return
	}
	p.pos++
}

// namedBlock reads begin, process, end, dynamicparam or clean { … }; it reports false where none begins.
func (p *parser) namedBlock() bool {
	for _, name := range []string{"begin", "process", "end", "dynamicparam", "clean"} {
		if name == "clean" && !p.seven || !p.keyword(name) {
			continue
		}
		start := p.pos
		p.pos += len(name)
		if p.nl(); p.at(0) != '{' {
			p.pos = start
			return false
		}
		opened := p.pos
		p.pos++
		p.statements('}', opened)
		p.pos++
		return true
	}
	return false
}

func (p *parser) enum() bool {
	p.nl()
	if !isWord(p.at(0)) {
		return false
	}
	p.word()
	if p.nl(); p.at(0) == ':' {
		p.pos++
		p.nl()
		p.word()
		p.nl()
	}
	if p.at(0) != '{' {
		return false
	}
	opened := p.pos
	p.pos++
	for p.separators(); p.at(0) != '}'; p.separators() {
		switch {
		case p.eof():
			p.unclosed('}', opened)
		case !isWord(p.at(0)):
			p.unexpected("where a name of enum begins")
		}
		for isWord(p.at(0)) {
			p.pos++
		}
		if p.ws(); p.at(0) == '=' {
			p.pos++
			p.nl()
			p.expression(true)
		}
		p.terminator()
	}
	p.pos++
	return p.ended()
}

func (p *parser) class() bool {
	p.nl()
	if !isWord(p.at(0)) {
		return false
	}
	for !p.eof() && p.at(0) != '{' && p.at(0) != ';' && !strings.ContainsRune("()'\"$", p.at(0)) {
		p.pos++
	}
	if p.at(0) != '{' {
		return false
	}
	opened := p.pos
	p.pos++
	for p.separators(); p.at(0) != '}'; p.separators() {
		if p.eof() {
			p.unclosed('}', opened)
		}
		p.member()
	}
	p.pos++
	return p.ended()
}

// member is a property or method of a class.
func (p *parser) member() {
	for {
		p.nl()
		if p.at(0) == '[' {
			p.typeName()
			continue
		}
		if p.keyword("static") || p.keyword("hidden") {
			p.pos += len("static")
			continue
		}
		break
	}
	if p.variable() {
		if p.ws(); p.at(0) == '=' {
			p.pos++
			p.nl()
			p.statement()
		}
		p.terminator()
		return
	}
	if !isWord(p.at(0)) {
		p.unexpected("in a class")
	}
	for isWord(p.at(0)) {
		p.pos++
	}
	if p.nl(); p.at(0) != '(' {
		p.unexpected("after the name of a method")
	}
	p.parameters()
	if p.nl(); p.at(0) == ':' {
		p.pos++
		p.nl()
		p.word()
		if p.nl(); p.at(0) == '(' {
			p.arguments()
		}
	}
	p.block("a method")
}
