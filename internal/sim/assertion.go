package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is the SHA-1 thumbprint of a certificate, as the protocol has it
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// jwt is a token taken apart.
type jwt struct {
	header struct {
		Alg, Kid, X5t string
		X5tS256       string `json:"x5t#S256"`
	}
	claims struct {
		Iss, Sub string
		Aud      json.RawMessage
		Exp, Nbf float64
	}
	signed string // what the signature covers
	sig    []byte
}

func readJWT(text string) (*jwt, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("it has %d parts, not 3", len(parts))
	}
	t := &jwt{signed: parts[0] + "." + parts[1]}
	for i, into := range []any{&t.header, &t.claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			return nil, err
		}
	}
	// MSAL for Python pads it, against RFC 7515; Azure does not mind.
	t.header.X5t, t.header.X5tS256 = strings.TrimRight(t.header.X5t, "="), strings.TrimRight(t.header.X5tS256, "=")
	var err error
	t.sig, err = base64.RawURLEncoding.DecodeString(parts[2])
	return t, err
}

// audiences are one or several.
func (t *jwt) audiences() []string {
	var one string
	if json.Unmarshal(t.claims.Aud, &one) == nil {
		return []string{one}
	}
	var list []string
	if json.Unmarshal(t.claims.Aud, &list) != nil {
		return nil
	}
	return list
}

// verify holds the signature against a key: RS256, PS256 and ES256 are what the identity platform takes
// (learn.microsoft.com/entra/identity-platform/certificate-credentials; RFC 7518).
func (t *jwt) verify(key crypto.PublicKey) bool {
	sum := sha256.Sum256([]byte(t.signed))
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch t.header.Alg {
		case "RS256":
			return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], t.sig) == nil
		case "PS256":
			return rsa.VerifyPSS(k, crypto.SHA256, sum[:], t.sig, nil) == nil
		}
	case *ecdsa.PublicKey:
		return t.header.Alg == "ES256" && k.Curve == elliptic.P256() && len(t.sig) == 64 &&
			ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(t.sig[:32]), new(big.Int).SetBytes(t.sig[32:]))
	}
	return false
}

// keysOf reads the RSA and P-256 keys of a JSON Web Key Set by their ids.
func keysOf(set json.RawMessage) (map[string]crypto.PublicKey, error) {
	var in struct {
		Keys []struct{ Kty, Kid, Crv, N, E, X, Y string }
	}
	if err := json.Unmarshal(set, &in); err != nil {
		return nil, fmt.Errorf("cannot read the keys of an issuer: %w", err)
	}
	out := map[string]crypto.PublicKey{}
	for _, k := range in.Keys {
		number := func(s string) *big.Int {
			raw, err := base64.RawURLEncoding.DecodeString(s)
			if err != nil || len(raw) == 0 {
				return nil
			}
			return new(big.Int).SetBytes(raw)
		}
		switch {
		case k.Kty == "RSA" && number(k.N) != nil && number(k.E) != nil:
			out[k.Kid] = &rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
		case k.Kty == "EC" && k.Crv == "P-256" && number(k.X) != nil && number(k.Y) != nil:
			out[k.Kid] = &ecdsa.PublicKey{Curve: elliptic.P256(), X: number(k.X), Y: number(k.Y)}
		default:
			return nil, fmt.Errorf("cannot read the key %q of an issuer: kty is RSA, or EC with crv P-256", k.Kid)
		}
	}
	return out, nil
}

// checkAssertion proves a client assertion: a token that the account's own certificate has signed, or one of an issuer that the
// account is federated with. The words are Microsoft's (AzureAD/microsoft-authentication-library-for-dotnet#4951,
// AzureAD/passport-azure-ad#453, azure-workload-identity's book, troubleshooting).
func (w *Azure) checkAssertion(p *principal, text string) *reply {
	t, err := readJWT(text)
	if err != nil {
		return oauthError(400, "invalid_request", "AADSTS50027: JWT token is invalid or malformed.", 50027)
	}
	// The client's clock is the wall's, which in a simulation with a clock of its own is not ours: either will do.
	inTime := func(now time.Time) bool {
		const skew = 5 * time.Minute
		at := float64(now.Unix())
		return at <= t.claims.Exp+skew.Seconds() && at >= t.claims.Nbf-skew.Seconds()
	}
	if !inTime(w.clock.Now()) && !inTime(time.Now()) {
		z := func(s float64) string { return time.Unix(int64(s), 0).UTC().Format("2006-01-02T15:04:05.0000000Z") }
		return oauthError(401, "invalid_client", "AADSTS700024: Client assertion is not within its valid time range. Current time: "+w.clock.Now().UTC().Format("2006-01-02T15:04:05.0000000Z")+
			", assertion valid from "+z(t.claims.Nbf)+", expiry time of assertion "+z(t.claims.Exp)+". Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials .", 700024)
	}
	if strings.EqualFold(t.claims.Iss, p.ClientID) {
		return w.checkCertificate(p, t)
	}
	return w.checkFederated(p, t)
}

func (w *Azure) checkCertificate(p *principal, t *jwt) *reply {
	thumb := ""
	if raw, err := base64.RawURLEncoding.DecodeString(t.header.X5t); err == nil {
		thumb = strings.ToUpper(hex.EncodeToString(raw))
	}
	bad := func(reason string) *reply {
		return oauthError(401, "invalid_client", "AADSTS700027: Client assertion contains an invalid signature. [Reason - "+reason+", Thumbprint of key used by client: '"+thumb+"']", 700027)
	}
	if !strings.EqualFold(t.claims.Sub, p.ClientID) {
		return oauthError(401, "invalid_client", "AADSTS700023: Client assertion audience claim does not match Realm issuer.", 700023)
	}
	for _, text := range p.Certificates {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		one, two := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw) //nolint:gosec // as above
		enc := base64.RawURLEncoding.EncodeToString
		if t.header.X5t != enc(one[:]) && t.header.X5tS256 != enc(two[:]) && !strings.EqualFold(t.header.Kid, hex.EncodeToString(one[:])) {
			continue
		}
		if !t.verify(cert.PublicKey) {
			return bad("The provided signature value did not match the expected signature value.")
		}
		return nil
	}
	return bad("The key was not found.")
}

const exchange = "api://AzureADTokenExchange"

func (w *Azure) checkFederated(p *principal, t *jwt) *reply {
	auds := t.audiences()
	trusted := func(f Federation) bool {
		want := f.Audience
		if want == "" {
			want = exchange
		}
		// Case counts (learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust).
		return f.Issuer == t.claims.Iss && f.Subject == t.claims.Sub && slices.Contains(auds, want)
	}
	if !slices.ContainsFunc(append(slices.Clone(p.Federated), w.federationsOf(p)...), trusted) {
		return oauthError(400, "invalid_request", "AADSTS70021: No matching federated identity record found for presented assertion. Assertion Issuer: '"+t.claims.Iss+"'. Assertion Subject: '"+t.claims.Sub+
			"'. Assertion Audience: '"+strings.Join(auds, ",")+"'. https://learn.microsoft.com/entra/workload-id/workload-identity-federation", 70021)
	}
	for _, i := range w.issuers() {
		if i.URL != t.claims.Iss {
			continue
		}
		keys, err := keysOf(i.Keys)
		if err == nil && keys[t.header.Kid] != nil && t.verify(keys[t.header.Kid]) {
			return nil
		}
	}
	return oauthError(401, "invalid_client", "AADSTS50013: Assertion failed signature validation. [Reason - The key was not found., Thumbprint of key used by client: '"+t.header.Kid+"']", 50013)
}

// issuers are those of the scenario.
func (w *Azure) issuers() []Issuer {
	if w.cfg.Scenario == nil {
		return nil
	}
	return w.cfg.Scenario.Issuers
}

// federationsOf reads the federated credentials that hang off the account's managed identity, where it is one.
func (w *Azure) federationsOf(p *principal) (out []Federation) {
	for _, r := range w.all(federationType) {
		if id := w.find(parentID(r.id)); id == nil || text(id.props, "principalId") != p.ObjectID {
			continue
		}
		f := Federation{Issuer: text(r.props, "issuer"), Subject: text(r.props, "subject")}
		if list, _ := r.props["audiences"].([]any); len(list) > 0 {
			f.Audience, _ = list[0].(string)
		}
		out = append(out, f)
	}
	return out
}
