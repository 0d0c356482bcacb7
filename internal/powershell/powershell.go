// Package powershell finds syntax errors in PowerShell text without running it. It knows the language (Windows PowerShell 5.1, and
// PowerShell 7 where asked) and nothing of templates, guests or Azure.
//
// It is a parser that builds nothing: it walks the grammar (PowerShell Language Specification 3.0, and
// System.Management.Automation/engine/parser of PowerShell's own source, read for behaviour) and stops at the first thing that
// PowerShell's own parser refuses. Where it is not certain it lets the text pass: a script that runs must never be refused.
package powershell

import "strings"

// Problem is a syntax error, or, as a warning, something that parses and cannot have been meant.
type Problem struct {
	Line, Column    int // from 1; Column counts characters
	Summary, Remedy string
	Warning         bool
}

// Options say how a text will be run.
type Options struct {
	// Seven allows what PowerShell 7 added: &&, ||, ?:, ??, ?. and lines that start with |.
	Seven bool
	// Hidden keeps every piece of the text out of what is said of it.
	Hidden bool
}

// Check returns the warnings of a script up to its first syntax error, and that one last; nil for a sound script. It never panics and takes time linear in the text's length, nested
// structures deeper than 2000 levels excepted, which it does not judge.
func Check(text string, o Options) (found []Problem) {
	p := &parser{src: []rune(strings.TrimPrefix(text, "\ufeff")), seven: o.Seven || requiresSeven(text), hidden: o.Hidden}
	defer func() {
		for _, f := range p.warnings {
			line, column := p.place(f.at)
			found = append(found, Problem{line, column, f.summary, f.remedy, true})
		}
		switch r := recover().(type) {
		case nil, tooDeep:
		case failure:
			line, column := p.place(r.at)
			found = append(found, Problem{line, column, r.summary, r.remedy, false})
		default:
			panic(r)
		}
	}()
	p.script()
	return nil
}

// Broken reports whether Check finds an error, warnings aside.
func Broken(text string, o Options) bool {
	found := Check(text, o)
	return len(found) > 0 && !found[len(found)-1].Warning
}

// Head says what a script begins with that may stand at the beginning only: "using", "param", "blocks" (begin, process and end) or "".
func Head(text string) (what string) {
	p := &parser{src: []rune(strings.TrimPrefix(text, "\ufeff")), seven: true}
	defer func() {
		if r := recover(); r != nil {
			switch r.(type) {
			case failure, tooDeep:
				what = ""
			default:
				panic(r)
			}
		}
	}()
	p.separators()
	if p.keyword("using") {
		return "using"
	}
	before := p.pos
	p.paramBlock()
	if p.pos > before {
		what = "param"
	}
	if p.separators(); p.namedBlock() {
		what = "blocks"
	}
	return what
}

// requiresSeven reads "#requires -Version 7", which Windows PowerShell refuses by itself, and "-PSEdition Core".
func requiresSeven(text string) bool {
	for line := range strings.Lines(text) {
		l := strings.ToLower(strings.TrimSpace(line))
		if rest, ok := strings.CutPrefix(l, "#requires"); ok {
			if strings.Contains(rest, "-psedition core") {
				return true
			}
			if _, v, ok := strings.Cut(rest, "-version"); ok {
				v = strings.TrimSpace(v)
				if len(v) > 0 && v[0] >= '6' && v[0] <= '9' {
					return true
				}
			}
		}
	}
	return false
}

// failure is how the parser stops.
type failure struct {
	at              int
	summary, remedy string
}

type tooDeep struct{}

type parser struct {
	src      []rune
	pos      int
	seven    bool
	hidden   bool
	depth    int
	warnings []failure
}

// place is the line and column of an offset.
func (p *parser) place(at int) (line, column int) {
	line, column = 1, 1
	for i := 0; i < min(at, len(p.src)); i++ {
		if p.src[i] == '\n' || p.src[i] == '\r' && !(i+1 < len(p.src) && p.src[i+1] == '\n') {
			line, column = line+1, 1
		} else {
			column++
		}
	}
	return line, column
}

func (p *parser) fail(at int, remedy, summary string) { panic(failure{at, summary, remedy}) }

func (p *parser) warn(at int, remedy, summary string) {
	for _, w := range p.warnings {
		if w.at == at {
			return // read twice
		}
	}
	p.warnings = append(p.warnings, failure{at, summary, remedy})
}

// deeper guards the stack.
func (p *parser) deeper() func() {
	p.depth++
	if p.depth > 2000 {
		panic(tooDeep{})
	}
	return func() { p.depth-- }
}

// unexpected refuses what stands at the parser's place.
func (p *parser) unexpected(where string) {
	p.fail(p.pos, "look for a missing quote, bracket, operator or line break before it", "unexpected "+p.seen()+" "+where)
}

// seen names what stands at the parser's place, in a few characters.
func (p *parser) seen() string {
	if p.eof() {
		return "end of the script"
	}
	if p.newline() {
		return "end of the line"
	}
	i := p.pos
	for i < len(p.src) && i < p.pos+24 && !isSpace(p.src[i]) && p.src[i] != '\n' && p.src[i] != '\r' && (i == p.pos || !strings.ContainsRune("(){};,|&=\"'", p.src[i])) {
		i++
	}
	return p.quote(string(p.src[p.pos:max(i, p.pos+1)]))
}

// quote shows a piece of the text, unless it may be secret.
func (p *parser) quote(s string) string {
	if p.hidden {
		return "text"
	}
	return "'" + s + "'"
}
