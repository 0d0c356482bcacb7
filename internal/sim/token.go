package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Principal is an account to sign in with.
type Principal struct {
	Name, ClientID, Secret string
	ObjectID               string       // default: derived from the client id
	Roles                  []Assignment // default: Owner of the subscription
	Certificates           []string     // PEM: what it may sign client assertions with
	Federated              []Federation // whose tokens it may be signed in with
}

// holding is a token that was issued: whose it is, and until when.
type holding struct {
	who   *principal
	until time.Time // of the simulation's clock
}

type principal struct {
	Principal
}

// AddPrincipal makes an account known.
func (w *Azure) AddPrincipal(p Principal) {
	w.mu.Lock()
	w.addPrincipal(p)
	n := w.commit(true)
	w.mu.Unlock()
	w.await(n) //nolint:errcheck // the next call that changes something says so
}

func (w *Azure) addPrincipal(p Principal) {
	if p.ObjectID == "" {
		sum := sha256.Sum256([]byte(p.ClientID))
		h := strings.ToLower(base32hex(sum[:16]))
		p.ObjectID = h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
	}
	if p.Roles == nil {
		p.Roles = []Assignment{{Role: "Owner", Scope: "/subscriptions/" + w.cfg.Subscription}}
	}
	w.principals = append(w.principals, &principal{p})
}

func base32hex(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, x := range b {
		out.WriteByte(digits[x>>4])
		out.WriteByte(digits[x&15])
	}
	return out.String()
}

// login is the sign-in authority: discovery documents and the token endpoints, v2.0, v1 and the /adfs form that az is
// pointed at (azure-protocol.md section 3).
func (w *Azure) login(r *http.Request, path string, raw []byte) *reply {
	base := baseOf(r)
	parts := strings.Split(strings.Trim(path, "/"), "/")
	tenant := parts[0]
	switch {
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		return &reply{status: 200, body: map[string]any{
			"token_endpoint": base + "/" + tenant + "/oauth2/v2.0/token", "authorization_endpoint": base + "/" + tenant + "/oauth2/v2.0/authorize",
			"issuer": base + "/" + tenant + "/v2.0", "jwks_uri": base + "/" + tenant + "/discovery/v2.0/keys", "device_authorization_endpoint": base + "/" + tenant + "/oauth2/v2.0/devicecode",
			"response_types_supported": []any{"code", "token"}, "subject_types_supported": []any{"pairwise"}, "id_token_signing_alg_values_supported": []any{"ES256"}}}
	case strings.HasSuffix(path, "/discovery/instance"):
		host := hostOf(r)
		return &reply{status: 200, body: map[string]any{"tenant_discovery_endpoint": base + "/" + w.cfg.Tenant + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
			"metadata": []any{map[string]any{"preferred_network": host, "preferred_cache": host, "aliases": []any{host}}}}}
	case strings.HasSuffix(path, "/discovery/v2.0/keys"):
		return &reply{status: 200, body: map[string]any{"keys": []any{w.publicKey()}}}
	case strings.HasSuffix(path, "/token") && r.Method == http.MethodPost:
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return oauthError(400, "invalid_request", "AADSTS900144: The request body is not a form.", 900144)
		}
		return w.token(tenant, form)
	}
	return failed(refuse(501, "SimulatorNotImplemented", "The simulated sign-in does not know this operation: "+r.Method+" "+path))
}

func oauthError(status int, code, text string, number int) *reply {
	return &reply{status: status, body: map[string]any{"error": code, "error_description": text, "error_codes": []any{number}}}
}

func (w *Azure) token(tenant string, form url.Values) *reply {
	if tenant != "adfs" && tenant != "common" && tenant != "organizations" && !strings.EqualFold(tenant, w.cfg.Tenant) {
		return oauthError(400, "invalid_request", "AADSTS90002: Tenant '"+tenant+"' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", 90002)
	}
	if g := form.Get("grant_type"); g != "client_credentials" {
		return oauthError(400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type '"+g+"'.", 70003)
	}
	var p *principal
	for _, x := range w.principals {
		if strings.EqualFold(x.ClientID, form.Get("client_id")) {
			p = x
		}
	}
	if p == nil {
		return oauthError(400, "unauthorized_client", "AADSTS700016: Application with identifier '"+form.Get("client_id")+"' was not found in the directory '"+w.cfg.Tenant+"'.", 700016)
	}
	if assertion := form.Get("client_assertion"); assertion != "" {
		if bad := w.checkAssertion(p, assertion); bad != nil {
			return bad
		}
	} else if form.Get("client_secret") != p.Secret {
		return oauthError(401, "invalid_client", "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '"+p.ClientID+"'.", 7000215)
	}
	audience := form.Get("resource")
	if audience == "" {
		audience = strings.TrimSuffix(strings.Fields(form.Get("scope") + " ")[0], "/.default")
	}
	t, err := w.issue(p, audience)
	if err != nil {
		return oauthError(500, "server_error", err.Error(), 90033)
	}
	now := w.clock.Now()
	return &reply{status: 200, body: map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": t,
		"expires_on": strconv.FormatInt(now.Add(time.Hour).Unix(), 10), "not_before": strconv.FormatInt(now.Unix(), 10), "resource": audience}}
}

// tokenLife is how long an access token is good for, as its holder sees it: "expires_in": 3599. A scaled clock runs faster than its
// holder's, so that the time is scaled too; Azure itself draws 60 to 90 minutes
// (learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes).
func (w *Azure) tokenLife() time.Duration {
	if c, ok := w.clock.(ScaledClock); ok && c.Factor > 1 {
		return time.Duration(float64(time.Hour) * c.Factor)
	}
	return time.Hour
}

// issue signs a token and remembers whose it is.
func (w *Azure) issue(p *principal, audience string) (string, error) {
	if w.key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return "", err
		}
		w.key = key
	}
	now := w.clock.Now()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(map[string]any{"typ": "JWT", "alg": "ES256", "kid": "sim"}) + "." + part(map[string]any{
		"aud": audience, "iss": "https://sts.windows.net/" + w.cfg.Tenant + "/", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(w.tokenLife()).Unix(),
		"appid": p.ClientID, "oid": p.ObjectID, "sub": p.ObjectID, "tid": w.cfg.Tenant, "idtyp": "app", "ver": "1.0", "uti": w.uuid()})
	sum := sha256.Sum256([]byte(text))
	a, b, err := ecdsa.Sign(rand.Reader, w.key, sum[:])
	if err != nil {
		return "", err
	}
	sig := append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...)
	token := text + "." + base64.RawURLEncoding.EncodeToString(sig)
	if len(w.tokens) > 10000 {
		clear(w.tokens) // they can be read again
	}
	w.tokens[token] = holding{p, now.Add(w.tokenLife())}
	return token, nil
}

func (w *Azure) publicKey() map[string]any {
	if w.key == nil {
		if key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			w.key = key
		}
	}
	enc := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32))) }
	return map[string]any{"kty": "EC", "crv": "P-256", "use": "sig", "kid": "sim", "x": enc(w.key.X), "y": enc(w.key.Y)} //nolint:staticcheck // the point's coordinates are what a JWK holds
}

// bearer is who sends a call, or nil.
func (w *Azure) bearer(r *http.Request) *principal {
	t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil
	}
	return w.holder(t)
}

// holder is whose token it is; nil: nobody's, or one that has expired.
func (w *Azure) holder(t string) *principal {
	h := w.holding(t)
	if h.who == nil || w.clock.Now().After(h.until) {
		return nil
	}
	return h.who
}

func (w *Azure) holding(t string) holding {
	if h := w.tokens[t]; h.who != nil {
		return h
	}
	h := w.verify(t)
	if h.who != nil {
		w.tokens[t] = h
	}
	return h
}

// expired answers a call whose token was good once (words: microsoft/foundry-dev-tools#461); nil where it is none.
func (w *Azure) expired(r *http.Request, base string) *reply {
	t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	h := w.holding(t)
	if !ok || h.who == nil {
		return nil
	}
	at := func(t time.Time) string { return t.UTC().Format("1/2/2006 3:04:05 PM") }
	text := "The access token expiry UTC time '" + at(h.until) + "' is earlier than current UTC time '" + at(w.clock.Now()) + "'."
	return &reply{status: 401, header: map[string]string{"WWW-Authenticate": `Bearer authorization_uri="` + base + "/" + w.cfg.Tenant + `", error="invalid_token", error_description="` + text + `"`},
		body: map[string]any{"error": map[string]any{"code": "ExpiredAuthenticationToken", "message": text}}}
}

// verify reads a token that was signed before the process was started again, or that is no longer remembered.
func (w *Azure) verify(token string) holding {
	body, sig, ok := cutLast(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if !ok || err != nil || len(raw) != 64 || w.key == nil {
		return holding{}
	}
	sum := sha256.Sum256([]byte(body))
	if !ecdsa.Verify(&w.key.PublicKey, sum[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
		return holding{}
	}
	_, claims, _ := strings.Cut(body, ".")
	var c struct {
		Oid string
		Exp int64
	}
	if raw, err = base64.RawURLEncoding.DecodeString(claims); err != nil || json.Unmarshal(raw, &c) != nil {
		return holding{}
	}
	for _, p := range w.principals {
		if p.ObjectID == c.Oid {
			return holding{p, time.Unix(c.Exp, 0)}
		}
	}
	return holding{}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// metadata is the cloud's own description, for clients that are pointed at a metadata_host, and the instance metadata
// service's token endpoint for machines with a managed identity.
func (w *Azure) metadata(r *http.Request, path string) *reply {
	switch path {
	case "/metadata/endpoints":
		return w.endpoints(r)
	case "/metadata/identity/oauth2/token":
		// The header of the machine's own endpoint, or of App Service's (IDENTITY_ENDPOINT, IDENTITY_HEADER).
		if r.Header.Get("Metadata") != "true" && r.Header.Get("X-IDENTITY-HEADER") == "" {
			return &reply{status: 400, body: map[string]any{"error": "invalid_request", "error_description": "Required metadata header not specified"}}
		}
		audience := r.URL.Query().Get("resource")
		get := r.URL.Query().Get
		p := w.identityPrincipal(get("client_id"), or(get("object_id"), get("principal_id")), or(get("mi_res_id"), get("msi_res_id")))
		if p == nil {
			return &reply{status: 400, body: map[string]any{"error": "invalid_request", "error_description": "Identity not found"}}
		}
		t, err := w.issue(p, audience)
		if err != nil {
			return failed(refuse(500, "InternalServerError", err.Error()))
		}
		return &reply{status: 200, body: map[string]any{"access_token": t, "token_type": "Bearer", "expires_in": "3599", "resource": audience,
			"expires_on": strconv.FormatInt(w.clock.Now().Add(time.Hour).Unix(), 10), "client_id": p.ClientID}}
	case "/metadata/instance/compute", "/metadata/instance":
		if r.Header.Get("Metadata") != "true" {
			return &reply{status: 400, body: map[string]any{"error": "Bad request. Required metadata header not specified"}}
		}
		return &reply{status: 200, body: map[string]any{"subscriptionId": w.cfg.Subscription, "location": "westeurope", "azEnvironment": "AzurePublicCloud", "name": "builder"}}
	}
	return failed(refuse(501, "SimulatorNotImplemented", "The simulated instance metadata does not know "+path))
}
