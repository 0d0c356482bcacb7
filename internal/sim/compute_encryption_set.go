package sim

import (
	"net/http"
	"strings"
)

const encryptionSetType = "Microsoft.Compute/diskEncryptionSets"

// encryptionSetKind is what disks name to be encrypted with a key of one's own (rest/api/compute/disk-encryption-sets; documents and answers as
// recorded). The key itself does nothing here: no disk of the simulation is encrypted.
func encryptionSetKind(takes takesTime) kind {
	return kind{typ: encryptionSetType, check: checkEncryptionSet, fill: fillEncryptionSet, drop: dropEncryptionSet, update: updateEncryptionSet,
		put202: true, bare202: true, creating: "Updating", opPath: "DiskOperations", takes: takes, takesAway: "disk-delete",
		show: func(w *Azure, r *resource, b map[string]any) {
			if r.state == "Succeeded" {
				fill(mapping(b, "properties"), map[string]any{"encryptionType": "EncryptionAtRestWithCustomerKey"})
				showIdentityOf(w, r, b)
			}
		},
		children: map[string]func(w *Azure, q *request, r *resource) *reply{"associatedResources": func(w *Azure, _ *request, r *resource) *reply {
			out := []any{}
			for _, x := range encryptedWith(w, r.id) {
				out = append(out, x.id)
			}
			return &reply{status: 200, body: map[string]any{"value": out}}
		}},
	}
}

func checkEncryptionSet(w *Azure, in ask) *refusal {
	p := mapping(in.body, "properties")
	url := text(p, "activeKey", "keyUrl")
	if in.old == nil && url == "" {
		return refuse(400, "InvalidParameter", "Required parameter 'activeKey.keyUrl' is missing (null).")
	}
	if vault := text(p, "activeKey", "sourceVault", "id"); vault != "" && w.find(vault) == nil {
		return missingReference(vault, in.id)
	}
	switch t := text(p, "encryptionType"); t {
	case "", "EncryptionAtRestWithCustomerKey", "EncryptionAtRestWithPlatformAndCustomerKeys", "ConfidentialVmEncryptedWithCustomerKey":
	default:
		return refuse(400, "InvalidParameter", "The value '"+t+"' of parameter encryptionType is invalid.")
	}
	return nil
}

func fillEncryptionSet(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	delete(p, "provisioningState")
	if before := text(r.props, "activeKey", "keyUrl"); before != "" && before != text(p, "activeKey", "keyUrl") {
		p["lastKeyRotationTimestamp"] = stamp(w.clock.Now())
	} else if t := text(r.props, "lastKeyRotationTimestamp"); t != "" {
		p["lastKeyRotationTimestamp"] = t
	}
	r.props = p
	if r.extra == nil {
		r.extra = map[string]any{}
	}
	if v := in.body["identity"]; v != nil {
		r.extra["identity"] = deepCopy(v)
	}
}

// updateEncryptionSet is PATCH: a key, a type, an identity more or less (recorded: 202 with the document as it was and is).
func updateEncryptionSet(w *Azure, q *request, k *kind, r *resource) *reply {
	if q.body["tags"] != nil {
		r.tags = copyMap(mapping(q.body, "tags"))
	}
	in := ask{id: r.id, name: r.name, location: r.location, old: r, who: q.who, body: map[string]any{"properties": merged(r.props, mapping(q.body, "properties"))}}
	if bad := k.check(w, in); bad != nil {
		return failed(bad)
	}
	k.fill(w, r, in)
	before := w.show(k, r, "")
	if v := mapping(q.body, "identity"); v != nil {
		if r.extra["identity"] = changedIdentity(mapping(r.extra, "identity"), v); text(v, "type") == "None" {
			delete(r.extra, "identity")
		}
	}
	mapping(before, "properties")["provisioningState"], r.state = "Updating", "Updating"
	o := w.beginVerb(r, k.opPath, k.takes(w, r, false), "put")
	return &reply{status: http.StatusAccepted, header: w.async(q, o, true), body: before}
}

// encryptedWith are the disks and snapshots that a set encrypts.
func encryptedWith(w *Azure, id string) (out []*resource) {
	for _, typ := range []string{diskType, snapshotType, imageType} {
		for _, r := range w.all(typ) {
			if sameID(text(r.props, "encryption", "diskEncryptionSetId"), id) || sameID(text(r.props, "storageProfile", "osDisk", "diskEncryptionSet", "id"), id) {
				out = append(out, r)
			}
		}
	}
	return out
}

func dropEncryptionSet(w *Azure, r *resource) *refusal {
	if used := encryptedWith(w, r.id); len(used) > 0 {
		return refuse(409, "OperationNotAllowed", "Disk encryption set "+r.name+" cannot be deleted because it is still being used by one or more resources, for example "+used[0].id+".")
	}
	return nil
}

// showIdentityOf completes the identity of a resource: Entra's numbers for what was asked for.
func showIdentityOf(w *Azure, r *resource, b map[string]any) {
	v := mapping(b, "identity")
	if v == nil {
		return
	}
	v = copyMap(v)
	b["identity"] = v
	if strings.Contains(text(v, "type"), "SystemAssigned") {
		v["principalId"], v["tenantId"] = w.draw("identity "+r.low, 0), w.cfg.Tenant
	}
	for id := range mapping(v, "userAssignedIdentities") {
		one := map[string]any{}
		if i := w.find(id); i != nil {
			one["principalId"], one["clientId"] = i.props["principalId"], i.props["clientId"]
		}
		mapping(v, "userAssignedIdentities")[id] = one
	}
}

// changedIdentity is an identity after a PATCH: null takes one of the user's away, None all of one kind (recorded).
func changedIdentity(old, change map[string]any) map[string]any {
	out := map[string]any{"type": text(change, "type")}
	users := copyMap(mapping(old, "userAssignedIdentities"))
	for id, v := range mapping(change, "userAssignedIdentities") {
		for known := range users {
			if sameID(known, id) {
				delete(users, known)
			}
		}
		if v != nil {
			users[id] = map[string]any{}
		}
	}
	if strings.Contains(text(change, "type"), "UserAssigned") && len(users) > 0 {
		out["userAssignedIdentities"] = users
	}
	return out
}
