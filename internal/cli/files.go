package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ingot/internal/engine"
	"ingot/internal/engine/vm"
	"ingot/internal/plan"
)

// bundle is what a run needs of the machine that began it (docs/decisions/0017-state-anywhere.md): the template, its variable
// files, and what its provisioners read. It is part of the plan's Meta; the files themselves are kept beside the journal.
type bundle struct {
	Template []string     `json:"template,omitempty"` // files of the template, in the form the loader named them
	Paths    []string     `json:"paths,omitempty"`    // files and folders that steps name in their arguments
	Files    []bundleFile `json:"files,omitempty"`    // all of them
}

// bundleFile is one file at the time the run began.
type bundleFile struct {
	Path   string `json:"path"` // absolute
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode"`
	// Stays says why it does not travel; "" when it does.
	Stays string `json:"stays,omitempty"`
}

const (
	metaBundle = "files"
	// mostBytes is the largest file that travels: a run that begins with uploading its installers for minutes helps nobody.
	mostBytes = 1 << 30
	// searched is the largest file that is searched for secrets before it travels; larger ones are no text.
	searched = 64 << 20
)

// bundle lists what has to travel with a run. Files that hold one of the run's secrets stay where they are.
func makeBundle(p *prepared, templateFiles []string, cwd string) (bundle, error) {
	b := bundle{Paths: vm.LocalFiles(p.img)}
	for _, f := range templateFiles {
		if !filepath.IsAbs(f) {
			f = filepath.Join(cwd, f)
		}
		b.Template = append(b.Template, f)
	}
	seen := map[string]bool{}
	add := func(path string) error {
		if seen[path] {
			return nil
		}
		seen[path] = true
		f, err := describe(path, p.secrets)
		if err == nil {
			b.Files = append(b.Files, f)
		}
		return err
	}
	for _, root := range slices.Concat(b.Template, b.Paths) {
		err := filepath.WalkDir(strings.TrimRight(root, "/"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				return err
			}
			return add(path)
		})
		if err != nil {
			return bundle{}, fmt.Errorf("cannot read what the run needs: %w", err)
		}
	}
	return b, nil
}

func describe(path string, secrets *engine.Secrets) (bundleFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return bundleFile{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return bundleFile{}, err
	}
	sum := sha256.New()
	out := bundleFile{Path: path, Size: info.Size(), Mode: uint32(info.Mode().Perm())}
	if info.Size() > searched {
		_, err = io.Copy(sum, f)
	} else {
		var raw []byte
		raw, err = io.ReadAll(f)
		sum.Write(raw) //nolint:errcheck // a hash does not fail
		if text := string(raw); secrets.Redact(text) != text {
			out.Stays = "it holds a secret"
		}
	}
	if info.Size() > mostBytes {
		out.Stays = "it is larger than 1 GiB"
	}
	out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return out, err
}

// bundleIn reads the bundle of a run; a run that has none needs this machine.
func bundleIn(p *plan.Plan) (bundle, error) {
	var b bundle
	if text := p.Meta[metaBundle]; text != "" {
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			return b, fmt.Errorf("cannot read which files run %s needs: %w", p.Run, err)
		}
	}
	return b, nil
}

// keepFiles puts the files that travel beside the journal.
func (a *app) keepFiles(ctx context.Context, p *plan.Plan, run plan.Held) error {
	b, err := bundleIn(p)
	if err != nil {
		return err
	}
	store, ok := run.(plan.Files)
	if !ok {
		return errors.New("a defect in Ingot: the store of runs keeps no files")
	}
	var stay []string
	for _, f := range b.Files {
		if f.Stays != "" {
			stay = append(stay, fmt.Sprintf("%s (%s)", f.Path, f.Stays))
			continue
		}
		in, err := os.Open(f.Path)
		if err == nil {
			err = store.PutFile(ctx, f.SHA256, in, f.Size)
			in.Close() //nolint:errcheck // only read
		}
		if err != nil {
			return fmt.Errorf("cannot keep %s with the run: %w", f.Path, err)
		}
	}
	if len(stay) > 0 && a.stateAddress() != "" {
		a.notice("These files do not travel with run " + p.Run + "; to resume it on another machine, have them there at the same path: " + strings.Join(stay, ", "))
	}
	return nil
}

// moved is where the files of a run are on this machine.
type moved struct {
	root     string            // a temporary folder with the files that travelled, each at its own path below it; "" if none was needed
	from     map[string]string // path in the plan -> path here
	template bool              // the template is below root
	missing  map[string]string // path in the plan -> what did not travel, and why
}

func (m *moved) close() {
	if m != nil && m.root != "" {
		os.RemoveAll(m.root) //nolint:errcheck // a temporary folder
	}
}

// below is a path of another machine under root.
func below(root, path string) string {
	return filepath.Join(root, strings.ReplaceAll(strings.ReplaceAll(path, `\`, "/"), ":", ""))
}

// unpack compares the files that a run was begun with with those of this machine, and brings back from the store what is
// missing or has changed.
func unpack(ctx context.Context, p *plan.Plan, run plan.Held) (_ *moved, err error) {
	m := &moved{from: map[string]string{}, missing: map[string]string{}}
	b, err := bundleIn(p)
	if err != nil {
		return nil, err
	}
	differs := map[string]bool{}
	for _, f := range b.Files {
		if here, err := describe(f.Path, &engine.Secrets{}); err != nil || here.SHA256 != f.SHA256 {
			differs[f.Path] = true
		}
	}
	if len(differs) == 0 {
		return m, nil
	}
	store, ok := run.(plan.Files)
	if !ok {
		return nil, errors.New("a defect in Ingot: the store of runs keeps no files")
	}
	if m.root, err = os.MkdirTemp("", "ingot-"+p.Run+"-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	for _, f := range b.Files {
		if f.Stays != "" {
			continue
		}
		if err := bring(ctx, store, f, below(m.root, f.Path)); err != nil {
			return nil, err
		}
	}
	in := func(root string) (changed bool, stays string) {
		root = strings.TrimRight(root, "/")
		for _, f := range b.Files {
			if f.Path == root || strings.HasPrefix(f.Path, root+string(filepath.Separator)) {
				changed = changed || differs[f.Path]
				if f.Stays != "" {
					stays = fmt.Sprintf("%s: %s", f.Path, f.Stays)
				}
			}
		}
		return changed, stays
	}
	whole := true
	for _, t := range b.Template {
		changed, stays := in(t)
		m.template, whole = m.template || changed, whole && stays == ""
	}
	m.template = m.template && whole
	for _, path := range b.Paths {
		switch changed, stays := in(path); {
		case changed && stays == "":
			m.from[strings.TrimRight(path, "/")] = below(m.root, path)
		case changed:
			m.missing[strings.TrimRight(path, "/")] = stays
		}
	}
	return m, nil
}

// bring fetches one file and verifies it.
func bring(ctx context.Context, store plan.Files, f bundleFile, to string) error {
	fail := func(err error) error { return fmt.Errorf("cannot bring back %s, which the run needs: %w", f.Path, err) }
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fail(err)
	}
	in, err := store.GetFile(ctx, f.SHA256)
	if err != nil {
		return fail(err)
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(f.Mode)&0o700|0o600)
	if err != nil {
		return fail(err)
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fail(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fail(fmt.Errorf("what the store holds is damaged: its SHA-256 is %s, not %s", got, f.SHA256))
	}
	return nil
}

// elsewhere makes the actions read the files where they are now; the plan in the journal keeps the paths it was made with.
func (m *moved) elsewhere(actions map[string]plan.Action) map[string]plan.Action {
	if m == nil || len(m.from)+len(m.missing) == 0 {
		return actions
	}
	out := map[string]plan.Action{}
	for kind, act := range actions {
		out[kind] = relocated{act, m}
	}
	return out
}

type relocated struct {
	plan.Action
	m *moved
}

func (r relocated) Do(ctx context.Context, t *plan.Task) error {
	var args any
	if err := t.Args(&args); err != nil {
		return err
	}
	var gone []string
	args = r.m.replace(args, &gone)
	if len(gone) > 0 {
		return fmt.Errorf("cannot go on with this step on this machine: it reads %s", strings.Join(gone, ", "))
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	t.Step.Args = raw
	return r.Action.Do(ctx, t)
}

// replace exchanges the strings that are such a path, wherever they stand.
func (m *moved) replace(v any, gone *[]string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = m.replace(x, gone)
		}
	case []any:
		for i, x := range v {
			v[i] = m.replace(x, gone)
		}
	case string:
		bare := strings.TrimRight(v, "/")
		if here, ok := m.from[bare]; ok {
			return here + v[len(bare):]
		}
		if why, ok := m.missing[bare]; ok {
			*gone = append(*gone, fmt.Sprintf("%s, which is not here as it was when the run began, and did not travel (%s)", bare, why))
		}
	}
	return v
}
