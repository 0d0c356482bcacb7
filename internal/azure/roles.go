package azure

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// identityVersion is the api-version for user-assigned identities: of the specification msi/resource-manager, stable/2023-01-31.
const identityVersion = "2023-01-31"

// rolesVersion is that of role assignments and definitions: authorization/resource-manager, stable/2022-04-01.
const rolesVersion = "2022-04-01"

// UserIdentity is a user-assigned managed identity.
type UserIdentity struct {
	ID, Location          string
	PrincipalID, ClientID string // PrincipalID: the object id that roles are assigned to
	Tags                  map[string]string
}

type wireIdentity struct {
	ID         string            `json:"id"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties struct {
		PrincipalID string `json:"principalId"`
		ClientID    string `json:"clientId"`
	} `json:"properties"`
}

func (w wireIdentity) info() UserIdentity {
	return UserIdentity{ID: w.ID, Location: w.Location, PrincipalID: w.Properties.PrincipalID, ClientID: w.Properties.ClientID, Tags: w.Tags}
}

// GetIdentity looks an identity up by its id.
func (c *Client) GetIdentity(ctx context.Context, id string) (UserIdentity, error) {
	var w wireIdentity
	err := c.exchange(ctx, http.MethodGet, id, identityVersion, "look up identity "+last(id), nil, &w)
	return w.info(), err
}

// PutIdentity makes an identity.
func (c *Client) PutIdentity(ctx context.Context, id, location string, tags map[string]string) (UserIdentity, error) {
	var w wireIdentity
	err := c.exchange(ctx, http.MethodPut, id, identityVersion, "create identity "+last(id), map[string]any{"location": location, "tags": tags}, &w)
	return w.info(), err
}

// DeleteIdentity deletes an identity; one that is not there is deleted.
func (c *Client) DeleteIdentity(ctx context.Context, id string) error {
	return gone(c.exchange(ctx, http.MethodDelete, id, identityVersion, "delete identity "+last(id), nil, nil))
}

// PermissionsOf are what an identity may do at a scope by the roles that are assigned to it there and above, its groups' included
// (https://learn.microsoft.com/rest/api/authorization/role-assignments/list-for-scope, filters atScope and assignedTo).
func (c *Client) PermissionsOf(ctx context.Context, principalID, scope string) ([]Permission, error) {
	what := "list the roles that " + principalID + " has on " + scope
	var list []struct {
		Properties struct {
			Role string `json:"roleDefinitionId"`
		} `json:"properties"`
	}
	filter := url.QueryEscape("atScope() and assignedTo('" + principalID + "')")
	if err := pages(ctx, c, scope+"/providers/Microsoft.Authorization/roleAssignments", rolesVersion+"&$filter="+filter, what, &list); err != nil {
		return nil, err
	}
	var out []Permission
	seen := map[string]bool{}
	for _, a := range list {
		if key := strings.ToLower(a.Properties.Role); seen[key] {
			continue
		} else {
			seen[key] = true
		}
		var role struct {
			Properties struct {
				Permissions []Permission `json:"permissions"`
			} `json:"properties"`
		}
		if err := c.exchange(ctx, http.MethodGet, a.Properties.Role, rolesVersion, what, nil, &role); err != nil {
			return nil, err
		}
		out = append(out, role.Properties.Permissions...)
	}
	return out, nil
}

// RoleAssignment gives an identity one of Azure's roles at a scope.
type RoleAssignment struct {
	Name      string // a GUID that the caller chooses, so that it is found again
	Scope     string
	Role      string // GUID of the role definition
	Principal string
}

func (a RoleAssignment) path() string {
	return a.Scope + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name
}

// AssignRole makes an assignment; one that is there already is made. The kind of the principal is told, so that one that was made a moment
// ago need not have reached all of the directory (https://learn.microsoft.com/azure/role-based-access-control/role-assignments-rest).
func (c *Client) AssignRole(ctx context.Context, a RoleAssignment) error {
	body := map[string]any{"properties": map[string]any{"roleDefinitionId": "/subscriptions/" + c.o.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + a.Role,
		"principalId": a.Principal, "principalType": "ServicePrincipal"}}
	err := c.exchange(ctx, http.MethodPut, a.path(), rolesVersion, "assign a role on "+a.Scope, body, nil)
	if code(err) == "RoleAssignmentExists" {
		return nil
	}
	return err
}

// RemoveRole deletes an assignment; one that is not there is deleted.
func (c *Client) RemoveRole(ctx context.Context, a RoleAssignment) error {
	return gone(c.exchange(ctx, http.MethodDelete, a.path(), rolesVersion, "remove a role on "+a.Scope, nil, nil))
}

// IsNotYetAuthorized reports Image Builder's own refusal of what the template's identity may not do; a role that was assigned a moment ago
// takes up to ten minutes to hold everywhere (https://learn.microsoft.com/azure/role-based-access-control/troubleshooting).
func IsNotYetAuthorized(err error) bool {
	var e *Error
	return errors.As(err, &e) && (strings.Contains(e.Message, "Not authorized to access the resource") || e.Code == "Unauthorized" && e.Status != http.StatusUnauthorized)
}
