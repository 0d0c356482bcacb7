package azure

import (
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

func envOf(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func TestCredentialIsChosenNotTried(t *testing.T) {
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("test-token-not-real"), 0o600); err != nil {
		t.Fatal(err)
	}
	who := map[string]string{"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
	with := func(more ...string) map[string]string {
		m := maps.Clone(who)
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	const secret = "test-secret-not-real"
	for _, tt := range []struct {
		name     string
		id       Identity
		env      map[string]string
		how, err string // a part of it
	}{
		{"template secret", Identity{TenantID: "t", ClientID: "mine", ClientSecret: secret}, with("AZURE_CLIENT_SECRET", "other"), "client secret of mine", ""},
		{"template secret, client from the environment", Identity{ClientSecret: secret}, with(), "client secret of c", ""},
		{"template secret without a tenant", Identity{ClientSecret: secret, ClientID: "c"}, nil, "", "tenant_id not set"},
		{"template secret without anything", Identity{ClientSecret: secret}, nil, "", "tenant_id and client_id not set"},
		{"template certificate that is not there", Identity{TenantID: "t", ClientID: "c", CertificatePath: tokenFile + ".pem"}, nil, "", "cannot read the client certificate"},
		{"template certificate that is none", Identity{TenantID: "t", ClientID: "c", CertificatePath: tokenFile}, nil, "", "cannot read the client certificate"},
		{"template assertion", Identity{TenantID: "t", ClientID: "c", AssertionToken: secret}, with("AZURE_CLIENT_SECRET", "other"), "OIDC as c", ""},
		{"template OIDC", Identity{TenantID: "t", ClientID: "c", OIDCRequestURL: "https://ci.example.test", OIDCRequestToken: secret}, nil, "OIDC as c", ""},
		{"template CLI goes before the environment's secret", Identity{AzureCLI: true}, with("AZURE_CLIENT_SECRET", secret), "Azure CLI", ""},
		{"environment secret", Identity{}, with("AZURE_CLIENT_SECRET", secret), "client secret of c", ""},
		{"environment secret by ARM names", Identity{}, map[string]string{"ARM_TENANT_ID": "t", "ARM_CLIENT_ID": "arm", "ARM_CLIENT_SECRET": secret}, "client secret of arm", ""},
		{"GitHub", Identity{}, with("ACTIONS_ID_TOKEN_REQUEST_URL", "https://ci.example.test", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret), "OIDC as c", ""},
		{"workload identity", Identity{}, with("AZURE_FEDERATED_TOKEN_FILE", tokenFile), "workload identity", ""},
		{"managed identity", Identity{}, map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1", "IDENTITY_HEADER": secret}, "managed identity", ""},
		{"nothing", Identity{}, nil, "Azure CLI", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cred, how, err := Credential(tt.id, cloud.Configuration{}, nil, envOf(tt.env))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
			} else if err != nil || cred == nil || !strings.Contains(how, tt.how) {
				t.Fatalf("got %q, %v; want %q", how, err, tt.how)
			}
			if strings.Contains(how, secret) || err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("a secret in %q, %v", how, err)
			}
		})
	}
}

// authority plays a token endpoint that is not Microsoft's, and a CI system.
func authority(t *testing.T, ci func(*http.Request) reply) (*wire, *url.Values) {
	w, form := newWire(t, nil), &url.Values{}
	w.raw = func(r *http.Request) (*http.Response, bool) {
		if r.URL.Host == "ci.example.test" {
			return answer(r, ci(r)), true
		}
		if r.URL.Host != "login.example.test" {
			t.Errorf("asked %s", r.URL.Host)
			return answer(r, reply{status: 501}), true
		}
		if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			return answer(r, reply{status: 200, body: `{"issuer":"https://login.example.test/t/v2.0","authorization_endpoint":"https://login.example.test/t/oauth2/v2.0/authorize","token_endpoint":"https://login.example.test/t/oauth2/v2.0/token"}`}), true
		}
		v, err := url.ParseQuery(w.bodies[r.Method+" "+strings.ToLower(r.URL.Path)])
		if err != nil {
			t.Error(err)
		}
		*form = v
		if v.Get("client_secret") == "wrong-secret-not-real" {
			return answer(r, reply{status: 401, body: `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`}), true
		}
		return answer(r, reply{status: 200, body: `{"token_type":"Bearer","expires_in":3600,"access_token":"test-access-token-not-real"}`}), true
	}
	return w, form
}

var scope = policy.TokenRequestOptions{Scopes: []string{"https://management.example.test/.default"}}

func TestSecretSignsInAtAForeignAuthority(t *testing.T) {
	w, form := authority(t, nil)
	config := CloudAt("https://login.example.test/", armHost+"/")
	cred, _, err := Credential(Identity{TenantID: "t", ClientID: "c", ClientSecret: "test-secret-not-real"}, config, w, envOf(nil))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := cred.GetToken(t.Context(), scope)
	if err != nil || tok.Token != "test-access-token-not-real" || form.Get("client_secret") != "test-secret-not-real" || form.Get("client_id") != "c" {
		t.Fatalf("%v, sent %v", err, form.Get("client_id"))
	}
	cred, _, err = Credential(Identity{TenantID: "t", ClientID: "c", ClientSecret: "wrong-secret-not-real"}, config, w, envOf(nil))
	if err != nil {
		t.Fatal(err)
	}
	_, err = cred.GetToken(t.Context(), scope)
	err = wrap(err, "sign in")
	if !IsAuth(err) || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), "wrong-secret-not-real") {
		t.Errorf("got %v", err)
	}
}

func TestOIDCRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		url  string
		ci   func(*http.Request) reply
		want string // the assertion; "" for a failure
	}{
		{"GitHub", "https://ci.example.test/gh?api-version=2.0", func(r *http.Request) reply {
			if r.Method != http.MethodGet || r.URL.Query().Get("audience") != "api://AzureADTokenExchange" || r.URL.Query().Get("api-version") != "2.0" {
				t.Errorf("asked %s %s", r.Method, r.URL)
			}
			return reply{status: 200, body: `{"value":"from-github"}`}
		}, "from-github"},
		{"Azure DevOps", "https://ci.example.test/oidctoken?api-version=7.1&serviceConnectionId=1", func(r *http.Request) reply {
			if r.Method == http.MethodGet {
				return reply{status: 405}
			}
			return reply{status: 200, body: `{"oidcToken":"from-devops"}`}
		}, "from-devops"},
		{"refused", "https://ci.example.test/gh", func(*http.Request) reply {
			return reply{status: 403, body: `{"value":"test-secret-not-real"}`}
		}, ""},
		{"empty", "https://ci.example.test/gh", func(*http.Request) reply { return reply{status: 200, body: `{}`} }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, form := authority(t, func(r *http.Request) reply {
				if r.Header.Get("Authorization") != "Bearer test-request-token-not-real" {
					t.Error("the request token was not sent")
				}
				return tt.ci(r)
			})
			cred, _, err := Credential(Identity{TenantID: "t", ClientID: "c", OIDCRequestURL: tt.url, OIDCRequestToken: "test-request-token-not-real"}, CloudAt("https://login.example.test", armHost), w, envOf(nil))
			if err != nil {
				t.Fatal(err)
			}
			_, err = cred.GetToken(t.Context(), scope)
			if (err == nil) != (tt.want != "") || form.Get("client_assertion") != tt.want {
				t.Errorf("assertion %q, %v", form.Get("client_assertion"), err)
			}
			if err != nil && strings.Contains(err.Error(), "not-real") {
				t.Errorf("a secret in %v", err)
			}
		})
	}
}

func TestSignedIn(t *testing.T) {
	in, out, empty := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, text := range map[string]string{in: "\ufeff" + `{"subscriptions":[{"id":"a"}]}`, out: `{"subscriptions":[]}`} {
		if err := os.WriteFile(filepath.Join(dir, "azureProfile.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".azure"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".azure", "azureProfile.json"), []byte(`{"subscriptions":[{}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"AZURE_CLIENT_SECRET": "x"}, true},
		{map[string]string{"ARM_CLIENT_CERTIFICATE_PATH": "x"}, true},
		{map[string]string{"IDENTITY_ENDPOINT": "x"}, true},
		{map[string]string{"AZURE_FEDERATED_TOKEN_FILE": "x"}, true},
		{map[string]string{"AZURE_TENANT_ID": "x", "AZURE_CLIENT_ID": "x"}, false}, // says who, not how
		{map[string]string{"AZURE_CONFIG_DIR": in}, true},
		{map[string]string{"AZURE_CONFIG_DIR": out}, false},
		{map[string]string{"AZURE_CONFIG_DIR": empty, "HOME": home}, false},
		{map[string]string{"HOME": home}, true},
	} {
		if got := SignedIn(envOf(tt.env)); got != tt.want {
			t.Errorf("%v: %v", tt.env, got)
		}
	}
}

func TestCloudByName(t *testing.T) {
	for name, want := range map[string]string{"": "https://login.microsoftonline.com/", "Public": "https://login.microsoftonline.com/", "China": "https://login.chinacloudapi.cn/",
		"USGovernment": "https://login.microsoftonline.us/", "Mars": ""} {
		c, err := CloudByName(name)
		if (err == nil) != (want != "") || c.ActiveDirectoryAuthorityHost != want {
			t.Errorf("%q: %q, %v", name, c.ActiveDirectoryAuthorityHost, err)
		}
	}
}

func TestCloudFromMetadata(t *testing.T) {
	const path = "GET /metadata/endpoints"
	w := newWire(t, map[string][]reply{path: {{status: 200, body: `{"resourceManager":"https://management.local.example.test/","authentication":{"loginEndpoint":"https://login.local.example.test","audiences":["https://audience.example.test/"]}}`}}})
	c, err := CloudFromMetadata(t.Context(), "https://stack.example.test/", w)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Services[cloud.ResourceManager]
	if c.ActiveDirectoryAuthorityHost != "https://login.local.example.test/" || s.Endpoint != "https://management.local.example.test" || s.Audience != "https://audience.example.test" {
		t.Errorf("%+v", c)
	}
	if w.urls[0] != "GET https://stack.example.test/metadata/endpoints?api-version=2022-09-01" {
		t.Errorf("asked %s", w.urls[0])
	}
	for name, bad := range map[string]reply{
		"not there": {status: 404, body: `{}`}, "no JSON": {status: 200, body: `<html>`}, "no addresses": {status: 200, body: `{}`}, "broken": {lost: true},
		"no login": {status: 200, body: `{"resourceManager":"https://management.local.example.test/"}`},
	} {
		c, err := CloudFromMetadata(t.Context(), "https://stack.example.test", newWire(t, map[string][]reply{path: {bad}}))
		if err == nil || c.Services != nil || c.ActiveDirectoryAuthorityHost != "" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// Packer's plugin uses the public cloud when the host's certificate is not trusted; credentials would go to a stranger.
func TestUntrustedMetadataHostIsAnError(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("a host that is not trusted was asked")
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	c, err := CloudFromMetadata(t.Context(), srv.URL, nil)
	if err == nil || !strings.Contains(err.Error(), "certificate") || c.Services != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestWhoami(t *testing.T) {
	for _, tt := range []struct {
		token fixedToken
		name  string // "" for a failure
	}{
		{tokenOf(`{"oid":"o","tid":"t","appid":"app"}`), "app"},
		{tokenOf(`{"oid":"o","tid":"t","appid":"cli","upn":"ann@example.test"}`), "ann@example.test"},
		{"opaque-test-token-not-real", ""},
		{"a.!!!.c", ""},
		{tokenOf(`no JSON`), ""},
	} {
		c := testClient(t, newWire(t, nil), &stillClock{}, func(o *Options) { o.Credential = tt.token })
		sub, tenant, oid, name, err := c.Whoami(t.Context())
		if tt.name == "" {
			if err == nil || strings.Contains(err.Error(), string(tt.token)) {
				t.Errorf("%v", err)
			}
			continue
		}
		if err != nil || sub != testSub || tenant != "t" || oid != "o" || name != tt.name {
			t.Errorf("%s %s %s %s, %v", sub, tenant, oid, name, err)
		}
	}
}
