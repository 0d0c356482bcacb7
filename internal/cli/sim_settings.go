package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"ingot/internal/sim"
)

// setting is one environment variable that points a client at a simulated Azure.
type setting struct{ Name, Value string }

// settingsOf are the variables for one family of clients.
type settingsOf struct {
	Title    string
	Settings []setting
	Commands []string // to run once
}

// simSettings is what every kind of client needs to find, trust and sign in to a simulated Azure (azure-protocol.md section
// 3, azure-image-builder.md 8.1). The secrets are the simulation's own and open nothing else.
func simSettings(url, ca, state string) []settingsOf {
	config := filepath.Join(filepath.Dir(ca), "az")
	if state != "" {
		config = filepath.Join(state, "az")
	}
	vault := strings.TrimPrefix(url, "https://localhost")
	return []settingsOf{
		{"Ingot", []setting{{"INGOT_SIM", url}, {"INGOT_SIM_CA", ca}}, nil},
		{"Packer and Terraform's azurerm", []setting{{"SSL_CERT_FILE", ca}, {"ARM_METADATA_URL", url}, {"ARM_METADATA_HOSTNAME", strings.TrimPrefix(url, "https://")}, {"ARM_ENVIRONMENT", "AzureSim"},
			{"ARM_TENANT_ID", sim.DefaultTenant}, {"ARM_SUBSCRIPTION_ID", sim.DefaultSubscription}, {"ARM_CLIENT_ID", sim.DefaultClientID}, {"ARM_CLIENT_SECRET", sim.DefaultClientSecret}}, nil},
		{"Go and Python SDKs (in code: DisableInstanceDiscovery / disable_instance_discovery, and the endpoint " + url + ")", []setting{{"AZURE_AUTHORITY_HOST", url}, {"AZURE_TENANT_ID", sim.DefaultTenant},
			{"AZURE_CLIENT_ID", sim.DefaultClientID}, {"AZURE_CLIENT_SECRET", sim.DefaultClientSecret}, {"AZURE_SUBSCRIPTION_ID", sim.DefaultSubscription}}, nil},
		{"az", []setting{{"AZURE_CONFIG_DIR", config}, {"REQUESTS_CA_BUNDLE", ca}, {"AZURE_CORE_COLLECT_TELEMETRY", "no"}, {"AZURE_EXTENSION_USE_DYNAMIC_INSTALL", "no"}}, []string{
			fmt.Sprintf("az cloud register -n AzureSim --endpoint-resource-manager %s/ --endpoint-active-directory %s/adfs --endpoint-active-directory-resource-id %s/ --endpoint-active-directory-graph-resource-id %s/graph/ --endpoint-management %s/ --suffix-keyvault-dns .vault.localhost%s --suffix-storage-endpoint storage.localhost%s",
				url, url, url, url, url, vault, vault),
			"az cloud set -n AzureSim",
			fmt.Sprintf("az login --service-principal -u %s -p %s --tenant %s", sim.DefaultClientID, sim.DefaultClientSecret, sim.DefaultTenant)}},
	}
}

// writeSettings prints them for people.
func writeSettings(out io.Writer, url string, all []settingsOf) {
	say(out, "The simulated Azure answers at %s (a browser shows what is in it)", url)
	for _, s := range all {
		say(out, "\n# %s", s.Title)
		for _, x := range s.Settings {
			say(out, "export %s", x.shell())
		}
		for _, c := range s.Commands {
			say(out, "%s", c)
		}
	}
	say(out, "\n# Account (its secret opens this simulation and nothing else)")
	for _, x := range [][2]string{{"tenant", sim.DefaultTenant}, {"subscription", sim.DefaultSubscription}, {"client id", sim.DefaultClientID}, {"client secret", sim.DefaultClientSecret}, {"role", "Owner"}} {
		say(out, "%-14s %s", x[0], x[1])
	}
}

// shell is NAME='value', with quotes where a shell needs them.
func (s setting) shell() string {
	if strings.Trim(s.Value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/.:_-") == "" {
		return s.Name + "=" + s.Value
	}
	return s.Name + "='" + strings.ReplaceAll(s.Value, "'", `'\''`) + "'"
}

// exportLines is a file for a shell's `.`.
func exportLines(all []settingsOf) []byte {
	var b strings.Builder
	for _, s := range all {
		for _, x := range s.Settings {
			b.WriteString("export " + x.shell() + "\n")
		}
	}
	return []byte(b.String())
}

// settingsJSON is the same for programs.
func settingsJSON(url, ca string, all []settingsOf) ([]byte, error) {
	env := map[string]string{}
	var az []string
	for _, s := range all {
		for _, x := range s.Settings {
			env[x.Name] = x.Value
		}
		az = append(az, s.Commands...)
	}
	return json.Marshal(map[string]any{"url": url, "ca": ca, "environment": env, "az": az, "note": "the secrets are the simulation's own and open nothing else",
		"tenantId": sim.DefaultTenant, "subscriptionId": sim.DefaultSubscription, "clientId": sim.DefaultClientID, "clientSecret": sim.DefaultClientSecret})
}
