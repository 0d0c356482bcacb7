package diag

import (
	"encoding/json"
	"io"
	"path/filepath"
	"regexp"
	"strings"
)

// RenderSARIF writes all problems in the form that code hosts show beside the lines of a change: SARIF 2.1.0
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0). Every summary, its quoted names left out, is a rule.
func RenderSARIF(w io.Writer, l List, version string) error {
	type text struct {
		Text string `json:"text"`
	}
	type region struct {
		StartLine   int `json:"startLine,omitempty"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	type artifact struct {
		URI string `json:"uri"`
	}
	type physical struct {
		Artifact artifact `json:"artifactLocation"`
		Region   *region  `json:"region,omitempty"`
	}
	type location struct {
		Physical physical `json:"physicalLocation"`
	}
	type result struct {
		Rule      string     `json:"ruleId"`
		Level     string     `json:"level"`
		Message   text       `json:"message"`
		Locations []location `json:"locations,omitempty"`
	}
	type rule struct {
		ID    string `json:"id"`
		Short text   `json:"shortDescription"`
	}
	type driver struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Rules   []rule `json:"rules"`
	}
	type run struct {
		Tool struct {
			Driver driver `json:"driver"`
		} `json:"tool"`
		ColumnKind string   `json:"columnKind"`
		Results    []result `json:"results"`
	}
	r := run{Results: []result{}, ColumnKind: "utf16CodeUnits"}
	r.Tool.Driver = driver{Name: "ingot", Version: version, Rules: []rule{}}
	seen := map[string]bool{}
	for _, p := range l.sorted() {
		id := ruleID(p.Summary)
		if !seen[id] {
			seen[id] = true
			r.Tool.Driver.Rules = append(r.Tool.Driver.Rules, rule{id, text{named.ReplaceAllString(p.Summary, "…")}})
		}
		message := p.Summary
		for _, more := range []string{p.Detail, p.Remedy} {
			if more != "" {
				message += ". " + more
			}
		}
		x := result{Rule: id, Level: string(p.Severity), Message: text{message}}
		if p.Pos.File != "" {
			loc := location{physical{Artifact: artifact{filepath.ToSlash(p.Pos.File)}}}
			if p.Pos.Line > 0 {
				loc.Physical.Region = &region{p.Pos.Line, max(p.Pos.Column, 1)}
			}
			x.Locations = []location{loc}
		}
		r.Results = append(r.Results, x)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{r}})
}

var (
	named  = regexp.MustCompile(`"[^"]*"|\d+`)
	others = regexp.MustCompile(`[^a-z]+`)
)

// ruleID names the kind of a problem: its summary without what it quotes, in words joined by hyphens.
func ruleID(summary string) string {
	words := strings.Trim(others.ReplaceAllString(strings.ToLower(named.ReplaceAllString(summary, "")), "-"), "-")
	if parts := strings.Split(words, "-"); len(parts) > 8 {
		words = strings.Join(parts[:8], "-")
	}
	if words == "" {
		return "problem"
	}
	return words
}
