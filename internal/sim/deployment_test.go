package sim

import (
	"strings"
	"testing"
)

// deploymentBody is what Packer and portal exports send: parameters, variables, ids made of them, dependencies, a loop, a condition, outputs.
const deploymentBody = `{"properties":{"mode":"Incremental","parameters":{"prefix":{"value":"x"},"secret":{"value":"test-secret-not-real"}},"template":{
	"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
	"parameters":{"prefix":{"type":"string"},"count":{"type":"int","defaultValue":2},"secret":{"type":"securestring"}},
	"variables":{"vnet":"[concat(parameters('prefix'), '-net')]","subnet":"[resourceId('Microsoft.Network/virtualNetworks/subnets', variables('vnet'), 's')]"},
	"resources":[
	 {"type":"Microsoft.Network/networkInterfaces","apiVersion":"2023-04-01","name":"[concat(parameters('prefix'), '-nic', copyIndex())]","location":"[resourceGroup().location]",
	  "copy":{"name":"nics","count":"[parameters('count')]"},"dependsOn":["[concat('Microsoft.Network/virtualNetworks/', variables('vnet'))]"],
	  "properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"[variables('subnet')]"}}}]}},
	 {"type":"Microsoft.Network/virtualNetworks","apiVersion":"2023-04-01","name":"[variables('vnet')]","location":"[resourceGroup().location]",
	  "properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}},
	 {"type":"Microsoft.Network/publicIPAddresses","apiVersion":"2023-04-01","name":"never","condition":"[not(equals(parameters('prefix'), 'x'))]","location":"westeurope"}],
	"outputs":{"space":{"type":"string","value":"[reference(variables('vnet')).addressSpace.addressPrefixes[0]]"},"shout":{"type":"string","value":"[toUpper(format('{0}!', parameters('prefix')))]"}}}}}`

func TestDeployment(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	const at = groupRG + "/providers/Microsoft.Resources/deployments/d"
	if g := w.arm("POST", at+"/validate", deploymentBody); g.status != 200 || strings.Contains(g.text, "test-secret") {
		t.Fatalf("validate: %d %s", g.status, g.text)
	}
	g := w.arm("PUT", at, deploymentBody)
	if g.status != 201 || text(g.json, "properties", "provisioningState") != "Accepted" || !strings.Contains(g.header.Get("Azure-AsyncOperation"), "/deployments/d/operationStatuses/") || g.header.Get("Location") != "" {
		t.Fatalf("PUT: %d %v %s", g.status, g.header, g.text)
	}
	poll := g.header.Get("Azure-AsyncOperation")
	if s := w.raw("GET", poll, w.token, nil, ""); text(s.json, "status") != "Running" && text(s.json, "status") != "Accepted" {
		t.Errorf("at once: %s", s.text)
	}
	w.clock.move(60_000_000_000)
	if s := w.raw("GET", poll, w.token, nil, ""); text(s.json, "status") != "Succeeded" {
		t.Fatalf("later: %s", s.text)
	}
	got := w.must("GET", at, "")
	p := mapping(got.json, "properties")
	if text(p, "outputs", "space", "value") != "10.0.0.0/16" || text(p, "outputs", "shout", "value") != "X!" || len(items(p, "outputResources")) != 3 || len(items(p, "dependencies")) != 2 ||
		strings.Contains(got.text, "test-secret") || text(p, "parameters", "prefix", "value") != "x" {
		t.Errorf("GET: %s", got.text)
	}
	for _, id := range []string{"networkInterfaces/x-nic0", "networkInterfaces/x-nic1", "virtualNetworks/x-net"} {
		if !w.Has(groupRG + "/providers/Microsoft.Network/" + id) {
			t.Errorf("%s was not made", id)
		}
	}
	if w.Has(groupRG + "/providers/Microsoft.Network/publicIPAddresses/never") {
		t.Error("the condition is not honoured")
	}
	ops := items(w.must("GET", at+"/operations", "").json, "value")
	if len(ops) != 3 || text(ops[0], "properties", "targetResource", "resourceType") == "" || text(ops[0], "properties", "statusCode") != "OK" {
		t.Errorf("operations: %v", ops)
	}
	if g := w.arm("DELETE", at, ""); g.status != 202 || g.header.Get("Location") == "" {
		t.Errorf("DELETE: %d %v", g.status, g.header)
	}
}

// TestDeploymentFails: a resource that Azure refuses fails the deployment, with what was refused in its details.
func TestDeploymentFails(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	const at = groupRG + "/providers/Microsoft.Resources/deployments/d"
	w.must("PUT", at, `{"properties":{"mode":"Incremental","template":{"resources":[{"type":"Microsoft.Compute/virtualMachines","apiVersion":"2024-07-01","name":"vm","location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_None"}}}]}}}`)
	w.clock.move(60_000_000_000)
	g := w.must("GET", at, "")
	details := items(g.json, "properties", "error", "details")
	if text(g.json, "properties", "provisioningState") != "Failed" || text(g.json, "properties", "error", "code") != "DeploymentFailed" || len(details) != 1 || text(details[0], "code") != "InvalidParameter" || !strings.Contains(text(details[0], "message"), "Standard_None") {
		t.Errorf("%s", g.text)
	}
}

// TestDeploymentTemplates: what is wrong with a template is said at the door, with the words of the service.
func TestDeploymentTemplates(t *testing.T) {
	w := newWorld(t, Config{})
	w.group()
	const at = groupRG + "/providers/Microsoft.Resources/deployments/d"
	deep := strings.Repeat("concat(", 100) + "'x'" + strings.Repeat(")", 100)
	for template, want := range map[string]string{
		`{"parameters":{"p":{"type":"string"}},"resources":[]}`:                                                                                        "The value for the template parameter 'p'",
		`{"resources":[{"type":"Microsoft.Compute/galleries","name":"[nosuch('x')]"}]}`:                                                                "nosuch",
		`{"resources":[{"type":"Microsoft.Compute/galleries","name":"[concat('x']"}]}`:                                                                 "not valid",
		`{"resources":[{"type":"Microsoft.Compute/galleries","name":"a/b"}]}`:                                                                          "segment lengths",
		`{"resources":[{"type":"Microsoft.Compute/galleries","name":"a","dependsOn":["b"]}]}`:                                                          "The resource 'b' is not defined in the template",
		`{"variables":{"a":"[variables('b')]","b":"[variables('a')]"},"resources":[{"type":"Microsoft.Compute/galleries","name":"[variables('a')]"}]}`: "itself",
		`{"resources":[{"type":"Microsoft.Compute/galleries","name":"[` + deep + `]"}]}`:                                                               "deeply",
		`{"resources":[{"type":"Microsoft.Compute/galleries","name":"x","copy":{"name":"c","count":100000}}]}`:                                         "copy count",
	} {
		if g := w.arm("PUT", at, `{"properties":{"mode":"Incremental","template":`+template+`}}`); g.status != 400 || g.code() != "InvalidTemplate" || !strings.Contains(g.message(), want) {
			t.Errorf("%s: %d %s", template, g.status, g.text)
		}
	}
	// az writes the template's text under a key without quotes.
	if g := w.arm("PUT", at, `{"properties": {"mode":"Incremental", template:{"resources":[], // a comment, "and" more
		/* and another */ "variables":{"u":"https://x/*"}}}}`); g.status != 201 {
		t.Errorf("az's way: %d %s", g.status, g.text)
	}
}
