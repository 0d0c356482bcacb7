package options

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/azure-arm-tests.md anew")

// shown are options whose effect another test shows than TestOptions: the test's file, and its name.
var shown = map[string]string{
	"client_id": "internal/azure/identity_test.go TestCredentialIsChosenNotTried", "client_secret": "internal/azure/identity_test.go TestSecretSignsInAtAForeignAuthority",
	"client_cert_path": "internal/azure/identity_test.go TestCredentialIsChosenNotTried", "client_cert_password": "internal/azure/identity_test.go TestCredentialIsChosenNotTried",
	"client_jwt": "internal/azure/identity_test.go TestCredentialIsChosenNotTried", "oidc_request_url": "internal/azure/identity_test.go TestOIDCRequest", "oidc_request_token": "internal/azure/identity_test.go TestOIDCRequest",
	"tenant_id": "internal/azure/identity_test.go TestCredentialIsChosenNotTried", "subscription_id": "test/story_test.go TestRoles", "use_azure_cli_auth": "internal/azure/identity_test.go TestCredentialIsChosenNotTried",
	"cloud_environment_name": "internal/azure/identity_test.go TestCloudByName", "metadata_host": "internal/azure/identity_test.go TestCloudFromMetadata",
	"ssh_username": "test/linux_test.go TestLinux", "ssh_host": "test/ssh_test.go Test",
	"ssh_port": "test/ssh_test.go Test", "ssh_password": "test/ssh_test.go Test", "ssh_private_key_file": "test/ssh_test.go Test", "ssh_clear_authorized_keys": "test/ssh_test.go Test",
	"ssh_bastion_host": "test/ssh_test.go Test", "ssh_bastion_port": "test/ssh_test.go Test", "ssh_bastion_username": "test/ssh_test.go Test", "ssh_bastion_password": "test/ssh_test.go Test",
	"capture_container_name": "test/targets_test.go Test", "capture_name_prefix": "test/targets_test.go Test", "resource_group_name": "test/targets_test.go Test", "storage_account": "test/targets_test.go Test",
	"managed_image_os_disk_snapshot_name": "test/targets_test.go Test", "managed_image_data_disk_snapshot_prefix": "test/targets_test.go Test",
	"disk_additional_size": "test/targets_test.go Test", "disk_additional_luns": "test/targets_test.go Test",
	"shared_image_gallery_destination.specialized": "test/story_test.go TestVariants",
	"ssh_agent_auth":               "internal/communicator/ssh_way_test.go TestSSHAgent",
	"ssh_bastion_agent_auth":       "internal/communicator/ssh_way_test.go TestSSHBastion",
	"ssh_bastion_certificate_file": "internal/communicator/ssh_real_test.go TestRealBastion",
	"ssh_bastion_interactive":      "internal/communicator/ssh_way_test.go TestSSHBastionAsks",
	"ssh_bastion_private_key_file": "internal/communicator/ssh_real_test.go TestRealBastion",
	"ssh_certificate_file":         "internal/communicator/ssh_way_test.go TestSSHCertificate",
	"ssh_ciphers":                  "internal/communicator/ssh_way_test.go TestSSHAlgorithms",
	"ssh_file_transfer_method":     "internal/communicator/ssh_way_test.go TestSSHCopy",
	"ssh_handshake_attempts":       "internal/communicator/ssh_way_test.go TestSSHHandshakes",
	"ssh_keep_alive_interval":      "internal/communicator/ssh_way_test.go TestSSHSilence",
	"ssh_key_exchange_algorithms":  "internal/communicator/ssh_way_test.go TestSSHAlgorithms",
	"ssh_local_tunnels":            "internal/communicator/ssh_way_test.go TestSSHTunnels",
	"ssh_proxy_host":               "internal/communicator/ssh_way_test.go TestSSHProxy",
	"ssh_proxy_password":           "internal/communicator/ssh_way_test.go TestSSHProxy",
	"ssh_proxy_port":               "internal/communicator/ssh_way_test.go TestSSHProxy",
	"ssh_proxy_username":           "internal/communicator/ssh_way_test.go TestSSHProxy",
	"ssh_pty":                      "internal/communicator/ssh_way_test.go TestSSHTerminal",
	"ssh_read_write_timeout":       "internal/communicator/ssh_way_test.go TestSSHSilence",
	"ssh_remote_tunnels":           "internal/communicator/ssh_way_test.go TestSSHTunnels",
	"skip_create_image":            "test/targets_test.go TestSkipCreateImage", "temporary_key_pair_bits": "internal/engine/vm/ssh_test.go TestCheckSSH", "temporary_key_pair_type": "internal/engine/vm/ssh_test.go TestCheckSSH",
}

// none are options without an effect, or none that a test shows yet, with the reason. A reason is a debt, or a decision.
var none = map[string]string{
	"object_id":                    "no effect: it is read from the token; `validate` says so",
	"winrm_no_proxy":               "no effect: Ingot never goes through a proxy to a guest",
	"ssh_keypair_name":             "a name without a key: Azure knows none",
	"temporary_key_pair_name":      "a name without a key: Azure knows none",
	"ssh_disable_agent_forwarding": "it takes ssh_agent_auth's lending back: no test of its own",
}

// structs are the parts of the source, by the struct that reads them, with the block that they are in.
var structs = map[string]string{
	"armIdentity": "", "armSource": "", "armTarget": "", "armMachine": "", "armNetwork": "", "armCommunicator": "", "armGallery": "shared_image_gallery.", "armPlan": "plan_info.",
	"armDestination": "shared_image_gallery_destination.", "armRegion": "shared_image_gallery_destination.target_region.", "armSpot": "spot.", "armTag": "azure_tag.",
}

// TestEveryOptionIsShown: each option of a Packer azure-arm source has a test that shows it acting, or a reason. What has neither is listed as
// open; the list may only become shorter.
func TestEveryOptionIsShown(t *testing.T) {
	raw, err := os.ReadFile("../../internal/template/docs.json")
	if err != nil {
		t.Fatal(err)
	}
	var docs map[string]map[string]string
	if err := json.Unmarshal(raw, &docs); err != nil {
		t.Fatal(err)
	}
	var options []string
	for name := range docs {
		prefix, known := structs[name]
		if strings.HasPrefix(name, "arm") && !known {
			t.Errorf("%s is a new part of the source: give it a line in structs", name)
		}
		for option := range docs[name] {
			if known {
				options = append(options, prefix+option)
			}
		}
	}
	slices.Sort(options)
	if len(options) < 150 {
		t.Fatalf("%d options: docs.json is not what it was", len(options))
	}
	traced := map[string][]string{}
	for _, s := range scenes() {
		for _, w := range s.want {
			if !slices.Contains(options, w.option) {
				t.Errorf("scene %q shows %s, which is no option", s.name, w.option)
			}
			last := w.option[strings.LastIndex(w.option, ".")+1:]
			// What is looked for must also be there to be found: the scene's template sets the option, or its absence is what is shown.
			if !strings.Contains(s.text, last) && w.value != "<nil>" && s.name != "what is left open" && w.option != "plan_info" {
				t.Errorf("scene %q shows %s without setting it", s.name, w.option)
			}
			if !slices.Contains(traced[w.option], s.name) {
				traced[w.option] = append(traced[w.option], s.name)
			}
		}
	}
	for _, m := range []map[string]string{shown, none} {
		for option := range m {
			if !slices.Contains(options, option) {
				t.Errorf("%s is no option", option)
			}
		}
	}
	var out strings.Builder
	out.WriteString("# What shows that an option of azure-arm acts\n\n<!-- Made by `go test ./test/options -update`. -->\n\n" +
		"*Asked* means: the build of that name in `test/options` (`go test ./test/options -run TestOptions`) sets the option, the value is found in the request that Azure\n" +
		"gets, and the simulated Azure takes it and builds. Otherwise the test that shows it, or why there is none.\n\n| option | shown by |\n|---|---|\n")
	var open []string
	for _, o := range options {
		by := ""
		switch {
		case len(traced[o]) > 0:
			by = "asked: " + strings.Join(traced[o][:min(2, len(traced[o]))], "; ")
		case is(t, shown[o]):
			by = "`" + strings.TrimSuffix(shown[o], " Test") + "`"
		case none[o] != "":
			by = none[o]
		default:
			by = "**open**"
			open = append(open, o)
		}
		fmt.Fprintf(&out, "| `%s` | %s |\n", o, by)
	}
	fmt.Fprintf(&out, "\n%d options: %d asked, %d open.\n", len(options), len(slices.DeleteFunc(slices.Collect(maps.Keys(traced)), func(o string) bool { return !slices.Contains(options, o) })), len(open))
	const file = "../../docs/reference/azure-arm-tests.md"
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("docs/reference/azure-arm-tests.md is not up to date: go test ./test/options -run TestEveryOptionIsShown -update")
	}
	if len(open) > mostOpen {
		t.Errorf("%d options have neither a test nor a reason, and %d may: %v", len(open), mostOpen, open)
	}
	t.Logf("open: %v", open)
}

// mostOpen is how many options may be without a test; it only goes down.
const mostOpen = 0

// is reports that a test is there: "file name", the name or the beginning of one.
func is(t *testing.T, test string) bool {
	file, name, ok := strings.Cut(test, " ")
	if !ok {
		return false
	}
	raw, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		return false // not there: open
	}
	found := regexp.MustCompile(`(?m)^func ` + name).Match(raw)
	if !found {
		t.Errorf("%s has no %s", file, name)
	}
	return found
}
