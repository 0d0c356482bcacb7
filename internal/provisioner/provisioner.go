// Package provisioner says what is done inside a guest: one file per kind, each with the settings a template gives (their doc
// comments are the reference page), what can be wrong with them, and how they are carried out over a communicator. It knows
// nothing of Azure, of plans or of how a template is written.
package provisioner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/diag"
	"ingot/internal/image"
)

// Settings are one provisioner of a template.
type Settings interface {
	// Check reports what is wrong, and replaces local paths by the absolute ones found.
	Check(c *Check)
	// Summary is a short phrase for a step's title, free of secrets: "powershell, 3 inline lines".
	Summary() string
	// Estimate is how long Run takes as far as one can tell.
	Estimate() time.Duration
}

// Runner is a provisioner that Ingot can carry out over a communicator.
type Runner interface {
	// Run carries it out. It may be called again for the same step after a crash.
	Run(ctx context.Context, e *Env) error
}

// Limit is an option whose effect Run cannot give, although it is legal.
type Limit struct{ Option, Why, Remedy string }

// Limited is a Runner with limits.
type Limited interface {
	// Limits lists the options that are set and that Run cannot honour.
	Limits() []Limit
}

// limitsOf keeps those that are set.
func limitsOf(list ...limit) (out []Limit) {
	for _, l := range list {
		if l.set {
			out = append(out, Limit{l.option, l.why, "remove " + l.option})
		}
	}
	return out
}

type limit struct {
	option string
	set    bool
	why    string
}

// kinds is the one list of what there is.
var kinds = [...]struct {
	name string
	make func() Settings
}{
	{"ansible", func() Settings { return &Ansible{} }},
	{"ansible-local", func() Settings { return &AnsibleLocal{} }},
	{"breakpoint", func() Settings { return &Breakpoint{} }},
	{"chef-client", func() Settings { return &ChefClient{} }},
	{"chef-solo", func() Settings { return &ChefSolo{} }},
	{"dsc", func() Settings { return &DSC{} }},
	{"file", func() Settings { return &File{} }},
	{"hcp-sbom", func() Settings { return &SBOM{} }},
	{"inspec", func() Settings { return &InSpec{} }},
	{"powershell", func() Settings { return &PowerShell{} }},
	{"puppet-masterless", func() Settings { return &PuppetMasterless{} }},
	{"puppet-server", func() Settings { return &PuppetServer{} }},
	{"shell", func() Settings { return &Shell{} }},
	{"shell-local", func() Settings { return &ShellLocal{} }},
	{"sleep", func() Settings { return &Sleep{} }},
	{"windows-restart", func() Settings { return &WindowsRestart{} }},
	{"windows-shell", func() Settings { return &WindowsShell{} }},
	{"windows-update", func() Settings { return &WindowsUpdate{} }},
}

// New makes empty settings of a kind; it reports false for a kind there is not.
func New(kind string) (Settings, bool) {
	for _, k := range kinds {
		if k.name == kind {
			return k.make(), true
		}
	}
	return nil, false
}

// Kinds lists the kinds there are, sorted.
func Kinds() []string {
	out := make([]string, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return out
}

// Check is what settings are checked with, and where their problems go.
type Check struct {
	Pos      func(option string) diag.Pos // where an option stands; of the block for one that is not set
	Dir, Cwd string                       // folder of the template; working directory
	Problems diag.List
	Find     func(path string) (abs string, ok bool) // finds a local file or folder; nil looks in Cwd, then in Dir
	Show     func(file string, text []byte)          // takes the text of a script that has problems, for rendering them; may be nil
	Skip     bool                                    // leaves PowerShell unparsed
	Holes    bool                                    // inline lines may hold <placeholders>, which the template's user replaces
}

func (c *Check) at(option string) diag.Pos {
	if c.Pos == nil {
		return diag.Pos{}
	}
	return c.Pos(option)
}

func (c *Check) fail(option, remedy, format string, args ...any) {
	c.Problems.Errorf(c.at(option), remedy, format, args...)
}

func (c *Check) warn(option, remedy, format string, args ...any) {
	c.Problems.Warnf(c.at(option), remedy, format, args...)
}

// ignored warns about an option that is set but has no effect here.
func (c *Check) ignored(option string, set bool, why string) {
	if set {
		c.warn(option, "remove "+option, "%s has no effect: %s", option, why)
	}
}

// required refuses an option that is not set.
func (c *Check) required(option, value string) {
	if value == "" {
		c.fail(option, "set "+option, "%s is missing", option)
	}
}

// oneOf refuses a value that is none of the allowed ones; case does not count.
func (c *Check) oneOf(option, value string, allowed ...string) {
	if value != "" && !slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, value) }) {
		c.fail(option, "use "+strings.Join(allowed, ", "), "unknown %s %q", option, value)
	}
}

// files finds those that are set.
func (c *Check) files(options map[string]*string) {
	for _, option := range slices.Sorted(maps.Keys(options)) {
		if *options[option] != "" {
			c.file(option, options[option])
		}
	}
}

// variables refuses what is not NAME=value.
func (c *Check) variables(option string, list []image.Text) {
	for i, v := range list {
		if name, _, ok := strings.Cut(v.Reveal(), "="); !ok || name == "" {
			c.fail(option, `write "NAME=value"`, "%s[%d] is not NAME=value", option, i)
		}
	}
}

// file replaces *path by the absolute path of what it names, keeping a trailing slash, which means something to rsync's rules.
func (c *Check) file(option string, path *string) {
	find := c.Find
	if find == nil {
		find = c.look
	}
	abs, ok := find(*path)
	if !ok {
		c.fail(option, "a relative path starts at the working directory, or at the template's folder", "cannot find %s", *path)
		return
	}
	if strings.HasSuffix(*path, "/") && !strings.HasSuffix(abs, "/") {
		abs += "/"
	}
	*path = abs
}

func (c *Check) look(path string) (string, bool) {
	for _, dir := range []string{c.Cwd, c.Dir} {
		abs := path
		if !filepath.IsAbs(path) {
			abs = filepath.Join(dir, path)
		}
		if _, err := os.Stat(abs); err == nil {
			return abs, true
		}
	}
	return "", false
}

// Env is what a provisioner runs in.
type Env struct {
	Comm     communicator.Communicator
	Output   communicator.Output
	Clock    communicator.Clock
	StepID   string            // names what runs in the guest: the same step finds its own script again after a crash
	Vars     map[string]string // PACKER_BUILD_NAME, PACKER_BUILDER_TYPE
	Progress func(string)
	// Save keeps v for a later Run of the same step, in this process or another; Load reads it and reports whether there was any.
	Save func(v any) error
	Load func(v any) (bool, error)
	// Connection is how Comm reaches the guest, for programs of this machine; nil: they cannot.
	Connection func(ctx context.Context) (Connection, error)
	// Wait returns when a person says to go on; nil: nobody can be asked.
	Wait func(ctx context.Context, note string) error
	// HTTP fetches what is at an address; nil: as this machine's environment says (HTTPS_PROXY).
	HTTP *http.Client
	// StandIn is asked first: what it gives with a reason is used in place of what is at an address, unchecked; nil: everything is fetched.
	StandIn StandIn
	// Pinned is the SHA-256 of what was at an address when the build began, or ""; nil: not known.
	Pinned func(address image.Text) string
}

func (e *Env) progress(format string, args ...any) {
	if e.Progress != nil {
		e.Progress(fmt.Sprintf(format, args...))
	}
}

// Encode writes settings as JSON for a plan: a hidden text becomes a reference to its secret.
func Encode(s Settings) (json.RawMessage, error) { return json.Marshal(s) }

// Decode reads what Encode wrote and fills the hidden texts from lookup; the error names the secrets it does not know.
func Decode(kind string, raw json.RawMessage, lookup func(secretName string) (string, bool)) (Settings, error) {
	s, ok := New(kind)
	if !ok {
		return nil, fmt.Errorf("cannot read provisioner: unknown kind %q", kind)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("cannot read provisioner %s: %w", kind, err)
	}
	var missing []string
	walk(reflect.ValueOf(s).Elem(), func(t *image.Text) {
		if !t.Fill(lookup) {
			missing = append(missing, t.Secret())
		}
	})
	if len(missing) > 0 {
		return nil, fmt.Errorf("cannot read provisioner %s: no value for secret %s", kind, strings.Join(missing, ", "))
	}
	return s, nil
}

// Texts returns every text in s. A map's values cannot be pointed to: theirs are copies, good for reading only.
func Texts(s Settings) []*image.Text {
	var out []*image.Text
	walk(reflect.ValueOf(s).Elem(), func(t *image.Text) { out = append(out, t) })
	return out
}

// FillRuntime puts the values of a running build in the place of the placeholders in every text of s.
func FillRuntime(s Settings, value func(name string) (string, bool)) error {
	var errs []error
	fill := func(text string) string {
		out, err := image.FillRuntime(text, value)
		if err != nil {
			errs = append(errs, err)
		}
		return out
	}
	walk(reflect.ValueOf(s).Elem(), func(t *image.Text) {
		if name := t.Secret(); name != "" {
			*t = image.Hidden(name, fill(t.Reveal()))
		} else {
			*t = image.Plain(fill(t.Reveal()))
		}
	})
	eachString(reflect.ValueOf(s).Elem(), fill)
	return errors.Join(errs...)
}

// eachString replaces every plain string of a struct, in lists and maps too.
func eachString(v reflect.Value, f func(string) string) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			eachString(v.Field(i), f)
			continue
		}
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch x := v.Field(i).Addr().Interface().(type) {
		case *string:
			*x = f(*x)
		case *[]string:
			for j := range *x {
				(*x)[j] = f((*x)[j])
			}
		case *map[string]string:
			for k := range *x {
				(*x)[k] = f((*x)[k])
			}
		}
	}
}

// walk calls f with each text in the struct v, and puts a map's values back after it.
func walk(v reflect.Value, f func(*image.Text)) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			walk(v.Field(i), f)
			continue
		}
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch x := v.Field(i).Addr().Interface().(type) {
		case *image.Text:
			f(x)
		case *[]image.Text:
			for j := range *x {
				f(&(*x)[j])
			}
		case *map[string]image.Text:
			for k, t := range *x {
				f(&t)
				(*x)[k] = t
			}
		}
	}
}

// within bounds ctx by d of the clock's time; what is the cause when it is over.
func within(ctx context.Context, clock communicator.Clock, d time.Duration, what string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		if clock.Sleep(ctx, d) == nil {
			cancel(errors.New(what))
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
