package sim

import (
	"net/http"
	"strings"
)

const vaultSecretType = "Microsoft.KeyVault/vaults/secrets"

// vaultSecretKind is a secret as Resource Manager sees it, which deployments set and nobody reads: no answer has its value, and it
// cannot be deleted here (specification keyvault/resource-manager 2023-07-01, secrets.json: PUT, PATCH, GET, list).
func vaultSecretKind() kind {
	return kind{typ: vaultSecretType, sync: true, fresh: 201, check: checkVaultSecret, fill: fillVaultSecret, show: showVaultSecret,
		drop: func(*Azure, *resource) *refusal {
			return refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method 'DELETE'.")
		}}
}

func checkVaultSecret(w *Azure, in ask) *refusal {
	if w.find(parentID(in.id)) == nil {
		return parentMissing(in.id)
	}
	if _, ok := mapping(in.body, "properties")["value"].(string); !ok && in.old == nil {
		return refuse(400, "BadRequest", "The property 'value' is missing: a secret cannot be made without one.")
	}
	return nil
}

func fillVaultSecret(w *Azure, r *resource, in ask) {
	p := mapping(in.body, "properties")
	vault := w.find(parentID(r.id))
	r.location = vault.location
	if r.props == nil {
		r.props = map[string]any{}
	}
	r.props["contentType"] = p["contentType"]
	s := w.vaults[strings.ToLower(vault.name)]
	value, ok := p["value"].(string)
	if s == nil || !ok {
		return
	}
	v := s.set(w, lastPart(r.id), value, text(p, "contentType"), mapping(p, "attributes"), in.body["tags"])
	r.props["version"] = v.id
	w.touch("vault", strings.ToLower(vault.name))
}

func showVaultSecret(w *Azure, r *resource, b map[string]any) {
	p := mapping(b, "properties")
	delete(p, "provisioningState")
	version := text(p, "version")
	delete(p, "version")
	if p["contentType"] == nil {
		delete(p, "contentType")
	}
	vault := w.find(parentID(r.id))
	if vault == nil {
		return
	}
	name := lastPart(r.id)
	uri := "https://" + strings.ToLower(vault.name) + ".vault.localhost" + w.port() + "/secrets/" + name
	p["secretUri"], p["secretUriWithVersion"] = uri, uri+"/"+version
	if s := w.vaults[strings.ToLower(vault.name)]; s != nil && s.secrets[strings.ToLower(name)] != nil {
		for _, v := range s.secrets[strings.ToLower(name)].versions {
			if v.id == version {
				a := copyMap(v.attributes)
				delete(a, "recoveryLevel")
				delete(a, "recoverableDays")
				p["attributes"] = a
			}
		}
	}
}

// set keeps a new version of a secret, whose name is not that of a deleted one.
func (s *vaultStore) set(w *Azure, name, value, contentType string, attributes map[string]any, tags any) *secretVersion {
	key := strings.ToLower(name)
	x := s.secrets[key]
	if x == nil {
		x = &secret{name: name}
		s.secrets[key] = x
	}
	now := w.clock.Now().Unix()
	v := &secretVersion{id: strings.ReplaceAll(w.uuid(), "-", ""), value: value, contentType: contentType, tags: tags,
		attributes: map[string]any{"enabled": true, "created": now, "updated": now, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}}
	for _, key := range []string{"exp", "nbf", "enabled"} {
		if given := attributes[key]; given != nil {
			v.attributes[key] = given
		}
	}
	x.versions = append(x.versions, v)
	return v
}
