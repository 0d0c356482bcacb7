// Package engine says what an engine is: a compiler from an image and facts to a plan, and the actions that carry the plan
// out. The engines themselves are rooms below it and never import one another.
package engine

import (
	"context"
	"net/http"
	"time"

	"ingot/internal/azure"
	"ingot/internal/communicator"
	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// Options are what a person decides about one run; everything in it is data.
type Options struct {
	Run     string        // the run's id: 8 letters and digits, part of every name
	Made    time.Time     // when the plan is made; tags and expiries start from it
	Replace bool          // -force: an existing version or image is replaced
	Expires time.Duration // after which gc may collect what leaked
}

// Engine turns images into plans.
type Engine interface {
	// Check says what this engine cannot do with img.
	Check(img *image.Image) diag.List
	// Plan compiles; it is pure: same arguments, same plan.
	Plan(img *image.Image, f image.Facts, o Options) (*plan.Plan, error)
	// Actions are what the plan's kinds mean in env. They serve one run.
	Actions(env Env) map[string]plan.Action
}

// Env is what is outside the process: the only difference between a rehearsal and a build.
type Env struct {
	Cloud   *azure.Client
	Dial    communicator.Dialer
	Secrets *Secrets
	Clock   plan.Clock
	// Wait returns when a person says to go on, at a breakpoint; nil: nobody can be asked.
	Wait func(ctx context.Context, note string) error
	// HTTP fetches scripts and files from their addresses; nil: as this machine's environment says (HTTPS_PROXY).
	HTTP *http.Client
	// StandIn is asked before something is fetched: where it says why an address cannot be reached from here, content is used in place of what is
	// there, and its checksum is not checked. Nil, as it is with the real Azure: everything is fetched.
	StandIn func(ctx context.Context, address string) (content, why string, err error)
}
