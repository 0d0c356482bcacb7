// Package aib hands a build to Azure Image Builder: it submits the image as an imageTemplates resource, runs it, follows its log and collects what
// it made. No machine of the build is ours, none can be reached from outside, and the service goes on when this process does not. What the
// image becomes as a resource is package imagebuilder's; what the service does is in the reference, azure-image-builder.md.
package aib

import (
	"context"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/plan"
)

// Engine is the Image Builder engine.
type Engine struct{}

var (
	_ engine.Engine  = Engine{}
	_ engine.Righter = Engine{}
)

// Actions are what the kinds of this engine's plans mean in env.
func (Engine) Actions(env engine.Env) map[string]plan.Action {
	b := &build{env: env}
	return map[string]plan.Action{
		"group":          engine.Group(env),
		"gallery-new":    engine.NewGallery(env),
		"definition":     engine.NewDefinition(env),
		"identity":       plan.Typed[identityArgs, identityResult]{DoFunc: b.makeIdentity, UndoFunc: b.removeIdentity},
		"roles":          plan.Typed[rolesArgs, struct{}]{DoFunc: b.assignRoles, UndoFunc: b.removeRoles},
		"files-account":  plan.Typed[accountArgs, struct{}]{DoFunc: b.makeAccount, UndoFunc: b.removeAccount},
		"upload":         plan.Typed[uploadArgs, uploadResult]{DoFunc: b.upload, UndoFunc: b.removeUploads},
		"image-template": plan.Typed[templateArgs, templateResult]{DoFunc: b.submit, UndoFunc: b.removeTemplate},
		"image-run":      plan.Typed[runArgs, runResult]{DoFunc: b.run, UndoFunc: b.withdraw},
		"image-output":   plan.Typed[outputArgs, engine.ProductResult]{DoFunc: b.output},
		"image-trigger":  plan.Typed[triggerArgs, struct{}]{DoFunc: b.makeTrigger, UndoFunc: b.removeTrigger},
		"manifest":       engine.WriteManifest(),
		"command":        engine.Command(env, b.runtime),
	}
}

// build carries out the steps of one run. It keeps nothing in memory that another process could not ask for again.
type build struct{ env engine.Env }

// runtime is what build.NAME means to post-processors: of the machine, which is the service's, nothing is known.
func (b *build) runtime(_ context.Context, t *plan.Task) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		if name == "ID" || name == "PackerRunUUID" {
			return t.Run, true
		}
		return "", false
	}
}

// mine reports whether what carries these tags was made by the task's run.
func mine(t *plan.Task, tags map[string]string) bool { return tags[engine.TagRun] == t.Run }

// missing makes "it is not there" a plain answer.
func missing(err error) bool { return azure.IsNotFound(err) }
