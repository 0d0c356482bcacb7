// Package diag holds a problem and its place in a file. It knows nothing of templates: every room that judges input
// returns a List, and one renderer shows them all.
package diag

import "fmt"

// Pos is a place in a file. Line and Column count from 1; zero means unknown. Bytes Start to End are the range, when known.
type Pos struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Start  int    `json:"-"`
	End    int    `json:"-"`
}

// String is file:line:column, as editors read it.
func (p Pos) String() string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return p.File
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Severity of a problem.
type Severity string

const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one thing wrong, where it is, why, and what to do about it.
type Problem struct {
	Severity Severity `json:"severity"`
	Summary  string   `json:"summary"`          // what is wrong, one line
	Detail   string   `json:"detail,omitempty"` // why
	Remedy   string   `json:"remedy,omitempty"` // what to do
	Pos      Pos      `json:"pos"`
}

// List is all problems found; it is an error when it has errors.
type List []Problem

// HasErrors reports whether any problem is an error.
func (l List) HasErrors() bool {
	for _, p := range l {
		if p.Severity == Error {
			return true
		}
	}
	return false
}

// Errorf adds an error.
func (l *List) Errorf(pos Pos, remedy, format string, args ...any) {
	*l = append(*l, Problem{Severity: Error, Summary: fmt.Sprintf(format, args...), Remedy: remedy, Pos: pos})
}

// Warnf adds a warning.
func (l *List) Warnf(pos Pos, remedy, format string, args ...any) {
	*l = append(*l, Problem{Severity: Warning, Summary: fmt.Sprintf(format, args...), Remedy: remedy, Pos: pos})
}
