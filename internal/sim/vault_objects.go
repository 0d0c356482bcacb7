package sim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the thumbprint is Key Vault's own
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"sort"
	"strings"
	"time"

	"golang.org/x/crypto/pkcs12"
)

// Keys and certificates of a vault (rest/api/keyvault/keys and /certificates; answers as recorded of Azure/azure-cli). Of a pair only the public
// half is kept: nothing is encrypted, signed or wrapped here, and what is asked for that is answered with a 501.

// vaultObject is a key or a certificate with its versions, the newest last.
type vaultObject struct {
	Name     string          `json:"name"`
	Deleted  bool            `json:"deleted,omitempty"`
	Since    time.Time       `json:"since,omitzero"`
	Versions []objectVersion `json:"versions"`
	Policy   map[string]any  `json:"policy,omitempty"` // of a certificate
	Pending  map[string]any  `json:"pending,omitempty"`
}

type objectVersion struct {
	ID         string         `json:"id"`
	Attributes map[string]any `json:"attributes"`
	Key        map[string]any `json:"key,omitempty"` // JSON Web Key, without its kid
	Cer        string         `json:"cer,omitempty"` // DER in base64
	Thumb      string         `json:"x5t,omitempty"`
	Tags       any            `json:"tags,omitempty"`
}

// vaultObjects answers for keys, certificates and the deleted ones. nil: it is about something else.
func (w *Azure) vaultObjects(r *http.Request, s *vaultStore, who *principal, parts []string, raw []byte) *reply {
	collection := strings.ToLower(parts[0])
	kind, gone := strings.CutPrefix(collection, "deleted")
	if kind != "keys" && kind != "certificates" {
		return nil
	}
	unknown := failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault does not know this operation: "+r.Method+" /"+strings.Join(parts, "/")))
	act := ""
	if len(parts) > 2 {
		act = strings.ToLower(parts[2])
	}
	right := map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPatch: "update", http.MethodDelete: "delete"}[r.Method]
	switch {
	case len(parts) == 1 || act == "versions":
		right = "list"
	case act == "recover" || act == "import":
		right = act
	case gone && r.Method == http.MethodDelete:
		right = "purge"
	}
	if !w.mayVaultObject(s, who, kind, right) {
		return failed(refuse(403, "Forbidden", "The user, group or application 'appid="+who.ClientID+";oid="+who.ObjectID+"' does not have "+kind+" "+right+" permission on key vault '"+s.name+"'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287"))
	}
	if r.Method != http.MethodGet {
		w.touch("vault", strings.ToLower(s.name))
	}
	base := baseOf(r)
	if len(parts) == 1 {
		if r.Method != http.MethodGet {
			return unknown
		}
		return s.listObjects(base, kind, gone)
	}
	key := kind + "/" + strings.ToLower(parts[1])
	x := s.objects[key]
	if x != nil && x.Deleted != gone {
		if r.Method == http.MethodPost && !gone {
			out := failed(refuse(409, "Conflict", titleOf(kind)+" "+parts[1]+" is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the "+strings.ToLower(titleOf(kind))+" can only be recovered or purged."))
			mapping(out.body, "error")["innererror"] = map[string]any{"code": "ObjectIsDeletedButRecoverable"}
			return out
		}
		x = nil
	}
	if r.Method == http.MethodPost && !gone && (act == "create" || act == "import" && kind == "certificates") {
		return w.makeObject(s, base, kind, parts[1], act, raw)
	}
	if x == nil {
		return failed(refuse(404, titleOf(kind)+"NotFound", "A "+strings.ToLower(titleOf(kind))+" with (name/id) "+strings.Join(parts[1:], "/")+" was not found in this key vault. If you recently deleted this "+strings.ToLower(titleOf(kind))+" you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"))
	}
	last := &x.Versions[len(x.Versions)-1]
	switch {
	case gone && r.Method == http.MethodDelete:
		delete(s.objects, key)
		if kind == "certificates" {
			delete(s.objects, "keys/"+strings.ToLower(x.Name))
		}
		return &reply{status: 204}
	case gone && act == "recover" && r.Method == http.MethodPost:
		x.Deleted = false
		return &reply{status: 200, body: x.show(base, kind, *last, true)}
	case gone && r.Method == http.MethodGet && act == "":
		return &reply{status: 200, body: x.parting(base, kind, *last)}
	case gone:
		return unknown
	case r.Method == http.MethodDelete && act == "":
		x.Deleted, x.Since = true, w.clock.Now()
		return &reply{status: 200, body: x.parting(base, kind, *last)}
	case r.Method == http.MethodGet && act == "versions":
		list := []any{}
		for _, v := range x.Versions {
			list = append(list, x.line(base, kind, v, true))
		}
		return &reply{status: 200, body: map[string]any{"value": list, "nextLink": nil}}
	case kind == "certificates" && act == "pending" && r.Method == http.MethodGet:
		return &reply{status: 200, body: x.Pending}
	case kind == "certificates" && act == "policy" && r.Method == http.MethodGet:
		return &reply{status: 200, body: x.policy(base)}
	case kind == "certificates" && act == "policy" && r.Method == http.MethodPatch:
		var in map[string]any
		if json.Unmarshal(raw, &in) != nil {
			return failed(refuse(400, "BadParameter", "Property  has invalid value"))
		}
		x.Policy = merged(x.Policy, in)
		return &reply{status: 200, body: x.policy(base)}
	case r.Method == http.MethodPatch && (act == "" || strings.EqualFold(act, last.ID)):
		var in struct {
			Attributes map[string]any
			Tags       any
		}
		if json.Unmarshal(raw, &in) != nil {
			return failed(refuse(400, "BadParameter", "Property  has invalid value"))
		}
		last.Attributes = merged(last.Attributes, in.Attributes)
		last.Attributes["updated"] = w.clock.Now().Unix()
		if in.Tags != nil {
			last.Tags = in.Tags
		}
		return &reply{status: 200, body: x.show(base, kind, *last, true)}
	case r.Method == http.MethodGet && act == "":
		return &reply{status: 200, body: x.show(base, kind, *last, true)}
	case r.Method == http.MethodGet:
		for _, v := range x.Versions {
			if strings.EqualFold(v.ID, act) {
				return &reply{status: 200, body: x.show(base, kind, v, false)}
			}
		}
	}
	return unknown
}

func titleOf(kind string) string {
	return map[string]string{"keys": "Key", "certificates": "Certificate"}[kind]
}

func (s *vaultStore) listObjects(base, kind string, gone bool) *reply {
	var names []string
	for n, x := range s.objects {
		if strings.HasPrefix(n, kind+"/") && x.Deleted == gone {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	list := []any{}
	for _, n := range names {
		x := s.objects[n]
		v := x.Versions[len(x.Versions)-1]
		one := x.line(base, kind, v, false)
		if kind == "keys" && s.objects["certificates/"+strings.ToLower(x.Name)] != nil {
			one["managed"] = true
		}
		if gone {
			one["recoveryId"] = base + "/deleted" + kind + "/" + x.Name
		}
		list = append(list, one)
	}
	return &reply{status: 200, body: map[string]any{"value": list, "nextLink": nil}}
}

// line is an entry of a list.
func (x *vaultObject) line(base, kind string, v objectVersion, version bool) map[string]any {
	id := base + "/" + kind + "/" + x.Name
	if version {
		id += "/" + v.ID
	}
	if kind == "keys" {
		return map[string]any{"kid": id, "attributes": v.Attributes}
	}
	a := copyMap(v.Attributes)
	delete(a, "recoveryLevel")
	delete(a, "recoverableDays")
	return map[string]any{"id": id, "x5t": v.Thumb, "attributes": a, "subject": ""}
}

func (x *vaultObject) policy(base string) map[string]any {
	p := copyMap(x.Policy)
	p["id"] = base + "/certificates/" + x.Name + "/policy"
	return p
}

// show is a version; the newest of a certificate comes with its policy and what became of its request.
func (x *vaultObject) show(base, kind string, v objectVersion, newest bool) map[string]any {
	at := func(kind string) string { return base + "/" + kind + "/" + x.Name + "/" + v.ID }
	b := map[string]any{"attributes": v.Attributes}
	if v.Tags != nil {
		b["tags"] = v.Tags
	}
	if kind == "keys" {
		k := copyMap(v.Key)
		k["kid"] = at("keys")
		b["key"] = k
		return b
	}
	b["id"], b["kid"], b["sid"], b["x5t"], b["cer"] = at("certificates"), at("keys"), at("secrets"), v.Thumb, v.Cer
	if newest {
		b["policy"] = x.policy(base)
		if x.Pending != nil {
			b["pending"] = map[string]any{"id": base + "/certificates/" + x.Name + "/pending"}
		}
	}
	return b
}

func (x *vaultObject) parting(base, kind string, v objectVersion) map[string]any {
	b := x.show(base, kind, v, true)
	b["recoveryId"], b["deletedDate"], b["scheduledPurgeDate"] = base+"/deleted"+kind+"/"+x.Name, x.Since.Unix(), x.Since.AddDate(0, 0, 90).Unix()
	return b
}

// attributesOf are those of a new object.
func (w *Azure) attributesOf(given map[string]any) map[string]any {
	now := w.clock.Now().Unix()
	return merged(map[string]any{"enabled": true, "created": now, "updated": now, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}, given)
}

// makeObject makes a key or a certificate, or a further version.
func (w *Azure) makeObject(s *vaultStore, base, kind, name, act string, raw []byte) *reply {
	var in struct {
		Kty        string         `json:"kty"`
		KeySize    int            `json:"key_size"`
		KeyOps     []any          `json:"key_ops"`
		Value      string         `json:"value"`
		Password   string         `json:"pwd"`
		Attributes map[string]any `json:"attributes"`
		Policy     map[string]any `json:"policy"`
		Tags       any            `json:"tags"`
	}
	if json.Unmarshal(raw, &in) != nil {
		return failed(refuse(400, "BadParameter", "Property  has invalid value"))
	}
	if kind == "certificates" {
		in.Kty, in.KeySize = or(text(in.Policy, "key_props", "kty"), "RSA"), number(in.Policy, "key_props", "key_size")
	}
	if in.KeySize == 0 {
		in.KeySize = 2048
	}
	if in.Kty != "RSA" || in.KeySize != 2048 && in.KeySize != 3072 && in.KeySize != 4096 {
		return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault makes RSA keys of 2048, 3072 or 4096 bits, not "+in.Kty+"."))
	}
	if issuer := text(in.Policy, "issuer", "name"); act == "create" && kind == "certificates" && issuer != "Self" {
		return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault has the issuer Self, not '"+issuer+"'."))
	}
	pair, err := rsa.GenerateKey(rand.Reader, in.KeySize)
	if err != nil {
		return failed(refuse(500, "InternalServerError", err.Error()))
	}
	v := objectVersion{ID: strings.ReplaceAll(w.uuid(), "-", ""), Tags: in.Tags, Attributes: w.attributesOf(in.Attributes)}
	encode := base64.RawURLEncoding.EncodeToString
	v.Key = map[string]any{"kty": "RSA", "n": encode(pair.N.Bytes()), "e": encode(big.NewInt(int64(pair.E)).Bytes()), "key_ops": []any{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}}
	if in.KeyOps != nil {
		v.Key["key_ops"] = in.KeyOps
	}
	if kind == "keys" {
		v.Attributes["exportable"], v.Attributes["hsmPlatform"] = false, "0"
		x := s.object(kind, name)
		x.Versions = append(x.Versions, v)
		return &reply{status: 200, body: x.show(base, kind, v, true)}
	}
	months := max(number(in.Policy, "x509_props", "validity_months"), 1)
	if number(in.Policy, "x509_props", "validity_months") == 0 {
		months = 12
	}
	from := w.clock.Now().Add(-10 * time.Minute)
	until := w.clock.Now().AddDate(0, months, 0)
	t := &x509.Certificate{SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: strings.TrimPrefix(text(in.Policy, "x509_props", "subject"), "CN=")}, NotBefore: from, NotAfter: until}
	var der []byte
	if act == "import" {
		c := importedCertificate(in.Value, in.Password)
		if c == nil {
			return failed(refuse(400, "BadParameter", "The specified PKCS#12 X.509 certificate content can not be read. Please check if certificate is in valid PKCS#12 format."))
		}
		key, ok := c.PublicKey.(*rsa.PublicKey)
		if !ok {
			return failed(refuse(501, "SimulatorNotImplemented", "The simulated Key Vault takes certificates with RSA keys."))
		}
		der, from, until = c.Raw, c.NotBefore, c.NotAfter
		v.Key["n"], v.Key["e"] = encode(key.N.Bytes()), encode(big.NewInt(int64(key.E)).Bytes())
	} else if der, err = x509.CreateCertificate(rand.Reader, t, t, &pair.PublicKey, pair); err != nil {
		return failed(refuse(500, "InternalServerError", err.Error()))
	}
	sum := sha1.Sum(der) //nolint:gosec // as above
	v.Cer, v.Thumb = base64.StdEncoding.EncodeToString(der), encode(sum[:])
	v.Attributes["nbf"], v.Attributes["exp"] = from.Unix(), until.Unix()
	x := s.object(kind, name)
	x.Policy = fullPolicy(in.Policy, v.Attributes)
	x.Versions = append(x.Versions, v)
	k := s.object("keys", name)
	of := v
	of.Attributes = merged(v.Attributes, map[string]any{"hsmPlatform": "0"})
	k.Versions = append(k.Versions, of)
	if act == "import" {
		return &reply{status: 200, body: x.show(base, kind, v, true)}
	}
	x.Pending = map[string]any{"id": base + "/certificates/" + name + "/pending", "issuer": map[string]any{"name": "Self"}, "csr": base64.StdEncoding.EncodeToString(der), "cancellation_requested": false,
		"status": "completed", "target": base + "/certificates/" + name, "request_id": strings.ReplaceAll(w.uuid(), "-", "")}
	begun := merged(x.Pending, map[string]any{"status": "inProgress", "status_details": "Pending certificate created. Certificate request is in progress. This may take some time based on the issuer provider. Please check again later."})
	delete(begun, "target")
	return &reply{status: 202, header: map[string]string{"Location": base + "/certificates/" + name + "/pending?api-version=7.4&request_id=" + textOf(x.Pending["request_id"])}, body: begun}
}

// importedCertificate reads a PFX in base64, or PEM; nil: neither.
func importedCertificate(value, password string) *x509.Certificate {
	if block, _ := pem.Decode([]byte(value)); block != nil {
		for rest := []byte(value); ; {
			if block, rest = pem.Decode(rest); block == nil {
				return nil
			}
			if block.Type == "CERTIFICATE" {
				c, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					return nil
				}
				return c
			}
		}
	}
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil
	}
	_, c, err := pkcs12.Decode(raw, password)
	if err != nil {
		return nil
	}
	return c
}

// fullPolicy is a certificate's policy with what was left open.
func fullPolicy(given, attributes map[string]any) map[string]any {
	p := copyMap(given)
	delete(p, "id")
	for name, defaults := range map[string]map[string]any{
		"key_props": {"exportable": true, "kty": "RSA", "key_size": 2048, "reuse_key": false}, "secret_props": {"contentType": "application/x-pkcs12"},
		"issuer": {"name": "Self"}, "attributes": {"enabled": true, "created": attributes["created"], "updated": attributes["updated"]},
		"x509_props": {"validity_months": 12, "ekus": []any{"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}, "basic_constraints": map[string]any{"ca": false}},
	} {
		m := mapping(p, name)
		if m == nil {
			m = map[string]any{}
			p[name] = m
		}
		fill(m, defaults)
	}
	return p
}

func (s *vaultStore) object(kind, name string) *vaultObject {
	key := kind + "/" + strings.ToLower(name)
	if s.objects == nil {
		s.objects = map[string]*vaultObject{}
	}
	if s.objects[key] == nil {
		s.objects[key] = &vaultObject{Name: name}
	}
	return s.objects[key]
}

// mayVaultObject asks access policies or roles, as mayVault does for secrets.
func (w *Azure) mayVaultObject(s *vaultStore, who *principal, kind, right string) bool {
	r := w.find(s.id)
	if r == nil || !truth(r.props, "enableRbacAuthorization") {
		return s.permits(who, kind, right)
	}
	action := map[string]string{"get": "read", "list": "read", "create": "create/action", "import": "import/action", "update": "update/action", "delete": "delete", "purge": "purge/action", "recover": "recover/action"}[right]
	return w.mayData(who, "Microsoft.KeyVault/vaults/"+kind+"/"+action, s.id)
}
