package azure_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ingot/internal/azure"
	"ingot/internal/plan"
	"ingot/internal/sim"
)

const (
	ciIssuer  = "https://ci.example.test"
	ciSubject = "repo:contoso/images"
	ciAccount = "99999999-9999-4999-8999-999999999999"
)

// ci is a CI system that hands out tokens of ten minutes to its jobs, beside a simulated Azure that trusts it.
type ci struct {
	t     *testing.T
	key   *ecdsa.PrivateKey
	az    *sim.Azure
	clock *sim.VirtualClock
	asked atomic.Int32
}

func newCI(t *testing.T) *ci {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	c := &ci{t: t, key: key, clock: sim.NewVirtualClock(time.Now())}
	c.az, err = sim.New(sim.Config{Clock: c.clock, Latency: sim.NoLatency, Scenario: &sim.Scenario{
		Issuers:    []sim.Issuer{{URL: ciIssuer, Keys: json.RawMessage(`{"keys": [{"kty": "EC", "crv": "P-256", "kid": "ci", "x": "` + enc(raw[1:33]) + `", "y": "` + enc(raw[33:]) + `"}]}`)}},
		Principals: []sim.Account{{Name: "ci", ClientID: ciAccount, Secret: "test-secret-not-real", Federated: []sim.Federation{{Issuer: ciIssuer, Subject: ciSubject}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.az.Close)
	return c
}

// token is good for ten minutes from now on the simulation's clock.
func (c *ci) token() string {
	enc := base64.RawURLEncoding.EncodeToString
	now := c.clock.Now()
	text := enc([]byte(`{"alg":"ES256","kid":"ci"}`)) + "." + enc(fmt.Appendf(nil, `{"iss":%q,"sub":%q,"aud":"api://AzureADTokenExchange","nbf":%d,"exp":%d}`, ciIssuer, ciSubject, now.Unix(), now.Add(10*time.Minute).Unix()))
	sum := sha256.Sum256([]byte(text))
	a, b, err := ecdsa.Sign(rand.Reader, c.key, sum[:])
	if err != nil {
		c.t.Error(err)
		return ""
	}
	return text + "." + enc(append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...))
}

// Do is the network: the CI's own service, and everything else Azure.
func (c *ci) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() != "ci.example.test" {
		return (&http.Client{Transport: c.az.Transport()}).Do(r)
	}
	c.asked.Add(1)
	w := httptest.NewRecorder()
	q := r.URL.Query()
	switch {
	case r.Header.Get("Authorization") != "Bearer test-secret-not-real":
		w.WriteHeader(401)
	case r.URL.Path == "/gh" && r.Method == http.MethodGet && q.Get("audience") == "api://AzureADTokenExchange":
		fmt.Fprintf(w, `{"value": %q}`, c.token())
	case r.URL.Path == "/ado/oidctoken" && r.Method == http.MethodPost && q.Get("api-version") == "7.1" && q.Get("serviceConnectionId") == "connection-1" && q.Get("audience") == "":
		fmt.Fprintf(w, `{"oidcToken": %q}`, c.token())
	default:
		w.WriteHeader(400)
	}
	return w.Result(), nil
}

func (c *ci) client(id azure.Identity, env map[string]string, clock azure.Clock) *azure.Client {
	c.t.Helper()
	config := azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL)
	cred, _, err := azure.Credential(id, config, c, func(k string) string { return env[k] })
	if err != nil {
		c.t.Fatal(err)
	}
	cl, err := azure.New(azure.Options{Credential: cred, Subscription: sim.DefaultSubscription, Cloud: config, Transport: c, Clock: clock, RetryDelay: time.Millisecond})
	if err != nil {
		c.t.Fatal(err)
	}
	return cl
}

// TestBuildLongerThanItsToken: five hours of calls with access tokens of an hour and CI tokens of ten minutes.
func TestBuildLongerThanItsToken(t *testing.T) {
	for name, c := range map[string]struct {
		id  azure.Identity
		env map[string]string
	}{
		"GitHub": {azure.Identity{}, map[string]string{"AZURE_TENANT_ID": sim.DefaultTenant, "AZURE_CLIENT_ID": ciAccount,
			"ACTIONS_ID_TOKEN_REQUEST_URL": ciIssuer + "/gh", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "test-secret-not-real"}},
		"Azure DevOps, by its task's variables": {azure.Identity{}, map[string]string{"AZURESUBSCRIPTION_TENANT_ID": sim.DefaultTenant, "AZURESUBSCRIPTION_CLIENT_ID": ciAccount,
			"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "connection-1", "SYSTEM_OIDCREQUESTURI": ciIssuer + "/ado/oidctoken", "SYSTEM_ACCESSTOKEN": "test-secret-not-real"}},
		"Azure DevOps, by the template": {azure.Identity{TenantID: sim.DefaultTenant, ClientID: ciAccount, OIDCRequestURL: ciIssuer + "/ado/oidctoken"}, map[string]string{
			"ARM_ADO_PIPELINE_SERVICE_CONNECTION_ID": "connection-1", "SYSTEM_OIDCREQUESTURI": ciIssuer + "/ado/oidctoken", "SYSTEM_ACCESSTOKEN": "test-secret-not-real"}},
		"a file": {azure.Identity{}, map[string]string{"AZURE_TENANT_ID": sim.DefaultTenant, "AZURE_CLIENT_ID": ciAccount, "AZURE_FEDERATED_TOKEN_FILE": "(file)"}},
		"secret": {azure.Identity{TenantID: sim.DefaultTenant, ClientID: ciAccount, ClientSecret: "test-secret-not-real"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			ci := newCI(t)
			file := filepath.Join(t.TempDir(), "token")
			if c.env["AZURE_FEDERATED_TOKEN_FILE"] != "" {
				c.env["AZURE_FEDERATED_TOKEN_FILE"] = file
			}
			cl := ci.client(c.id, c.env, ci.clock)
			for i := range 10 {
				if err := os.WriteFile(file, []byte(ci.token()+"\n"), 0o600); err != nil { // as a kubelet would
					t.Fatal(err)
				}
				if err := cl.PutGroup(t.Context(), azure.Group{Name: "rg", Location: "westeurope"}); err != nil {
					t.Fatalf("after %d half hours: %v", i, err)
				}
				if err := ci.clock.Sleep(t.Context(), 30*time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			if n := ci.asked.Load(); strings.Contains(name, "Git") && (n < 5 || n > 10) {
				t.Errorf("the CI was asked %d times", n)
			}
		})
	}
}

// TestTokenRefusedBeforeItsTime: the computer's clock is hours behind Azure's; each refusal costs one more call.
func TestTokenRefusedBeforeItsTime(t *testing.T) {
	ci := newCI(t)
	cl := ci.client(azure.Identity{TenantID: sim.DefaultTenant, ClientID: ciAccount, ClientSecret: "test-secret-not-real"}, nil, plan.WallClock{})
	for range 3 {
		if err := cl.PutGroup(t.Context(), azure.Group{Name: "rg", Location: "westeurope"}); err != nil {
			t.Fatal(err)
		}
		if err := ci.clock.Sleep(t.Context(), 2*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDevOpsWithoutWhatItNeeds says what is missing.
func TestDevOpsWithoutWhatItNeeds(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)": {"SYSTEM_OIDCREQUESTURI": ciIssuer, "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "c"},
		"ARM_ADO_PIPELINE_SERVICE_CONNECTION_ID":         {"SYSTEM_OIDCREQUESTURI": ciIssuer, "SYSTEM_ACCESSTOKEN": "test-secret-not-real", "ARM_OIDC_REQUEST_URL": ciIssuer, "ARM_CLIENT_ID": "c"},
	} {
		_, _, err := azure.Credential(azure.Identity{}, azure.CloudAt(sim.EmbeddedURL, sim.EmbeddedURL), nil, func(k string) string { return env[k] })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
