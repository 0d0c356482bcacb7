package engine

import (
	"cmp"
	"slices"
	"strings"

	"ingot/internal/image"
	"ingot/internal/plan"
)

// Right is one permission that a build needs, in Azure's words.
type Right struct {
	Action string // "Microsoft.Compute/virtualMachines/write"
	Scope  string // id of the subscription, group or resource on which it is needed
	Data   bool   // a data action: what a resource holds, such as a vault's secrets
	For    string // the step that needs it, for people
	Vault  string // a data action that is needed only if this vault (an id) goes by roles and not by access policies
}

// Righter is an engine that knows which permissions its plans need.
type Righter interface {
	// Rights lists what carrying p out needs, the removal of what it makes included. It is pure.
	Rights(p *plan.Plan, f image.Facts) []Right
}

// Group is the id of a resource group.
func groupID(subscription, group string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/" + group
}

// LookupRights are what Resolve's questions need.
func LookupRights(img *image.Image, f image.Facts) []Right {
	sub := "/subscriptions/" + f.Subscription
	const what = "look up what the template names"
	out := []Right{{Action: "Microsoft.Compute/skus/read", Scope: sub, For: what}}
	group := func(subscription, name string) string {
		return groupID(cmp.Or(subscription, f.Subscription), name)
	}
	switch s := img.Source.(type) {
	case image.Marketplace:
		out = append(out, Right{Action: "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read", Scope: sub, For: what})
	case image.GalleryVersion:
		at := group(s.Subscription, s.ResourceGroup)
		out = append(out, Right{Action: "Microsoft.Compute/galleries/images/read", Scope: at, For: what}, Right{Action: "Microsoft.Compute/galleries/images/versions/read", Scope: at, For: what})
	case image.ManagedImage:
		out = append(out, Right{Action: "Microsoft.Compute/images/read", Scope: group("", s.ResourceGroup), For: what})
	}
	if g := img.Machine.ResourceGroup; g != "" {
		out = append(out, Right{Action: "Microsoft.Resources/subscriptions/resourceGroups/read", Scope: group("", g), For: what})
	}
	if at := img.SnapshotGroup(); at != "" && img.Snapshots != (image.Snapshots{}) {
		out = append(out, Right{Action: "Microsoft.Resources/subscriptions/resourceGroups/read", Scope: group("", at), For: what}, Right{Action: "Microsoft.Compute/snapshots/read", Scope: group("", at), For: what})
	}
	for _, d := range img.Definitions {
		out = append(out, Right{Action: "Microsoft.Compute/galleries/read", Scope: group(d.Subscription, d.ResourceGroup), For: what})
	}
	for _, t := range img.Targets {
		switch t := t.(type) {
		case image.ToGallery:
			at := group(t.Subscription, t.ResourceGroup)
			out = append(out, Right{Action: "Microsoft.Compute/galleries/images/read", Scope: at, For: what}, Right{Action: "Microsoft.Compute/galleries/images/versions/read", Scope: at, For: what})
		case image.ToVHD:
			if t.StorageAccount != "" {
				out = append(out, Right{Action: "Microsoft.Storage/storageAccounts/read", Scope: group("", t.ResourceGroup), For: what})
			}
		case image.ToManagedImage:
			at := group(t.Subscription, t.ResourceGroup)
			out = append(out, Right{Action: "Microsoft.Resources/subscriptions/resourceGroups/read", Scope: at, For: what}, Right{Action: "Microsoft.Compute/images/read", Scope: at, For: what})
		}
	}
	return out
}

// PreflightRights are what the checks before a build read; without one of them its check is left out with a word.
func PreflightRights(f image.Facts) []Right {
	sub := "/subscriptions/" + f.Subscription
	const what = "check before the build begins"
	var out []Right
	for _, a := range []string{"Microsoft.Authorization/permissions/read", "Microsoft.Authorization/locks/read", "Microsoft.Authorization/denyAssignments/read", "Microsoft.Compute/locations/usages/read",
		"Microsoft.PolicyInsights/checkPolicyRestrictions/read", "Microsoft.Resources/subscriptions/providers/read"} {
		out = append(out, Right{Action: a, Scope: sub, For: what})
	}
	return out
}

// Compact removes what another entry of the same scope, or of one above it, says already, and sorts by scope and action.
func Compact(rights []Right) []Right {
	out := slices.Clone(rights)
	slices.SortStableFunc(out, func(a, b Right) int {
		return cmp.Or(cmp.Compare(len(a.Scope), len(b.Scope)), cmp.Compare(strings.ToLower(a.Scope), strings.ToLower(b.Scope)), cmp.Compare(strings.ToLower(a.Action), strings.ToLower(b.Action)))
	})
	var kept []Right
	for _, r := range out {
		if !slices.ContainsFunc(kept, func(k Right) bool {
			return k.Data == r.Data && k.Vault == r.Vault && strings.EqualFold(k.Action, r.Action) && within(r.Scope, k.Scope)
		}) {
			kept = append(kept, r)
		}
	}
	return kept
}

// within reports whether scope is at or below above.
func within(scope, above string) bool {
	scope, above = strings.ToLower(scope), strings.ToLower(above)
	return scope == above || strings.HasPrefix(scope, above+"/")
}
