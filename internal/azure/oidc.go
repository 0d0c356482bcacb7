package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// devOpsURI is where a job of Azure DevOps asks for tokens
// (learn.microsoft.com/azure/devops/pipelines/build/variables, System.OidcRequestUri).
const devOpsURI = "SYSTEM_OIDCREQUESTURI"

// serviceConnection is the id of the service connection, by the names that Azure's own tasks and the azurerm provider use.
func serviceConnection(env func(string) string) string {
	for _, k := range []string{"ARM_ADO_PIPELINE_SERVICE_CONNECTION_ID", "ARM_OIDC_AZURE_SERVICE_CONNECTION_ID", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"} {
		if v := env(k); v != "" {
			return v
		}
	}
	return ""
}

// devOps fills in what a job of Azure DevOps knows of itself: the address with version and service connection, its token, and who the
// connection is for. A template's oidc_request_url may be the bare $(System.OidcRequestUri) (packer-plugin-azure#507).
func devOps(id *Identity, explicit bool, env func(string) string, first func(string, ...string) string) error {
	at := env(devOpsURI)
	if at == "" || id.ClientSecret != "" || id.CertificatePath != "" || id.AssertionToken != "" || id.AzureCLI {
		return nil
	}
	connection := serviceConnection(env)
	switch bare, _, _ := strings.Cut(id.OIDCRequestURL, "?"); {
	case id.OIDCRequestURL == "" && (explicit || connection == ""): // a job that may ask for tokens need not be the one that signs in
		return nil
	case id.OIDCRequestURL == "":
		id.OIDCRequestURL = at
	case bare != strings.TrimSuffix(at, "?"):
		return nil
	}
	u, err := url.Parse(id.OIDCRequestURL)
	if err != nil {
		return errors.New("cannot ask for an OIDC token: " + devOpsURI + " is no URL")
	}
	q := u.Query()
	if q.Get("serviceConnectionId") == "" {
		if connection == "" {
			return errors.New("cannot ask Azure DevOps for an OIDC token without a service connection: set ARM_ADO_PIPELINE_SERVICE_CONNECTION_ID to its id, or run inside the task AzureCLI@2, which sets AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")
		}
		q.Set("serviceConnectionId", connection)
	}
	if q.Get("api-version") == "" {
		q.Set("api-version", "7.1")
	}
	u.RawQuery = q.Encode()
	id.OIDCRequestURL = u.String()
	if id.OIDCRequestToken = first(id.OIDCRequestToken, "SYSTEM_ACCESSTOKEN"); id.OIDCRequestToken == "" {
		return errors.New("cannot ask Azure DevOps for an OIDC token without SYSTEM_ACCESSTOKEN: a pipeline hands it over only when the step says env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)")
	}
	id.TenantID = first(id.TenantID, "AZURE_TENANT_ID", "ARM_TENANT_ID", "AZURESUBSCRIPTION_TENANT_ID")
	id.ClientID = first(id.ClientID, "AZURE_CLIENT_ID", "ARM_CLIENT_ID", "AZURESUBSCRIPTION_CLIENT_ID")
	return nil
}

// requestAssertion asks a CI system for an OIDC token: GitHub answers a GET with {"value": …}, Azure DevOps a POST with
// {"oidcToken": …} and refuses a GET with 405 (packer-plugin-azure#507).
func requestAssertion(ctx context.Context, id Identity, transport policy.Transporter) (string, error) {
	send := http.DefaultClient.Do
	if transport != nil {
		send = transport.Do
	}
	u, err := url.Parse(id.OIDCRequestURL)
	if err != nil {
		return "", fmt.Errorf("cannot ask for an OIDC token: oidc_request_url is no URL")
	}
	methods := []string{http.MethodGet, http.MethodPost}
	if q := u.Query(); q.Get("serviceConnectionId") != "" {
		methods = methods[1:] // Azure DevOps: nothing but a POST, and no choice of audience
	} else if q.Get("audience") == "" {
		q.Set("audience", "api://AzureADTokenExchange")
		u.RawQuery = q.Encode()
	}
	for _, method := range methods {
		req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+id.OIDCRequestToken)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-TFS-FedAuthRedirect", "Suppress") // Azure DevOps: 401 instead of a sign-in page
		resp, err := send(req)
		if err != nil {
			return "", fmt.Errorf("cannot ask for an OIDC token: %w", err)
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close() //nolint:errcheck // read to its end
		if err != nil {
			return "", fmt.Errorf("cannot ask for an OIDC token: %w", err)
		}
		if resp.StatusCode == http.StatusMethodNotAllowed && method == http.MethodGet {
			continue
		}
		var answer struct{ Value, OIDCToken string }
		if resp.StatusCode != http.StatusOK || json.Unmarshal(raw, &answer) != nil || answer.Value+answer.OIDCToken == "" {
			return "", fmt.Errorf("cannot ask for an OIDC token: %s answered %s", u.Hostname(), resp.Status)
		}
		return answer.Value + answer.OIDCToken, nil
	}
	return "", errors.New("cannot ask for an OIDC token")
}
