package template

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"ingot/internal/diag"
)

const hidden = "(secret)"

// maskLiteral keeps a secret that stands in the template as it is from being shown with a problem of its line. An expression
// over variables shows nothing.
func (l *loader) maskLiteral(e hcl.Expression) {
	if len(e.Variables()) == 0 {
		l.masks = append(l.masks, e.Range())
	}
}

// mask takes every secret out of what is shown of this call: the texts of the files, and the problems. A function's error may
// quote its argument. The same problem found for several sources is kept once.
func (l *loader) mask() {
	for name, raw := range l.r.Sources {
		l.r.Sources[name] = l.maskRanges(name, raw)
	}
	values := slices.Clone(l.r.SensitiveValues)
	for _, v := range l.r.Secrets {
		if len(v) >= 4 {
			values = append(values, v)
		}
	}
	// Longest first: a secret that contains another is hidden whole.
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for _, v := range slices.Compact(values) {
		instead := hidden + strings.Repeat("\n", strings.Count(v, "\n"))
		for name, raw := range l.r.Sources {
			if bytes.Contains(raw, []byte(v)) {
				l.r.Sources[name] = bytes.ReplaceAll(raw, []byte(v), []byte(instead))
			}
		}
		for i := range l.problems {
			p := &l.problems[i]
			p.Summary, p.Detail, p.Remedy = strings.ReplaceAll(p.Summary, v, hidden), strings.ReplaceAll(p.Detail, v, hidden), strings.ReplaceAll(p.Remedy, v, hidden)
		}
	}
	seen := map[diag.Problem]bool{}
	l.problems = slices.DeleteFunc(l.problems, func(p diag.Problem) bool {
		again := seen[p]
		seen[p] = true
		return again
	})
}

// maskRanges hides the ranges of one file. Lines stay where they are.
func (l *loader) maskRanges(name string, raw []byte) []byte {
	var ranges []hcl.Range
	for _, r := range l.masks {
		if r.Filename == name && r.Start.Byte < r.End.Byte && r.End.Byte <= len(raw) {
			ranges = append(ranges, r)
		}
	}
	slices.SortFunc(ranges, func(a, b hcl.Range) int { return a.Start.Byte - b.Start.Byte })
	var out []byte
	end := 0
	for _, r := range ranges {
		if r.Start.Byte < end {
			continue // the same place, or inside one that is hidden already
		}
		out = append(out, raw[end:r.Start.Byte]...)
		out = append(out, hidden...)
		out = append(out, bytes.Repeat([]byte("\n"), bytes.Count(raw[r.Start.Byte:r.End.Byte], []byte("\n")))...)
		end = r.End.Byte
	}
	return append(out, raw[end:]...)
}

// bounded refuses what no person writes and what would exhaust the parser's stack: hcl's parser calls itself for each bracket
// and each operator, and a stack of Go's that is full ends the program.
func bounded(raw []byte) error {
	const size, depth = 4 << 20, 2000
	if len(raw) > size {
		return errors.New("it is larger than 4 MiB; put long texts into files of their own, and read them with file()")
	}
	if bytes.HasPrefix(raw, []byte("\xff\xfe")) || bytes.HasPrefix(raw, []byte("\xfe\xff")) {
		return errors.New("it is UTF-16, as Windows PowerShell's > writes files; save it as UTF-8")
	}
	level, signs := 0, 0
	for _, c := range raw {
		switch c {
		case '!', '-':
			if signs++; signs > depth {
				return errors.New("it has a run of more than 2000 signs")
			}
			continue
		case ' ', '\t', '\r', '\n':
			continue
		}
		signs = 0
		switch c {
		case '(', '[', '{':
			if level++; level > depth {
				return errors.New("its brackets nest more than 2000 deep")
			}
		case ')', ']', '}':
			level = max(level-1, 0)
		}
	}
	return nil
}
