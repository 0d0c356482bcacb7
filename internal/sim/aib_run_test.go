package sim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

// foundry is a factory where operations take no time of their own, with its template as a document to be changed.
func foundry(t *testing.T, s *Scenario) (*world, map[string]any) {
	t.Helper()
	w, body := factoryWith(t, Config{Scenario: s, Latency: NoLatency})
	w.allow()
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	return w, doc
}

func (w *world) submit(doc map[string]any) got {
	w.t.Helper()
	raw, err := json.Marshal(doc)
	if err != nil {
		w.t.Fatal(err)
	}
	g := w.arm("PUT", aib, string(raw))
	w.pass(time.Second)
	return g
}

// result runs the template to its end.
func (w *world) result() (state, message string) {
	w.t.Helper()
	if g := w.arm("POST", aib+"/run", ""); g.status != 202 {
		w.t.Fatalf("run: %d %s", g.status, g.text)
	}
	return w.ended()
}

func (w *world) ended() (state, message string) {
	w.t.Helper()
	for range 2000 {
		s, _, m := w.runState()
		if s != "Running" && s != "Canceling" {
			return s, m
		}
		w.pass(10 * time.Second)
	}
	w.t.Fatal("the run does not end")
	return "", ""
}

func steps(list ...map[string]any) []any {
	var out []any
	for _, x := range list {
		out = append(out, x)
	}
	return out
}

func ps(lines ...string) map[string]any {
	return map[string]any{"type": "PowerShell", "name": "p", "inline": anys(lines)}
}

func with(m map[string]any, more ...any) map[string]any {
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

// logged is a log of the last run, read with the account's key, as anybody would.
func (w *world) logged(name string) string {
	w.t.Helper()
	staging := text(w.must("GET", aib, "").json, "properties", "exactStagingResourceGroup")
	var account string
	for _, r := range items(w.must("GET", staging+"/providers/Microsoft.Storage/storageAccounts", "").json, "value") {
		account = text(r, "name")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	raw, _ := w.storage.blobs.Read(account, "packerlogs", templateOf(w.find(groupRG+"/providers/"+aib)).Folder+"/"+name)
	return string(raw)
}

// published is the disk of the only version of the gallery's definition.
func (w *world) published() *guest.Disk {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	all := children(w.Azure, groupRG+"/providers/Microsoft.Compute/galleries/g/images/d", versionType)
	if len(all) != 1 {
		w.t.Fatalf("%d versions", len(all))
	}
	return all[0].aux.(*versionData).content.disk
}

func TestImageBuilderCustomizers(t *testing.T) {
	const hello = "https://example.com/hello.ps1"
	sum := sha256Hex("Set-Content C:\\hello.txt 'from afar'\n")
	addresses := map[string]Address{hello: {Content: "Set-Content C:\\hello.txt 'from afar'\n"}, "https://example.com/raw": {Base64: "AAEC"}}
	for name, c := range map[string]struct {
		customize []any
		guest     []guest.Rule
		updates   []guest.Update
		state     string
		file      string // that is on the published disk, and what it holds
		holds     string
		log       []string
	}{
		"inline": {customize: steps(ps("Write-Host hello", "Set-Content C:\\a.txt 'x'")), file: `C:\a.txt`, holds: "x\r\n",
			log: []string{"[INFO] (telemetry) Starting provisioner powershell", "ui:     azure-arm: hello", "[INFO] (telemetry) ending powershell", "azure-arm: IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE", "(telemetry) Finalizing.", "PACKER Done exporting Packer logs to Azure Storage."}},
		"the order counts": {customize: steps(ps("Set-Content C:\\a.txt '1'"), ps("Set-Content C:\\a.txt '2'")), file: `C:\a.txt`, holds: "2\r\n"},
		"the first failure ends it": {customize: steps(ps("exit 3"), ps("Set-Content C:\\a.txt '2'")), state: "Failed",
			log: []string{"ui error: ==> azure-arm: Provisioning step had errors", "errored after", "Script exited with non-zero exit status: 3. Allowed exit codes are: [0]"}},
		"an uncaught error": {customize: steps(ps("throw 'no'")), state: "Failed", log: []string{"ui error: ==> azure-arm: no", "exit status: 1"}},
		"valid exit codes":  {customize: steps(with(ps("exit 3"), "validExitCodes", []any{0, 3})), file: deprovisionWindows},
		"zero is not valid": {customize: steps(with(ps("exit 0"), "validExitCodes", []any{3})), state: "Failed", log: []string{"exit status: 0. Allowed exit codes are: [3]"}},
		"as SYSTEM":         {customize: steps(with(ps(`"$env:USERNAME" | Out-File C:\who.txt`), "runElevated", true, "runAsSystem", true)), file: `C:\who.txt`, holds: "SYSTEM\r\n"},
		"as the account":    {customize: steps(ps(`"$env:USERNAME" | Out-File C:\who.txt`)), file: `C:\who.txt`, holds: "packer\r\n"},
		"a script's address": {customize: steps(map[string]any{"type": "PowerShell", "scriptUri": hello, "sha256Checksum": sum}), file: `C:\hello.txt`, holds: "from afar\r\n",
			log: []string{"powershell script: /aib/packerInput/hello.ps1"}},
		"a file's": {customize: steps(map[string]any{"type": "File", "sourceUri": "https://example.com/raw", "destination": `C:\b\raw.bin`}), file: `C:\b\raw.bin`, holds: "\x00\x01\x02",
			log: []string{"Starting provisioner file", `Uploading raw => C:\b\raw.bin`}},
		"one that nobody knows": {customize: steps(map[string]any{"type": "PowerShell", "scriptUri": "https://example.org/x.ps1?sig=test-secret-not-real", "sha256Checksum": sum}), file: deprovisionWindows,
			log: []string{"https://example.org/x.ps1 could not be fetched", "sha256Checksum " + sum + " could not be checked"}},
		"a restart": {customize: steps(map[string]any{"type": "WindowsRestart"}, ps("Set-Content C:\\a.txt 'x'")), file: `C:\a.txt`,
			log: []string{"Restarting Machine", "Machine successfully restarted, moving on", "ending windows-restart"}},
		"a restart that is none": {customize: steps(map[string]any{"type": "WindowsRestart", "restartCommand": "echo no", "restartTimeout": "2m"}), state: "Failed", log: []string{"Timeout waiting for machine to restart."}},
		"a check that never holds": {customize: steps(map[string]any{"type": "WindowsRestart", "restartCheckCommand": "type C:\\none.txt", "restartTimeout": "2m"}), state: "Failed",
			log: []string{"Machine", "Timeout waiting for machine to restart."}},
		"updates": {customize: steps(map[string]any{"type": "WindowsUpdate", "searchCriteria": "IsInstalled=0", "filters": []any{"exclude:$_.Title -like '*Preview*'", "include:$true"}}), file: `C:\Windows\SoftwareDistribution\DataStore\simulated.json`,
			log: []string{"Running Windows update...", "Found Windows update (812.00 MB): 2026-11 Cumulative", "Restarting the machine...", "ending windows-update"}},
		"an update that fails": {customize: steps(map[string]any{"type": "WindowsUpdate"}), updates: []guest.Update{{KB: "KB1", Title: "one", InstallError: "0x80070643"}}, state: "Failed",
			log: []string{"Windows update install failed with 0x80070643", "Windows update script exited with non-zero exit status"}},
		"a sysprep of one's own":     {customize: steps(ps(`Set-Content C:\DeprovisioningScript.ps1 'exit 0'`)), file: deprovisionWindows, holds: "exit 0\r\n"},
		"one that fails":             {customize: steps(ps(`Set-Content C:\DeprovisioningScript.ps1 'exit 5'`)), state: "Failed", log: []string{"exit status: 5"}},
		"one that was deleted":       {customize: steps(ps("cmd.exe"), with(ps("x"), "inline", []any{"bye"})), guest: []guest.Rule{{Match: "bye", Stdout: []string{"removed"}}}, log: []string{"removed"}, file: deprovisionWindows},
		"the machine goes away":      {customize: steps(ps("firewall on")), guest: []guest.Rule{{Match: "firewall on", Effect: "vanish"}}, state: "Failed", log: []string{"Communicator ended with: 2300218"}},
		"sysprep that never is done": {customize: steps(ps("Write-Host x")), guest: []guest.Rule{{Match: "sysprep.exe", ExitCode: 1, Stderr: []string{"appx"}}}, state: "Failed", log: []string{"IMAGE_STATE_COMPLETE", "Cancelling build after receiving terminated"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, doc := foundry(t, &Scenario{Guest: c.guest, Updates: c.updates, Addresses: addresses})
			p := mapping(doc, "properties")
			p["customize"], p["buildTimeoutInMinutes"] = c.customize, 60
			if g := w.submit(doc); g.status != 201 {
				t.Fatalf("PUT: %d %s", g.status, g.text)
			}
			state, message := w.result()
			if state != or(c.state, "Succeeded") {
				t.Errorf("state %s: %s", state, message)
			}
			log := w.logged("customization.log")
			at := 0
			for _, want := range c.log {
				i := strings.Index(log[at:], want)
				if i < 0 {
					t.Fatalf("the log has no %q after byte %d:\n%s", want, at, log)
				}
				at += i
			}
			if strings.Contains(log, "test-secret-not-real") {
				t.Error("a signature is in the log")
			}
			if left := w.left(); len(left) > 0 {
				t.Errorf("left in the staging group: %v", left)
			}
			if c.state == "Failed" {
				if !strings.Contains(message, "context deadline exceeded") && !strings.HasPrefix(message, "Failed while waiting for packerizer: Microservice has failed: Failed while processing request: Error when executing packerizer: Packer build command has failed: exit status 1.") ||
					!strings.Contains(message, ".blob.storage.localhost/packerlogs/") || !strings.Contains(message, "/customization.log. OperationId: ") {
					t.Errorf("message %q", message)
				}
				return
			}
			data, ok := w.published().File(c.file)
			if !ok || c.holds != "" && string(data) != c.holds {
				t.Errorf("%s: %q %v of %v", c.file, data, ok, w.published().Files())
			}
			if own := c.holds == "exit 0\r\n"; (w.published().ImageState() == guest.StateGeneralized) == own {
				t.Errorf("image state %s", w.published().ImageState())
			}
		})
	}
}

// left is what lies in the staging group beside the storage account.
func (w *world) left() []string {
	staging := text(w.must("GET", aib, "").json, "properties", "exactStagingResourceGroup")
	var out []string
	for _, r := range items(w.must("GET", staging+"/resources", "").json, "value") {
		if text(r, "type") != storageType {
			out = append(out, text(r, "name"))
		}
	}
	return out
}

// TestImageBuilderAtWork looks at a run in the midst of it: the container, the machine, the log that grows, who may read it.
func TestImageBuilderAtWork(t *testing.T) {
	w, doc := foundry(t, &Scenario{Guest: []guest.Rule{{Match: "slowly", Duration: 20 * time.Minute, Stdout: []string{"slowly done"}}}})
	p := mapping(doc, "properties")
	p["customize"] = steps(with(ps("Write-Host first"), "name", "one"), with(ps("slowly"), "name", "two"))
	p["managedResourceTags"] = map[string]any{"cost": "images"}
	p["vmProfile"] = map[string]any{"vmSize": "Standard_D4s_v5", "osDiskSizeGB": 200}
	p["errorHandling"] = map[string]any{"onCustomizerError": "abort"}
	w.submit(doc)
	w.must("POST", aib+"/run", "")
	w.pass(5 * time.Minute)
	if state, sub, _ := w.runState(); state != "Running" || sub != "Customizing" {
		t.Fatalf("%s %s", state, sub)
	}
	staging := text(w.must("GET", aib, "").json, "properties", "exactStagingResourceGroup")
	group := w.must("GET", staging, "")
	if text(group.json, "tags", "createdBy") != "AzureVMImageBuilder" || text(group.json, "tags", "imageTemplateName") != "t" || text(group.json, "tags", "imageTemplateResourceGroupName") != "rg" || text(group.json, "tags", "cost") != "images" {
		t.Errorf("tags: %s", group.text)
	}
	list := w.must("GET", staging+"/providers/Microsoft.ContainerInstance/containerGroups", "")
	if c := items(list.json, "value"); len(c) != 1 || !strings.HasPrefix(text(c[0], "name"), "vmimagebuilder-build-container-") {
		t.Errorf("containers: %s", list.text)
	}
	vms := w.must("GET", staging+"/providers/Microsoft.Compute/virtualMachines", "")
	if v := items(vms.json, "value"); len(v) != 1 || text(v[0], "properties", "hardwareProfile", "vmSize") != "Standard_D4s_v5" || number(v[0], "properties", "storageProfile", "osDisk", "diskSizeGB") != 200 || text(v[0], "tags", "cost") != "images" {
		t.Errorf("machines: %s", vms.text)
	}
	log := w.logged("customization.log")
	if !strings.Contains(log, "azure-arm: first") || strings.Contains(log, "slowly done") || strings.Count(log, "Starting provisioner powershell") != 2 || !strings.Contains(log, "PACKER 2026/01/02 03:") {
		t.Errorf("the log so far:\n%s", log)
	}
	for _, op := range []string{"run", "delete"} {
		g := w.arm("POST", aib+"/run", "")
		if op == "delete" {
			g = w.arm("DELETE", aib, "")
		}
		if g.status != 409 || g.code() != "OperationNotAllowed" || !strings.Contains(g.message(), "is not allowed in provisioning state: provisioned or run state: running.") {
			t.Errorf("%s meanwhile: %d %s", op, g.status, g.text)
		}
	}
	// The account is as any other: its key opens the log, nobody reads it without one.
	account := items(w.must("GET", staging+"/providers/Microsoft.Storage/storageAccounts", "").json, "value")[0]
	at := text(account, "properties", "primaryEndpoints", "blob") + "packerlogs?restype=container&comp=list"
	if g := w.raw(http.MethodGet, at, "", nil, ""); g.status != 401 && g.status != 403 {
		t.Errorf("without a key: %d", g.status)
	}
	if g := w.raw(http.MethodGet, at, w.signIn(DefaultClientID, DefaultClientSecret, "https://storage.azure.com/.default"), nil, ""); g.status != 403 {
		t.Errorf("an owner without the data role: %d", g.status)
	}
	if state, message := w.ended(); state != "Succeeded" {
		t.Fatalf("%s %s", state, message)
	}
	if later := w.logged("customization.log"); !strings.HasPrefix(later, log) || !strings.Contains(later, "slowly done") {
		t.Error("the log is another one now")
	}
	if n := w.published(); n == nil || len(w.left()) > 0 {
		t.Errorf("left: %v", w.left())
	}
}

// TestImageBuilderAbort: what was made stays for whoever looks into it, until the template is deleted.
func TestImageBuilderAbort(t *testing.T) {
	w, doc := foundry(t, nil)
	p := mapping(doc, "properties")
	p["customize"], p["errorHandling"] = steps(ps("exit 1")), map[string]any{"onCustomizerError": "abort"}
	w.submit(doc)
	if state, _ := w.result(); state != "Failed" {
		t.Error(state)
	}
	if left := w.left(); !slices.ContainsFunc(left, func(s string) bool { return strings.HasPrefix(s, "pkrvm") }) {
		t.Errorf("left: %v", left)
	}
	staging := text(w.must("GET", aib, "").json, "properties", "exactStagingResourceGroup")
	w.must("DELETE", aib, "")
	w.pass(time.Minute)
	if g := w.arm("GET", aib, ""); g.status != 404 || w.Has(staging) {
		t.Error("the staging group is there")
	}
}

// TestImageBuilderValidation: validators run on a machine of what was built.
func TestImageBuilderValidation(t *testing.T) {
	for name, c := range map[string]struct {
		validate           map[string]any
		state              string
		versions           int
		customized, tested string
	}{
		"good":                {validate: map[string]any{"inVMValidations": steps(ps("type C:\\a.txt", "cmd.exe /c type C:\\a.txt"))}, state: "Succeeded", versions: 1, customized: "Starting provisioner", tested: "ending powershell"},
		"bad":                 {validate: map[string]any{"inVMValidations": steps(ps("exit 4"))}, state: "Failed", versions: 0, tested: "exit status: 4"},
		"bad, and goes on":    {validate: map[string]any{"continueDistributeOnFailure": true, "inVMValidations": steps(ps("exit 4"))}, state: "Failed", versions: 1, tested: "exit status: 4"},
		"the source alone":    {validate: map[string]any{"sourceValidationOnly": true, "inVMValidations": steps(ps("Write-Host tried"))}, state: "Succeeded", versions: 0, tested: "azure-arm: tried"},
		"the source is worse": {validate: map[string]any{"sourceValidationOnly": true, "inVMValidations": steps(ps("exit 1"))}, state: "Failed", versions: 0, tested: "exit status: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, doc := foundry(t, nil)
			p := mapping(doc, "properties")
			p["customize"], p["validate"] = steps(ps("Set-Content C:\\a.txt 'x'")), c.validate
			w.submit(doc)
			state, message := w.result()
			if state != c.state {
				t.Errorf("%s %s", state, message)
			}
			if state == "Failed" && !strings.Contains(message, "/validation.log") && !strings.Contains(message, "/customization.log") {
				t.Errorf("message %q", message)
			}
			list := w.must("GET", "Microsoft.Compute/galleries/g/images/d/versions", "")
			if n := len(items(list.json, "value")); n != c.versions {
				t.Errorf("%d versions", n)
			}
			if log := w.logged("customization.log"); !strings.Contains(log, c.customized) || truth(c.validate, "sourceValidationOnly") && strings.Contains(log, "provisioner") {
				t.Errorf("customization.log:\n%s", log)
			}
			if log := w.logged("validation.log"); !strings.Contains(log, c.tested) {
				t.Errorf("validation.log:\n%s", log)
			}
			if left := w.left(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestImageBuilderVersions: the numbers that the service chooses, by the example of its documentation.
func TestImageBuilderVersions(t *testing.T) {
	documented := "0.1.1 0.1.2 1.0.0 1.0.1 1.1.0 1.1.1 1.2.0 2.0.0 2.0.1 2.1.0"
	for _, c := range []struct{ have, versioning, want string }{
		{documented, "", "2.1.1"}, {documented, `{"scheme":"Latest"}`, "2.1.1"}, {documented, `{"scheme":"Latest","major":2}`, "2.1.1"},
		{documented, `{"scheme":"Latest","major":1}`, "1.2.1"}, {documented, `{"scheme":"Latest","major":0}`, "0.1.3"},
		{"", "", "1.0.0"}, {"1.0.0", `{"scheme":"Latest","major":7}`, "7.0.0"}, {"1.9.0 1.10.0", "", "1.10.1"},
		{"", `{"scheme":"Source"}`, "18.4.2024"},
	} {
		w := newWorld(t, Config{})
		w.mu.Lock()
		def := w.place("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/d", definitionType, "westeurope")
		for _, v := range strings.Fields(c.have) {
			w.place(def.id+"/versions/"+v, versionType, "westeurope")
		}
		target := map[string]any{}
		if c.versioning != "" {
			var v map[string]any
			if err := json.Unmarshal([]byte(c.versioning), &v); err != nil {
				t.Fatal(err)
			}
			target["versioning"] = v
		}
		got, bad := w.nextVersion(def, target, "18.4.2024.7")
		w.mu.Unlock()
		if bad != nil || got != c.want {
			t.Errorf("%s of %q: %s %v", c.versioning, c.have, got, bad)
		}
	}
}

// TestImageBuilderTargets publishes to all kinds of targets at once, one of which cannot be.
func TestImageBuilderTargets(t *testing.T) {
	w, doc := foundry(t, nil)
	p := mapping(doc, "properties")
	image := groupRG + "/providers/Microsoft.Compute/images/"
	p["distribute"] = append(items(p, "distribute"), steps(
		map[string]any{"type": "ManagedImage", "runOutputName": "image", "imageId": image + "i", "location": "northeurope", "artifactTags": map[string]any{"a": "b"}},
		map[string]any{"type": "VHD", "runOutputName": "vhd"})...)
	p["additionalDataDisks"] = steps(map[string]any{"sizeGB": 16})
	if g := w.arm("PUT", aib, mustJSON(t, doc)); g.status != 400 || !strings.Contains(g.message(), `unmarshalling type *v2024_02_01.ImageTemplateProperties, unknown field "additionalDataDisks".`) {
		t.Errorf("a field of a later version: %d %s", g.status, g.text)
	}
	if g := w.arm("PUT", aib+"?api-version=2025-10-01", mustJSON(t, doc)); g.status != 201 {
		t.Fatalf("PUT: %d %s", g.status, g.text)
	}
	w.pass(time.Second)
	if state, message := w.result(); state != "Succeeded" {
		t.Fatalf("%s %s", state, message)
	}
	i := w.must("GET", image+"i", "")
	if text(i.json, "location") != "northeurope" || text(i.json, "tags", "a") != "b" || len(items(i.json, "properties", "storageProfile", "dataDisks")) != 1 {
		t.Errorf("image: %s", i.text)
	}
	uri := text(w.must("GET", aib+"/runOutputs/vhd", "").json, "properties", "artifactUri")
	if !strings.Contains(uri, ".blob.storage.localhost/vhds/") || strings.Contains(uri, "?") {
		t.Errorf("uri %s", uri)
	}
	// What lies there is the disk: a machine's disk can be made of it.
	w.must("PUT", "Microsoft.Compute/disks/back", `{"location":"westeurope","properties":{"osType":"Windows","creationData":{"createOption":"Import","sourceUri":"`+uri+`"}}}`)
	w.pass(time.Minute)
	w.mu.Lock()
	c, _ := w.find(groupRG + "/providers/Microsoft.Compute/disks/back").aux.(content)
	w.mu.Unlock()
	if c.disk == nil || c.disk.ImageState() != guest.StateGeneralized {
		t.Errorf("the VHD holds %+v", c)
	}
	// The second run finds the image's group locked against it: two of three.
	w.must("PUT", groupRG+"/providers/Microsoft.Authorization/locks/l", `{"properties":{"level":"CanNotDelete"}}`)
	w.must("DELETE", groupRG+"/providers/Microsoft.Authorization/locks/l", "")
	w.must("DELETE", "Microsoft.Compute/galleries/g/images/d/versions/1.0.0", "")
	w.pass(time.Minute)
	w.must("DELETE", "Microsoft.Compute/galleries/g/images/d", "")
	w.pass(time.Minute)
	state, message := w.result()
	if state != "PartiallySucceeded" || !strings.HasPrefix(message, "Failed in distributing 1 images out of total 3: ") {
		t.Errorf("%s %s", state, message)
	}
	if g := w.must("GET", aib+"/runOutputs", ""); len(items(g.json, "value")) != 2 {
		t.Errorf("outputs: %s", g.text)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestImageBuilderScripts: blobs are read with the identity's data role or by a SAS; what cannot be had fails the submission.
func TestImageBuilderScripts(t *testing.T) {
	w, doc := foundry(t, &Scenario{Addresses: map[string]Address{"https://example.com/gone": {Status: 404}, "https://example.com/x": {Content: "x"}}})
	w.must("PUT", "Microsoft.Storage/storageAccounts/scripts", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	w.pass(time.Minute)
	w.mu.Lock()
	s, _ := w.plane()
	w.mu.Unlock()
	if err := s.Put("scripts", "c", "a.ps1", "text/plain", []byte("Set-Content C:\\blob.txt 'y'")); err != nil {
		t.Fatal(err)
	}
	try := func(at, sum string) (state, message string) {
		t.Helper()
		c := map[string]any{"type": "PowerShell", "scriptUri": at}
		if sum != "" {
			c["sha256Checksum"] = sum
		}
		mapping(doc, "properties")["customize"] = []any{c}
		w.submit(doc)
		g := w.must("GET", aib, "")
		state, message = text(g.json, "properties", "provisioningState"), text(g.json, "properties", "provisioningError", "message")
		if state == "Failed" {
			w.must("DELETE", aib, "")
			w.pass(time.Minute)
		}
		return state, message
	}
	blob := "https://scripts.blob.core.windows.net/c/a.ps1"
	if state, message := try("https://example.com/gone", ""); state != "Failed" || !strings.Contains(message, "Downloading external file (https://example.com/gone) to local file (") || !strings.Contains(message, ".0.customizer.fp) [attempt 1 of 10] failed: Error downloading 'https://example.com/gone' to '") {
		t.Errorf("not there: %s %s", state, message)
	}
	if state, message := try("https://example.com/x", strings.Repeat("0", 64)); state != "Failed" || !strings.Contains(message, "SHA256") || !strings.Contains(message, sha256Hex("x")) {
		t.Errorf("another checksum: %s %s", state, message)
	}
	if state, message := try(blob, ""); state != "Failed" || !strings.HasPrefix(message, "Not authorized to access the resource: "+blob+". Please check the user assigned identity has the correct permissions.") {
		t.Errorf("without the role: %s %s", state, message)
	}
	if state, message := try(blob+"?sv=2022-11-02&sr=b&sp=r&se=2027-01-01T00:00:00Z&sig=test-secret-not-real", ""); state != "Failed" || !strings.Contains(message, "403") || strings.Contains(message, "test-secret") {
		t.Errorf("a wrong SAS: %s %s", state, message)
	}
	identity := w.must("GET", "Microsoft.ManagedIdentity/userAssignedIdentities/builder", "")
	w.must("PUT", groupRG+"/providers/Microsoft.Authorization/roleAssignments/33333333-3333-4333-8333-333333333333", `{"properties":{"roleDefinitionId":"/subscriptions/`+DefaultSubscription+`/providers/Microsoft.Authorization/roleDefinitions/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1","principalId":"`+text(identity.json, "properties", "principalId")+`"}}`)
	if state, message := try(blob, ""); state != "Succeeded" {
		t.Fatalf("with the role: %s %s", state, message)
	}
	g := w.must("GET", aib, "")
	if sum := text(items(g.json, "properties", "customize")[0], "sha256Checksum"); sum != sha256Hex("Set-Content C:\\blob.txt 'y'") {
		t.Errorf("the document's checksum: %q", sum)
	}
	w.mu.Lock()
	d := templateOf(w.find(groupRG + "/providers/" + aib))
	_, kept := w.storage.blobs.Read(d.Account, "shell", d.Scripts[blob].Blob)
	w.mu.Unlock()
	if !kept {
		t.Error("there is no copy in the container shell")
	}
	if state, message := w.result(); state != "Succeeded" {
		t.Fatal(message)
	}
	if _, ok := w.published().File(`C:\blob.txt`); !ok {
		t.Error("the script has not run")
	}
}

// TestImageBuilderSAS: a SAS in the address stands for the identity.
func TestImageBuilderSAS(t *testing.T) {
	w, doc := foundry(t, nil)
	w.must("PUT", "Microsoft.Storage/storageAccounts/scripts", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	w.pass(time.Minute)
	w.mu.Lock()
	s, _ := w.plane()
	key := w.find(groupRG + "/providers/Microsoft.Storage/storageAccounts/scripts").aux.(*accountData).keys[0]
	w.mu.Unlock()
	if err := s.Put("scripts", "c", "a.ps1", "text/plain", []byte("Set-Content C:\\blob.txt 'y'")); err != nil {
		t.Fatal(err)
	}
	const version, expiry = "2018-11-09", "2027-01-01T00:00:00Z"
	sign := strings.Join([]string{"r", "", expiry, "/blob/scripts/c/a.ps1", "", "", "", version, "b", "", "", "", "", "", ""}, "\n")
	at := "https://scripts.blob.storage.localhost/c/a.ps1?sv=" + version + "&sr=b&sp=r&se=" + expiry + "&sig=" + url.QueryEscape(hmacBase64(t, key, sign))
	mapping(doc, "properties")["customize"] = steps(map[string]any{"type": "PowerShell", "scriptUri": at})
	w.submit(doc)
	if g := w.must("GET", aib, ""); text(g.json, "properties", "provisioningState") != "Succeeded" {
		t.Fatalf("%s", text(g.json, "properties", "provisioningError", "message"))
	}
	w.result()
	if _, ok := w.published().File(`C:\blob.txt`); !ok {
		t.Error("the script has not run")
	}
}
