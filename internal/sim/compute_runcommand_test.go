package sim

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

const runPath = "Microsoft.Compute/virtualMachines/vm/runCommands/"

// command asks for a run command and waits until its script is over.
func (w *world) command(name, properties string) (put got, view map[string]any) {
	w.t.Helper()
	put = w.must("PUT", runPath+name, `{"location":"westeurope","properties":`+properties+`}`)
	waitFor(w.t, 10*time.Second, func() bool {
		view = mapping(w.must("GET", runPath+name+"?$expand=instanceView", "").json, "properties", "instanceView")
		s := text(view, "executionState")
		return s != "Pending" && s != "Running"
	})
	return put, view
}

// script quotes lines of PowerShell as a source.
func script(lines ...string) string {
	raw, _ := json.Marshal(strings.Join(lines, "\n")) //nolint:errcheck // a text
	return `{"script":` + string(raw) + `}`
}

func TestRunCommands(t *testing.T) {
	w := newWorld(t, Config{Clock: WallClock{}, Latency: NoLatency, Scenario: &Scenario{
		Principals: []Account{{Name: "reader", ClientID: "reader", Secret: "test-secret-not-real", Roles: []Assignment{{Role: "Reader", Scope: "/subscriptions/" + DefaultSubscription}}}},
		Guest:      []guest.Rule{{Match: "long", Stdout: []string{strings.Repeat("a", 5000), "the end"}}, {Match: "slow", Duration: 300 * time.Millisecond, ExitCode: 3}}}})
	w.group()
	if g := w.arm("PUT", runPath+"c", `{"location":"westeurope","properties":{"source":`+script("exit 0")+`}}`); g.status != 404 || g.code() != "ParentResourceNotFound" {
		t.Errorf("without a machine: %d %s", g.status, g.text)
	}
	w.machine()
	if g := w.arm("GET", "Microsoft.Compute/virtualMachines/vm?$expand=instanceView", ""); !strings.Contains(g.text, "PowerState/running") {
		t.Fatal(g.text)
	}
	for body, want := range map[string]struct {
		status int
		code   string
	}{
		`{"location":"northeurope","properties":{"source":` + script("exit 0") + `}}`:                             {400, "InvalidParameter"},
		`{"location":"westeurope","properties":{}}`:                                                               {400, "InvalidParameter"},
		`{"location":"westeurope","properties":{"source":{"scriptUri":"https://x/y"}}}`:                           {501, "SimulatorNotImplemented"},
		`{"location":"westeurope","properties":{"source":{"commandId":"IPConfig"}}}`:                              {501, "SimulatorNotImplemented"},
		`{"location":"westeurope","properties":{"source":{"script":"x"},"treatFailureAsDeploymentFailure":true}}`: {501, "SimulatorNotImplemented"},
	} {
		if g := w.arm("PUT", runPath+"c", body); g.status != want.status || g.code() != want.code {
			t.Errorf("%s: %d %s", body, g.status, g.text)
		}
	}
	reader := w.signIn("reader", "test-secret-not-real", "https://management.sim.localhost/.default")
	if g := w.as(reader, "PUT", runPath+"c", `{"location":"westeurope","properties":{"source":`+script("exit 0")+`}}`); g.code() != "AuthorizationFailed" || !strings.Contains(g.text, "Microsoft.Compute/virtualMachines/runCommands/write") {
		t.Errorf("a reader: %d %s", g.status, g.text)
	}

	put, view := w.command("c", `{"source":`+script("Write-Output 'hello'", "Write-Error 'oh'", "exit 7")+`,"parameters":[{"name":"a","value":"b"}],"protectedParameters":[{"name":"s","value":"test-secret-not-real"}],"runAsPassword":"test-secret-not-real","asyncExecution":true}`)
	if put.status != 201 || put.header.Get("Azure-AsyncOperation") == "" || text(put.json, "properties", "provisioningState") != "Creating" {
		t.Errorf("a new one: %d %s", put.status, put.text)
	}
	if text(view, "executionState") != "Failed" || number(view, "exitCode") != 7 || text(view, "output") != "hello\r\n" || text(view, "error") != "oh\r\n" || text(view, "endTime") == "" {
		t.Errorf("the view: %v", view)
	}
	shown := w.must("GET", runPath+"c", "")
	if strings.Contains(shown.text, "instanceView") || strings.Contains(shown.text, "not-real") || text(shown.json, "properties", "provisioningState") != "Succeeded" {
		t.Errorf("without expansion: %s", shown.text)
	}
	if _, view := w.command("long", `{"source":`+script("long")+`,"asyncExecution":true}`); len(text(view, "output")) != 4096 || !strings.HasSuffix(text(view, "output"), "the end\r\n") {
		t.Errorf("a long output is shown with %d characters", len(text(view, "output")))
	}
	// Without asyncExecution the operation lasts as long as the script.
	slow := w.must("PUT", runPath+"slow", `{"location":"westeurope","properties":{"source":`+script("slow")+`}}`)
	if g := w.raw("GET", slow.header.Get("Azure-AsyncOperation"), w.token, nil, ""); text(g.json, "status") != "InProgress" {
		t.Errorf("at once: %s", g.text)
	}
	waitFor(t, 10*time.Second, func() bool {
		return text(w.raw("GET", slow.header.Get("Azure-AsyncOperation"), w.token, nil, "").json, "status") == "Succeeded"
	})
	// The script's failure is not the deployment's.
	if view := mapping(w.must("GET", runPath+"slow?$expand=instanceView", "").json, "properties"); text(view, "provisioningState") != "Succeeded" || text(view, "instanceView", "executionState") != "Failed" {
		t.Errorf("after it: %v", view)
	}
	if n := len(items(w.must("GET", "Microsoft.Compute/virtualMachines/vm/runCommands", "").json, "value")); n != 3 {
		t.Errorf("%d run commands are listed", n)
	}
	if g := w.must("DELETE", runPath+"slow", ""); g.status != 202 || g.header.Get("Location") == "" {
		t.Errorf("deletion: %d", g.status)
	}
	w.must("POST", "Microsoft.Compute/virtualMachines/vm/deallocate", "")
	if g := w.arm("PUT", runPath+"late", `{"location":"westeurope","properties":{"source":`+script("exit 0")+`}}`); g.status != 409 || !strings.Contains(g.text, "when the VM is not running") {
		t.Errorf("a machine that is off: %d %s", g.status, g.text)
	}
}

func TestRunCommandWritesToAppendBlobs(t *testing.T) {
	w := newWorld(t, Config{Clock: WallClock{}, Latency: NoLatency})
	w.AddPrincipal(Principal{Name: "writer", ClientID: "writer", Secret: "test-secret-not-real", Roles: []Assignment{{Role: "Storage Blob Data Contributor", Scope: "/subscriptions/" + DefaultSubscription}}})
	w.group()
	w.must("PUT", "Microsoft.Storage/storageAccounts/acct1", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	w.machine()
	w.must("GET", "Microsoft.Compute/virtualMachines/vm", "")
	token := "Bearer " + w.signIn("writer", "test-secret-not-real", "https://storage.azure.com/.default")
	const at = "https://acct1.blob.storage.localhost/box"
	if g := w.bytes("PUT", at+"?restype=container", "", "Authorization", token); g.status != 201 {
		t.Fatalf("container: %d %s", g.status, g.text)
	}
	// An address without a good signature: the script does not run.
	_, view := w.command("a", `{"source":`+script("Write-Output 'never'")+`,"asyncExecution":true,"outputBlobUri":"`+at+`/out?sp=racw&sig=bad"}`)
	if text(view, "executionState") != "Failed" || !strings.Contains(text(view, "executionMessage"), "Error creating AppendBlob '"+at+"/out'") || text(view, "output") != "" {
		t.Errorf("a bad address: %v", view)
	}
	if shown := w.must("GET", runPath+"a", "").text; strings.Contains(shown, "sig=") || !strings.Contains(shown, at+"/out") {
		t.Errorf("shown: %s", shown)
	}
}
