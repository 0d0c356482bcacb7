package sim

import "strings"

const (
	identityType   = "Microsoft.ManagedIdentity/userAssignedIdentities"
	federationType = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
)

// fillIdentity gives an identity its ids and makes it an account that can be given roles and, at the identity endpoint, a token.
func fillIdentity(w *Azure, r *resource, in ask) {
	if in.old != nil {
		return
	}
	r.props = map[string]any{"tenantId": w.cfg.Tenant, "principalId": w.uuid(), "clientId": w.uuid()}
	w.addPrincipal(Principal{Name: r.name, ClientID: text(r.props, "clientId"), ObjectID: text(r.props, "principalId"), Secret: w.uuid() + w.uuid(), Roles: []Assignment{}})
}

func showIdentity(_ *Azure, _ *resource, b map[string]any) {
	delete(mapping(b, "properties"), "provisioningState") // as recorded
	if b["tags"] == nil {
		b["tags"] = map[string]any{}
	}
}

func goneIdentity(w *Azure, r *resource) {
	for i, p := range w.principals {
		if p.ObjectID == text(r.props, "principalId") {
			w.principals = append(w.principals[:i:i], w.principals[i+1:]...)
			return
		}
	}
}

func checkFederation(w *Azure, in ask) *refusal {
	if w.find(parentID(in.id)) == nil {
		return parentMissing(in.id)
	}
	p := mapping(in.body, "properties")
	for _, need := range []string{"issuer", "subject"} {
		if text(p, need) == "" {
			return refuse(400, "BadRequest", "The request format was unexpected, property "+need+" is missing.")
		}
	}
	return nil
}

// identityPrincipal is the account that a call of an identity endpoint is for: the user-assigned identity that it names by client id,
// object id or resource id. Without a name it is the first account, whose computer this is.
func (w *Azure) identityPrincipal(clientID, objectID, resourceID string) *principal {
	if resourceID != "" {
		r := w.find(resourceID)
		if r == nil || r.typ != identityType {
			return nil
		}
		objectID = text(r.props, "principalId")
	}
	for _, p := range w.principals {
		if clientID+objectID == "" || clientID != "" && strings.EqualFold(p.ClientID, clientID) || objectID != "" && strings.EqualFold(p.ObjectID, objectID) {
			return p
		}
	}
	return nil
}
