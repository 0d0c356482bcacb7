package sim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

const storageType = "Microsoft.Storage/storageAccounts"

// storageKind: a PUT of a new account answers 202 with Location alone; of one that is there 200
// (rest/api/storagerp/storage-accounts/create).
func storageKind(takes takesTime) kind {
	return kind{typ: storageType, check: checkStorage, fill: fillStorage, locates: true, opPath: "asyncoperations", takes: takes, update: updateStorage,
		gone: func(w *Azure, r *resource) {
			if w.storage.blobs != nil {
				w.storage.blobs.Drop(r.name)
			}
		},
		actions: map[string]action{
			"listKeys": {answer: func(w *Azure, r *resource) *reply {
				return &reply{status: 200, body: map[string]any{"keys": w.storageKeys(r)}}
			}},
			"regenerateKey": {check: checkKeyName, answer: func(w *Azure, r *resource) *reply {
				return &reply{status: 200, body: map[string]any{"keys": w.storageKeys(r)}}
			}},
		}}
}

// accountData is what stands behind a storage account.
type accountData struct{ keys [2]string }

// MarshalJSON writes the keys.
func (a *accountData) MarshalJSON() ([]byte, error) { return json.Marshal(a.keys) }

// UnmarshalJSON reads them.
func (a *accountData) UnmarshalJSON(raw []byte) error { return json.Unmarshal(raw, &a.keys) }

var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

func badAccountName(name string) *refusal {
	return refuse(400, "AccountNameInvalid", name+" is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only.")
}

func checkStorage(w *Azure, in ask) *refusal {
	if !accountName.MatchString(in.name) {
		return badAccountName(in.name)
	}
	if in.old == nil && w.storageNamed(in.name) != nil {
		return refuse(409, "StorageAccountAlreadyTaken", "The storage account named "+in.name+" is already taken.")
	}
	if in.old == nil && storageSKU(in.body) == "" {
		return refuse(400, "InvalidRequestContent", "The request content was invalid: the required property 'sku.name' is missing.")
	}
	if _, ok := findRegion(in.location); !ok && in.old == nil {
		return refuse(400, "LocationNotAvailableForResourceType", "The provided location '"+in.location+"' is not available for resource type 'Microsoft.Storage/storageAccounts'.")
	}
	return nil
}

// storageNamed finds an account by its name, which is unique in the world.
func (w *Azure) storageNamed(name string) *resource {
	for _, r := range w.all(storageType) {
		if strings.EqualFold(r.name, name) {
			return r
		}
	}
	return nil
}

// storageSKU is what sort of account is asked for: properties.accountType in api-version 2015-06-15, which old templates still send.
func storageSKU(body map[string]any) string {
	return or(text(body, "sku", "name"), text(body, "properties", "accountType"))
}

func fillStorage(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	fresh, ok := r.aux.(*accountData)
	if !ok {
		fresh = &accountData{}
		for i := range fresh.keys {
			fresh.keys[i] = w.accountKey(r.id, i, 0)
		}
		r.aux = fresh
		p["creationTime"] = stamp(w.clock.Now())
		r.extra = map[string]any{"kind": "StorageV2"}
	}
	for key, v := range r.props {
		if p[key] == nil {
			p[key] = v
		}
	}
	// What Azure fills in (recorded of a GET).
	for key, v := range map[string]any{"supportsHttpsTrafficOnly": true, "allowBlobPublicAccess": false, "minimumTlsVersion": "TLS1_0", "accessTier": "Hot", "allowCrossTenantReplication": false,
		"privateEndpointConnections": []any{}, "statusOfPrimary": "available", "primaryLocation": r.location, "networkAcls": map[string]any{"bypass": "AzureServices", "virtualNetworkRules": []any{}, "ipRules": []any{}, "defaultAction": "Allow"}} {
		if p[key] == nil {
			p[key] = v
		}
	}
	p["primaryEndpoints"] = map[string]any{"blob": "https://" + r.name + ".blob.storage.localhost" + w.port() + "/"}
	r.props = p
	if s := storageSKU(in.body); s != "" {
		tier, _, _ := strings.Cut(s, "_")
		r.sku = map[string]any{"name": s, "tier": tier}
	}
	if k := text(in.body, "kind"); k != "" {
		r.extra["kind"] = k
	}
}

// accountKey draws a key of 64 bytes from the seed; it opens nothing but a simulation.
func (w *Azure) accountKey(id string, which, times int) string {
	g := w.random("storage-key"+itoa(which)+"-"+itoa(times), id)
	raw := make([]byte, 64)
	for i := range raw {
		raw[i] = byte(g.Uint32())
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func (w *Azure) storageKeys(r *resource) []any {
	var out []any
	for i, k := range r.aux.(*accountData).keys {
		out = append(out, map[string]any{"keyName": "key" + itoa(i+1), "value": k, "permissions": "FULL", "creationTime": r.props["creationTime"]})
	}
	return out
}

// checkKeyName draws a key anew by the way: an action's answer does not see its body.
func checkKeyName(w *Azure, r *resource, body map[string]any) *refusal {
	for i := range r.aux.(*accountData).keys {
		if text(body, "keyName") == "key"+itoa(i+1) {
			w.seq++
			r.aux.(*accountData).keys[i] = w.accountKey(r.id, i, w.seq)
			return nil
		}
	}
	return refuse(400, "InvalidRequestPropertyValue", "The value '"+text(body, "keyName")+"' is not allowed for property keyName.")
}

// updateStorage is PATCH: tags, sku and properties at once.
func updateStorage(w *Azure, q *request, k *kind, r *resource) *reply {
	for key := range q.body {
		if key != "tags" && key != "properties" && key != "sku" {
			return w.unknown(q)
		}
	}
	if q.body["tags"] != nil {
		r.tags = copyMap(mapping(q.body, "tags"))
	}
	fillStorage(w, r, ask{body: q.body})
	return &reply{status: 200, body: w.show(k, r, "")}
}

// storageNames is POST …/providers/Microsoft.Storage/checkNameAvailability; nil when the path is another.
func (w *Azure) storageNames(q *request, low []string) *reply {
	if len(low) != 3 || low[1] != "microsoft.storage" || low[2] != "checknameavailability" || q.method != http.MethodPost {
		return nil
	}
	if bad := w.authorize(q.who, "Microsoft.Storage/checknameavailability/read", "/subscriptions/"+w.cfg.Subscription); bad != nil {
		return failed(bad)
	}
	name := text(q.body, "name")
	switch {
	case !accountName.MatchString(name):
		return &reply{status: 200, body: map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid", "message": badAccountName(name).message}}
	case w.storageNamed(name) != nil:
		return &reply{status: 200, body: map[string]any{"nameAvailable": false, "reason": "AlreadyExists", "message": "The storage account named " + name + " is already taken."}}
	}
	return &reply{status: 200, body: map[string]any{"nameAvailable": true}}
}
