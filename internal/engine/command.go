package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

// ProvisionArgs are those of a step that runs a provisioner, or a post-processor of this machine.
type ProvisionArgs struct {
	Type        string
	Settings    json.RawMessage
	PauseBefore time.Duration
	Timeout     time.Duration
	MaxRetries  int
	Build       string
	GoOn        bool            `json:",omitempty"` // a failure does not fail the build
	Cleanup     []ProvisionArgs `json:",omitempty"` // run when this one failed
}

// EncodeProvision makes a provisioner of an image the arguments of a step; it also returns its settings, for titles and estimates.
func EncodeProvision(img *image.Image, p image.Provision) (ProvisionArgs, provisioner.Settings, error) {
	settings, ok := p.Settings.(provisioner.Settings)
	if !ok {
		return ProvisionArgs{}, nil, fmt.Errorf("cannot plan provisioner %s: it has no settings", p.Type)
	}
	raw, err := provisioner.Encode(settings)
	if err != nil {
		return ProvisionArgs{}, nil, fmt.Errorf("cannot plan provisioner %s: %w", p.Type, err)
	}
	return ProvisionArgs{Type: p.Type, Settings: raw, PauseBefore: p.PauseBefore, MaxRetries: p.MaxRetries, Timeout: p.Timeout, Build: img.Name, GoOn: p.GoOn}, settings, nil
}

// Afterwards plans what follows a build on this machine: manifests, which list what the steps products made, then commands, in order.
// first are the steps that they wait for.
func Afterwards(img *image.Image, first, products []string) ([]plan.Step, error) {
	var steps []plan.Step
	var errs []error
	add := func(s plan.Step, args any) {
		var err error
		s.Args, err = json.Marshal(args)
		s.Scope = plan.Nothing
		steps, errs = append(steps, s), append(errs, err)
	}
	after := first
	for k, m := range img.Manifests {
		id := fmt.Sprintf("manifest-%d", k+1)
		add(plan.Step{ID: id, Kind: "manifest", Title: "Write manifest " + m.Output, After: first}, ManifestArgs{Manifest: m, Name: img.Name, Products: products})
		after = append(slices.Clone(after), id)
	}
	for k, x := range img.After {
		args, settings, err := EncodeProvision(img, image.Provision{Type: "shell-local", Settings: x.Settings})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		id := fmt.Sprintf("command-%d", k+1)
		add(plan.Step{ID: id, Kind: "command", Title: "Run on this machine: " + settings.Summary(), After: after, Estimate: settings.Estimate()}, args)
		after = []string{id}
	}
	return steps, errors.Join(errs...)
}

// Command runs a post-processor of this machine; the guest is gone by then. runtime tells what build.NAME means in this build.
func Command(e Env, runtime func(context.Context, *plan.Task) func(name string) (string, bool)) plan.Action {
	return plan.Typed[ProvisionArgs, struct{}]{DoFunc: func(ctx context.Context, t *plan.Task, a ProvisionArgs) (struct{}, error) {
		return struct{}{}, e.command(ctx, t, a, runtime(ctx, t))
	}}
}

func (e Env) command(ctx context.Context, t *plan.Task, a ProvisionArgs, runtime func(name string) (string, bool)) error {
	settings, err := provisioner.Decode(a.Type, a.Settings, e.Secrets.Lookup)
	if err != nil {
		return err
	}
	if err := provisioner.FillRuntime(settings, runtime); err != nil {
		return fmt.Errorf("cannot run post-processor %s: %w", a.Type, err)
	}
	run, ok := settings.(provisioner.Runner)
	if !ok {
		return fmt.Errorf("cannot run post-processor %s: this version of Ingot cannot run it yet", a.Type)
	}
	return run.Run(ctx, &provisioner.Env{Output: t.Output, Clock: t.Clock(), StepID: t.Step.ID, Progress: func(s string) { t.Progress(-1, "%s", s) },
		Vars: map[string]string{"PACKER_BUILD_NAME": BuildName(a.Build), "PACKER_BUILDER_TYPE": "azure-arm", "PACKER_RUN_UUID": t.Run}})
}

// BuildName is the last part of an image's name, which Packer gives to scripts as PACKER_BUILD_NAME.
func BuildName(name string) string { return name[strings.LastIndex(name, ".")+1:] }
