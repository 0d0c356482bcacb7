package aib

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/imagebuilder"
	"ingot/internal/plan"
)

// tagContent is on a template that stays: the checksum of what it says, by which the next build knows whether it is still the same.
const tagContent = "ingot-content"

// vhdPrefix and GROUP/ACCOUNT/CONTAINER/NAME stand for the address of a blob until the account is looked up.
const vhdPrefix = "ingot-vhd:"

type templateArgs struct {
	Group, Name string
	Body        map[string]any // the resource; a hidden text is {"secret": name}
	Quotes      map[string]imagebuilder.Quotation
	Keep        bool `json:",omitempty"`
	Fresh       bool `json:",omitempty"` // the identity was given its roles a moment ago
	Linux       bool `json:",omitempty"`
}

type templateResult struct {
	ID string `json:"id"`
	// Types are those of the customizers as they were submitted: a large file is not a File.
	Types []string `json:"types,omitempty"`
}

// submit makes the template. One that stays is used as it is while it says the same; the service changes none (a PUT with changes conflicts,
// reference section 1.4), so that another one is deleted first, if Ingot made it.
func (b *build) submit(ctx context.Context, t *plan.Task, a templateArgs) (templateResult, error) {
	body, content, types, err := b.resource(ctx, t, a)
	if err != nil {
		return templateResult{}, err
	}
	old, err := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name)
	o := engine.Op(t)
	switch {
	case missing(err):
	case err != nil:
		return templateResult{}, err
	case a.Keep && old.Tags[tagContent] == content && old.Provisioning == "Succeeded":
		if !mine(t, old.Tags) {
			t.Output("stdout", "image template "+a.Name+" says the same already: it is used as it is")
		}
		return templateResult{old.ID, types}, nil
	case a.Keep && old.Tags[tagContent] == "" || !a.Keep && !mine(t, old.Tags):
		return templateResult{}, fmt.Errorf("cannot submit image template %s: one of that name exists in %s that Ingot did not make, and the service changes none; delete it, or name another", a.Name, a.Group)
	case mine(t, old.Tags) && old.Provisioning == "Succeeded":
		return templateResult{old.ID, types}, nil
	case mine(t, old.Tags) && old.Provisioning == "Creating" && o.Token != "":
	default:
		t.Progress(-1, "deleting the older template: the service changes none")
		if err := b.deleteTemplate(ctx, t, a.Group, a.Name); err != nil {
			return templateResult{}, err
		}
		if err := engine.Forget(t); err != nil {
			return templateResult{}, err
		}
		o = engine.Op(t)
	}
	for waited, wait := time.Duration(0), 20*time.Second; ; waited += wait {
		made, err := b.env.Cloud.PutTemplate(ctx, a.Group, a.Name, body, o)
		if err == nil {
			return templateResult{made.ID, types}, nil
		}
		if !a.Fresh || !azure.IsNotYetAuthorized(err) || waited > 10*time.Minute {
			return templateResult{}, b.refused(ctx, a, err)
		}
		// A failed template cannot be submitted again.
		t.Progress(-1, "waiting until the roles that were assigned hold everywhere")
		if err := b.deleteTemplate(ctx, t, a.Group, a.Name); err != nil {
			return templateResult{}, err
		}
		if err := t.Clock().Sleep(ctx, wait); err != nil {
			return templateResult{}, err
		}
		if err := engine.Forget(t); err != nil {
			return templateResult{}, err
		}
		o = engine.Op(t)
	}
}

// refused adds what the template itself says of a submission that failed: the operation's error can be as little as "Internal error".
func (b *build) refused(ctx context.Context, a templateArgs, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if t, look := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name); look == nil && t.Error != "" && !strings.Contains(err.Error(), t.Error) {
		return fmt.Errorf("%w; the template says: %s", err, t.Error)
	}
	return err
}

// resource is the template as it is submitted, the checksum of what it says, and the types of its customizers. Addresses of uploads are put in
// here; they are secrets, and part of nothing that is kept.
func (b *build) resource(ctx context.Context, t *plan.Task, a templateArgs) (body map[string]any, content string, types []string, err error) {
	w := &writer{b: b, ctx: ctx, t: t, a: a, sums: map[string]string{}}
	var errs []error
	if _, has := t.Find("upload"); has {
		errs = append(errs, t.Result("upload", &w.files))
		up, _ := t.Find("upload")
		errs = append(errs, json.Unmarshal(up.Args, &w.up))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, "", nil, err
	}
	said, err := json.Marshal([]any{a.Body["identity"], a.Body["properties"], a.Body["location"], w.files})
	if err != nil {
		return nil, "", nil, err
	}
	body, _ = w.value(a.Body).(map[string]any)
	if err := errors.Join(w.errs...); err != nil {
		return nil, "", nil, err
	}
	// Secrets count too: their values, not their names.
	sum := sha256.Sum256(append(said, strings.Join(w.secrets, "\x00")...))
	content = hex.EncodeToString(sum[:16])
	props, _ := body["properties"].(map[string]any)
	list, _ := props["customize"].([]any)
	for _, c := range list {
		if m, ok := c.(map[string]any); ok {
			typ, _ := m["type"].(string)
			types = append(types, typ)
		}
	}
	if a.Keep {
		tags, _ := body["tags"].(map[string]any)
		if tags == nil {
			tags = map[string]any{}
			body["tags"] = tags
		}
		tags[tagContent] = content
	}
	return body, content, types, nil
}

// writer puts values in the place of what the plan's template only names.
type writer struct {
	b       *build
	ctx     context.Context
	t       *plan.Task
	a       templateArgs
	up      uploadArgs
	files   uploadResult
	box     *azure.BuildContainer
	sums    map[string]string
	secrets []string
	errs    []error
}

func (w *writer) fail(err error) any { w.errs = append(w.errs, err); return nil }

func (w *writer) value(v any) any {
	switch v := v.(type) {
	case string:
		if place, ok := strings.CutPrefix(v, vhdPrefix); ok {
			return w.vhd(place)
		}
		return v
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = w.value(x)
		}
		return out
	case map[string]any:
		text, ok, err := w.b.textOf(v, w.a.Quotes)
		if err != nil {
			return w.fail(err)
		}
		if ok {
			w.secrets = append(w.secrets, text)
			return text
		}
		if s := w.uploaded(v); s != nil {
			return s
		}
		out := map[string]any{}
		for k, x := range v {
			out[k] = w.value(x)
		}
		return out
	}
	return v
}

// uploaded is a customizer that reads an upload, with its address and checksum; nil for anything else.
func (w *writer) uploaded(v map[string]any) map[string]any {
	for _, key := range []string{"scriptUri", "sourceUri"} {
		at, _ := v[key].(string)
		number, ok := strings.CutPrefix(at, imagebuilder.UploadPrefix)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n >= len(w.files.Files) {
			w.fail(fmt.Errorf("cannot submit the template: upload %s is not there", number))
			return map[string]any{}
		}
		f := w.files.Files[n]
		large := key == "sourceUri" && f.Bytes >= largeFile
		address, err := w.address(n, large)
		if err != nil {
			w.fail(err)
			return map[string]any{}
		}
		if large {
			name, _ := v["name"].(string)
			destination, _ := v["destination"].(string)
			return fetchLarge(name, address, destination, f.SHA256, w.a.Linux)
		}
		out := map[string]any{}
		for k, x := range v {
			if k != key {
				out[k] = w.value(x)
			}
		}
		out[key], out["sha256Checksum"] = address, f.SHA256
		return out
	}
	return nil
}

// address is where an upload is read. The build machine has no identity that could read, so that what it fetches itself is signed.
func (w *writer) address(n int, byMachine bool) (string, error) {
	if w.box == nil {
		var err error
		if w.box, err = w.b.env.Cloud.OpenContainer(w.ctx, w.up.Group, w.up.Account, w.up.Container); err != nil {
			return "", err
		}
	}
	if w.up.AsIdentity && !byMachine {
		return w.box.URL(w.up.blob(n)), nil
	}
	link, err := w.box.Link(w.up.blob(n), false, w.up.Life)
	if err == nil {
		w.b.env.Secrets.Hide(link)
		if _, sig, ok := strings.Cut(link, "sig="); ok {
			sig, _, _ = strings.Cut(sig, "&")
			w.b.env.Secrets.Hide(sig)
		}
	}
	return link, err
}

func (w *writer) vhd(place string) any {
	p := strings.SplitN(place, "/", 3)
	account, err := w.b.env.Cloud.Account(w.ctx, p[0], p[1])
	if err != nil {
		return w.fail(err)
	}
	return strings.TrimSuffix(account.Blobs, "/") + "/" + p[2]
}

// removeTemplate deletes the template, if this run made it. A run of it that goes on is cancelled first.
func (b *build) removeTemplate(ctx context.Context, t *plan.Task, a templateArgs, _ *templateResult) error {
	old, err := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name)
	if missing(err) || err == nil && !mine(t, old.Tags) {
		return nil
	}
	if err != nil {
		return err
	}
	return b.deleteTemplate(ctx, t, a.Group, a.Name)
}

// between is how long there is at most between two looks at a template that is in a state which allows nothing.
const between = 15 * time.Second

// longer is the next wait of a growing row of them, from a second on.
func longer(wait time.Duration) time.Duration { return min(max(2*wait, time.Second), between) }

// deleteTemplate cancels what runs, waits through the states that refuse a deletion, and deletes.
func (b *build) deleteTemplate(ctx context.Context, t *plan.Task, group, name string) error {
	for wait := time.Duration(0); ; {
		if err := b.stop(ctx, t, group, name); err != nil {
			return err
		}
		err := b.env.Cloud.DeleteTemplate(ctx, group, name, engine.UndoOp(t))
		if !azure.IsNotAllowedNow(err) {
			return err
		}
		t.Progress(-1, "waiting until the service allows it to be deleted: %v", err)
		wait = longer(wait)
		if err := t.Clock().Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// stop cancels a run and waits for its end; there may be none.
func (b *build) stop(ctx context.Context, t *plan.Task, group, name string) error {
	wait := time.Duration(0)
	for asked := false; ; {
		old, err := b.env.Cloud.GetTemplate(ctx, group, name)
		if missing(err) {
			return nil
		}
		if err != nil || !old.Run.Going() {
			return err
		}
		if old.Run.State == "Running" && !asked {
			t.Progress(-1, "cancelling the run")
			if err := b.env.Cloud.CancelRun(ctx, group, name); err != nil && !azure.IsConflict(err) && !azure.IsNotAllowedNow(err) {
				return err
			}
			asked = true
		}
		wait = longer(wait)
		if err := t.Clock().Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

type triggerArgs struct{ Group, Template, Name string }

func (b *build) makeTrigger(ctx context.Context, t *plan.Task, a triggerArgs) (struct{}, error) {
	return struct{}{}, b.env.Cloud.PutTrigger(ctx, a.Group, a.Template, a.Name, engine.Op(t))
}

func (b *build) removeTrigger(ctx context.Context, t *plan.Task, a triggerArgs, _ *struct{}) error {
	return b.env.Cloud.DeleteTrigger(ctx, a.Group, a.Template, a.Name, engine.UndoOp(t))
}
