package image

import (
	"fmt"
	"regexp"
	"strings"
)

// RuntimeNames are the values that only a running build knows, written build.NAME in HCL and {{build `NAME`}} in Packer's older
// language (https://developer.hashicorp.com/packer/docs/templates/hcl_templates/contextual-variables, and packer-plugin-azure 2.6).
func RuntimeNames() []string {
	return []string{"ID", "Host", "Port", "User", "Password", "ConnType", "PackerRunUUID", "PackerHTTPIP", "PackerHTTPPort", "PackerHTTPAddr", "SSHPublicKey", "SSHPrivateKey", "WinRMPassword",
		"SourceImageName", "TenantID", "SubscriptionID", "TempDeploymentName", "TempComputeName", "TempNicName", "TempOSDiskName", "TempDataDiskName", "TempResourceGroupName", "TempNsgName",
		"TempKeyVaultName", "TempSubnetName", "TempVirtualNetworkName", "TempPublicIPAddressName"}
}

// Runtime is the text that stands for such a value in a model and a plan until the step that needs it runs.
func Runtime(name string) string { return "{{ build `" + name + "` }}" }

var placeholder = regexp.MustCompile("\\{\\{ build `([A-Za-z]+)` \\}\\}")

// FillRuntime puts the values in the place of a text's placeholders; the error names those that value does not know.
func FillRuntime(s string, value func(name string) (string, bool)) (string, error) {
	if !strings.Contains(s, "{{ build `") {
		return s, nil
	}
	var missing []string
	out := placeholder.ReplaceAllStringFunc(s, func(m string) string {
		name := placeholder.FindStringSubmatch(m)[1]
		v, ok := value(name)
		if !ok {
			missing = append(missing, name)
		}
		return v
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("build.%s has no value in this build", strings.Join(missing, ", build."))
	}
	return out, nil
}
