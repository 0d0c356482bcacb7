// Package explain turns an error text or a log (Packer's, Image Builder's customization.log, a pipeline's, an extension's) into
// causes and fixes. What it knows is the catalogue: data, one entry a cause. It knows nothing of Azure clients, engines or runs,
// and imports the standard library only.
package explain

import (
	"cmp"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Entry is one cause that the catalogue knows.
//
// Its patterns are regular expressions in lower case, matched against the text in lower case; a space stands for white space,
// line ends too, because consoles wrap; " ?" for white space or none. A dot does not cross a line's end.
type Entry struct {
	ID   string
	Line []string // one of these must match; where it does is the line that is shown
	With []string // all of these must match within Around lines of it
	Not  []string // none of these may match on the line itself

	Cause   string
	Fix     string
	Command string // {name} is a group of the Line pattern; a word in <> is for the reader to fill in
	Source  string // where the fact comes from: a page, a thread

	General  bool // says what kind of error it is, not why: comes last, and not at all where another entry explains the same line
	Harmless bool // often taken for the cause, and is not
}

// Around is how many lines before and after its line an entry's other patterns are looked for in.
const Around = 40

// Finding is an entry that matched.
type Finding struct {
	ID       string `json:"id"`
	Cause    string `json:"cause"`
	Fix      string `json:"fix"`
	Command  string `json:"command,omitempty"`
	Source   string `json:"source"`
	Line     int    `json:"line"` // from 1
	Text     string `json:"text"` // of the line, without colours and what looks like a secret; at most 300 characters
	Harmless bool   `json:"harmless,omitempty"`

	general bool
}

// Catalogue is everything that is known, in the order of its files.
func Catalogue() []Entry {
	return slices.Concat(imageBuilder(), packer(), azureCodes(), gallery(), windows(), guest(), join(), desktop(), pipelines())
}

// Explain finds the causes that a text tells of, the best first: those that name a cause before those that name a kind of error, what
// is harmless last, and otherwise in the order of the text, because the first failure makes the others. Nothing known: nil.
func Explain(text string) []Finding { return explain(Catalogue(), text) }

func explain(entries []Entry, text string) []Finding {
	t := read(text)
	var found []Finding
	for _, e := range entries {
		if f, ok := t.match(e); ok {
			found = append(found, f)
		}
	}
	told := map[int]bool{}
	for _, f := range found {
		if !f.general && !f.Harmless {
			told[f.Line] = true
		}
	}
	found = slices.DeleteFunc(found, func(f Finding) bool { return f.general && told[f.Line] })
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	Sort(found)
	return found
}

// Sort puts findings that name a cause first and harmless ones last, and leaves them in their order otherwise.
func Sort(found []Finding) {
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(a.rank(), b.rank()) })
}

// General reports that the finding tells what kind of error it is, not why.
func (f Finding) General() bool { return f.general }

func (f Finding) rank() int {
	switch {
	case f.Harmless:
		return 2
	case f.general:
		return 1
	}
	return 0
}

// lines is a text as it is searched: of the same length in both forms, so that a place in one is a place in the other.
type lines struct {
	text, lower string
	starts      []int
}

// colours are the escape sequences that Packer and pipelines put into their logs.
var colours = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

func read(text string) lines {
	text = colours.ReplaceAllString(text, "")
	// Errors travel as JSON inside JSON inside logs.
	for strings.Contains(text, `\"`) {
		text = strings.ReplaceAll(text, `\"`, `"`)
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u00a0", " ", "‘", "'", "’", "'", "“", `"`, "”", `"`).Replace(text)
	l := lines{text: text, lower: lower(text), starts: []int{0}}
	for i := range len(text) {
		if text[i] == '\n' {
			l.starts = append(l.starts, i+1)
		}
	}
	return l
}

// lower touches ASCII only, which keeps every byte in its place.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
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

func (l lines) match(e Entry) (Finding, bool) {
	var patterns []*regexp.Regexp
	for _, p := range e.Line {
		if l.may(p) {
			patterns = append(patterns, compile(p))
		}
	}
	best, first, last := -1, 0, 0
	for _, re := range patterns {
		for _, at := range re.FindAllStringIndex(l.lower, maxMatches) {
			if best >= 0 && at[0] >= best {
				break
			}
			if from, to := l.number(at[0]), l.number(max(at[1]-1, at[0])); l.agrees(e, from, to) {
				best, first, last = at[0], from, to
				break
			}
		}
	}
	if best < 0 {
		return Finding{}, false
	}
	from, to := l.span(first, last)
	f := Finding{ID: e.ID, Cause: e.Cause, Fix: e.Fix, Command: e.Command, Source: e.Source, Harmless: e.Harmless, general: e.General, Line: first + 1, Text: show(l.text[from:to], best-from)}
	// A code and the sentence that has the names in it are often on one line.
	for _, re := range patterns {
		at := re.FindStringSubmatchIndex(l.lower[from:to])
		for i, name := range re.SubexpNames() {
			if at != nil && name != "" && at[2*i] >= 0 {
				f.fill(name, l.text[from:to][at[2*i]:at[2*i+1]])
			}
		}
	}
	for _, s := range []*string{&f.Cause, &f.Fix, &f.Command} {
		*s = rest.ReplaceAllString(*s, "<$1>")
	}
	return f, true
}

// maxMatches bounds how often one pattern is tried in a log that repeats a line for hours.
const maxMatches = 1000

func (l lines) agrees(e Entry, first, last int) bool {
	from, to := l.span(first, last)
	for _, p := range e.Not {
		if compile(p).MatchString(l.lower[from:to]) {
			return false
		}
	}
	from, to = l.span(first-Around, last+Around)
	for _, p := range e.With {
		if !compile(p).MatchString(l.lower[from:to]) {
			return false
		}
	}
	return true
}

// spaced writes a pattern's spaces out.
func spaced(p string) string {
	return strings.NewReplacer(" ?", `\s*`, " ", `\s+`).Replace(p)
}

// compile cannot fail on the catalogue's patterns, which a test compiles one by one.
func compile(p string) *regexp.Regexp { return regexp.MustCompile(spaced(p)) }

// may tells without compiling that a pattern cannot match: none of the words is there of which it needs one. Most of the catalogue has
// nothing to say of any one text, and its patterns are costly to compile and slow on a log of many MiB.
func (l lines) may(p string) bool {
	tree, err := syntax.Parse(spaced(p), syntax.Perl)
	if err != nil {
		return true
	}
	words := needed(tree)
	return len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return strings.Contains(l.lower, w) })
}

// needed are words of which every text that matches has at least one; none where that is not known.
func needed(t *syntax.Regexp) []string {
	switch t.Op {
	case syntax.OpLiteral:
		return []string{string(t.Rune)}
	case syntax.OpCapture, syntax.OpPlus:
		return needed(t.Sub[0])
	case syntax.OpAlternate:
		var all []string
		for _, s := range t.Sub {
			words := needed(s)
			if len(words) == 0 {
				return nil
			}
			all = append(all, words...)
		}
		return all
	case syntax.OpConcat:
		var best []string
		for _, s := range t.Sub {
			if words := needed(s); shortest(words) > shortest(best) {
				best = words
			}
		}
		return best
	}
	return nil
}

func shortest(words []string) int {
	if len(words) == 0 {
		return 0
	}
	return len(slices.MinFunc(words, func(a, b string) int { return cmp.Compare(len(a), len(b)) }))
}

var (
	rest = regexp.MustCompile(`\{([a-z]+)\}`)
	// safe is what names and ids of Azure consist of. A log is written by others, and a command is pasted into a shell.
	safe = regexp.MustCompile(`^[A-Za-z0-9_./:@~-]+$`)
)

func (f *Finding) fill(name, value string) {
	value = strings.TrimRight(value, ".")
	if !safe.MatchString(value) {
		return
	}
	for _, s := range []*string{&f.Cause, &f.Fix, &f.Command} {
		*s = strings.ReplaceAll(*s, "{"+name+"}", value)
	}
}

// secret is what should not be on a screen that shows a line of a log: signatures, tokens, and values of what is called a password or secret.
var secret = regexp.MustCompile(`(?i)([?&]sig=|bearer\s+|(?:password|passwd|pwd|secret|client_secret|accountkey|sharedaccesskey|registrationtoken|registrationinfotoken|client_jwt|access_token)["']?\s*[=:]\s*["']?)[^\s"'&;,]+`)

const shown = 300

// show is a line made fit to be shown: the part around the match, on one line, nothing that draws on a terminal, no secret.
func show(s string, at int) string {
	at = len(Hide(s[:at]))
	s = Hide(s) // before the cut, which could part a secret from its name
	if len(s) > shown {
		from := max(0, min(at-20, len(s)-shown))
		s = s[from:min(len(s), from+shown)]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f && r <= 0x9f || r == '\ufffd':
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// Hide takes out what looks like a secret in a text whose secrets nobody has named.
func Hide(s string) string { return secret.ReplaceAllString(s, "${1}(hidden)") }

// String is the finding as people read it.
func (f Finding) String() string {
	var b strings.Builder
	head := "Cause:  "
	if f.Harmless {
		head = "Harmless, not the cause: "
	}
	fmt.Fprintf(&b, "%s%s\nFix:    %s\n", head, f.Cause, f.Fix)
	if f.Command != "" {
		fmt.Fprintf(&b, "Run:    %s\n", f.Command)
	}
	fmt.Fprintf(&b, "Source: %s", f.Source)
	return b.String()
}
