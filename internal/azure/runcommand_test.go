package azure

import (
	"strings"
	"testing"
	"time"
)

const commandKey = vmKey + "/runcommands/c"

func TestRunCommandBody(t *testing.T) {
	w := newWire(t, map[string][]reply{"PUT " + commandKey: {{status: 409, body: `{"error":{"code":"Conflict","message":"busy"}}`}, {status: 201, body: `{"properties":{"provisioningState":"Creating"}}`,
		header: []string{"Azure-AsyncOperation", "https://management.example.test/op"}}}})
	clock := &stillClock{}
	err := testClient(t, w, clock).BeginRunCommand(t.Context(), RunCommand{Group: "rg", VM: "m", Name: "c", Location: "westeurope", Script: "exit 0", Protected: map[string]string{"ingot": "test-secret-not-real"},
		RunAsUser: "u", RunAsPassword: "test-secret-not-real", Timeout: 24 * time.Hour, Async: true, OutputURL: "https://a/o?sig=x", ErrorURL: "https://a/e?sig=x", Tags: map[string]string{"ingot-run": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	wantSent(t, w.bodies["PUT "+commandKey], map[string]any{"location": "westeurope", "tags.ingot-run": "1", "properties.source.script": "exit 0", "properties.asyncExecution": true, "properties.timeoutInSeconds": 86400.0,
		"properties.protectedParameters.0.name": "ingot", "properties.protectedParameters.0.value": "test-secret-not-real", "properties.parameters": nil, "properties.runAsUser": "u",
		"properties.runAsPassword": "test-secret-not-real", "properties.outputBlobUri": "https://a/o?sig=x", "properties.errorBlobUri": "https://a/e?sig=x"})
	wantSlept(t, clock, time.Second) // the conflict passed
}

func TestRunCommandState(t *testing.T) {
	w := newWire(t, map[string][]reply{"GET " + commandKey: {{status: 200, body: `{"properties":{"provisioningState":"Succeeded","instanceView":{"executionState":"Failed","exitCode":7,"output":"o","error":"e","executionMessage":"m","startTime":"2026-01-02T03:04:05Z"}}}`},
		{status: 200, body: `{"properties":{"provisioningState":"Creating"}}`}, {status: 404, body: `{"error":{"code":"ResourceNotFound","message":"No."}}`}}})
	c := testClient(t, w, &stillClock{})
	s, err := c.GetRunCommand(t.Context(), "rg", "m", "c")
	if want := (RunCommandState{"Succeeded", "Failed", 7, "o", "e", "m", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Time{}}); err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	if !strings.Contains(w.urls[0], "expand=instanceView") {
		t.Errorf("asked %s", w.urls[0])
	}
	if s, err := c.GetRunCommand(t.Context(), "rg", "m", "c"); err != nil || s.Provisioning != "Creating" || s.Execution != "" {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := c.GetRunCommand(t.Context(), "rg", "m", "c"); !IsNotFound(err) {
		t.Error(err)
	}
}

func TestStorageAccountBody(t *testing.T) {
	key := rg + "/providers/microsoft.storage/storageaccounts/acct1"
	w := newWire(t, map[string][]reply{"PUT " + key: {{status: 200, body: `{"name":"acct1"}`}}, "GET " + key: {{status: 200, body: `{"name":"acct1","properties":{"primaryEndpoints":{"blob":"https://acct1.blob.example.test/"}}}`}},
		"POST " + key + "/listkeys": {{status: 200, body: `{"keys":[{"keyName":"key1","value":"dGVzdC1zZWNyZXQtbm90LXJlYWw="}]}`}}})
	clock := &stillClock{}
	c := testClient(t, w, clock)
	if err := c.PutStorageAccount(t.Context(), StorageAccount{Group: "rg", Name: "acct1", Location: "westeurope", Tags: map[string]string{"ingot-run": "1"}}, Op{}); err != nil {
		t.Fatal(err)
	}
	wantSent(t, w.bodies["PUT "+key], map[string]any{"kind": "StorageV2", "sku.name": "Standard_LRS", "tags.ingot-run": "1", "properties.allowBlobPublicAccess": false,
		"properties.minimumTlsVersion": "TLS1_2", "properties.supportsHttpsTrafficOnly": true})
	box, err := c.OpenContainer(t.Context(), "rg", "acct1", "build")
	if err != nil {
		t.Fatal(err)
	}
	for write, want := range map[bool]string{false: "&sp=r&", true: "&sp=racw&"} {
		u, err := box.Link("x", write, time.Hour)
		if err != nil || !strings.HasPrefix(u, "https://acct1.blob.example.test/build/x?") || !strings.Contains("&"+u[strings.Index(u, "?")+1:]+"&", want) || !strings.Contains(u, "se=2026-01-01T01%3A00%3A00Z") ||
			!strings.Contains(u, "spr=https") || strings.Contains(u, "st=") {
			t.Errorf("write %t: %s %v", write, u, err)
		}
	}
}

func TestNobodyIsLetIn(t *testing.T) {
	key := rg + "/providers/microsoft.network/networksecuritygroups/n"
	w := newWire(t, map[string][]reply{"PUT " + key: {{status: 200, body: `{}`}}})
	if _, err := testClient(t, w, &stillClock{}).PutSecurityGroup(t.Context(), SecurityGroup{Group: "rg", Name: "n", Location: "westeurope"}, Op{}); err != nil {
		t.Fatal(err)
	}
	rule := "properties.securityRules.0.properties."
	wantSent(t, w.bodies["PUT "+key], map[string]any{rule + "access": "Deny", rule + "direction": "Inbound", rule + "protocol": "*", rule + "sourceAddressPrefix": "*", rule + "destinationPortRange": "*", "properties.securityRules.1": nil})
}
