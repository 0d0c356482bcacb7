// Package template reads templates into image.Image. It is the only room that knows a template language and the only
// importer of hcl. Everything wrong with a template is reported at once, with its place.
package template

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
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
	Advise         bool      // also warn of what is usual and makes two builds differ
	Now            time.Time // what timestamp() says; default: now
	// Where a deployment template will be deployed, as far as it is known.
	Subscription, Tenant, ResourceGroup, Location string
	// VaultSecret reads a key vault's secret for a data source. Without it the value is unknown, and nothing made of it is judged.
	VaultSecret func(VaultSecret) (string, error)
	// NoScriptCheck leaves PowerShell unparsed.
	NoScriptCheck bool
}

// Language is what a template is written in.
type Language string

const (
	PackerHCL    Language = "packer-hcl"
	PackerJSON   Language = "packer-json"
	ImageBuilder Language = "image-builder"
)

// packerVersion is what packer.version says: the version whose language is read.
const packerVersion = "1.16.0"

// Result is a template as far as it could be read.
type Result struct {
	Language        Language
	Images          []*image.Image    // one per source of every build
	Secrets         map[string]string // values of the hidden texts in Images, by their names
	SensitiveValues []string          // values of sensitive variables
	Files           []string          // files read
	Sources         diag.Sources      // their texts, for rendering problems
	NeedVars        []string          // sensitive variables that were given with -var
	VaultSecrets    []VaultSecret     // what the template reads from key vaults
	Variables       []Variable        // what may be set from outside, by name
	avd             bool              // avd_customizers are among the images' provisioners
	evaluate        func(text string) (string, diag.List)
	evaluated       []string // what is gone once the template is a model: its variables
	Unknown         []string // what a deployment template asks for and nobody has said: resourceGroup()
}

// Variable is what a template lets its user set: a variable of Packer's, a parameter of a deployment template.
type Variable struct {
	Name        string `json:"name"`
	Type        string `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
	Default     string `json:"default,omitempty"` // as it stands in the template; not shown of a sensitive one
	Required    bool   `json:"required"`
	Sensitive   bool   `json:"sensitive,omitempty"`
}

// loader is one call of Load.
type loader struct {
	o        Options
	dir      string
	folder   bool // a folder was named, not a file
	r        *Result
	problems diag.List
	files    []hcl.Body

	vars    map[string]*variable
	values  map[string]cty.Value // var.*
	locals  map[string]*local
	sources map[string]*hcl.Block // "azure-arm.name"
	used    map[string]bool       // sources that a build names
	data    map[string]*dataSource
	builds  []*hcl.Block
	funcs   functionTable
	names   map[string]bool // of images
	masks   []hcl.Range     // what must not be shown of the files
	// declassified are values of sensitive variables that an id or a name is made of: they cannot be hidden.
	declassified map[string]bool
	avd          map[*image.Image][]avdPlaced
	spent        int // what expressions have taken so far, in bytes as estimated
}

// Load reads a template: a file, or a folder of Packer's HCL2. It never returns a nil result.
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
		locals: map[string]*local{}, sources: map[string]*hcl.Block{}, used: map[string]bool{}, data: map[string]*dataSource{}, names: map[string]bool{}, declassified: map[string]bool{}}
	names, err := l.find(path)
	if err != nil {
		l.problems.Errorf(diag.Pos{File: path}, "name a *.pkr.hcl, *.pkr.json or *.json file, or a folder with *.pkr.hcl files", "cannot read the template: %v", err)
		return l.r, l.problems
	}
	l.funcs = functions(l)
	if l.r.Language == PackerHCL {
		l.packerHCL(path, names)
		l.r.evaluated, l.r.evaluate = append(keys(l.vars), keys(l.locals)...), l.console
		l.listVariables()
	} else {
		l.plainJSON(names[0])
	}
	l.ingotFiles(path)
	l.placeAVD()
	l.patterns()
	l.mask()
	return l.r, l.problems
}

// Parse only looks whether a template's files can be read.
func Parse(path string, o Options) (*Result, diag.List) {
	if o.Cwd == "" {
		if cwd, err := os.Getwd(); err == nil {
			o.Cwd = cwd
		}
	}
	l := &loader{o: o, r: &Result{Sources: diag.Sources{}}}
	names, err := l.find(path)
	if err != nil {
		l.problems.Errorf(diag.Pos{File: path}, "name a *.pkr.hcl, *.pkr.json or *.json file, or a folder with *.pkr.hcl files", "cannot read the template: %v", err)
		return l.r, l.problems
	}
	for _, n := range names {
		raw, ok := l.read(n)
		switch {
		case !ok:
		case l.r.Language == PackerHCL:
			l.parse(n, raw)
		default:
			if _, err := readJSON(n, raw, true); err != nil {
				l.problems.Errorf(jsonPlace(n, err), "", "cannot read the JSON: %v", err)
			}
		}
	}
	l.mask()
	return l.r, l.problems
}

// Empty is a template of HCL with nothing in it: functions can be tried against it.
func Empty(o Options) *Result {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	l := &loader{o: o, r: &Result{Language: PackerHCL, Secrets: map[string]string{}, Sources: diag.Sources{}}, dir: "."}
	l.funcs = functions(l)
	l.r.evaluate = l.console
	return l.r
}

// abs is a path as the template's reader means it: relative to the working directory.
func (l *loader) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.o.Cwd, path)
}

// find lists the template's files in order and sets its language, as far as the names tell it.
func (l *loader) find(path string) ([]string, error) {
	info, err := os.Stat(l.abs(path))
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		l.dir = filepath.Dir(path)
		switch {
		case strings.HasSuffix(path, ".pkr.hcl"), strings.HasSuffix(path, ".pkr.json"):
			l.r.Language = PackerHCL
		case strings.HasSuffix(path, ".bicep"):
			return nil, fmt.Errorf("%s is Bicep, which only its own compiler reads: az bicep build -f %s, then name the JSON", path, filepath.Base(path))
		case strings.HasSuffix(path, ".pkrvars.hcl"), strings.HasSuffix(path, ".pkrvars.json"):
			return nil, fmt.Errorf("%s holds values of variables, not a template; hand it over with -var-file", path)
		case !strings.HasSuffix(path, ".json") && !strings.HasSuffix(path, ".jsonc"):
			return nil, fmt.Errorf("%s is neither *.pkr.hcl nor *.json", path)
		}
		return []string{path}, nil
	}
	l.dir, l.folder = path, true
	list, err := os.ReadDir(l.abs(path))
	if err != nil {
		return nil, err
	}
	var out, plain []string
	for _, e := range list {
		switch name := e.Name(); {
		case e.IsDir():
		case strings.HasSuffix(name, ".pkr.hcl"), strings.HasSuffix(name, ".pkr.json"):
			out = append(out, filepath.Join(path, name))
		case strings.HasSuffix(name, ".json") && !strings.HasSuffix(name, ".pkrvars.json"):
			plain = append(plain, name)
		}
	}
	switch {
	case len(out) > 0:
		l.r.Language = PackerHCL
		return out, nil
	case len(plain) > 0:
		return nil, fmt.Errorf("%s holds no *.pkr.hcl file; of JSON name one file: %s", path, strings.Join(plain, ", "))
	}
	return nil, fmt.Errorf("%s holds no *.pkr.hcl file", path)
}

// readRegular reads a file, and waits for no pipe or device.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// read loads a file and keeps its text for problems.
func (l *loader) read(name string) ([]byte, bool) {
	raw, err := readRegular(l.abs(name))
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
		if r, ok := d.Extra.(remedy); ok {
			p.Remedy = string(r)
		}
		if m := unknownFunction.FindStringSubmatch(d.Detail); m != nil && p.Remedy == "" {
			p.Remedy = l.instead(m[1])
		}
		if !slices.Contains(l.problems, p) {
			l.problems = append(l.problems, p)
		}
	}
}

var unknownFunction = regexp.MustCompile(`^There is no function named "([^"]+)"`)

// instead is what to call in the place of a function that there is not. Terraform has some that Packer has not.
func (l *loader) instead(name string) string {
	if to, ok := map[string]string{"tostring": "string", "tonumber": "number", "tobool": "bool", "toset": "set(any)", "tolist": "list(any)", "tomap": "map(any)"}[name]; ok {
		return fmt.Sprintf("Packer has no %s: use convert(value, %s)", name, to)
	}
	return meant(name, keys(l.funcs.all))
}

// at is a range as a place.
func at(r hcl.Range) diag.Pos {
	return diag.Pos{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column, Start: r.Start.Byte, End: r.End.Byte}
}

// sorted are attributes in the order of the file, so that problems and values come in that order.
func sorted(attrs hcl.Attributes) []*hcl.Attribute {
	out := make([]*hcl.Attribute, 0, len(attrs))
	for _, a := range attrs {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *hcl.Attribute) int {
		return cmp.Or(a.Range.Start.Byte-b.Range.Start.Byte, strings.Compare(a.Name, b.Name))
	})
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
	best := diag.Nearest(word, known)
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}
