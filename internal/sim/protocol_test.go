package sim

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// azure-protocol.md 2.1: which status and which headers an operation answers first.
func TestFirstAnswers(t *testing.T) {
	const vnet = `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		async, location          bool
	}{
		{"group again", "PUT", groupRG, `{"location":"westeurope"}`, 200, false, false},
		{"group head", "HEAD", groupRG, "", 204, false, false},
		{"no such group head", "HEAD", groupRG + "x", "", 404, false, false},
		{"vnet create", "PUT", "Microsoft.Network/virtualNetworks/n", vnet, 201, true, false},
		{"public ip", "PUT", "Microsoft.Network/publicIPAddresses/i", `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`, 201, true, false},
		{"disk", "PUT", "Microsoft.Compute/disks/d", `{"location":"westeurope","properties":{"diskSizeGB":10,"creationData":{"createOption":"Empty"}}}`, 202, true, true},
		{"gallery", "PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope","properties":{}}`, 201, true, false},
		{"vault is 200 even when it is new", "PUT", "Microsoft.KeyVault/vaults/vlt1", `{"location":"westeurope","properties":{"tenantId":"x","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`, 200, false, false},
		{"delete absent", "DELETE", "Microsoft.Network/virtualNetworks/absent", "", 204, false, false},
		{"group delete", "DELETE", groupRG, "", 202, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Config{})
			w.group()
			g := w.arm(c.method, c.path, c.body)
			if g.status != c.status || (g.header.Get("Azure-AsyncOperation") != "") != c.async || (g.header.Get("Location") != "") != c.location {
				t.Errorf("%d async=%q location=%q %s", g.status, g.header.Get("Azure-AsyncOperation"), g.header.Get("Location"), g.text)
			}
			if c.status == 202 && g.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

// azure-protocol.md 2.5, byte for byte.
func TestErrorTexts(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	w.must("PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope","properties":{}}`)
	w.clock.move(time.Hour / 4)
	for _, c := range []struct {
		name, method, path, code, message string
		status                            int
	}{
		{"group", "GET", groupRG + "x", "ResourceGroupNotFound", "Resource group 'rgx' could not be found.", 404},
		{"resource", "GET", "Microsoft.Compute/disks/d", "ResourceNotFound", "The Resource 'Microsoft.Compute/disks/d' under resource group 'rg' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", 404},
		{"parent of two parts", "GET", "Microsoft.Compute/galleries/g/images/i/versions/1.0.0", "ParentResourceNotFound", "Can not perform requested operation on nested resource. Parent resource 'g/i' not found.", 404},
		{"unknown operation", "POST", "Microsoft.Compute/disks/d/frobnicate", "SimulatorNotImplemented", "", 501},
		{"unknown provider", "GET", "Microsoft.Nowhere/things/x", "SimulatorNotImplemented", "", 501},
		{"collection cannot be PUT", "PUT", "Microsoft.Compute/disks", "SimulatorNotImplemented", "", 501},
		{"groups cannot be POSTed", "POST", "/subscriptions/" + DefaultSubscription + "/resourcegroups", "SimulatorNotImplemented", "", 501},
		{"subscription cannot be DELETEd", "DELETE", "/subscriptions/" + DefaultSubscription, "SimulatorNotImplemented", "", 501},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := w.arm(c.method, c.path, "{}")
			if g.status != c.status || g.code() != c.code || c.message != "" && g.message() != c.message {
				t.Errorf("%d %s", g.status, g.text)
			}
		})
	}
	if g := w.raw("GET", EmbeddedURL+groupRG, w.token, nil, ""); g.code() != "MissingApiVersionParameter" {
		t.Errorf("%d %s", g.status, g.text)
	}
	if g := w.raw("GET", EmbeddedURL+groupRG+"?api-version=yesterday", w.token, nil, ""); g.status != 400 {
		t.Errorf("api-version=yesterday: %d", g.status)
	}
}

func TestIDsCompareWithoutCaseAndKeepTheirs(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	w.must("PUT", "Microsoft.Compute/galleries/MyGal", `{"location":"westeurope","properties":{}}`)
	g := w.must("GET", "/subscriptions/"+strings.ToUpper(DefaultSubscription)+"/resourcegroups/RG/providers/microsoft.compute//GALLERIES/mygal", "")
	if id := text(g.json, "id"); id != groupRG+"/providers/Microsoft.Compute/galleries/MyGal" {
		t.Error(id)
	}
}

func TestUnknownPropertiesSurvive(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	w.must("PUT", "Microsoft.Network/virtualNetworks/n", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"flowTimeoutInMinutes":7}}`)
	if g := w.must("GET", "Microsoft.Network/virtualNetworks/n", ""); number(g.json, "properties", "flowTimeoutInMinutes") != 7 {
		t.Error(g.text)
	}
}

func TestPaging(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	for i := range 230 {
		w.must("PUT", "/subscriptions/"+DefaultSubscription+"/resourceGroups/g"+itoa(i), `{"location":"westeurope","tags":{"run":"a b"}}`)
	}
	u := EmbeddedURL + "/subscriptions/" + DefaultSubscription + "/resourcegroups?api-version=2024-05-01&$filter=tagName%20eq%20'run'%20and%20tagValue%20eq%20'a%20b'"
	seen, pages := map[string]bool{}, 0
	for u != "" {
		g := w.raw("GET", u, w.token, nil, "")
		for _, x := range items(g.json, "value") {
			seen[text(x, "name")] = true
		}
		u, pages = text(g.json, "nextLink"), pages+1
	}
	if len(seen) != 230 || pages != 3 {
		t.Errorf("%d groups on %d pages", len(seen), pages)
	}
}

func TestTokenRefusals(t *testing.T) {
	w := newWorld(t, Config{})
	for _, c := range []struct{ name, tenant, form, want string }{
		{"secret", DefaultTenant, "client_id=" + DefaultClientID + "&client_secret=wrong", "AADSTS7000215"},
		{"app", DefaultTenant, "client_id=nobody&client_secret=x", "AADSTS700016"},
		{"tenant", "nowhere", "client_id=" + DefaultClientID + "&client_secret=x", "AADSTS90002"},
	} {
		g := w.raw("POST", EmbeddedURL+"/"+c.tenant+"/oauth2/v2.0/token", "", []byte("grant_type=client_credentials&scope=x&"+c.form), "")
		if s := text(g.json, "error_description"); !strings.HasPrefix(s, c.want) {
			t.Errorf("%s: %d %s", c.name, g.status, g.text)
		}
	}
}

func TestRoles(t *testing.T) {
	w := newWorld(t, Config{Scenario: &Scenario{Principals: []Account{{Name: "r", ClientID: "reader", Secret: "test-secret-not-real", Roles: []Assignment{{"Reader", groupRG}}}}}})
	w.group()
	tok := w.signIn("reader", "test-secret-not-real", "x")
	if g := w.as(tok, "GET", groupRG, ""); g.status != 200 {
		t.Errorf("%d %s", g.status, g.text)
	}
	g := w.as(tok, "PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope","properties":{}}`)
	oid := w.principals[1].ObjectID
	want := "The client 'reader' with object id '" + oid + "' does not have authorization to perform action 'Microsoft.Compute/galleries/write' over scope '" + groupRG + "/providers/Microsoft.Compute/galleries/g' or the scope is invalid. If access was recently granted, please refresh your credentials."
	if g.status != 403 || g.message() != want {
		t.Errorf("%d %s", g.status, g.text)
	}
	// A scope that is not one's own is 403 whether it exists or not.
	if g := w.as(tok, "GET", groupRG+"2/providers/Microsoft.Compute/galleries/g", ""); g.status != 403 {
		t.Errorf("a foreign scope: %d %s", g.status, g.code())
	}
}

func TestScenarioWithAnUnknownRoleIsRefused(t *testing.T) {
	if a, err := New(Config{Scenario: &Scenario{Principals: []Account{{ClientID: "x", Roles: []Assignment{{"Contributr", "/"}}}}}}); err == nil {
		a.Close()
		t.Error("accepted")
	}
}

func TestFaults(t *testing.T) {
	w := newWorld(t, Config{})
	if err := w.AddFault(Fault{Do: "status"}); err == nil {
		t.Error("a status fault without a status was accepted: it answers with status 0")
	}
	w = newWorld(t, Config{})
	w.group()
	add := func(f Fault) {
		t.Helper()
		if err := w.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
	const body = `{"location":"westeurope","properties":{}}`
	add(Fault{Method: "PUT", Path: "galleries/a$", Do: "drop"})
	if g := w.arm("PUT", "Microsoft.Compute/galleries/a", body); g.err == nil || w.Has(groupRG+"/providers/Microsoft.Compute/galleries/a") {
		t.Error("drop", g.err)
	}
	add(Fault{Method: "PUT", Path: "galleries/b$", Do: "drop-after"})
	if g := w.arm("PUT", "Microsoft.Compute/galleries/b", body); g.err == nil || !w.Has(groupRG+"/providers/Microsoft.Compute/galleries/b") {
		t.Error("drop-after", g.err)
	}
	add(Fault{Method: "PUT", Path: "galleries/c$", Do: "status", Status: 429, Code: "Slow", Message: "m", Nth: 2})
	if g := w.arm("PUT", "Microsoft.Compute/galleries/c", body); g.status != 201 {
		t.Error(g.status)
	}
	if g := w.arm("PUT", "Microsoft.Compute/galleries/c", body); g.status != 429 || g.code() != "Slow" || g.header.Get("Retry-After") == "" {
		t.Error(g.status, g.text)
	}
	add(Fault{Method: "PUT", Path: "galleries/d$", Do: "fail-operation", Code: "Broken", Message: "m"})
	g := w.must("PUT", "Microsoft.Compute/galleries/d", body)
	w.clock.move(time.Hour / 4)
	poll := w.raw("GET", g.header.Get("Azure-AsyncOperation"), w.token, nil, "")
	if text(poll.json, "status") != "Failed" || text(poll.json, "error", "code") != "Broken" {
		t.Error(poll.text)
	}
	// A misspelt member over the wire would be a fault that never happens.
	if g := w.raw("POST", EmbeddedURL+"/sim/faults", "", []byte(`{"method":"PUT","pth":"x","do":"drop"}`), ""); g.status != 400 {
		t.Errorf("misspelt fault: %d", g.status)
	}
}

func TestThrottleIsInSimulatedTime(t *testing.T) {
	w := newWorld(t, Config{Scenario: &Scenario{Throttle: true}})
	w.group()
	n := 0
	for ; n < 400; n++ {
		if g := w.arm("GET", groupRG, ""); g.status == 429 {
			break
		}
	}
	if n != 250 {
		t.Errorf("%d reads before 429", n)
	}
	w.clock.move(2 * time.Second)
	for n = 0; n < 400; n++ {
		if g := w.arm("GET", groupRG, ""); g.status == 429 {
			break
		}
	}
	if n != 50 {
		t.Errorf("%d reads after two seconds", n)
	}
}

func TestVaultSecrets(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	oid := w.principals[0].ObjectID
	w.must("PUT", "Microsoft.KeyVault/vaults/vlt1", `{"location":"westeurope","properties":{"tenantId":"x","sku":{"family":"A","name":"standard"},"accessPolicies":[{"tenantId":"x","objectId":"`+oid+`","permissions":{"secrets":["all"]}}]}}`)
	const base = "https://vlt1.vault.localhost"
	if g := w.raw("GET", base+"/secrets/a?api-version=7.4", "", nil, ""); g.status != 401 || !strings.Contains(g.header.Get("WWW-Authenticate"), "authorization=") || g.header.Get("x-ms-keyvault-network-info") != "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;" {
		t.Error(g.status, g.header)
	}
	do := func(method, path, body string) got {
		return w.raw(method, base+path+"?api-version=7.4", w.token, []byte(body), "")
	}
	one := do("PUT", "/secrets/a", `{"value":"test-secret-not-real-1"}`)
	two := do("PUT", "/secrets/a", `{"value":"test-secret-not-real-2"}`)
	if text(one.json, "id") == text(two.json, "id") {
		t.Error("one version")
	}
	if v, ok := w.secretByURL(text(one.json, "id")); !ok || v != "test-secret-not-real-1" {
		t.Error("by version", v)
	}
	if g := do("DELETE", "/secrets/a", ""); g.status != 200 || g.json["value"] != nil {
		t.Error(g.text)
	}
	if g := do("GET", "/secrets", ""); len(items(g.json, "value")) != 0 {
		t.Error("still listed:", g.text)
	}
	if g := do("GET", "/deletedsecrets", ""); len(items(g.json, "value")) != 1 {
		t.Error("deleted secrets are not listed:", g.text)
	}
	if g := do("PUT", "/secrets/a", `{"value":"x"}`); g.status != 409 || text(g.json, "error", "innererror", "code") != "ObjectIsDeletedButRecoverable" {
		t.Error(g.status, g.text)
	}
	if g := do("PUT", "/secrets", `{"value":"x"}`); g.status < 400 {
		t.Error("PUT on the collection:", g.status)
	}
	if g := do("DELETE", "/deletedsecrets/a", ""); g.status != 204 {
		t.Error(g.status)
	}
}

func TestVaultNamesStayTakenUntilPurged(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	const body = `{"location":"westeurope","properties":{"tenantId":"x","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`
	w.must("PUT", "Microsoft.KeyVault/vaults/vlt1", body)
	w.must("DELETE", "Microsoft.KeyVault/vaults/vlt1", "")
	if g := w.arm("PUT", "Microsoft.KeyVault/vaults/vlt1", body); g.status != 409 {
		t.Error(g.status)
	}
	del := "/subscriptions/" + DefaultSubscription + "/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/vlt1"
	g := w.must("POST", del+"/purge", "")
	w.clock.move(time.Hour / 4)
	if p := w.raw("GET", g.header.Get("Location"), w.token, nil, ""); p.status >= 300 || p.status == 202 {
		t.Error(p.status, p.text)
	}
	w.must("PUT", "Microsoft.KeyVault/vaults/vlt1", body)
}

func TestCallerAddressOfIPv6(t *testing.T) {
	w := newWorld(t, Config{})
	r, _ := http.NewRequest("GET", "https://vlt1.vault.localhost/secrets/a", nil)
	r.RemoteAddr = "[::1]:4711"
	out := w.vaultData(r, "vlt1", "/secrets/a", nil)
	if h := out.header["x-ms-keyvault-network-info"]; !strings.Contains(h, "addr=::1;") {
		t.Error(h)
	}
}

// The VM's creation is under way when it is deleted: what Ctrl-C does.
func TestMachineDeletedDuringCreationLeavesNoGuest(t *testing.T) {
	w := newWorld(t, Config{Scenario: &Scenario{Latency: map[string]Duration{"vm": Duration(200 * time.Second), "vm-delete": Duration(10 * time.Second)}}})
	w.group()
	w.machine()
	vm := w.find(groupRG + "/providers/Microsoft.Compute/virtualMachines/vm")
	w.must("DELETE", "Microsoft.Compute/virtualMachines/vm", "")
	w.clock.move(20 * time.Second)
	w.Inventory()
	w.clock.move(time.Hour / 4)
	w.Inventory()
	if g := machineOf(vm).guest; g != nil {
		t.Error("a guest runs whose machine is gone, at", g.Addr())
	}
	for _, i := range w.Inventory() {
		if i.Type == "guest" {
			t.Error("leaked:", i.ID)
		}
	}
}

func TestGroupDeletedDuringCreationLeavesNoGuest(t *testing.T) {
	w := newWorld(t, Config{Scenario: &Scenario{Latency: map[string]Duration{"vm": Duration(200 * time.Second), "group-delete": Duration(10 * time.Second)}}})
	w.group()
	w.machine()
	vm := w.find(groupRG + "/providers/Microsoft.Compute/virtualMachines/vm")
	w.must("DELETE", groupRG, "")
	w.clock.move(20 * time.Second)
	w.Inventory()
	w.clock.move(time.Hour / 4)
	w.Inventory()
	if g := machineOf(vm).guest; g != nil {
		t.Error("a guest runs whose machine is gone, at", g.Addr())
	}
	for _, i := range w.Inventory() {
		t.Error("left:", i.ID)
	}
}

// A second DELETE of the same thing must not take what was made anew meanwhile.
func TestOldDeletionSparesNewResource(t *testing.T) {
	w := newWorld(t, Config{Scenario: &Scenario{Latency: map[string]Duration{"network-delete": Duration(10 * time.Second), "vnet": Duration(time.Second)}}})
	w.group()
	const path, body = "Microsoft.Network/virtualNetworks/n", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`
	w.must("PUT", path, body)
	w.clock.move(5 * time.Second)
	w.must("DELETE", path, "")
	w.clock.move(5 * time.Second)
	w.must("DELETE", path, "")
	w.clock.move(6 * time.Second)
	w.must("PUT", path, body)
	w.clock.move(10 * time.Second)
	if g := w.arm("GET", path, ""); g.status != 200 {
		t.Error("the new network is gone:", g.status)
	}
}

func TestMachineSecretIsNotShown(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	w.machine()
	if g := w.must("GET", "Microsoft.Compute/virtualMachines/vm", ""); strings.Contains(g.text, "Test-secret") {
		t.Error(g.text)
	}
}

// Hours of polling in an instant, and the same story for every seed.
func TestVirtualClockPolls(t *testing.T) {
	c := NewVirtualClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	began := time.Now()
	start := c.Now()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 120 {
				if err := c.Sleep(context.Background(), 2*time.Minute); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if d := c.Now().Sub(start); d != 4*time.Hour {
		t.Error(d)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Error("took", d)
	}
}

func TestVirtualClockHold(t *testing.T) {
	c := NewVirtualClock(time.Unix(0, 0))
	release := c.Hold()
	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	if err := c.Sleep(ctx, time.Second); err == nil {
		t.Error("time moved while it was held")
	}
	release()
	if err := c.Sleep(context.Background(), time.Second); err != nil {
		t.Error(err)
	}
}

// A handler that is still at work must not be overtaken by the clock.
func TestConcurrentCallsAreRaceClean(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.group()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 40 {
				p := "Microsoft.Compute/galleries/g" + itoa(i%3)
				w.arm("PUT", p, `{"location":"westeurope","tags":{"a":"b"},"properties":{}}`)
				w.arm("PATCH", p, `{"tags":{"c":"d"}}`)
				w.arm("GET", p, "")
				w.arm("GET", groupRG+"/resources", "")
				w.Inventory()
				w.raw("GET", EmbeddedURL+"/sim/calls", "", nil, "")
				if i == 0 {
					w.arm("DELETE", p, "")
				}
			}
		})
	}
	wg.Wait()
}

// A call that meets a defect must not hang every later call.
func TestOddBodies(t *testing.T) {
	w := newWorld(t, Config{Latency: NoLatency})
	w.cfg.Observe = nil // what is odd is answered in kind
	w.group()
	bodies := []string{`{}`, `{"properties":null}`, `{"location":"westeurope"}`, `{"location":"westeurope","properties":[]}`, `{"location":7,"tags":[],"properties":{"subnets":[1],"ipConfigurations":[null],"securityRules":["x"],"storageProfile":7,"publishingProfile":[],"addressSpace":[]}}`,
		`{"location":"westeurope","sku":"x","properties":{"addressSpace":{"addressPrefixes":[3]},"subnets":[{"name":3}],"publishingProfile":{"targetRegions":[1]}}}`}
	w.must("PUT", "Microsoft.Compute/galleries/g", `{"location":"westeurope","properties":{}}`)
	w.must("PUT", "Microsoft.Compute/galleries/g/images/i", `{"location":"westeurope","properties":{"osType":"Windows","osState":"Generalized","identifier":{"publisher":"p","offer":"o","sku":"s"}}}`)
	for _, k := range kinds() {
		for _, b := range bodies {
			seg := strings.Split(k.typ, "/")
			path, names := seg[0], []string{"g", "i", "1.0.0"}
			for i, s := range seg[1:] {
				path += "/" + s + "/" + names[i]
			}
			func() {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("PUT %s %s: panic: %v", k.typ, b, p)
						w.mu.TryLock()
						w.mu.Unlock()
					}
				}()
				w.arm("PUT", path, b)
			}()
		}
	}
}

func TestServe(t *testing.T) {
	w := newWorld(t, Config{Clock: WallClock{}, Latency: NoLatency})
	s, err := w.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client := trusting(t, s.CA)
	resp, err := client.Get(s.URL + "/metadata/endpoints?api-version=2022-09-01")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil || text(m, "resourceManager") != s.URL+"/" {
		t.Errorf("%s %v", raw, err)
	}
}

func BenchmarkReadInProcess(b *testing.B) {
	a, err := New(Config{Latency: NoLatency})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	a.mu.Lock()
	tok, err := a.issue(a.principals[0], "x")
	a.mu.Unlock()
	if err != nil {
		b.Fatal(err)
	}
	if err := a.Seed(groupRG, map[string]any{"location": "westeurope"}); err != nil {
		b.Fatal(err)
	}
	tr := a.Transport()
	for b.Loop() {
		req, _ := http.NewRequest("GET", EmbeddedURL+groupRG+"?api-version=2024-05-01", nil)
		req.Header.Set("Authorization", "Bearer "+tok)
		resp, err := tr.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(err)
		}
	}
}

// What the two tests on leaks look at must be able to see a guest.
func TestMachineRunsAGuest(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	w.machine()
	w.clock.move(time.Hour / 4)
	w.Inventory()
	if machineOf(w.find(groupRG+"/providers/Microsoft.Compute/virtualMachines/vm")).guest == nil {
		t.Error("no guest")
	}
}
