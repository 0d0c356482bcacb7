package aib

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/plan"
)

type runArgs struct {
	Group, Name string
	Made        time.Time // when the plan was made: a run that is older is not this one
	Keep        bool      `json:",omitempty"`
	AutoRun     bool      `json:",omitempty"` // the service starts it when the template is submitted
	Continues   bool      `json:",omitempty"` // distributes although a validation failed
	Windows     bool
	Customizers []mark   `json:",omitempty"`
	Validators  []mark   `json:",omitempty"`
	Targets     []target `json:",omitempty"`
}

// mark is a customizer as people know it.
type mark struct {
	Type  string // PowerShell, Shell, File, WindowsRestart, WindowsUpdate
	Title string
	At    string `json:",omitempty"` // file:line of the template
}

func (m mark) String() string {
	if m.At == "" {
		return m.Title
	}
	return m.Title + " (" + m.At + ")"
}

// target is what a run makes of one target, for withdrawing it.
type target struct {
	Output, Title       string
	Subscription, Group string   `json:",omitempty"`
	Gallery, Image      string   `json:",omitempty"` // a gallery version
	Known               []string `json:",omitempty"` // versions that were there when the plan was made
	Name                string   `json:",omitempty"` // a managed image
	Replaces            bool     `json:",omitempty"` // one of that name was there
	URI                 string   `json:",omitempty"` // a VHD
}

type runResult struct {
	Log string `json:"log,omitempty"` // name of the log in the staging account
}

// memory is what a run step saves once the service has accepted the run.
type memory struct {
	Token string `json:"token"`
}

// skew is by how much the clock of this machine may differ from the service's.
const skew = 2 * time.Minute

// run builds. Done again it follows the run that it began, or the one that was begun by a process that died before it could note so.
func (b *build) run(ctx context.Context, t *plan.Task, a runArgs) (runResult, error) {
	var m memory
	begun, err := t.Saved(&m)
	if err != nil {
		return runResult{}, err
	}
	if !begun {
		if m.Token, err = b.begin(ctx, t, a); err != nil {
			return runResult{}, err
		}
		if err := t.Save(m); err != nil {
			return runResult{}, err
		}
	}
	f := b.follow(ctx, t, a)
	err = b.env.Cloud.FollowRun(ctx, a.Group, a.Name, m.Token)
	f.finish(err == nil || ctx.Err() == nil)
	if ctx.Err() != nil {
		return runResult{}, err
	}
	info, look := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name)
	if err == nil {
		if look != nil {
			return runResult{}, look
		}
		if info.Run.State != "PartiallySucceeded" {
			return runResult{f.name}, nil
		}
		err = errors.New("the run succeeded partially")
		if info.Run.Message != "" {
			err = fmt.Errorf("the run succeeded partially: %s", info.Run.Message)
		}
	}
	return runResult{}, b.explained(ctx, a, f, info, err)
}

// begin starts the run, unless it runs already.
func (b *build) begin(ctx context.Context, t *plan.Task, a runArgs) (token string, err error) {
	before, err := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name)
	if err != nil {
		return "", err
	}
	if a.own(before) {
		return "", nil
	}
	if before.Run.Going() {
		return "", fmt.Errorf("cannot run image template %s: a run that somebody else began at %s is under way", a.Name, before.Run.Start.Format(time.RFC3339))
	}
	if a.AutoRun && !a.Keep {
		return "", b.awaitAutoRun(ctx, t, a)
	}
	token, err = b.env.Cloud.BeginRun(ctx, a.Group, a.Name)
	if err == nil || ctx.Err() != nil {
		return token, err
	}
	// A call whose answer was lost has begun it all the same.
	if after, look := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name); look == nil && a.own(after) && after.Run.Going() {
		return "", nil
	}
	return "", err
}

// own reports that the template's last run is this one: of a template that goes with the build every run is.
func (a runArgs) own(i azure.ImageTemplate) bool {
	if i.Run.State == "" || i.Run.Start.IsZero() {
		return false
	}
	return !a.Keep || i.Run.Start.After(a.Made.Add(-skew)) && i.Run.Going() || i.Run.Start.After(a.Made)
}

// awaitAutoRun waits for the run that the service starts by itself after it has taken the template.
func (b *build) awaitAutoRun(ctx context.Context, t *plan.Task, a runArgs) error {
	for waited := time.Duration(0); waited < 10*time.Minute; waited += between {
		i, err := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name)
		if err != nil {
			return err
		}
		if a.own(i) {
			return nil
		}
		t.Progress(-1, "waiting for the service to start the run (autoRun)")
		if err := t.Clock().Sleep(ctx, between); err != nil {
			return err
		}
	}
	_, err := b.env.Cloud.BeginRun(ctx, a.Group, a.Name) // it may not come: the reference is not sure of it
	return err
}

// explained is the error of a run that failed: which customizer it was, where that stands in the template and what it said last, before the
// service's own words; and which targets stand all the same.
func (b *build) explained(ctx context.Context, a runArgs, f *follower, i azure.ImageTemplate, err error) error {
	text := err.Error()
	if m := i.Run.Message; m != "" && !strings.Contains(text, m) {
		text += "; the template says: " + m
	}
	var answer *azure.Error
	if where := f.failed(text); where != "" && errors.As(err, &answer) {
		// The service's own words are that a customizer failed, and where a log of it was: all of it has been said better.
		text = fmt.Sprintf("%s\nthe service says: %s", where, answer.Code)
		if m := operation.FindString(answer.Message); m != "" {
			text += ", " + m
		}
		if answer.CorrelationID != "" {
			text += ", correlation id " + answer.CorrelationID
		}
	}
	err = &runError{text, err}
	if outputs, look := b.env.Cloud.RunOutputs(ctx, a.Group, a.Name); look == nil {
		var stand, fallen []string
		for _, x := range a.Targets {
			if o, ok := find(outputs, x.Output); ok && (!a.Keep || !x.known(o.ID)) {
				stand = append(stand, x.Title+": "+o.ID+o.URI)
			} else {
				fallen = append(fallen, x.Title)
			}
		}
		if len(stand) > 0 {
			err = fmt.Errorf("%w\nthese targets stand: %s", err, strings.Join(stand, "; "))
			if len(fallen) > 0 {
				err = fmt.Errorf("%w\nthese do not: %s", err, strings.Join(fallen, "; "))
			}
		}
	}
	return err
}

// operation is what Microsoft's support asks for.
var operation = regexp.MustCompile(`operationId [0-9a-fA-F-]{36}`)

// runError is how a run failed, in our words.
type runError struct {
	text string
	err  error
}

func (e *runError) Error() string { return e.text }
func (e *runError) Unwrap() error { return e.err }

func find(outputs []azure.RunOutput, name string) (azure.RunOutput, bool) {
	for _, o := range outputs {
		if strings.EqualFold(o.Name, name) {
			return o, true
		}
	}
	return azure.RunOutput{}, false
}

// known reports that a gallery version was there before the build.
func (x target) known(id string) bool {
	return x.Gallery != "" && slices.Contains(x.Known, id[strings.LastIndex(id, "/")+1:])
}

// withdraw removes what a run that failed has made. What the service calls a partial success, and what was to be distributed although a
// validation failed, was wanted: it is kept, and named.
func (b *build) withdraw(ctx context.Context, t *plan.Task, a runArgs, _ *runResult) error {
	i, err := b.env.Cloud.GetTemplate(ctx, a.Group, a.Name)
	if err != nil && !missing(err) {
		return err
	}
	gone := missing(err)
	if !gone {
		if a.Keep && i.Run.Going() && !a.own(i) {
			return nil // somebody else's
		}
		if err := b.stop(ctx, t, a.Group, a.Name); err != nil {
			return err
		}
		if i, err = b.env.Cloud.GetTemplate(ctx, a.Group, a.Name); err != nil && !missing(err) {
			return err
		}
	}
	var outputs []azure.RunOutput
	if !gone {
		if outputs, err = b.env.Cloud.RunOutputs(ctx, a.Group, a.Name); err != nil && !missing(err) {
			return err
		}
	}
	wanted := i.Run.State == "PartiallySucceeded" || a.Continues && i.Run.State == "Failed"
	var errs []error
	for _, x := range a.Targets {
		o, has := find(outputs, x.Output)
		switch {
		case has && wanted:
			t.Output("stdout", "kept: "+x.Title+": "+o.ID+o.URI)
		case x.Gallery != "":
			errs = append(errs, b.withdrawVersions(ctx, t, a, x, o.ID))
		case x.Name != "":
			errs = append(errs, b.withdrawImage(ctx, t, a, x))
		case has && x.URI != "":
			errs = append(errs, b.withdrawVHD(ctx, t, o))
		}
	}
	return errors.Join(errs...)
}

// withdrawVersions deletes the versions of a definition that this run made: those that bear its tag and, of a template that stays, the one
// that the run output names, if it was not there before.
func (b *build) withdrawVersions(ctx context.Context, t *plan.Task, a runArgs, x target, output string) error {
	versions, err := b.env.Cloud.ListVersions(ctx, x.Subscription, x.Group, x.Gallery, x.Image)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range versions {
		if slices.Contains(x.Known, v) {
			continue
		}
		i, err := b.env.Cloud.GetGalleryVersion(ctx, x.Subscription, x.Group, x.Gallery, x.Image, v)
		if missing(err) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !mine(t, i.Tags) && !(a.Keep && strings.HasSuffix(output, "/"+v)) {
			continue
		}
		errs = append(errs, b.env.Cloud.DeleteGalleryVersion(ctx, x.Subscription, x.Group, x.Gallery, x.Image, v, engine.UndoOp(t)))
	}
	return errors.Join(errs...)
}

func (b *build) withdrawImage(ctx context.Context, t *plan.Task, a runArgs, x target) error {
	if !strings.EqualFold(x.Subscription, b.env.Cloud.Subscription()) {
		t.Output("stdout", "kept, if the run made it: managed image "+x.Name+" of subscription "+x.Subscription)
		return nil
	}
	i, err := b.env.Cloud.GetManagedImage(ctx, x.Group, x.Name)
	if missing(err) || err == nil && !mine(t, i.Tags) {
		return nil
	}
	if err != nil {
		return err
	}
	if x.Replaces && i.State == "Succeeded" {
		t.Output("stdout", "kept: managed image "+x.Name+" has taken the place of the older one")
		return nil
	}
	return b.env.Cloud.DeleteManagedImage(ctx, x.Group, x.Name, engine.UndoOp(t))
}

func (b *build) withdrawVHD(ctx context.Context, t *plan.Task, o azure.RunOutput) error {
	store, name, err := b.env.Cloud.OpenVHDStoreAt(ctx, o.URI)
	if err == nil {
		err = store.Delete(ctx, name)
	}
	if err != nil && !missing(err) {
		t.Output("stderr", fmt.Sprintf("kept: VHD %s, which could not be deleted: %v", o.URI, err))
	}
	return nil
}

type outputArgs struct{ Group, Name, Output, Title string }

// output asks what the run has made of a target.
func (b *build) output(ctx context.Context, t *plan.Task, a outputArgs) (engine.ProductResult, error) {
	outputs, err := b.env.Cloud.RunOutputs(ctx, a.Group, a.Name)
	if err != nil {
		return engine.ProductResult{}, err
	}
	o, ok := find(outputs, a.Output)
	if !ok {
		return engine.ProductResult{}, fmt.Errorf("cannot tell what the run has made of %s: it has no run output %s", a.Title, a.Output)
	}
	t.Output("stdout", o.ID+o.URI)
	return engine.ProductResult{ID: o.ID + o.URI}, nil
}
