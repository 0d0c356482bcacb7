package template

import (
	"errors"
	"strings"

	"ingot/internal/diag"
)

// plainJSON reads a file of JSON that is not HCL: Packer's older language, or Image Builder's, which its keys tell.
func (l *loader) plainJSON(name string) {
	raw, ok := l.read(name)
	if !ok {
		return
	}
	root, err := readJSON(name, raw, true)
	if err != nil {
		l.problems.Errorf(jsonPlace(name, err), "", "cannot read the JSON: %v", err)
		return
	}
	has := func(keys ...string) bool {
		for _, k := range keys {
			if root.get(k) == nil {
				return false
			}
		}
		return true
	}
	pos := diag.Pos{File: name, Line: 1, Column: 1}
	schema := ""
	if s := root.get("$schema"); s != nil {
		schema = strings.ToLower(s.text)
	}
	switch {
	case root.kind != '{':
		l.problems.Errorf(pos, "", "a template is a JSON object, not %s", root.kindName())
	case has("builders"), has("provisioners"):
		l.r.Language = PackerJSON
		l.legacy(root)
	case strings.Contains(schema, "deploymentparameters"):
		l.problems.Errorf(pos, "name the template, and hand this file over with -var-file", "the file holds parameters of a deployment, not a template")
	case has("resources"):
		l.r.Language = ImageBuilder
		l.deployment(root)
	case root.get("properties").get("kind") != nil && root.get("properties").get("source") == nil:
		l.problems.Errorf(pos, "name the image template that the trigger belongs to", "the file holds a trigger of an image template, not a template")
	case has("properties"), has("source", "distribute"), has("customize", "distribute"):
		l.r.Language = ImageBuilder
		l.bareTemplate(root)
	default:
		l.problems.Errorf(pos, "a Packer template has builders, an Image Builder template properties with source and distribute, a deployment template resources",
			"the file is no template that Ingot knows")
	}
}

// jsonPlace is where a file of JSON cannot be read.
func jsonPlace(name string, err error) diag.Pos {
	var syntax *jsonSyntax
	if errors.As(err, &syntax) {
		return at(syntax.at)
	}
	return diag.Pos{File: name}
}
