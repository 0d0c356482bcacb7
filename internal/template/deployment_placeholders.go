package template

import (
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"ingot/internal/diag"
)

// hole is a placeholder as Microsoft's examples have them, to be replaced with a text substitution: <region>.
var hole = regexp.MustCompile(`<[A-Za-z][A-Za-z0-9_.-]*>`)

// leftOver names what was given and is asked for nowhere.
func (d *deployment) leftOver() {
	for _, name := range keys(d.fills) {
		if !d.filled[name] {
			d.problems.Errorf(diag.Pos{}, meant(name, keys(d.params)), "-var sets %q, which is neither a parameter nor a <placeholder> of the template", name)
		}
	}
}

// placeholders names each <placeholder> that is left in what is no script, once, and reports whether n may be read.
func (d *deployment) placeholders(n *jsonNode, script bool) {
	switch n.kind {
	case '{':
		for _, f := range n.fields {
			d.placeholderIn(f.name, f.at, false)
			d.placeholders(f.value, slices.Contains([]string{"inline", "restartCommand", "restartCheckCommand", "searchCriteria", "filters"}, f.name))
		}
	case '[':
		for _, x := range n.items {
			d.placeholders(x, script)
		}
	case '"':
		d.placeholderIn(n.text, n.at, script)
	}
}

func (d *deployment) placeholderIn(text string, r hcl.Range, script bool) {
	if script {
		return
	}
	for _, h := range hole.FindAllString(text, -1) {
		if name := h[1 : len(h)-1]; !d.empty[name] {
			d.empty[name] = true
			d.problems.Errorf(at(r), "set it with -var "+name+"=…, or write the value into the file", "the placeholder %s has no value", h)
		}
	}
}
