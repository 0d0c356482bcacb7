package aib

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"ingot/internal/azure"
	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// Ahead asks Azure what only this engine needs to know before it begins: whether the identity that the service builds as is there and may do what
// it will be asked to do. Every permission that is missing would otherwise be found out half an hour later, as an internal error (reference
// azure-image-builder.md, section 5).
func (Engine) Ahead(ctx context.Context, cloud *azure.Client, img *image.Image, f image.Facts, p *plan.Plan) (l diag.List, denied bool) {
	if _, made := p.Find("identity"); made {
		return nil, false
	}
	id := img.Engine.Builder.Identity
	if id == "" {
		id = first(img.Managed.Identities)
	}
	who, err := cloud.GetIdentity(ctx, id)
	switch {
	case missing(err):
		l.Errorf(img.Pos, "create it (az identity create), name another (--identity), or have one made for the build (--create-identity)", "the identity that Image Builder is to build as does not exist: %s", id)
		return l, true
	case err != nil:
		l.Warnf(img.Pos, "give who builds the role Reader on it", "could not be checked: what the identity of the template may do: %v", err)
		return l, false
	}
	list := needs(img, f)
	lists := make([]diag.List, len(list))
	var wg sync.WaitGroup
	for i, n := range list {
		wg.Go(func() {
			have, err := cloud.PermissionsOf(ctx, who.PrincipalID, n.scope)
			if missing(err) && made(p, n.scope) {
				return // it is yet to be made; what is given on its group will hold
			}
			if err != nil {
				if ctx.Err() == nil {
					lists[i].Warnf(img.Pos, "give who builds the right Microsoft.Authorization/roleAssignments/read there", "could not be checked: what the identity %s may do on %s: %v", lastName(id), n.scope, err)
				}
				return
			}
			var without []string
			for _, a := range n.actions {
				if !slices.ContainsFunc(have, func(p azure.Permission) bool { return p.Allows(a, n.data) }) {
					without = append(without, a)
				}
			}
			if len(without) > 0 {
				lists[i].Errorf(img.Pos, fmt.Sprintf("az role assignment create --assignee-object-id %s --assignee-principal-type ServicePrincipal --role %q --scope %s", who.PrincipalID, n.role.Name, n.scope),
					"the identity %s, as which Image Builder builds, may not do this on %s: %s (needed to: %s)", lastName(id), n.scope, strings.Join(without, ", "), n.why)
			}
		})
	}
	wg.Wait()
	for _, x := range lists {
		denied = denied || x.HasErrors()
		l = append(l, x...)
	}
	return l, denied
}

func lastName(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// made reports that the plan makes the gallery that a scope is.
func made(p *plan.Plan, scope string) bool {
	return slices.ContainsFunc(p.Steps, func(s plan.Step) bool {
		return s.Kind == "gallery-new" && strings.Contains(string(s.Args), `"Name":"`+lastName(scope)+`"`)
	})
}
