package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/azure"
	"ingot/internal/diag"
	"ingot/internal/image"
)

// denyAssignments finds what the identity's roles allow and a deny assignment forbids all the same: permissions do not show it.
func (p Preflight) denyAssignments(ctx context.Context) (l diag.List, err error) {
	list, err := ask(p.Asked, func() ([]azure.DenyAssignment, error) { return p.Cloud.DenyAssignments(ctx) }, "deny assignments")
	if err != nil {
		return nil, err
	}
	rights := Compact(append(slices.Clone(p.Rights), LookupRights(p.Img, p.Facts)...))
	for _, d := range list {
		var forbidden []string
		first, all := "", true
		for _, r := range rights {
			if !p.reaches(d, r) {
				continue
			}
			denies, sure := d.Denies(p.Facts.ObjectID, r.Action, r.Data)
			if !denies || slices.Contains(forbidden, r.Action) {
				continue
			}
			all = all && sure
			first = cmp.Or(first, r.For)
			forbidden = append(forbidden, r.Action)
		}
		if len(forbidden) == 0 {
			continue
		}
		remedy := "have this identity excluded from it, or remove it: az role deny-assignment delete --ids " + d.ID
		if d.Protected {
			remedy = "build elsewhere (location, build_resource_group_name, the target's group): it belongs to a managed application or a deployment stack, and only that can exclude this identity from it"
		}
		what := fmt.Sprintf("on %s: %s (first needed to: %s)", d.Scope, strings.Join(forbidden, ", "), first)
		if all {
			l.Errorf(p.Img.Pos, remedy, "deny assignment %s forbids this to %s %s", cmp.Or(d.Name, lastOf(d.ID)), p.who(), what)
		} else {
			l.Warnf(p.Img.Pos, remedy, "deny assignment %s may forbid this to %s, if it is in a group that it names, %s", cmp.Or(d.Name, lastOf(d.ID)), p.who(), what)
		}
	}
	return l, nil
}

// reaches reports whether an assignment is about where a right is needed. A right on a group is needed on the gallery in it, too, which
// may have an assignment of its own.
func (p Preflight) reaches(d azure.DenyAssignment, r Right) bool {
	if within(r.Scope, d.Scope) {
		// What a right on a group is for happens below it, but for the group itself.
		return !d.OnlyThere || strings.EqualFold(r.Scope, d.Scope) && strings.HasPrefix(strings.ToLower(r.Action), "microsoft.resources/subscriptions/resourcegroups/")
	}
	if d.OnlyThere || !within(d.Scope, r.Scope) || !strings.HasPrefix(strings.ToLower(r.Action), "microsoft.compute/galleries/") {
		return false
	}
	return slices.ContainsFunc(p.Img.Targets, func(t image.Target) bool {
		g, ok := t.(image.ToGallery)
		return ok && within(groupID(cmp.Or(g.Subscription, p.Facts.Subscription), g.ResourceGroup)+"/providers/Microsoft.Compute/galleries/"+g.Gallery+"/images/"+g.Image, d.Scope)
	})
}
