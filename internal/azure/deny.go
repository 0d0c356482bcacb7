package azure

import (
	"context"
	"strings"
)

// DenyAssignment keeps identities from what their roles allow (https://learn.microsoft.com/azure/role-based-access-control/deny-assignments).
type DenyAssignment struct {
	ID, Name    string // Name is what people call it
	Scope       string // the id of what it holds for
	OnlyThere   bool   // not for what is below
	Protected   bool   // made by Azure for a managed application, a deployment stack or the like; nobody can delete it by itself
	Permissions []Permission
	Principals  []Principal // whom it holds for
	Excluded    []Principal // whom it does not hold for all the same
}

// Principal is an identity or a group of them.
type Principal struct {
	ID   string `json:"id"`
	Type string `json:"type"` // User, Group, ServicePrincipal, SystemDefined
}

// everyone is the principal that stands for all.
const everyone = "00000000-0000-0000-0000-000000000000"

// Denies reports whether the assignment keeps an identity from an action (or a data action). sure is false where that hangs on whether the
// identity is in a group, which Resource Manager cannot be asked.
func (d DenyAssignment) Denies(objectID, action string, data bool) (denies, sure bool) {
	// A permission's Actions are here what is denied, and its NotActions what is not.
	hit := false
	for _, p := range d.Permissions {
		hit = hit || p.Allows(action, data)
	}
	if !hit {
		return false, true
	}
	named, groups := false, false
	for _, p := range d.Principals {
		named = named || p.ID == everyone || strings.EqualFold(p.ID, objectID)
		groups = groups || strings.EqualFold(p.Type, "Group")
	}
	left := false
	for _, p := range d.Excluded {
		if strings.EqualFold(p.ID, objectID) {
			return false, true
		}
		left = left || strings.EqualFold(p.Type, "Group")
	}
	if !named {
		return groups, !groups
	}
	return true, !left
}

// DenyAssignments lists those at the subscription, above it and in it
// (https://learn.microsoft.com/rest/api/authorization/deny-assignments/list).
func (c *Client) DenyAssignments(ctx context.Context) ([]DenyAssignment, error) {
	var list []struct {
		ID         string `json:"id"`
		Properties struct {
			Name        string       `json:"denyAssignmentName"`
			Scope       string       `json:"scope"`
			OnlyThere   bool         `json:"doNotApplyToChildScopes"`
			Protected   bool         `json:"isSystemProtected"`
			Permissions []Permission `json:"permissions"`
			Principals  []Principal  `json:"principals"`
			Excluded    []Principal  `json:"excludePrincipals"`
		} `json:"properties"`
	}
	if err := pages(ctx, c, "/subscriptions/"+c.o.Subscription+"/providers/Microsoft.Authorization/denyAssignments", "2022-04-01", "list deny assignments", &list); err != nil {
		return nil, err
	}
	var out []DenyAssignment
	for _, x := range list {
		p := x.Properties
		out = append(out, DenyAssignment{ID: x.ID, Name: p.Name, Scope: p.Scope, OnlyThere: p.OnlyThere, Protected: p.Protected, Permissions: p.Permissions, Principals: p.Principals, Excluded: p.Excluded})
	}
	return out, nil
}
