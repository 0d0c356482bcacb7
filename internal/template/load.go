// Package template reads templates into image.Image. It is the only room that knows a template language and the only
// importer of hcl. Everything wrong with a template is reported at once, with its place.
package template

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"ingot/internal/diag"
	"ingot/internal/image"
)

// Options are what surrounds a template.
type Options struct {
	Vars           []string // -var, "name=value" each
	VarFiles       []string // -var-file
	Env            []string // "KEY=value"; PKR_VAR_name sets a variable
	Only, Except   []string // globs over build names
	Cwd            string   // what relative paths start from; default: the process's
	WarnUndeclared bool
	Now            time.Time // what timestamp() says; default: now
}

// Result is a template as far as it could be read.
type Result struct {
	Images          []*image.Image    // one per source of every build
	Secrets         map[string]string // values of the hidden texts in Images, by their names
	SensitiveValues []string          // values of sensitive variables
	Files           []string          // files read
	Sources         diag.Sources      // their texts, for rendering problems
	NeedVars        []string          // sensitive variables that were given with -var
}

// loader is one call of Load.
type loader struct {
	o        Options
	dir      string
	folder   bool // a folder was named, not a file
	r        *Result
	problems diag.List
	files    []*hclsyntax.Body

	vars    map[string]*variable
	values  map[string]cty.Value // var.*
	locals  map[string]*local
	sources map[string]*hclsyntax.Block // "azure-arm.name"
	builds  []*hclsyntax.Block
	funcs   functionTable
	names   map[string]bool // of images
	masks   []hcl.Range     // what must not be shown of the files
}

// Load reads a file or a folder in Packer's HCL2. It never returns a nil result.
func Load(path string, o Options) (*Result, diag.List) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Cwd == "" {
		if cwd, err := os.Getwd(); err == nil {
			o.Cwd = cwd
		}
	}
	l := &loader{o: o, r: &Result{Secrets: map[string]string{}, Sources: diag.Sources{}}, vars: map[string]*variable{}, values: map[string]cty.Value{},
		locals: map[string]*local{}, sources: map[string]*hclsyntax.Block{}, names: map[string]bool{}}
	names, err := l.find(path)
	if err != nil {
		l.problems.Errorf(diag.Pos{File: path}, "name a *.pkr.hcl file or a folder with some", "cannot read the template: %v", err)
		return l.r, l.problems
	}
	l.funcs = functions(l)
	for _, n := range names {
		l.parse(n)
	}
	l.declare()
	l.setVariables()
	l.resolveLocals()
	for i, b := range l.builds {
		l.build(b, i)
	}
	if len(l.builds) == 0 && !l.problems.HasErrors() {
		l.problems.Errorf(diag.Pos{File: path}, `add: build { sources = ["source.azure-arm.NAME"] }`, "the template has no build block")
	}
	l.patterns()
	l.mask()
	return l.r, l.problems
}

// abs is a path as the template's reader means it: relative to the working directory.
func (l *loader) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.o.Cwd, path)
}

// find lists the template's files in order.
func (l *loader) find(path string) ([]string, error) {
	info, err := os.Stat(l.abs(path))
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		l.dir = filepath.Dir(path)
		if !strings.HasSuffix(path, ".pkr.hcl") {
			return nil, fmt.Errorf("%s is not *.pkr.hcl; other languages are for a later version", path)
		}
		return []string{path}, nil
	}
	l.dir, l.folder = path, true
	list, err := os.ReadDir(l.abs(path))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".pkr.hcl") {
			out = append(out, filepath.Join(path, e.Name()))
		}
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".pkr.json") {
			l.problems.Errorf(diag.Pos{File: filepath.Join(path, e.Name())}, "write it as *.pkr.hcl", "this version of Ingot cannot read *.pkr.json yet, and Packer would")
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no *.pkr.hcl file", path)
	}
	return out, nil
}

// read loads a file and keeps its text for problems.
func (l *loader) read(name string) ([]byte, bool) {
	raw, err := os.ReadFile(l.abs(name))
	if err == nil {
		err = bounded(raw)
	}
	if err != nil {
		l.problems.Errorf(diag.Pos{File: name}, "", "cannot read the file: %v", err)
		return nil, false
	}
	l.r.Files = append(l.r.Files, name)
	l.r.Sources[name] = raw
	return raw, true
}

func (l *loader) parse(name string) {
	raw, ok := l.read(name)
	if !ok {
		return
	}
	f, problems := hclsyntax.ParseConfig(raw, name, hcl.InitialPos)
	l.note(problems)
	if f != nil {
		if body, ok := f.Body.(*hclsyntax.Body); ok {
			l.files = append(l.files, body)
		}
	}
}

// note turns hcl's own findings into ours.
func (l *loader) note(list hcl.Diagnostics) {
	for _, d := range list {
		p := diag.Problem{Severity: diag.Error, Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			p.Severity = diag.Warning
		}
		if d.Subject != nil {
			p.Pos = at(*d.Subject)
		}
		if !slices.Contains(l.problems, p) {
			l.problems = append(l.problems, p)
		}
	}
}

// at is a range as a place.
func at(r hcl.Range) diag.Pos {
	return diag.Pos{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column, Start: r.Start.Byte, End: r.End.Byte}
}

// declare sorts the top-level blocks.
func (l *loader) declare() {
	labels := map[string]int{"packer": 0, "variable": 1, "variables": 0, "locals": 0, "local": 1, "source": 2, "build": 0}
	later := map[string]string{
		"data":                "read the value in a variable instead (PKR_VAR_name)",
		"hcp_packer_registry": "Ingot keeps its own record of runs: ingot runs",
		"communicator":        "put the communicator's options into the source",
	}
	for _, body := range l.files {
		for _, a := range sortedAttributes(body) {
			l.problems.Errorf(at(a.NameRange), "put it into a block", "unexpected attribute %q at the top of a template", a.Name)
		}
		for _, b := range body.Blocks {
			pos := at(b.TypeRange)
			n, ok := labels[b.Type]
			switch {
			case !ok && later[b.Type] != "":
				l.problems.Errorf(pos, later[b.Type], "block %q is recognised but this version of Ingot cannot act on it yet", b.Type)
				continue
			case !ok:
				l.problems.Errorf(pos, meant(b.Type, keys(labels)), "unknown block %q", b.Type)
				continue
			case len(b.Labels) != n:
				l.problems.Errorf(pos, "", "block %q takes %d labels, not %d", b.Type, n, len(b.Labels))
				continue
			}
			switch b.Type {
			case "packer":
				l.packerBlock(b)
			case "variable":
				l.declareVariable(b)
			case "variables":
				for _, a := range sortedAttributes(b.Body) {
					l.addVariable(&variable{name: a.Name, fallback: a.Expr, pos: at(a.NameRange), typ: cty.DynamicPseudoType})
				}
			case "locals":
				for _, a := range sortedAttributes(b.Body) {
					l.addLocal(&local{name: a.Name, expr: a.Expr, pos: at(a.NameRange)})
				}
			case "local":
				l.declareLocal(b)
			case "source":
				name := b.Labels[0] + "." + b.Labels[1]
				if old := l.sources[name]; old != nil {
					l.problems.Errorf(pos, "rename one of them", "source %q %q is declared twice; first at %s", b.Labels[0], b.Labels[1], at(old.TypeRange))
					continue
				}
				l.sources[name] = b
			case "build":
				l.builds = append(l.builds, b)
			}
		}
	}
}

// packerBlock checks the form of what only concerns Packer itself.
func (l *loader) packerBlock(b *hclsyntax.Block) {
	for _, a := range sortedAttributes(b.Body) {
		if a.Name != "required_version" {
			l.problems.Errorf(at(a.NameRange), meant(a.Name, []string{"required_version", "required_plugins"}), "unknown option %q in the packer block", a.Name)
			continue
		}
		if v, problems := a.Expr.Value(nil); problems.HasErrors() || !isConstraint(v) {
			l.problems.Errorf(at(a.SrcRange), `write: required_version = ">= 1.10.0"`, "required_version is no version constraint")
		}
	}
	for _, in := range b.Body.Blocks {
		if in.Type != "required_plugins" {
			l.problems.Errorf(at(in.TypeRange), meant(in.Type, []string{"required_plugins"}), "unknown block %q in the packer block", in.Type)
			continue
		}
		for _, a := range sortedAttributes(in.Body) {
			const remedy = `write: { version = ">= 2.0.0", source = "github.com/hashicorp/azure" }`
			v, problems := a.Expr.Value(nil)
			if problems.HasErrors() || !v.Type().IsObjectType() || v.IsNull() {
				l.problems.Errorf(at(a.SrcRange), remedy, "required_plugins.%s is not an object of version and source", a.Name)
				continue
			}
			if !v.Type().HasAttribute("source") || v.GetAttr("source").Type() != cty.String {
				l.problems.Errorf(at(a.SrcRange), remedy, "required_plugins.%s has no source", a.Name)
			}
			if v.Type().HasAttribute("version") && !isConstraint(v.GetAttr("version")) {
				l.problems.Errorf(at(a.SrcRange), remedy, "the version of required_plugins.%s is no version constraint", a.Name)
			}
		}
	}
}

// constraint is one or more of ">= 1.2.3", "~> 1.0", separated by commas.
var constraint = regexp.MustCompile(`^\s*(=|!=|>=?|<=?|~>)?\s*v?\d+(\.\d+)*(-[\w.]+)?(\+[\w.]+)?\s*(,\s*(=|!=|>=?|<=?|~>)?\s*v?\d+(\.\d+)*(-[\w.]+)?(\+[\w.]+)?\s*)*$`)

func isConstraint(v cty.Value) bool {
	return v.Type() == cty.String && v.IsKnown() && !v.IsNull() && constraint.MatchString(v.AsString())
}

// sortedAttributes are a body's attributes in the order of the file, so that problems and values come in that order.
func sortedAttributes(b *hclsyntax.Body) []*hclsyntax.Attribute {
	out := make([]*hclsyntax.Attribute, 0, len(b.Attributes))
	for _, a := range b.Attributes {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return out
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// meant is a remedy that names the known word nearest to a misspelt one, or nothing.
func meant(word string, known []string) string {
	best, distance := "", len(word)/3+2
	for _, k := range known {
		if d := edits(strings.ToLower(word), k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
