package cli

import (
	"regexp"

	"github.com/spf13/cobra"

	"ingot/internal/engine"
	"ingot/internal/engine/aib"
	"ingot/internal/engine/vm"
	"ingot/internal/image"
)

// engineFlags say which engine builds, and how. They win over the engine blocks of *.ingot.hcl files.
type engineFlags struct {
	name, identity      string
	lossy, create, keep bool
	changed             func(flag string) bool
}

const (
	engineVM  = "vm"
	engineAIB = "aib"
)

func (e *engineFlags) add(c *cobra.Command, what string) {
	f := c.Flags()
	f.StringVar(&e.name, "engine", "", what)
	f.BoolVar(&e.lossy, "allow-lossy", false, "go on although the engine cannot do everything exactly (aib)")
	f.StringVar(&e.identity, "identity", "", "id of the user-assigned identity that Azure Image Builder builds as (aib)")
	f.BoolVar(&e.create, "create-identity", false, "make that identity for the build, with the roles it needs, and remove both afterwards (aib)")
	f.BoolVar(&e.keep, "keep-template", false, "keep the image template; the next build uses it again if it is the same (aib)")
	e.changed = c.Flags().Changed
}

var identityForm = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+$`)

// check refuses what the flags cannot mean.
func (e *engineFlags) check() error {
	switch {
	case e.name != "" && e.name != engineVM && e.name != engineAIB:
		return usage("unknown --engine %q: there are vm (a machine of your own) and aib (Azure Image Builder)", e.name)
	case e.identity != "" && e.create:
		return usage("--identity and --create-identity exclude one another")
	case e.identity != "" && !identityForm.MatchString(e.identity):
		return usage("--identity is the id of a user-assigned identity: /subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME, not %q", e.identity)
	}
	return nil
}

// apply puts the flags into an image.
func (e *engineFlags) apply(img *image.Image) {
	if e.changed == nil {
		return
	}
	if e.name != "" {
		img.Engine.Name = e.name
	}
	if e.changed("allow-lossy") {
		img.Engine.AllowLossy = e.lossy
	}
	b := &img.Engine.Builder
	if e.identity != "" {
		b.Identity, b.CreateIdentity = e.identity, false
	}
	if e.changed("create-identity") {
		if b.CreateIdentity = e.create; e.create {
			b.Identity = ""
		}
	}
	if e.changed("keep-template") {
		b.KeepTemplate = e.keep
	}
}

// engineNamed is an engine by its name; "" is a machine of one's own.
func engineNamed(name string) engine.Engine {
	if name == engineAIB {
		return aib.Engine{}
	}
	return vm.Engine{}
}

// engineOf is the engine that builds an image.
func engineOf(img *image.Image) engine.Engine { return engineNamed(img.Engine.Name) }
