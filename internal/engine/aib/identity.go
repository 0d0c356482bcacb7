package aib

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
)

type identityArgs struct {
	ID, Location string
	Tags         map[string]string
}

type identityResult struct {
	ID        string `json:"id"`
	Principal string `json:"principal"`
}

// makeIdentity makes the identity of one build.
func (b *build) makeIdentity(ctx context.Context, t *plan.Task, a identityArgs) (identityResult, error) {
	i, err := b.env.Cloud.GetIdentity(ctx, a.ID)
	switch {
	case missing(err):
		i, err = b.env.Cloud.PutIdentity(ctx, a.ID, a.Location, a.Tags)
	case err == nil && !mine(t, i.Tags):
		return identityResult{}, fmt.Errorf("cannot create identity %s: one of that name exists that this run did not make", a.ID)
	}
	return identityResult{ID: a.ID, Principal: i.PrincipalID}, err
}

func (b *build) removeIdentity(ctx context.Context, t *plan.Task, a identityArgs, _ *identityResult) error {
	i, err := b.env.Cloud.GetIdentity(ctx, a.ID)
	if missing(err) || err == nil && !mine(t, i.Tags) {
		return nil
	}
	if err != nil {
		return err
	}
	return b.env.Cloud.DeleteIdentity(ctx, a.ID)
}

// role is one of Azure's own (https://learn.microsoft.com/azure/role-based-access-control/built-in-roles).
type role struct{ ID, Name string }

var (
	publisher   = role{"85a2d0d9-2eba-4c9c-b355-11c2cc0788ab", "Compute Gallery Artifacts Publisher"}
	contributor = role{"b24988ac-6180-42a0-ab88-20f7382dd24c", "Contributor"}
	reader      = role{"acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader"}
	// Of a network it allows reading and joining subnets, and nothing else.
	vmContributor = role{"9980e02c-c2be-4d73-94e8-173b1dc7cf3c", "Virtual Machine Contributor"}
	blobReader    = role{"2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "Storage Blob Data Reader"}
	blobWriter    = role{"ba92f5b4-2d11-453d-a403-e96b0029c9fe", "Storage Blob Data Contributor"}
	operator      = role{"f1a07417-d97a-45cb-824c-7a7467783830", "Managed Identity Operator"}
)

// assignment is a role at a scope, with the name that it is found again by.
type assignment struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
	Role  string `json:"role"`
	Title string `json:"title"`
}

type rolesArgs struct{ Roles []assignment }

func (a rolesArgs) summary() string {
	var out []string
	for _, r := range a.Roles {
		s := r.Title + " on " + r.Scope[strings.LastIndex(r.Scope, "/")+1:]
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

// need is what the template's identity must be allowed, and the narrowest role of Azure's own that allows it.
type need struct {
	actions []string
	data    bool
	scope   string
	why     string
	role    role
}

func resource(subscription, group, path string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/" + group + "/providers/" + path
}

// needs lists what the identity is asked for (reference azure-image-builder.md section 2, "RBAC of template identity").
func needs(img *image.Image, f image.Facts) (out []need) {
	add := func(scope, why string, r role, data bool, actions ...string) {
		if !slices.ContainsFunc(out, func(n need) bool { return strings.EqualFold(n.scope, scope) && n.role == r }) {
			out = append(out, need{actions, data, scope, why, r})
		}
	}
	const compute, galleries = "Microsoft.Compute/", "Microsoft.Compute/galleries/"
	sub := func(s string) string { return cmp.Or(s, f.Subscription) }
	for _, t := range img.Targets {
		switch t := t.(type) {
		case image.ToGallery:
			add(resource(sub(t.Subscription), t.ResourceGroup, galleries+t.Gallery), "publish to "+t.Gallery+"/"+t.Image, publisher, false,
				galleries+"read", galleries+"images/read", galleries+"images/versions/read", galleries+"images/versions/write")
		case image.ToManagedImage:
			add("/subscriptions/"+sub(t.Subscription)+"/resourceGroups/"+t.ResourceGroup, "make managed image "+t.Name, contributor, false, compute+"images/write", compute+"images/read", compute+"images/delete")
		case image.ToVHD:
			account, _, _ := strings.Cut(strings.TrimPrefix(t.URI, "https://"), ".")
			if id := f.Accounts[account]; t.StorageAccount == "" && id != "" {
				add(id, "write a VHD", blobWriter, true, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write")
			}
			if t.StorageAccount != "" {
				add(resource(f.Subscription, t.ResourceGroup, "Microsoft.Storage/storageAccounts/"+t.StorageAccount), "write a VHD", blobWriter, true, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write")
			}
		}
	}
	switch s := img.Source.(type) {
	case image.GalleryVersion:
		add(resource(sub(s.Subscription), s.ResourceGroup, galleries+s.Gallery), "start from "+s.Gallery+"/"+s.Image, reader, false, galleries+"read", galleries+"images/read", galleries+"images/versions/read")
	case image.ManagedImage:
		add(resource(sub(s.Subscription), s.ResourceGroup, compute+"images/"+s.Name), "start from managed image "+s.Name, reader, false, compute+"images/read")
	}
	if n := img.Machine.Network; n.VNet != "" {
		add(resource(sub(n.Subscription), n.ResourceGroup, "Microsoft.Network/virtualNetworks/"+n.VNet), "build in network "+n.VNet, vmContributor, false,
			"Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/join/action")
	}
	if id := img.Engine.Builder.StorageAccount; id != "" && img.Engine.Builder.ReadAsIdentity {
		add(id, "read scripts and files", blobReader, true, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read")
	}
	for _, id := range img.Machine.Identities {
		add(id, "give the build machine its identity", operator, false, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action")
	}
	if g := img.Managed.StagingGroup; g != "" {
		add(g, "work in the staging group", contributor, false, "Microsoft.Resources/deployments/write", "Microsoft.Storage/storageAccounts/write", "Microsoft.Compute/virtualMachines/write", "Microsoft.ContainerInstance/containerGroups/write")
	}
	return out
}

// assignments are the roles that an identity made for one build is given.
func assignments(img *image.Image, f image.Facts, run string) (out []assignment) {
	for _, n := range needs(img, f) {
		name := uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.ToLower(run+n.scope+n.role.ID))).String()
		out = append(out, assignment{Name: name, Scope: n.scope, Role: n.role.ID, Title: n.role.Name})
	}
	return out
}

func (b *build) assignRoles(ctx context.Context, t *plan.Task, a rolesArgs) (struct{}, error) {
	var i identityResult
	if err := t.Result("identity", &i); err != nil {
		return struct{}{}, err
	}
	for _, r := range a.Roles {
		t.Progress(-1, "%s on %s", r.Title, r.Scope)
		err := b.env.Cloud.AssignRole(ctx, azure.RoleAssignment{Name: r.Name, Scope: r.Scope, Role: r.Role, Principal: i.Principal})
		if azure.IsForbidden(err) {
			err = fmt.Errorf("%w; to assign roles, whoever builds needs Role Based Access Control Administrator or Owner there; or name an identity that has them: --identity", err)
		}
		if err != nil {
			return struct{}{}, err
		}
	}
	return struct{}{}, nil
}

func (b *build) removeRoles(ctx context.Context, _ *plan.Task, a rolesArgs, _ *struct{}) error {
	var errs []error
	for _, r := range a.Roles {
		errs = append(errs, b.env.Cloud.RemoveRole(ctx, azure.RoleAssignment{Name: r.Name, Scope: r.Scope}))
	}
	return joined(errs)
}

// IdentityRights lists what the identity that the service builds as must be allowed; what the person who builds needs is Rights.
func (Engine) IdentityRights(img *image.Image, f image.Facts) []engine.Right {
	var out []engine.Right
	for _, n := range needs(img, f) {
		for _, a := range n.actions {
			out = append(out, engine.Right{Action: a, Scope: n.scope, Data: n.data, For: n.why})
		}
	}
	return engine.Compact(out)
}

// RolesFor are the role assignments that give an identity what it needs to build img, for a rehearsal that sets the scene. run makes their
// names.
func RolesFor(img *image.Image, f image.Facts, principal, run string) (out []azure.RoleAssignment) {
	for _, a := range assignments(img, f, run) {
		out = append(out, azure.RoleAssignment{Name: a.Name, Scope: a.Scope, Role: a.Role, Principal: principal})
	}
	return out
}
