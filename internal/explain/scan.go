package explain

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
)

// known is the catalogue made ready to search: the words of which each pattern needs one, and where in a text they are.
type known struct {
	entries []entry
	words   *finder
}

type entry struct {
	Entry
	line []pattern
}

// pattern is compiled when a text has one of its words, which few do: compiling all of them takes longer than most texts.
type pattern struct {
	words []int // of the finder; none: nothing is known, and the pattern is tried on everything
	re    func() *regexp.Regexp
}

// catalogue is made once: it never changes.
var catalogue = sync.OnceValue(func() *known {
	k := &known{}
	number := map[string]int{}
	var words []string
	for _, e := range Catalogue() {
		en := entry{Entry: e}
		for _, p := range e.Line {
			pt := pattern{re: sync.OnceValue(func() *regexp.Regexp { return compile(p) })}
			if tree, err := syntax.Parse(spaced(p), syntax.Perl); err == nil {
				for _, w := range needed(tree) {
					if _, ok := number[w]; !ok {
						number[w] = len(words)
						words = append(words, w)
					}
					pt.words = append(pt.words, number[w])
				}
			}
			en.line = append(en.line, pt)
		}
		k.entries = append(k.entries, en)
	}
	k.words = newFinder(words)
	return k
})

// spaced writes a pattern's spaces out, and its quotes as the text has them.
func spaced(p string) string {
	return strings.NewReplacer(" ?", `\s*`, " ", `\s+`, `"`, "'", "`", "'").Replace(p)
}

// compile cannot fail on the catalogue's patterns, which a test compiles one by one.
func compile(p string) *regexp.Regexp { return regexp.MustCompile(spaced(p)) }

// needed are words of which every text that matches has at least one; none where that is not known.
func needed(t *syntax.Regexp) []string {
	switch t.Op {
	case syntax.OpLiteral:
		return []string{string(t.Rune)}
	case syntax.OpCapture, syntax.OpPlus:
		return needed(t.Sub[0])
	case syntax.OpRepeat:
		if t.Min > 0 {
			return needed(t.Sub[0])
		}
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

// scan goes through a text block by block.
type scan struct {
	of    *known
	base  int // lines before the block
	found []Finding
}

const (
	// reach is how many lines before and after one of its words a pattern is tried on.
	reach = 6
	// blockSize is how much of a log is held at a time, some copies of it aside.
	blockSize = 4 << 20
	// most is what is kept of a block for the next one, which it begins with.
	most = blockSize / 4
)

// read takes a text in blocks that overlap by as many lines as an entry may look around.
func (s *scan) read(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	buf := make([]byte, 0, blockSize)
	for {
		n, err := io.ReadFull(in, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			s.block(string(buf), true)
			return nil
		}
		if err != nil {
			return err
		}
		end := len(buf)
		if i := strings.LastIndexByte(string(buf[end-most:]), '\n'); i >= 0 {
			end = end - most + i + 1
		}
		block := string(buf[:end])
		s.block(block, false)
		from, lines := end, 0
		for from > 0 && end-from < most && lines <= 3*Around {
			if from--; buf[from] == '\n' {
				lines++
			}
		}
		if from > 0 && buf[from] == '\n' {
			from++
		}
		s.base += strings.Count(block[:from], "\n")
		buf = append(buf[:0:cap(buf)], buf[from:]...)
	}
}

// block searches a part of the text for what was not found yet. Unless it is the last one, its last lines are left to the next block,
// which knows what comes after them.
func (s *scan) block(text string, last bool) {
	t := read(text)
	hits := s.of.words.find(t.lower)
	limit := len(t.starts)
	if !last {
		limit = max(1, limit-Around-reach)
	}
	for i := range s.of.entries {
		e := &s.of.entries[i]
		if slices.ContainsFunc(s.found, func(f Finding) bool { return f.ID == e.ID }) {
			continue
		}
		if f, ok := t.match(e, hits, limit); ok {
			f.Line += s.base
			s.found = append(s.found, f)
		}
	}
}

// window is a range of lines, from 0, the last included.
type window struct{ first, last int }

// windows are the lines in which a pattern may match, given where the words are.
func (l lines) windows(p pattern, hits [][]int) []window {
	if len(p.words) == 0 {
		return []window{{0, len(l.starts) - 1}}
	}
	var out []window
	for _, w := range p.words {
		for _, at := range hits[w] {
			n := l.number(at)
			out = append(out, window{max(0, n-reach), min(len(l.starts)-1, n+reach)})
		}
	}
	slices.SortFunc(out, func(a, b window) int { return cmp.Compare(a.first, b.first) })
	merged := out[:0]
	for _, w := range out {
		if n := len(merged); n > 0 && w.first <= merged[n-1].last+1 {
			merged[n-1].last = max(merged[n-1].last, w.last)
		} else {
			merged = append(merged, w)
		}
	}
	return merged
}

// match finds the first place where an entry agrees with the text.
func (l lines) match(e *entry, hits [][]int, limit int) (Finding, bool) {
	best, first, last := -1, 0, 0
	for _, p := range e.line {
		if len(p.words) > 0 && !slices.ContainsFunc(p.words, func(w int) bool { return len(hits[w]) > 0 }) {
			continue
		}
		if at, from, to := l.first(e, p.re(), l.windows(p, hits), limit); at >= 0 && (best < 0 || at < best) {
			best, first, last = at, from, to
		}
	}
	if best < 0 {
		return Finding{}, false
	}
	from, to := l.span(first, last)
	f := Finding{ID: e.ID, Cause: e.Cause, Fix: e.Fix, Command: e.Command, Source: e.Source, Harmless: e.Harmless, general: e.General, outer: e.Outer, Line: first + 1, Text: show(l.text[from:to], best-from)}
	// A code and the sentence that has the names in it are often on one line.
	for _, p := range e.line {
		re := p.re()
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

// first is where the pattern first matches in the windows so that the entry agrees, and in which lines; -1 for nowhere.
func (l lines) first(e *entry, re *regexp.Regexp, in []window, limit int) (at, first, last int) {
	for _, w := range in {
		from, end := l.span(w.first, w.last)
		for from < end {
			m := re.FindStringIndex(l.lower[from:end])
			if m == nil {
				break
			}
			a, z := l.number(from+m[0]), l.number(max(from+m[1]-1, from+m[0]))
			if a >= limit {
				return -1, 0, 0
			}
			if l.agrees(e.Entry, a, z) {
				return from + m[0], a, z
			}
			// The line has been judged: the next one.
			if a+1 >= len(l.starts) {
				break
			}
			from = max(l.starts[a+1], from+1)
		}
	}
	return -1, 0, 0
}

func (l lines) agrees(e Entry, first, last int) bool {
	from, to := l.span(first, last)
	for _, p := range e.Not {
		if compile(p).MatchString(l.lower[from:to]) {
			return false
		}
	}
	from, to = l.span(first-Around, last+Around)
	for _, p := range e.With {
		if !compile(p).MatchString(l.whole[from:to]) {
			return false
		}
	}
	return true
}
