package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// runCommandTemplate is the test's template with communicator runcommand.
func runCommandTemplate(t *testing.T) string {
	t.Helper()
	dir := template(t)
	file := filepath.Join(dir, "build.pkr.hcl")
	text := strings.Replace(strings.Replace(source, `communicator    = "winrm"`, `communicator    = "runcommand"`, 1), "  winrm_use_ssl   = true\n", "", 1)
	if !strings.Contains(text, "runcommand") || strings.Contains(text, "use_ssl") {
		t.Fatal("the template has changed")
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRunCommandBuildIsKilled kills a build (SIGKILL) while its script runs in the guest and resumes it: the script has gone on, and ran
// once. Meanwhile the machine is looked at from outside: it has no public address, nobody is let in, and no secret can be read.
func TestRunCommandBuildIsKilled(t *testing.T) {
	t.Parallel() // most of it is waiting
	a := serveWith(t, `, "guest": [
  {"match": "token MarkerInline", "times": 1, "duration": 4000000000, "stdout": ["it ran once"]},
  {"match": "token MarkerInline", "stdout": ["it ran again"], "exitCode": 9}]`)
	dir, state := runCommandTemplate(t), t.TempDir()
	cmd := exec.Command(os.Args[0], "build", dir)
	cmd.Env = []string{"INGOT_TEST_MAIN=1", "INGOT_STATE=" + state, "INGOT_SIM=" + a.url, "INGOT_SIM_CA=" + a.ca, "HOME=" + state, "PKR_VAR_token=" + markInline}
	out := &watcher{found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() //nolint:errcheck // it has been
	var vm string
	until(t, "the script runs", time.Minute, out, func() bool {
		for _, i := range a.inventory(t) {
			if at := strings.Index(i.ID, "/runCommands/ingot-provision-2"); at > 0 {
				vm = i.ID[:at]
				return strings.Contains(a.text(t, i.ID, "&$expand=instanceView"), `"executionState":"Running"`)
			}
		}
		return false
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // killed

	var kinds []string
	shown := a.text(t, vm, "") + a.text(t, vm+"/runCommands", "&$expand=instanceView")
	for _, i := range a.inventory(t) {
		kinds = append(kinds, i.Type)
		if i.Type == "Microsoft.Network/networkSecurityGroups" {
			if nsg := a.text(t, i.ID, ""); !strings.Contains(nsg, `"access":"Deny"`) || strings.Contains(nsg, `"name":"communicator"`) {
				t.Errorf("somebody is let in: %s", nsg)
			}
		}
	}
	for _, never := range []string{"Microsoft.Network/publicIPAddresses", "Microsoft.KeyVault/vaults"} {
		if slices.Contains(kinds, never) {
			t.Errorf("the build has made a %s: %v", never, kinds)
		}
	}
	if !slices.Contains(kinds, "Microsoft.Storage/storageAccounts") {
		t.Errorf("no storage account: %v", kinds)
	}
	for _, m := range []string{markInline, markEnv, markPassword, markElevated, "sig="} {
		if strings.Contains(shown, m) {
			t.Errorf("whoever may read the machine reads %q", m)
		}
	}

	run, _, _ := journal(t, state)
	r := a.ingot(t, state, []string{"PKR_VAR_token=" + markInline}, "resume", run)
	if r.code != 0 || !strings.Contains(r.out, "it ran once") || strings.Contains(r.out, "it ran again") {
		t.Fatalf("the resumed build ends with %d:\n%s\n%s\n%s", r.code, out, r.out, a.log)
	}
	if versions, left := a.made(t); len(versions) != 1 || len(left) > 0 {
		t.Errorf("the build leaves versions %v and %v", versions, left)
	}
	noSecrets(t, "the build", state, out.String()+r.out)
}

// inventory is what the simulated Azure holds.
func (a *azure) inventory(t *testing.T) (all []item) {
	t.Helper()
	a.call(t, http.MethodGet, "/sim/inventory", nil, &all)
	return all
}

// text is a document of Resource Manager as it was sent.
func (a *azure) text(t *testing.T, path, more string) string {
	t.Helper()
	var raw json.RawMessage
	a.arm(t, http.MethodGet, "/subscriptions", nil) // signs in
	a.call(t, http.MethodGet, path+"?api-version=2024-07-01"+more, nil, &raw)
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestRunCommandVariants builds where no temporary group takes everything along, and in a network that is there already.
func TestRunCommandVariants(t *testing.T) {
	const target = "\n  managed_image_name = \"m\"\n  managed_image_resource_group_name = \"rg\"\n"
	for name, c := range map[string]string{
		"an existing group":            "build_resource_group_name = \"rg-build\"",
		"an existing network":          "location = \"westeurope\"\nvirtual_network_name = \"vnet1\"\nvirtual_network_subnet_name = \"hosts\"\nvirtual_network_resource_group_name = \"rg-net\"",
		"no key vault, as Packer says": "location = \"westeurope\"\nskip_create_build_key_vault = true",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text := strings.Replace(fmt.Sprintf(frame, "  image_offer = \"windows-11\"\n  image_sku = \"win11-25h2-avd\"\n"+c+target), "\"winrm\"\n  winrm_use_ssl   = true\n  winrm_use_ntlm  = false", `"runcommand"`, 1)
			if err := os.WriteFile(filepath.Join(dir, "w.pkr.hcl"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := embedded(t, t.TempDir(), "build", dir)
			if r.code != 0 || !strings.Contains(r.out, "runs commands") || !strings.Contains(r.out, "/images/m") || !strings.Contains(r.out, "  0 other resources that were not there before the build") {
				t.Errorf("exit code %d\n%s", r.code, r.out)
			}
		})
	}
}
