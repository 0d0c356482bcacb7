package azure

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const vaultHost = "https://kv.vault.example.test/"

// withVault answers the first, anonymous call of the data plane with its challenge, as Key Vault does.
func withVault(w *wire) *wire {
	w.raw = func(r *http.Request) (*http.Response, bool) {
		if strings.HasPrefix(r.URL.Host, "kv.") && r.Header.Get("Authorization") == "" {
			return answer(r, reply{status: 401, header: []string{"WWW-Authenticate", `Bearer authorization="https://login.example.test/t", resource="https://vault.other.test"`}}), true
		}
		return nil, false
	}
	return w
}

func TestSecretsInAVaultOfAnotherDomain(t *testing.T) {
	w := withVault(newWire(t, map[string][]reply{
		"PUT /secrets/s": {{status: 200, body: `{"id":"https://kv.vault.example.test/secrets/s/v1"}`}},
		"GET /secrets/s/": {{status: 404, body: `{"error":{"code":"SecretNotFound","message":"No."}}`},
			{status: 200, body: `{"id":"https://kv.vault.example.test/secrets/s/v1","value":"test-secret-not-real"}`}},
	}))
	c := testClient(t, w, &stillClock{})
	expires := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	id, err := c.PutSecret(t.Context(), vaultHost, "s", "test-secret-not-real", "text/plain", expires, map[string]string{"ingot-run": "1"})
	if err != nil || id != "https://kv.vault.example.test/secrets/s/v1" {
		t.Fatalf("%q, %v", id, err)
	}
	var sent struct {
		Value, ContentType string
		Attributes         struct{ Exp int64 }
		Tags               map[string]string
	}
	if err := json.Unmarshal([]byte(w.bodies["PUT /secrets/s"]), &sent); err != nil {
		t.Fatal(err)
	}
	if sent.Value != "test-secret-not-real" || sent.ContentType != "text/plain" || sent.Attributes.Exp != expires.Unix() || sent.Tags["ingot-run"] != "1" {
		t.Errorf("sent %+v", sent)
	}
	if _, _, err := c.GetSecret(t.Context(), vaultHost, "s", ""); !IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	value, id, err := c.GetSecret(t.Context(), vaultHost, "s", "")
	if err != nil || value != "test-secret-not-real" || !strings.HasSuffix(id, "/v1") {
		t.Errorf("%q, %v", id, err)
	}
	if _, _, err := c.GetSecret(t.Context(), "kv", "s", ""); err == nil {
		t.Error("a name was taken for a URL")
	}
}

// A vault in Microsoft's domain must ask for a token of Microsoft's domain, or a stranger could collect ours.
func TestMicrosoftVaultMayNotAskForAStrangersToken(t *testing.T) {
	w := withVault(newWire(t, nil))
	if _, _, err := testClient(t, w, &stillClock{}).GetSecret(t.Context(), "https://kv.vault.azure.net/", "s", ""); err == nil {
		t.Error("the token was sent")
	}
	for _, h := range w.header {
		if h.Get("Authorization") != "" {
			t.Error("the token was sent")
		}
	}
}

func TestDeleteSecretWaitsUntilItIsGone(t *testing.T) {
	del, purge := "DELETE /secrets/s", "DELETE /deletedsecrets/s"
	missing := reply{status: 404, body: `{"error":{"code":"SecretNotFound","message":"No."}}`}
	busy := reply{status: 409, body: `{"error":{"code":"Conflict","message":"Currently being deleted."}}`}
	for _, tt := range []struct {
		name  string
		del   reply
		purge []reply
		slept []time.Duration
		fails bool
	}{
		{"at once", reply{status: 200, body: `{}`}, []reply{{status: 204}}, nil, false},
		{"while it is being deleted", reply{status: 200, body: `{}`}, []reply{busy, busy, {status: 204}}, []time.Duration{time.Second, 2 * time.Second}, false},
		{"absent", missing, []reply{missing}, nil, false},
		{"purge protection", reply{status: 200, body: `{}`}, []reply{{status: 403, body: `{"error":{"code":"Forbidden","message":"No."}}`}}, nil, false},
		{"no right to delete", reply{status: 403, body: `{"error":{"code":"Forbidden","message":"No."}}`}, nil, nil, true},
		{"for ever", reply{status: 200, body: `{}`}, []reply{busy}, []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := &stillClock{}
			w := withVault(newWire(t, map[string][]reply{del: {tt.del}, purge: tt.purge}))
			if err := testClient(t, w, clock).DeleteSecret(t.Context(), vaultHost, "s"); (err != nil) != tt.fails {
				t.Errorf("got %v", err)
			}
			wantSlept(t, clock, tt.slept...)
		})
	}
}

func TestCallerAddress(t *testing.T) {
	from := func(addr string) reply {
		return reply{status: 401, header: []string{"x-ms-keyvault-network-info", "conn_type=Ipv4;addr=" + addr + ";act_addr_fam=InterNetwork;"}}
	}
	for _, tt := range []struct {
		name    string
		answers []reply
		want    string
		waits   int
	}{
		{"refusal names it", []reply{from("203.0.113.7")}, "203.0.113.7", 0},
		{"version 6", []reply{from("2001:db8::7")}, "2001:db8::7", 0},
		{"version 4 in 6", []reply{from("::ffff:203.0.113.7")}, "203.0.113.7", 0},
		{"vault not in the name service yet", []reply{{lost: true}, {lost: true}, from("203.0.113.7")}, "203.0.113.7", 2},
		{"no header", []reply{{status: 401}}, "", 4},
		{"no address", []reply{from("somewhere")}, "", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := &stillClock{}
			w := newWire(t, map[string][]reply{"GET /secrets": tt.answers})
			got, err := testClient(t, w, clock).CallerAddress(t.Context(), vaultHost)
			if tt.want == "" {
				if err == nil {
					t.Errorf("got %v", got)
				}
			} else if err != nil || got != netip.MustParseAddr(tt.want) {
				t.Errorf("got %v, %v", got, err)
			}
			if len(clock.slept) != tt.waits {
				t.Errorf("waited %v", clock.slept)
			}
			if w.header["GET /secrets"].Get("Authorization") != "" {
				t.Error("a token was sent")
			}
		})
	}
}

func TestPutVaultAllowsItsCaller(t *testing.T) {
	const key = rg + "/providers/microsoft.keyvault/vaults/kv"
	body := `{"id":"/kv","properties":{"vaultUri":"https://kv.vault.example.test/","provisioningState":"Succeeded"}}`
	w := newWire(t, map[string][]reply{"PUT " + key: {{status: 200, body: body}}, "GET " + key: {{status: 200, body: body}}})
	i, err := testClient(t, w, &stillClock{}).PutVault(t.Context(), Vault{Group: "rg", Name: "kv", Location: "westeurope", TenantID: "t", ObjectID: "me"}, Op{})
	if err != nil || i.ID != "/kv" || i.URI != vaultHost {
		t.Fatalf("%+v, %v", i, err)
	}
	var sent struct {
		Properties struct {
			SKU                                                                  struct{ Family, Name string }
			EnabledForDeployment, EnabledForTemplateDeployment, EnableSoftDelete bool
			AccessPolicies                                                       []struct {
				ObjectID    string
				Permissions struct{ Secrets []string }
			}
		}
	}
	if err := json.Unmarshal([]byte(w.bodies["PUT "+key]), &sent); err != nil {
		t.Fatal(err)
	}
	p := sent.Properties
	if !p.EnabledForDeployment || !p.EnabledForTemplateDeployment || !p.EnableSoftDelete || p.SKU.Name != "standard" || len(p.AccessPolicies) != 1 || p.AccessPolicies[0].ObjectID != "me" {
		t.Fatalf("sent %+v", p)
	}
	for _, right := range []string{"get", "set", "delete", "purge"} {
		if !strings.Contains(strings.Join(p.AccessPolicies[0].Permissions.Secrets, " "), right) {
			t.Errorf("no right to %s secrets", right)
		}
	}
}
