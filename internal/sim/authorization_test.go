package sim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	readerRole  = "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
	secretsRole = "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6"
)

// identity makes a user-assigned identity and signs in as it at the identity endpoint.
func (w *world) identity(name string) (principal, token string) {
	w.t.Helper()
	g := w.must("PUT", "Microsoft.ManagedIdentity/userAssignedIdentities/"+name, `{"location":"westeurope"}`)
	if g.status != 201 || text(g.json, "properties", "clientId") == "" {
		w.t.Fatalf("identity: %d %s", g.status, g.text)
	}
	req, err := http.NewRequest(http.MethodGet, EmbeddedURL+"/metadata/identity/oauth2/token?api-version=2018-02-01&resource="+url.QueryEscape(EmbeddedURL)+"&client_id="+text(g.json, "properties", "clientId"), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
	resp, err := w.Transport().RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	decode(w.t, resp.Body, &body)
	return text(g.json, "properties", "principalId"), text(body, "access_token")
}

// TestRoleAssignments: an identity may nothing until a role is assigned to it, at that scope and below, and nothing again
// afterwards; a custom role gives what it lists less what it takes back.
func TestRoleAssignments(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	who, token := w.identity("builder")
	read := func() got { return w.as(token, "GET", groupRG, "") }
	if g := read(); g.status != 403 || g.code() != "AuthorizationFailed" || !strings.Contains(g.message(), who) {
		t.Fatalf("an identity without roles: %d %s", g.status, g.text)
	}
	at := groupRG + "/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111"
	body := `{"properties":{"roleDefinitionId":"` + readerRole + `","principalId":"` + who + `"}}`
	if g := w.arm("PUT", at, body); g.status != 201 || text(g.json, "properties", "scope") != groupRG {
		t.Fatalf("assign: %d %s", g.status, g.text)
	}
	if g := w.arm("PUT", strings.ReplaceAll(at, "1111-4111", "1112-4111"), body); g.status != 409 || g.code() != "RoleAssignmentExists" {
		t.Errorf("the same again: %d %s", g.status, g.text)
	}
	if g := read(); g.status != 200 {
		t.Errorf("a reader reads: %d %s", g.status, g.text)
	}
	if g := w.as(token, "PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope"}`); g.status != 403 {
		t.Errorf("a reader writes: %d %s", g.status, g.text)
	}
	if g := w.arm("GET", groupRG+"/providers/Microsoft.Authorization/roleAssignments?$filter=principalId%20eq%20'"+who+"'", ""); len(items(g.json, "value")) != 1 {
		t.Errorf("the list: %s", g.text)
	}
	if g := w.arm("PUT", at, `{"properties":{"roleDefinitionId":"`+readerRole+`","principalId":"22222222-2222-4222-8222-222222222222"}}`); g.status != 400 || g.code() != "PrincipalNotFound" {
		t.Errorf("nobody: %d %s", g.status, g.text)
	}
	if g := w.arm("DELETE", at, ""); g.status != 200 {
		t.Errorf("take away: %d %s", g.status, g.text)
	}
	if g := read(); g.status != 403 {
		t.Errorf("without the role again: %d", g.status)
	}

	role := "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Authorization/roleDefinitions/33333333-3333-4333-8333-333333333333"
	if g := w.arm("PUT", role, `{"properties":{"roleName":"Gallery maker","description":"x","assignableScopes":["`+groupRG+`"],"permissions":[{"actions":["Microsoft.Compute/galleries/*"],"notActions":["Microsoft.Compute/galleries/delete"]}]}}`); g.status != 201 {
		t.Fatalf("custom role: %d %s", g.status, g.text)
	}
	w.must("PUT", at, `{"properties":{"roleDefinitionId":"`+role+`","principalId":"`+who+`","principalType":"ServicePrincipal"}}`)
	if g := w.as(token, "PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope"}`); g.status != 201 {
		t.Errorf("its action: %d %s", g.status, g.text)
	}
	if g := w.as(token, "DELETE", "Microsoft.Compute/galleries/g", ""); g.status != 403 {
		t.Errorf("its notAction: %d %s", g.status, g.text)
	}
	if g := w.arm("DELETE", role, ""); g.status != 400 || g.code() != "RoleDefinitionHasAssignments" {
		t.Errorf("a role in use is deleted: %d %s", g.status, g.text)
	}
	if g := w.arm("GET", "/subscriptions/"+DefaultSubscription+"/providers/Microsoft.Authorization/roleDefinitions?$filter=roleName%20eq%20'Reader'", ""); len(items(g.json, "value")) != 1 {
		t.Errorf("Reader by name: %s", g.text)
	}
	if g := w.as(token, "GET", groupRG+"/providers/Microsoft.Authorization/permissions", ""); g.status != 403 {
		t.Errorf("permissions without the right to read them: %d %s", g.status, g.text)
	}
}

// TestRoleDelay: what was assigned takes a while to be known, as in Azure.
func TestRoleDelay(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency, Scenario: &Scenario{RoleDelay: Duration(30 * time.Second)}})
	w.group()
	who, token := w.identity("builder")
	w.must("PUT", groupRG+"/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111", `{"properties":{"roleDefinitionId":"`+readerRole+`","principalId":"`+who+`"}}`)
	if g := w.as(token, "GET", groupRG, ""); g.status != 403 {
		t.Errorf("at once: %d", g.status)
	}
	w.clock.move(31 * time.Second)
	if g := w.as(token, "GET", groupRG, ""); g.status != 200 {
		t.Errorf("later: %d %s", g.status, g.text)
	}
}

// TestVaultRoles: in a vault with roles, Owner opens nothing and Key Vault Secrets User reads.
func TestVaultRoles(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	g := w.must("PUT", "Microsoft.KeyVault/vaults/rolevault", `{"location":"westeurope","properties":{"tenantId":"`+DefaultTenant+`","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true,"accessPolicies":[]}}`)
	secret := strings.TrimSuffix(text(g.json, "properties", "vaultUri"), "/") + "/secrets/s?api-version=7.4"
	token := w.signIn(DefaultClientID, DefaultClientSecret, "https://vault.azure.net/.default")
	if g := w.raw("PUT", secret, token, []byte(`{"value":"test-secret-not-real"}`), "application/json"); g.status != 403 {
		t.Errorf("Owner writes: %d %s", g.status, g.text)
	}
	me := w.principals[0].ObjectID
	w.must("PUT", text(g.json, "id")+"/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111", `{"properties":{"roleDefinitionId":"`+secretsRole+`","principalId":"`+me+`"}}`)
	if g := w.raw("GET", secret, token, nil, ""); g.status != 404 {
		t.Errorf("Secrets User reads what is not there: %d %s", g.status, g.text)
	}
	if g := w.raw("PUT", secret, token, []byte(`{"value":"test-secret-not-real"}`), "application/json"); g.status != 403 {
		t.Errorf("Secrets User writes: %d %s", g.status, g.text)
	}
}

func TestLocks(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	w.must("PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope"}`)
	w.clock.move(time.Minute)
	gallery := groupRG + "/providers/Microsoft.Compute/galleries/g"
	lock := gallery + "/providers/Microsoft.Authorization/locks/keep"
	if g := w.arm("PUT", lock, `{"properties":{"level":"CanNotDelete","notes":"ours"}}`); g.status != 201 {
		t.Fatalf("lock: %d %s", g.status, g.text)
	}
	for _, path := range []string{gallery, groupRG} {
		if g := w.arm("DELETE", path, ""); g.status != 409 || g.code() != "ScopeLocked" || !strings.Contains(g.message(), gallery) {
			t.Errorf("DELETE %s: %d %s", path, g.status, g.text)
		}
	}
	if g := w.arm("PUT", gallery, `{"location":"westeurope","tags":{"a":"b"}}`); g.status != 200 {
		t.Errorf("a write under CanNotDelete: %d %s", g.status, g.text)
	}
	w.must("PUT", lock, `{"properties":{"level":"ReadOnly"}}`)
	if g := w.arm("PUT", gallery, `{"location":"westeurope"}`); g.status != 409 || g.code() != "ScopeLocked" {
		t.Errorf("a write under ReadOnly: %d %s", g.status, g.text)
	}
	w.must("DELETE", lock, "")
	if g := w.arm("DELETE", gallery, ""); g.status != 202 {
		t.Errorf("unlocked: %d %s", g.status, g.text)
	}
}

func TestPolicies(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	at := groupRG + "/providers/Microsoft.Authorization/policyAssignments/"
	builtIn := "/providers/Microsoft.Authorization/policyDefinitions/"
	w.must("PUT", at+"where", `{"properties":{"policyDefinitionId":"`+builtIn+`e56962a6-4747-49cd-b67b-bf8b01975c4c","parameters":{"listOfAllowedLocations":{"value":["West Europe"]}}}}`)
	if g := w.arm("PUT", "Microsoft.Compute/galleries/g", `{"location":"eastus"}`); g.status != 403 || g.code() != "RequestDisallowedByPolicy" || !strings.Contains(g.message(), "Allowed locations") {
		t.Errorf("elsewhere: %d %s", g.status, g.text)
	}
	w.must("PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope"}`)
	w.must("PUT", at+"tagged", `{"properties":{"policyDefinitionId":"`+builtIn+`871b6d14-10aa-478d-b590-94f262ecfa99","parameters":{"tagName":{"value":"cost"}}}}`)
	if g := w.arm("PUT", "Microsoft.Compute/galleries/h", `{"location":"westeurope"}`); g.status != 403 || g.code() != "RequestDisallowedByPolicy" {
		t.Errorf("without the tag: %d %s", g.status, g.text)
	}
	w.must("PUT", "Microsoft.Compute/galleries/h", `{"location":"westeurope","tags":{"cost":"1"}}`)
	own := "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.Authorization/policyDefinitions/nogalleries"
	w.must("PUT", own, `{"properties":{"policyRule":{"if":{"field":"type","equals":"Microsoft.Compute/galleries"},"then":{"effect":"deny"}}}}`)
	w.must("PUT", at+"own", `{"properties":{"policyDefinitionId":"`+own+`","enforcementMode":"DoNotEnforce"}}`)
	w.must("PUT", "Microsoft.Compute/galleries/i", `{"location":"westeurope","tags":{"cost":"1"}}`)
	w.must("PUT", at+"own", `{"properties":{"policyDefinitionId":"`+own+`"}}`)
	if g := w.arm("PUT", "Microsoft.Compute/galleries/j", `{"location":"westeurope","tags":{"cost":"1"}}`); g.status != 403 {
		t.Errorf("a rule of one's own: %d %s", g.status, g.text)
	}
	if g := w.arm("PUT", at+"none", `{"properties":{"policyDefinitionId":"`+own+`x"}}`); g.status != 404 || g.code() != "PolicyDefinitionNotFound" {
		t.Errorf("an assignment of nothing: %d %s", g.status, g.text)
	}
}

// TestHostPools: documents as recorded, and the registration token kept back.
func TestHostPools(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	pool := groupRG + "/providers/Microsoft.DesktopVirtualization/hostPools/pool"
	ends := w.clock.Now().Add(48 * time.Hour).Format(time.RFC3339)
	g := w.arm("PUT", pool, `{"location":"westeurope","properties":{"hostPoolType":"Pooled","loadBalancerType":"BreadthFirst","preferredAppGroupType":"Desktop","registrationInfo":{"expirationTime":"`+ends+`","registrationTokenOperation":"Update"}}}`)
	if g.status != 201 || g.header.Get("Location") == "" || text(g.json, "properties", "objectId") == "" || strings.Contains(g.text, "not-a-token") {
		t.Fatalf("host pool: %d %v %s", g.status, g.header, g.text)
	}
	if g := w.must("POST", pool+"/retrieveRegistrationToken", ""); !strings.Contains(text(g.json, "token"), "not-a-token") || text(g.json, "expirationTime") != ends {
		t.Errorf("token: %s", g.text)
	}
	w.must("PATCH", pool, `{"properties":{"maxSessionLimit":12}}`)
	if g := w.must("GET", pool, ""); number(g.json, "properties", "maxSessionLimit") != 12 || text(g.json, "properties", "hostPoolType") != "Pooled" {
		t.Errorf("after PATCH: %s", g.text)
	}
	group := groupRG + "/providers/Microsoft.DesktopVirtualization/applicationGroups/desk"
	w.must("PUT", group, `{"location":"westeurope","properties":{"applicationGroupType":"Desktop","hostPoolArmPath":"`+pool+`"}}`)
	if g := w.must("GET", pool, ""); len(items(g.json, "properties", "applicationGroupReferences")) != 1 {
		t.Errorf("references: %s", g.text)
	}
	w.must("PUT", pool+"/sessionHosts/h1", `{"properties":{}}`)
	w.must("PATCH", pool+"/sessionHosts/h1", `{"properties":{"allowNewSession":false}}`)
	if g := w.must("GET", pool+"/sessionHosts", ""); len(items(g.json, "value")) != 1 || truth(items(g.json, "value")[0], "properties", "allowNewSession") {
		t.Errorf("session hosts: %s", g.text)
	}
	if g := w.arm("DELETE", pool, ""); g.status != 409 {
		t.Errorf("a pool with hosts is deleted: %d", g.status)
	}
}
