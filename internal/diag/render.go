package diag

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Sources are the texts of files by name, for showing the line a problem is in.
type Sources map[string][]byte

// sorted is the list in the order of files and places.
func (l List) sorted() List {
	out := slices.Clone(l)
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return out
}

// Render shows every problem with its place, the line it is in, and what to do.
func Render(w io.Writer, l List, s Sources, color bool) {
	paint := func(code, text string) string {
		if !color {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	for _, p := range l.sorted() {
		head := paint("1;31", "Error")
		if p.Severity == Warning {
			head = paint("1;33", "Warning")
		}
		fmt.Fprintf(w, "%s: %s\n", head, paint("1", printable(p.Summary)))
		if p.Pos.File != "" {
			fmt.Fprintf(w, "\n  on %s", p.Pos.File)
			if p.Pos.Line > 0 {
				fmt.Fprintf(w, " line %d", p.Pos.Line)
			}
			fmt.Fprintln(w, ":")
			if line, ok := lineOf(s[p.Pos.File], p.Pos.Line); ok {
				fmt.Fprintf(w, "  %4d: %s\n", p.Pos.Line, line)
			}
		}
		if p.Detail != "" {
			fmt.Fprintf(w, "\n  %s\n", printable(p.Detail))
		}
		if p.Remedy != "" {
			fmt.Fprintf(w, "\n  Remedy: %s\n", printable(p.Remedy))
		}
		fmt.Fprintln(w)
	}
}

// lineOf is a line of a text, cut to what a screen holds.
func lineOf(text []byte, n int) (string, bool) {
	if n < 1 {
		return "", false
	}
	lines := bytes.Split(text, []byte("\n"))
	if n > len(lines) || len(text) == 0 {
		return "", false
	}
	line := []rune(strings.TrimRight(string(lines[n-1]), "\r"))
	if len(line) > 160 {
		line = append(line[:160], '…')
	}
	return printable(string(line)), true
}

// printable keeps a template's control characters from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\n' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// RenderJSON writes all problems as one JSON object.
func RenderJSON(w io.Writer, l List) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Valid    bool `json:"valid"`
		Problems List `json:"problems"`
	}{!l.HasErrors(), append(List{}, l.sorted()...)})
}
