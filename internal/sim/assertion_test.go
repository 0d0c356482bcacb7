package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

var b64 = base64.RawURLEncoding.EncodeToString

// sign makes a JWT.
func sign(t *testing.T, key crypto.Signer, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64(raw)
	}
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	var sig []byte
	var err error
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		var a, b *big.Int
		if a, b, err = ecdsa.Sign(rand.Reader, k, sum[:]); err == nil {
			sig = append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...)
		}
	case *rsa.PrivateKey:
		var o crypto.SignerOpts = crypto.SHA256
		if header["alg"] == "PS256" {
			o = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		}
		sig, err = k.Sign(rand.Reader, sum[:], o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(sig)
}

func jwk(kid string, key crypto.Signer) string {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		raw, err := k.PublicKey.Bytes() // uncompressed point
		if err != nil {
			return ""
		}
		return fmt.Sprintf(`{"kty": "EC", "crv": "P-256", "kid": %q, "x": %q, "y": %q}`, kid, b64(raw[1:33]), b64(raw[33:]))
	case *rsa.PrivateKey:
		return fmt.Sprintf(`{"kty": "RSA", "kid": %q, "n": %q, "e": "AQAB"}`, kid, b64(k.N.Bytes()))
	}
	return ""
}

// TestAssertions: who may sign in with which signed statement.
func TestAssertions(t *testing.T) {
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ci"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &rs.PublicKey, rs)
	if err != nil {
		t.Fatal(err)
	}
	const issuer, subject, me = "https://token.actions.example.test", "repo:contoso/images:ref:refs/heads/main", "77777777-7777-4777-8777-777777777777"
	w := newWorld(t, Config{Scenario: &Scenario{
		Issuers: []Issuer{{URL: issuer, Keys: json.RawMessage(`{"keys": [` + jwk("r", rs) + `,` + jwk("e", ec) + `]}`)}},
		Principals: []Account{{Name: "ci", ClientID: me, Secret: "test-secret-not-real", Certificates: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))},
			Federated: []Federation{{Issuer: issuer, Subject: subject}}}}}})
	one, two := sha1.Sum(der), sha256.Sum256(der) //nolint:gosec // x5t
	soon := time.Now().Add(5 * time.Minute).Unix()
	mine := map[string]any{"iss": me, "sub": me, "aud": "https://login/" + DefaultTenant, "exp": soon, "nbf": time.Now().Unix()}
	theirs := map[string]any{"iss": issuer, "sub": subject, "aud": exchange, "exp": soon}
	with := func(c map[string]any, k string, v any) map[string]any {
		out := copyMap(c)
		out[k] = v
		return out
	}
	good := sign(t, rs, map[string]any{"alg": "RS256", "kid": "r"}, theirs)
	for name, c := range map[string]struct{ assertion, want string }{
		"certificate, SHA-1 thumbprint":     {sign(t, rs, map[string]any{"alg": "RS256", "x5t": b64(one[:])}, mine), ""},
		"certificate, SHA-256 thumbprint":   {sign(t, rs, map[string]any{"alg": "PS256", "x5t#S256": b64(two[:])}, mine), ""},
		"certificate of somebody else":      {sign(t, rs, map[string]any{"alg": "RS256", "x5t": b64([]byte("another"))}, mine), "AADSTS700027"},
		"certificate's thumbprint, own key": {sign(t, stranger, map[string]any{"alg": "RS256", "x5t": b64(one[:])}, mine), "AADSTS700027"},
		"certificate, statement is old":     {sign(t, rs, map[string]any{"alg": "RS256", "x5t": b64(one[:])}, with(mine, "exp", 1)), "AADSTS700024"},
		"federated, RSA":                    {good, ""},
		"federated, ES256":                  {sign(t, ec, map[string]any{"alg": "ES256", "kid": "e"}, theirs), ""},
		"federated, several audiences":      {sign(t, ec, map[string]any{"alg": "ES256", "kid": "e"}, with(theirs, "aud", []string{"x", exchange})), ""},
		"federated, another branch":         {sign(t, rs, map[string]any{"alg": "RS256", "kid": "r"}, with(theirs, "sub", subject+"-2")), "AADSTS70021"},
		"federated, another audience":       {sign(t, rs, map[string]any{"alg": "RS256", "kid": "r"}, with(theirs, "aud", "x")), "AADSTS70021"},
		"federated, key of somebody else":   {sign(t, stranger, map[string]any{"alg": "RS256", "kid": "r"}, theirs), "AADSTS50013"},
		"federated, unknown key":            {sign(t, rs, map[string]any{"alg": "RS256", "kid": "x"}, theirs), "AADSTS50013"},
		"federated, no signature":           {good[:strings.LastIndex(good, ".")+1], "AADSTS50013"},
		"federated, alg none":               {sign(t, rs, map[string]any{"alg": "none", "kid": "r"}, theirs), "AADSTS50013"},
		"federated, token is old (an hour)": {sign(t, rs, map[string]any{"alg": "RS256", "kid": "r"}, with(with(theirs, "exp", time.Now().Add(-time.Hour).Unix()), "nbf", time.Now().Add(-2*time.Hour).Unix())), "AADSTS700024"},
		"federated, claims changed":         {strings.Replace(good, strings.Split(good, ".")[1], b64([]byte(`{"iss":"`+issuer+`","sub":"`+subject+`","aud":"`+exchange+`","exp":99999999999}`)), 1), "AADSTS50013"},
		"no token at all":                   {"hello", "AADSTS50027"},
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {me}, "client_assertion": {c.assertion}, "scope": {"https://management.sim.localhost/.default"}}
			a := w.raw(http.MethodPost, EmbeddedURL+"/"+DefaultTenant+"/oauth2/v2.0/token", "", []byte(form.Encode()), "")
			if said, _ := a.json["error_description"].(string); (a.status == 200) != (c.want == "") || !strings.HasPrefix(said, c.want) {
				t.Errorf("%d %s, want %q", a.status, a.text, c.want)
			}
		})
	}
}

// TestTokensExpire: 401 with Azure's own words after an hour, also for a token that was signed before a restart.
func TestTokensExpire(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	old := w.token
	w.clock.move(59 * time.Minute)
	if g := w.as(old, "GET", groupRG, ""); g.status != 200 {
		t.Fatalf("after 59 minutes: %d %s", g.status, g.text)
	}
	w.clock.move(2 * time.Minute)
	w.token = "" // raw signs in again with this one
	for range 2 {
		g := w.as(old, "GET", groupRG, "")
		if g.status != 401 || g.code() != "ExpiredAuthenticationToken" || !strings.Contains(g.text, "is earlier than current UTC time '") || !strings.Contains(g.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("after 61 minutes: %d %s %v", g.status, g.text, g.header)
		}
		clear(w.tokens) // as after a restart: what is known of it is what is signed
	}
	if g := w.as("nonsense", "GET", groupRG, ""); g.code() != "AuthenticationFailed" {
		t.Errorf("%d %s", g.status, g.text)
	}
}
