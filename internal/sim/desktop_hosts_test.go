package sim

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestSessionHostIsMade: a machine joins a domain, which restarts it, and registers with a pool's token by the extensions of the portal's
// templates; the host bears the machine's name and goes dark with it. A wrong token, a machine without an identity and a domain without a
// password fail; no secret is shown again.
func TestSessionHostIsMade(t *testing.T) {
	d := newDesk(t, nil)
	pool := d.group + "/providers/Microsoft.DesktopVirtualization/hostPools/pool"
	ends := d.w.clock.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	d.must(201, "PUT", pool, map[string]any{"location": "westeurope", "properties": map[string]any{"hostPoolType": "Pooled", "loadBalancerType": "BreadthFirst", "preferredAppGroupType": "Desktop",
		"registrationInfo": map[string]any{"expirationTime": ends, "registrationTokenOperation": "Update"}}})
	token := text(d.must(200, "POST", pool+"/retrieveRegistrationToken", nil), "token")
	vm := d.compute("virtualMachines/win")
	d.done("PUT", vm, vmBody(d.nic("win"), avdImage(), nil))
	install := func(name, publisher, typ string, settings, protected map[string]any) (string, map[string]any) {
		_, h, out := d.call("PUT", vm+"/extensions/"+name, map[string]any{"location": "westeurope", "properties": map[string]any{"publisher": publisher, "type": typ, "typeHandlerVersion": "1.0", "settings": settings, "protectedSettings": protected}})
		if h.Get("Azure-AsyncOperation") == "" {
			t.Fatalf("%s: %v", typ, out)
		}
		waitFor(t, 30*time.Second, func() bool {
			out = d.must(200, "GET", h.Get("Azure-AsyncOperation"), nil)
			return text(out, "status") != "InProgress"
		})
		return text(out, "status"), mapping(out, "error")
	}
	domain := map[string]any{"Name": "corp.contoso.com", "User": "join@corp.contoso.com", "Restart": "true", "Options": "3"}
	for what, f := range map[string]func() (string, map[string]any){
		"occured while joining Domain 'corp.contoso.com'": func() (string, map[string]any) {
			return install("join", "Microsoft.Compute", "JsonADDomainExtension", domain, nil)
		},
		"-2145648574": func() (string, map[string]any) {
			return install("aad", "Microsoft.Azure.ActiveDirectory", "AADLoginForWindows", nil, nil)
		},
		"INVALID_REGISTRATION_TOKEN": func() (string, map[string]any) {
			return install("dsc", "Microsoft.Powershell", "DSC", dscSettings("wrong"), nil)
		},
	} {
		if s, e := f(); s != "Failed" || text(e, "code") != "VMExtensionProvisioningError" || !strings.Contains(text(e, "message"), what) {
			t.Errorf("%s: %s %v", what, s, e)
		}
	}
	if s, e := install("join", "Microsoft.Compute", "JsonADDomainExtension", domain, map[string]any{"Password": "Test-secret-not-real-2"}); s != "Succeeded" {
		t.Fatalf("domain join: %s %v", s, e)
	}
	if s, e := install("dsc", "Microsoft.Powershell", "DSC", dscSettings(""), map[string]any{"properties": map[string]any{"registrationInfoToken": token}}); s != "Succeeded" {
		t.Fatalf("registration: %s %v", s, e)
	}
	d.refused(501, "SimulatorNotImplemented", "PUT", vm+"/extensions/other", map[string]any{"location": "westeurope", "properties": map[string]any{"publisher": "Microsoft.Powershell", "type": "DSC", "typeHandlerVersion": "2.77",
		"settings": map[string]any{"configurationFunction": `Mine.ps1\Mine`}}})
	d.refused(501, "SimulatorNotImplemented", "PUT", vm+"/extensions/other", map[string]any{"location": "westeurope", "properties": map[string]any{"publisher": "Contoso", "type": "Agent", "typeHandlerVersion": "1.0"}})

	host := pool + "/sessionHosts/builder.corp.contoso.com"
	h := d.must(200, "GET", host, nil)
	if text(h, "name") != "pool/builder.corp.contoso.com" || text(h, "properties", "status") != "Available" || !sameID(text(h, "properties", "resourceId"), vm) || text(h, "properties", "osVersion") != "10.0.26100" {
		t.Errorf("the host: %v", h)
	}
	shown := d.must(200, "GET", vm+"?$expand=instanceView", nil)
	if n, k := len(items(shown, "resources")), len(items(shown, "properties", "instanceView", "extensions")); n != 3 || k != 3 {
		t.Errorf("the machine shows %d extensions, its agent %d", n, k)
	}
	if all := d.must(200, "GET", vm+"/extensions", nil); len(items(all, "value")) != 3 || strings.Contains(asText(t, all, shown), "Test-secret-not-real-2") || strings.Contains(asText(t, all, shown), token) {
		t.Errorf("the extensions: %v", all)
	}
	d.done("POST", vm+"/deallocate", nil)
	if h := d.must(200, "GET", host, nil); text(h, "properties", "status") != "Unavailable" {
		t.Errorf("the host of a machine that is off: %v", h)
	}
	d.refused(409, "409", "DELETE", pool, nil)
	if gone := d.must(200, "DELETE", pool+"?force=true", nil); text(gone, "name") != "pool" {
		t.Errorf("the pool that is gone: %v", gone)
	}
	if d.w.find(host) != nil {
		t.Error("the host is still there")
	}
}

func dscSettings(token string) map[string]any {
	p := map[string]any{"hostPoolName": "pool", "aadJoin": false}
	if token != "" {
		p["registrationInfoToken"] = token
	}
	return map[string]any{"modulesUrl": "https://example.invalid/Configuration.zip", "configurationFunction": `Configuration.ps1\AddSessionHost`, "properties": p}
}

func asText(t *testing.T, v ...any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
