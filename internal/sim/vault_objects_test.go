package sim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestVaultKeysAndCertificates: keys and certificates are made, listed, changed, deleted and recovered; each kind has its own rights, and what
// would need a private key is a 501. A disk encryption set names a key; in use it cannot be deleted.
func TestVaultKeysAndCertificates(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	var oid string
	for _, p := range w.principals {
		oid = p.ObjectID
	}
	const vault = "Microsoft.KeyVault/vaults/vlt1"
	policies := func(keys, certificates string) {
		w.must("PUT", vault, `{"location":"westeurope","properties":{"tenantId":"`+DefaultTenant+`","sku":{"family":"A","name":"standard"},"accessPolicies":[{"tenantId":"`+DefaultTenant+`","objectId":"`+oid+`","permissions":{"keys":[`+keys+`],"certificates":[`+certificates+`],"secrets":["get"]}}]}}`)
	}
	call := func(status int, method, path, body string) map[string]any {
		t.Helper()
		g := w.raw(method, "https://vlt1.vault.localhost/"+path+"?api-version=7.4", w.token, []byte(body), "application/json")
		if g.status != status {
			t.Fatalf("%s %s: %d, not %d: %s", method, path, g.status, status, g.text)
		}
		out := map[string]any{}
		json.Unmarshal([]byte(g.text), &out) //nolint:errcheck // some have no body
		return out
	}
	policies(`"get"`, ``)
	call(http.StatusForbidden, "POST", "keys/k/create", `{"kty":"RSA"}`)
	call(http.StatusForbidden, "GET", "certificates", "")
	policies(`"all"`, `"all"`)
	call(404, "GET", "keys/k", "")
	kid := text(call(200, "POST", "keys/k/create", `{"kty":"RSA","key_ops":["wrapKey","unwrapKey"]}`), "key", "kid")
	second := text(call(200, "POST", "keys/k/create", `{"kty":"RSA"}`), "key", "kid")
	if !strings.HasPrefix(kid, "https://vlt1.vault.localhost/keys/k/") || kid == second || text(call(200, "GET", "keys/k", ""), "key", "kid") != second {
		t.Errorf("versions %q and %q", kid, second)
	}
	if n, err := base64.RawURLEncoding.DecodeString(text(call(200, "GET", "keys/k/"+lastPart(kid), ""), "key", "n")); err != nil || len(n) != 256 {
		t.Errorf("the modulus has %d bytes, %v", len(n), err)
	}
	call(501, "POST", "keys/k/create", `{"kty":"EC"}`)
	call(501, "POST", "keys/k/"+lastPart(kid)+"/wrapkey", `{}`)
	call(200, "DELETE", "keys/k", "")
	call(404, "GET", "keys/k", "")
	if c := text(call(409, "POST", "keys/k/create", `{"kty":"RSA"}`), "error", "innererror", "code"); c != "ObjectIsDeletedButRecoverable" {
		t.Errorf("a name that is taken by a deleted key: %s", c)
	}
	call(200, "POST", "deletedkeys/k/recover", "")
	if l := items(call(200, "GET", "keys/k/versions", ""), "value"); len(l) != 2 {
		t.Errorf("%d versions", len(l))
	}

	policy := `{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=winrm","validity_months":6},"secret_props":{"contentType":"application/x-pkcs12"}}}`
	if s := text(call(202, "POST", "certificates/c/create", policy), "status"); s != "inProgress" {
		t.Errorf("a certificate begins as %q", s)
	}
	if s := text(call(200, "GET", "certificates/c/pending", ""), "status"); s != "completed" {
		t.Errorf("and is %q", s)
	}
	c := call(200, "GET", "certificates/c", "")
	der, err := base64.StdEncoding.DecodeString(text(c, "cer"))
	if err != nil {
		t.Fatal(err)
	}
	call(200, "POST", "certificates/d/import", `{"value":"-----BEGIN CERTIFICATE-----\n`+strings.ReplaceAll(wrapped(base64.StdEncoding.EncodeToString(der)), "\n", `\n`)+`-----END CERTIFICATE-----\n"}`)
	if a, b := text(c, "x5t"), text(call(200, "GET", "certificates/d", ""), "x5t"); a == "" || a != b {
		t.Errorf("the imported certificate is another one: %s %s", a, b)
	}
	call(400, "POST", "certificates/e/import", `{"value":"bm90aGluZw=="}`)
	call(501, "GET", "secrets/c", "")
	call(501, "POST", "certificates/f/create", strings.Replace(policy, "Self", "DigiCert", 1))
	call(200, "DELETE", "certificates/d", "")
	call(204, "DELETE", "deletedcertificates/d", "")

	set := groupRG + "/providers/Microsoft.Compute/diskEncryptionSets/des"
	g := w.arm("PUT", set, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"activeKey":{"sourceVault":{"id":"`+groupRG+`/providers/`+vault+`"},"keyUrl":"`+kid+`"}}}`)
	if g.status != 202 || text(g.json, "id") != "" {
		t.Fatalf("the encryption set: %d %s", g.status, g.text)
	}
	if g := w.must("GET", set, ""); text(g.json, "identity", "principalId") == "" || text(g.json, "properties", "encryptionType") != "EncryptionAtRestWithCustomerKey" {
		t.Errorf("the encryption set is %s", g.text)
	}
	w.must("PUT", "Microsoft.Compute/disks/d", `{"location":"westeurope","sku":{"name":"Premium_LRS"},"properties":{"diskSizeGB":4,"creationData":{"createOption":"Empty"},"encryption":{"type":"EncryptionAtRestWithCustomerKey","diskEncryptionSetId":"`+set+`"}}}`)
	if g := w.must("GET", set+"/associatedResources", ""); len(items(g.json, "value")) != 1 {
		t.Errorf("what it encrypts: %s", g.text)
	}
	if g := w.arm("DELETE", set, ""); g.status != 409 {
		t.Errorf("in use it is deleted: %d", g.status)
	}
	w.must("DELETE", "Microsoft.Compute/disks/d", "")
	if g := w.arm("PATCH", set, `{"properties":{"activeKey":{"keyUrl":"`+second+`"}}}`); g.status != 202 {
		t.Errorf("another key: %d %s", g.status, g.text)
	}
	if g := w.must("GET", set, ""); text(g.json, "properties", "lastKeyRotationTimestamp") == "" {
		t.Errorf("after another key: %s", g.text)
	}
	w.must("DELETE", set, "")
}

// wrapped breaks base64 into PEM's lines.
func wrapped(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		b.WriteString(s[:64] + "\n")
		s = s[64:]
	}
	return b.String() + s + "\n"
}
