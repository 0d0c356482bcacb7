// Package explain turns an error text or a log (Packer's, Image Builder's customization.log, a pipeline's, an extension's) into
// causes and fixes. What it knows is the catalogue: data, one entry a cause. It knows nothing of Azure clients, engines or runs,
// and imports the standard library only.
package explain

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Entry is one cause that the catalogue knows.
//
// Its patterns are regular expressions in lower case, matched against the text in lower case; a space stands for white space,
// line ends and what a console puts before a line too, because consoles wrap; " ?" for white space or none. A dot does not cross a
// line's end. Single and double quotes and backticks are alike. A match reaches over a few lines at most (see reach).
type Entry struct {
	ID   string
	Line []string // one of these must match; where it does is the line that is shown
	With []string // all of these must match within Around lines of it
	Not  []string // none of these may match on the line itself

	Cause   string
	Fix     string
	Command string // {name} is a group of the Line pattern; a word in <> is for the reader to fill in
	Source  string // where the fact comes from: a page, a thread

	General  bool // says what kind of error it is, not why: comes after those that do, and not at all where another explains the same line
	Outer    bool // only wraps another error: comes after the general ones, and not at all where one of the others is near
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

	general, outer bool
}

// Catalogue is everything that is known, in the order of its files.
func Catalogue() []Entry {
	return slices.Concat(imageBuilder(), packer(), azureCodes(), machines(), networks(), vaults(), entra(), gallery(), windows(), updates(), scripts(), guest(), join(), desktop(), pipelines(), terraform())
}

// Explain finds the causes that a text tells of, the best first: those that name a cause before those that name a kind of error, those
// that only wrap another error after these, what is harmless last, and otherwise in the order of the text, because the first failure
// makes the others. Nothing known: nil.
func Explain(text string) []Finding {
	s := scan{of: catalogue()}
	s.block(text, true)
	return s.findings()
}

// Read explains a log of any length, of which it holds some MiB at a time. Its error is the reader's.
func Read(r io.Reader) ([]Finding, error) {
	s := scan{of: catalogue()}
	if err := s.read(r); err != nil {
		return nil, err
	}
	return s.findings(), nil
}

// near is within how many lines a wrapping error belongs to another finding.
const near = 15

// findings are what was found, in order, without what the others make superfluous.
func (s *scan) findings() []Finding {
	told := func(f Finding, lines int, of func(Finding) bool) bool {
		return slices.ContainsFunc(s.found, func(o Finding) bool {
			return o.ID != f.ID && !o.Harmless && of(o) && f.Line-lines <= o.Line && o.Line <= f.Line+lines
		})
	}
	var kept []Finding
	for _, f := range s.found {
		switch {
		case f.outer && told(f, near, func(o Finding) bool { return !o.outer }):
		case f.general && told(f, 0, func(o Finding) bool { return !o.outer && !o.general }):
		default:
			kept = append(kept, f)
		}
	}
	slices.SortStableFunc(kept, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	Sort(kept)
	return kept
}

// Sort puts findings that name a cause first and harmless ones last, and leaves them in their order otherwise.
func Sort(found []Finding) {
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(a.rank(), b.rank()) })
}

// General reports that the finding tells what kind of error it is, not why.
func (f Finding) General() bool { return f.general || f.outer }

func (f Finding) rank() int {
	switch {
	case f.Harmless:
		return 3
	case f.outer:
		return 2
	case f.general:
		return 1
	}
	return 0
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
