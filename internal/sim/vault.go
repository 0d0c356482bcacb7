package sim

import (
	"encoding/json"
	"net"
	"net/http"
	"sort"
	"strings"
	"time"
)

const vaultType = "Microsoft.KeyVault/vaults"

// vaultStore is what a vault holds. It outlives the vault's resource while that is deleted and not purged.
type vaultStore struct {
	name, id, location string
	secrets            map[string]*secret
	deleted            map[string]*secret
	softDeleted        bool
	since              time.Time // it was deleted
	policies           []any
	tags               map[string]any          // the resource's, when it was deleted
	objects            map[string]*vaultObject // keys and certificates: "keys/name"
}

type secret struct {
	name     string
	versions []*secretVersion
}

type secretVersion struct {
	id, value, contentType string
	attributes             map[string]any
	tags                   any
}

func vaultKind() kind {
	return kind{typ: vaultType, check: checkVault, fill: fillVault, sync: true, gone: goneVault, takesAway: "",
		show: func(w *Azure, r *resource, b map[string]any) { // the port may be another one than when the vault was made
			mapping(b, "properties")["vaultUri"] = "https://" + strings.ToLower(r.name) + ".vault.localhost" + w.port() + "/"
			if b["systemData"] == nil { // a vault that was kept by an older version
				b["systemData"] = systemDataOf(nil, nil, r.created)
			}
		}}
}

// systemDataOf is who made a resource and who changed it last, as its provider keeps it (github.com/Azure/azure-resource-manager-rpc).
func systemDataOf(old map[string]any, who *principal, now time.Time) map[string]any {
	at, name := now.UTC().Format("2006-01-02T15:04:05.999Z"), "simulated"
	if who != nil {
		name = who.Name
	}
	made, by := at, name
	if t := text(old, "createdAt"); t != "" {
		made, by = t, text(old, "createdBy")
	}
	return map[string]any{"createdBy": by, "createdByType": "Application", "createdAt": made, "lastModifiedBy": name, "lastModifiedByType": "Application", "lastModifiedAt": at}
}

func checkVault(w *Azure, in ask) *refusal {
	name := strings.ToLower(in.name)
	if len(name) < 3 || len(name) > 24 {
		return refuse(400, "VaultNameNotValid", "The vault name '"+in.name+"' is invalid. A vault's name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit, and not contain consecutive hyphens.")
	}
	if in.old != nil {
		return nil
	}
	if p := mapping(in.body, "properties"); text(p, "tenantId") == "" || text(p, "sku", "name") == "" { // both are required by the schema
		return refuse(400, "BadRequest", "The vault '"+in.name+"' lacks a required property: properties.tenantId and properties.sku.name must be given.")
	}
	if s := w.vaults[name]; s != nil {
		if s.softDeleted {
			return refuse(409, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
		}
		return refuse(409, "VaultAlreadyExists", "The vault name '"+in.name+"' is already in use. Vault names are globally unique so it is possible that the name is already taken.")
	}
	return nil
}

func fillVault(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	p["vaultUri"] = "https://" + strings.ToLower(r.name) + ".vault.localhost" + w.port() + "/"
	if p["enableSoftDelete"] == nil {
		p["enableSoftDelete"] = true
	}
	if p["publicNetworkAccess"] == nil {
		p["publicNetworkAccess"] = "Enabled"
	}
	r.props = p
	if r.extra == nil {
		r.extra = map[string]any{}
	}
	r.extra["systemData"] = systemDataOf(mapping(r.extra, "systemData"), in.who, w.clock.Now())
	s := w.vaults[strings.ToLower(r.name)]
	if s == nil {
		s = &vaultStore{name: r.name, secrets: map[string]*secret{}, deleted: map[string]*secret{}}
		w.vaults[strings.ToLower(r.name)] = s
	}
	s.id, s.location, s.policies = r.id, r.location, items(p, "accessPolicies")
	w.touch("vault", strings.ToLower(r.name))
}

// goneVault: a deleted vault can be recovered until it is purged.
func goneVault(w *Azure, r *resource) {
	if s := w.vaults[strings.ToLower(r.name)]; s != nil {
		s.softDeleted, s.since, s.tags = true, w.clock.Now(), copyMap(r.tags)
		w.touch("vault", strings.ToLower(r.name))
	}
}

// vaultDeleted is the management side of deleted vaults; nil when the path is another.
func (w *Azure) vaultDeleted(q *request, parts, low []string) *reply {
	if low[1] != "microsoft.keyvault" {
		return nil
	}
	if len(low) == 3 && low[2] == "deletedvaults" {
		var out []any
		for _, s := range w.vaults {
			if s.softDeleted {
				out = append(out, w.deletedVault(s))
			}
		}
		return w.page(q, out)
	}
	if len(low) < 6 || low[2] != "locations" || low[4] != "deletedvaults" {
		return nil
	}
	name := parts[5]
	s := w.vaults[strings.ToLower(name)]
	if s == nil || !s.softDeleted || !sameRegion(s.location, parts[3]) {
		return failed(refuse(404, "DeletedVaultNotFound", "The specified deleted vault '"+name+"' does not exist."))
	}
	switch {
	case len(low) == 6 && q.method == http.MethodGet:
		return &reply{status: 200, body: w.deletedVault(s)}
	case len(low) == 7 && low[6] == "purge" && q.method == http.MethodPost:
		if bad := w.authorize(q.who, "Microsoft.KeyVault/locations/deletedVaults/purge/action", "/subscriptions/"+w.cfg.Subscription); bad != nil {
			return failed(bad)
		}
		o := w.beginVerb(&resource{id: s.id, typ: vaultType, location: s.location}, "operationResults", w.duration("vault-purge", s.id), "purge-vault")
		o.deletion = true
		h := w.async(q, o, true)
		delete(h, "Azure-AsyncOperation") // purge answers with Location alone
		return &reply{status: 202, header: h}
	}
	return nil
}

// deletedVault shows the tags that the vault had ("Tags of the original vault": rest/api/keyvault/vaults, DeletedVaultProperties).
func (w *Azure) deletedVault(s *vaultStore) map[string]any {
	tags := s.tags
	if tags == nil {
		tags = map[string]any{}
	}
	return map[string]any{"id": "/subscriptions/" + w.cfg.Subscription + "/providers/Microsoft.KeyVault/locations/" + s.location + "/deletedVaults/" + s.name, "name": s.name,
		"type": "Microsoft.KeyVault/deletedVaults", "properties": map[string]any{"vaultId": s.id, "location": s.location, "tags": tags,
			"deletionDate": s.since.UTC().Format(time.RFC3339), "scheduledPurgeDate": s.since.AddDate(0, 0, 90).UTC().Format(time.RFC3339)}}
}

// vaultName is the vault a host stands for: NAME.vault.localhost.
func vaultName(host string) string {
	host, _, _ = strings.Cut(host, ":")
	name, ok := strings.CutSuffix(strings.ToLower(host), ".vault.localhost")
	if !ok {
		return ""
	}
	return name
}

// vaultData is a vault's data plane: secrets.
func (w *Azure) vaultData(r *http.Request, name, path string, raw []byte) *reply {
	out := w.vaultSecrets(r, name, path, raw)
	if out.header == nil {
		out.header = map[string]string{}
	}
	// Key Vault names its caller's address in every answer (recordings of Azure/azure-sdk-for-js, sdk/keyvault).
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = "127.0.0.1"
	}
	out.header["x-ms-keyvault-network-info"] = "conn_type=Ipv4;addr=" + from + ";act_addr_fam=InterNetwork;"
	out.header["x-ms-keyvault-region"] = "westeurope"
	return out
}

func (w *Azure) vaultSecrets(r *http.Request, name, path string, raw []byte) *reply {
	base := baseOf(r)
	who := w.bearer(r)
	if who == nil {
		return &reply{status: 401, header: map[string]string{"WWW-Authenticate": `Bearer authorization="` + base + "/" + w.cfg.Tenant + `", resource="https://vault.localhost"`},
			body: map[string]any{"error": map[string]any{"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}}}
	}
	s := w.vaults[name]
	if s == nil || s.softDeleted {
		return failed(refuse(404, "VaultNotFound", "The vault '"+name+"' was not found."))
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if out := w.vaultObjects(r, s, who, parts, raw); out != nil {
		return out
	}
	if len(parts) < 1 || parts[0] != "secrets" && parts[0] != "deletedsecrets" {
		return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault does not know this operation: "+r.Method+" "+path))
	}
	right := map[string]string{http.MethodGet: "get", http.MethodPut: "set", http.MethodPatch: "update", http.MethodPost: "recover", http.MethodDelete: "delete"}[r.Method]
	act := ""
	if len(parts) > 2 {
		act = strings.ToLower(parts[2])
	}
	if act == "versions" {
		right = "list"
	}
	if parts[0] == "deletedsecrets" && r.Method == http.MethodDelete {
		right = "purge"
	}
	if len(parts) == 1 {
		right = "list"
	}
	if !w.mayVault(s, who, right) {
		return failed(refuse(403, "Forbidden", "The user, group or application 'appid="+who.ClientID+";oid="+who.ObjectID+"' does not have secrets "+right+" permission on key vault '"+s.name+"'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287"))
	}
	if r.Method != http.MethodGet {
		w.touch("vault", name)
	}
	root := base + "/secrets/"
	switch {
	case len(parts) == 1 && r.Method == http.MethodGet:
		kept := s.secrets
		if parts[0] == "deletedsecrets" {
			kept = s.deleted
		}
		var names []string
		for n := range kept {
			names = append(names, n)
		}
		sort.Strings(names)
		list := []any{}
		for _, n := range names {
			one := kept[n].versions[len(kept[n].versions)-1].line(root + kept[n].name)
			if parts[0] == "deletedsecrets" {
				one["recoveryId"] = base + "/deletedsecrets/" + kept[n].name
			}
			list = append(list, one)
		}
		return &reply{status: 200, body: map[string]any{"value": list, "nextLink": nil}}
	case len(parts) == 1:
		return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault does not know this operation: "+r.Method+" "+path))
	case parts[0] == "deletedsecrets":
		x := s.deleted[strings.ToLower(parts[1])]
		if x == nil {
			return failed(refuse(404, "SecretNotFound", "Deleted Secret not found: "+parts[1]))
		}
		if r.Method == http.MethodDelete {
			delete(s.deleted, strings.ToLower(parts[1]))
			return &reply{status: 204}
		}
		if r.Method == http.MethodPost && act == "recover" {
			delete(s.deleted, strings.ToLower(parts[1]))
			s.secrets[strings.ToLower(parts[1])] = x
			b := x.versions[len(x.versions)-1].show(root + x.name)
			delete(b, "value")
			return &reply{status: 200, body: b}
		}
		if r.Method != http.MethodGet || act != "" {
			return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault does not know this operation: "+r.Method+" "+path))
		}
		return &reply{status: 200, body: map[string]any{"id": root + x.name, "recoveryId": base + "/deletedsecrets/" + x.name}}
	}
	key := strings.ToLower(parts[1])
	x := s.secrets[key]
	if x == nil && r.Method == http.MethodGet && s.objects["certificates/"+key] != nil {
		return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault keeps no private keys: it cannot show the secret of certificate "+parts[1]+"."))
	}
	switch r.Method {
	case http.MethodPatch:
		if x == nil {
			break
		}
		var in struct {
			ContentType string
			Attributes  map[string]any
			Tags        any
		}
		v := x.version(act)
		if v == nil || json.Unmarshal(raw, &in) != nil {
			return failed(refuse(400, "BadParameter", "Property  has invalid value"))
		}
		v.attributes = merged(v.attributes, in.Attributes)
		v.attributes["updated"] = w.clock.Now().Unix()
		v.contentType = or(in.ContentType, v.contentType)
		if in.Tags != nil {
			v.tags = in.Tags
		}
		b := v.show(root + x.name)
		delete(b, "value")
		return &reply{status: 200, body: b}
	case http.MethodPut:
		if s.deleted[key] != nil {
			out := failed(refuse(409, "Conflict", "Secret "+parts[1]+" is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged."))
			mapping(out.body, "error")["innererror"] = map[string]any{"code": "ObjectIsDeletedButRecoverable"} // azure-protocol.md 2.5
			return out
		}
		var in struct {
			Value, ContentType string
			Attributes         map[string]any
			Tags               any
		}
		if err := json.Unmarshal(raw, &in); err != nil || in.Value == "" {
			return failed(refuse(400, "BadParameter", "Property  has invalid value"))
		}
		v := s.set(w, parts[1], in.Value, in.ContentType, in.Attributes, in.Tags)
		return &reply{status: 200, body: v.show(root + s.secrets[key].name)}
	case http.MethodGet:
		if x == nil {
			return failed(refuse(404, "SecretNotFound", "A secret with (name/id) "+parts[1]+" was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command."))
		}
		if act == "versions" {
			list := []any{}
			for _, v := range x.versions {
				list = append(list, v.line(root+x.name+"/"+v.id))
			}
			return &reply{status: 200, body: map[string]any{"value": list, "nextLink": nil}}
		}
		v := x.version(act)
		if v == nil {
			return failed(refuse(404, "SecretNotFound", "A secret with (name/id) "+parts[1]+"/"+parts[2]+" was not found in this key vault."))
		}
		if on, ok := v.attributes["enabled"].(bool); ok && !on {
			out := failed(refuse(403, "Forbidden", "Operation get is not allowed on a disabled secret."))
			mapping(out.body, "error")["innererror"] = map[string]any{"code": "SecretDisabled"}
			return out
		}
		return &reply{status: 200, body: v.show(root + x.name)}
	case http.MethodDelete:
		if x == nil {
			return failed(refuse(404, "SecretNotFound", "A secret with (name/id) "+parts[1]+" was not found in this key vault."))
		}
		delete(s.secrets, key)
		s.deleted[key] = x
		b := x.versions[len(x.versions)-1].show(root + x.name)
		delete(b, "value")
		b["recoveryId"], b["deletedDate"], b["scheduledPurgeDate"] = base+"/deletedsecrets/"+x.name, w.clock.Now().Unix(), w.clock.Now().Add(90*24*time.Hour).Unix()
		return &reply{status: 200, body: b}
	}
	return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault does not know this operation: "+r.Method+" "+path))
}

// version is one of a secret's, "" the newest; nil: there is none of that id.
func (x *secret) version(id string) *secretVersion {
	for _, v := range x.versions {
		if strings.EqualFold(v.id, id) {
			return v
		}
	}
	if id != "" {
		return nil
	}
	return x.versions[len(x.versions)-1]
}

// line is an entry of a list: everything but the value.
func (v *secretVersion) line(id string) map[string]any {
	b := v.show(id)
	b["id"] = id
	delete(b, "value")
	return b
}

func (v *secretVersion) show(root string) map[string]any {
	b := map[string]any{"id": root + "/" + v.id, "value": v.value, "attributes": v.attributes}
	if v.contentType != "" {
		b["contentType"] = v.contentType
	}
	if v.tags != nil {
		b["tags"] = v.tags
	}
	return b
}

// allows looks the caller up in the access policies.
func (s *vaultStore) allows(p *principal, right string) bool { return s.permits(p, "secrets", right) }

// permits does so for one kind of what a vault holds.
func (s *vaultStore) permits(p *principal, kind, right string) bool {
	for _, x := range s.policies {
		if !strings.EqualFold(text(x, "objectId"), p.ObjectID) {
			continue
		}
		for _, r := range items(x, "permissions", kind) {
			if have, ok := r.(string); ok && (strings.EqualFold(have, right) || strings.EqualFold(have, "all")) {
				return true
			}
		}
	}
	return false
}

// VaultPolicies lets every account of the simulation manage the secrets of a vault that is seeded.
func (w *Azure) VaultPolicies() []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []any
	for _, p := range w.principals {
		out = append(out, map[string]any{"tenantId": w.cfg.Tenant, "objectId": p.ObjectID, "permissions": map[string]any{"secrets": []any{"all"}, "keys": []any{"all"}, "certificates": []any{"all"}}})
	}
	return out
}

// secretByURL is what Compute does when a machine is given a certificate.
func (w *Azure) secretByURL(url string) (string, bool) {
	rest, ok := strings.CutPrefix(url, "https://")
	if !ok {
		return "", false
	}
	host, path, _ := strings.Cut(rest, "/")
	parts := strings.Split(path, "/")
	s := w.vaults[vaultName(host)]
	if s == nil || s.softDeleted || len(parts) < 3 || s.secrets[strings.ToLower(parts[1])] == nil {
		return "", false
	}
	for _, v := range s.secrets[strings.ToLower(parts[1])].versions {
		if strings.EqualFold(v.id, parts[2]) {
			on, _ := v.attributes["enabled"].(bool)
			return v.value, on
		}
	}
	return "", false
}

// mayVault asks the vault's access policies, or where it has enableRbacAuthorization the roles: Owner then opens nothing
// (https://learn.microsoft.com/azure/key-vault/general/rbac-guide).
func (w *Azure) mayVault(s *vaultStore, who *principal, right string) bool {
	r := w.find(s.id)
	if r == nil || !truth(r.props, "enableRbacAuthorization") {
		if right == "update" { // access policies know no such word: who may set may change
			right = "set"
		}
		return s.allows(who, right)
	}
	action := map[string]string{"get": "getSecret/action", "set": "setSecret/action", "list": "readMetadata/action", "update": "update/action", "delete": "delete", "purge": "purge/action", "recover": "recover/action"}[right]
	return w.mayData(who, "Microsoft.KeyVault/vaults/secrets/"+action, s.id)
}
