package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/engine"
	"ingot/internal/image"
)

// roleDefinition is a custom role as `az role definition create --role-definition` reads it
// (https://learn.microsoft.com/azure/role-based-access-control/custom-roles-cli).
type roleDefinition struct {
	Name, Description string
	Actions           []string
	NotActions        []string
	DataActions       []string
	NotDataActions    []string
	AssignableScopes  []string
}

func (a *app) permissionsCmd() *cobra.Command {
	var t templateFlags
	var dir string
	var without bool
	c := &cobra.Command{
		Use: "permissions PATH", Short: "Show the least that an identity must be allowed for a build, as custom roles",
		Long: "Permissions plans the build offline and lists what the calls of its plan need, scope by scope: of the subscription, of each group, gallery and vault.\n" +
			"--json prints a custom role for each scope, --out writes each to a file and says how to create and assign it.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.loadOrStop(args[0], &t)
			if err != nil {
				return err
			}
			var rights, identity []engine.Right
			for _, img := range r.Images {
				facts := assumed(img)
				using := engineOf(img)
				righter, ok := using.(engine.Righter)
				if !ok {
					return usage("this engine does not know which permissions it needs")
				}
				if b, ok := using.(builder); ok {
					identity = append(identity, b.IdentityRights(img, facts)...)
					assumeIdentity(img)
				}
				p, err := using.Plan(img, facts, engine.Options{Run: "ingotrun", Made: time.Unix(0, 0).UTC(), Expires: 24 * time.Hour})
				if err != nil {
					return err
				}
				rights = append(rights, righter.Rights(p, facts)...)
				rights = append(rights, engine.LookupRights(img, facts)...)
				if !without {
					rights = append(rights, engine.PreflightRights(facts)...)
				}
			}
			rights, identity = engine.Compact(rights), engine.Compact(identity)
			roles := append(rolesOf(rights, "Ingot image build", "What ingot build needs on "), rolesOf(identity, "Ingot image template", "What the identity of an image template needs on ")...)
			switch {
			case dir != "":
				return a.writeRoles(dir, roles)
			case a.json:
				e := json.NewEncoder(a.Out)
				e.SetIndent("", "  ")
				return e.Encode(roles)
			}
			a.printRights(rights)
			if len(identity) > 0 {
				say(a.Out, "")
				say(a.Out, "And the identity that Azure Image Builder builds as (--identity; --create-identity makes one that has it):")
				say(a.Out, "")
				a.printRights(identity)
			}
			return nil
		},
	}
	t.add(c)
	t.engine.add(c, "what would build: vm, a machine of your own (default), or aib, Azure Image Builder")
	c.Flags().BoolVar(&a.json, "json", false, "print a custom role for each scope as JSON")
	c.Flags().StringVar(&dir, "out", "", "write each custom role to a file in this folder, and print the commands that create and assign them")
	c.Flags().BoolVar(&without, "without-preflight", false, "leave out what only the checks before a build read")
	return c
}

// builder is an engine that builds as an identity of its own, beside that of whoever asks it to.
type builder interface {
	// IdentityRights lists what that identity must be allowed. It is pure.
	IdentityRights(img *image.Image, f image.Facts) []engine.Right
}

// assumeIdentity names an identity where the template names none: its name does not count here.
func assumeIdentity(img *image.Image) {
	if b := &img.Engine.Builder; b.Identity == "" && !b.CreateIdentity && len(img.Managed.Identities) == 0 {
		b.Identity = "/subscriptions/SUBSCRIPTION-ID/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/IDENTITY"
	}
}

// assumed are facts for a plan whose names count and whose versions do not.
func assumed(img *image.Image) image.Facts {
	f := image.Facts{Subscription: cmp.Or(img.Identity.SubscriptionID, "SUBSCRIPTION-ID"), Tenant: cmp.Or(img.Identity.TenantID, "TENANT-ID"), ObjectID: "OBJECT-ID",
		Location: cmp.Or(image.NormalLocation(img.Machine.Location), "REGION")}
	f.Base = image.Base{OS: img.OS, Generation: "V2", Version: "1.0.0"}
	if m, ok := img.Source.(image.Marketplace); ok {
		f.Base = image.Base{OS: img.OS, Generation: "V2", Publisher: m.Publisher, Offer: m.Offer, SKU: m.SKU, Version: cmp.Or(m.Version, "latest")}
	}
	for _, t := range img.Targets {
		if g, ok := t.(image.ToGallery); ok {
			version := g.Version
			if version == "" || version == "auto" {
				version = "1.0.0"
			}
			f.Galleries = append(f.Galleries, image.GalleryFacts{DefinitionID: "DEFINITION", Location: f.Location, OS: img.OS, Version: version})
		}
	}
	return f
}

// rolesOf makes a role for each scope; the data actions of a vault that may go by roles are among them.
func rolesOf(rights []engine.Right, name, what string) []roleDefinition {
	var out []roleDefinition
	for _, r := range rights {
		i := slices.IndexFunc(out, func(d roleDefinition) bool { return strings.EqualFold(d.AssignableScopes[0], r.Scope) })
		if i < 0 {
			i = len(out)
			out = append(out, roleDefinition{Name: name + " (" + r.Scope[strings.LastIndex(r.Scope, "/")+1:] + ")", Description: what + r.Scope,
				Actions: []string{}, NotActions: []string{}, DataActions: []string{}, NotDataActions: []string{}, AssignableScopes: []string{r.Scope}})
		}
		if r.Data {
			out[i].DataActions = append(out[i].DataActions, r.Action)
		} else {
			out[i].Actions = append(out[i].Actions, r.Action)
		}
	}
	return out
}

func (a *app) printRights(rights []engine.Right) {
	scope := ""
	for _, r := range rights {
		if r.Scope != scope {
			if scope != "" {
				say(a.Out, "")
			}
			scope = r.Scope
			say(a.Out, "on %s", scope)
		}
		kind := ""
		if r.Data {
			kind = "  (data action)"
			if r.Vault != "" {
				kind = "  (data action; only if the vault goes by roles)"
			}
		}
		say(a.Out, "  %-70s %s%s", r.Action, r.For, kind)
	}
}

// writeRoles writes a file for each role and says what to do with them. A custom role may not be assignable to a single resource, so
// one for a vault names its group.
func (a *app) writeRoles(dir string, roles []roleDefinition) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot write the roles: %w", err)
	}
	for i, r := range roles {
		scope := r.AssignableScopes[0]
		if at := strings.Index(scope, "/providers/"); at >= 0 {
			r.AssignableScopes = []string{scope[:at]}
		}
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		file := filepath.Join(dir, fmt.Sprintf("role-%d.json", i+1))
		if err := os.WriteFile(file, append(raw, '\n'), 0o644); err != nil {
			return fmt.Errorf("cannot write the roles: %w", err)
		}
		say(a.Out, "az role definition create --role-definition @%s", file)
		say(a.Out, "az role assignment create --assignee OBJECT-ID --role %q --scope %s", r.Name, scope)
	}
	return nil
}
