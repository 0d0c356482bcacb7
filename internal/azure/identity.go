package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// Identity is who to sign in as, as far as a template or a person says it.
type Identity struct {
	TenantID, ClientID, ClientSecret     string
	CertificatePath, CertificatePassword string
	AssertionToken                       string // an OIDC token as it is; it cannot be refreshed
	OIDCRequestURL, OIDCRequestToken     string // where a CI system hands out OIDC tokens; asked again whenever one is needed
	AzureCLI                             bool
}

// Credential chooses how to sign in and says so: what id names, else what the environment names (AZURE_* and ARM_*, workload
// identity, managed identity), else the Azure CLI. There is no chain that tries one after the other in silence: what was
// chosen is what fails.
func Credential(id Identity, config cloud.Configuration, transport policy.Transporter, env func(string) string) (azcore.TokenCredential, string, error) {
	if config.Services == nil {
		config = cloud.AzurePublic
	}
	first := func(given string, keys ...string) string {
		for _, k := range keys {
			if given == "" {
				given = env(k)
			}
		}
		return given
	}
	explicit := id.ClientSecret != "" || id.CertificatePath != "" || id.AssertionToken != "" || id.OIDCRequestURL != "" || id.AzureCLI
	if !explicit {
		id.ClientSecret = first("", "AZURE_CLIENT_SECRET", "ARM_CLIENT_SECRET")
		id.CertificatePath = first("", "AZURE_CLIENT_CERTIFICATE_PATH", "ARM_CLIENT_CERTIFICATE_PATH")
		id.CertificatePassword = first(id.CertificatePassword, "AZURE_CLIENT_CERTIFICATE_PASSWORD", "ARM_CLIENT_CERTIFICATE_PASSWORD")
		// A CI job that may ask for tokens need not be the one that signs in: without a client id it is not meant.
		if first(id.ClientID, "AZURE_CLIENT_ID", "ARM_CLIENT_ID") != "" {
			id.OIDCRequestURL = first("", "ARM_OIDC_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_URL")
		}
		id.OIDCRequestToken = first(id.OIDCRequestToken, "ARM_OIDC_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	}
	if err := devOps(&id, explicit, env, first); err != nil {
		return nil, "", err
	}
	id.TenantID = first(id.TenantID, "AZURE_TENANT_ID", "ARM_TENANT_ID")
	id.ClientID = first(id.ClientID, "AZURE_CLIENT_ID", "ARM_CLIENT_ID")
	o := azcore.ClientOptions{Cloud: config, Transport: transport}
	// Asking login.microsoftonline.com whether an authority is real makes sense for Microsoft's own only.
	foreign := !microsoftAuthority(config.ActiveDirectoryAuthorityHost)
	need := func(how string, fields ...string) error {
		var missing []string
		for i := 0; i < len(fields); i += 2 {
			if fields[i+1] == "" {
				missing = append(missing, fields[i])
			}
		}
		if len(missing) == 0 {
			return nil
		}
		return fmt.Errorf("cannot sign in with %s: %s not set", how, strings.Join(missing, " and "))
	}
	switch {
	case id.AzureCLI:
		return cli(id)
	case id.ClientSecret != "":
		if err := need("a client secret", "tenant_id", id.TenantID, "client_id", id.ClientID); err != nil {
			return nil, "", err
		}
		c, err := renew(func() (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(id.TenantID, id.ClientID, id.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: foreign})
		})
		return c, "the client secret of " + id.ClientID, err
	case id.CertificatePath != "":
		if err := need("a client certificate", "tenant_id", id.TenantID, "client_id", id.ClientID); err != nil {
			return nil, "", err
		}
		raw, err := os.ReadFile(id.CertificatePath)
		if err != nil {
			return nil, "", fmt.Errorf("cannot read the client certificate: %w", err)
		}
		certs, key, err := azidentity.ParseCertificates(raw, []byte(id.CertificatePassword))
		if err != nil {
			return nil, "", fmt.Errorf("cannot read the client certificate %s: %w", id.CertificatePath, err)
		}
		c, err := renew(func() (azcore.TokenCredential, error) {
			return azidentity.NewClientCertificateCredential(id.TenantID, id.ClientID, certs, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: foreign})
		})
		return c, "the client certificate of " + id.ClientID, err
	case id.AssertionToken != "" || id.OIDCRequestURL != "":
		if err := need("OIDC", "tenant_id", id.TenantID, "client_id", id.ClientID); err != nil {
			return nil, "", err
		}
		get := func(context.Context) (string, error) { return id.AssertionToken, nil }
		if id.OIDCRequestURL != "" {
			get = func(ctx context.Context) (string, error) { return requestAssertion(ctx, id, transport) }
		}
		c, err := renew(func() (azcore.TokenCredential, error) {
			return azidentity.NewClientAssertionCredential(id.TenantID, id.ClientID, get, &azidentity.ClientAssertionCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: foreign})
		})
		return c, "OIDC as " + id.ClientID, err
	case first("", "AZURE_FEDERATED_TOKEN_FILE", "ARM_OIDC_TOKEN_FILE_PATH") != "":
		file := first("", "AZURE_FEDERATED_TOKEN_FILE", "ARM_OIDC_TOKEN_FILE_PATH")
		if err := need("workload identity", "tenant_id", id.TenantID, "client_id", id.ClientID); err != nil {
			return nil, "", err
		}
		// Read each time a token is needed: whoever wrote the file writes it again before it runs out.
		get := func(context.Context) (string, error) {
			raw, err := os.ReadFile(file)
			if err != nil {
				return "", fmt.Errorf("cannot read the federated token: %w", err)
			}
			return strings.TrimSpace(string(raw)), nil
		}
		c, err := renew(func() (azcore.TokenCredential, error) {
			return azidentity.NewClientAssertionCredential(id.TenantID, id.ClientID, get, &azidentity.ClientAssertionCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: foreign})
		})
		return c, "workload identity", err
	case env("IDENTITY_ENDPOINT") != "" || env("MSI_ENDPOINT") != "" || env("INGOT_MANAGED_IDENTITY") != "":
		m := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: o}
		if id.ClientID != "" {
			m.ID = azidentity.ClientID(id.ClientID)
		}
		c, err := renew(func() (azcore.TokenCredential, error) { return azidentity.NewManagedIdentityCredential(m) })
		return c, "managed identity", err
	default:
		return cli(id)
	}
}

func cli(id Identity) (azcore.TokenCredential, string, error) {
	c, err := azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: id.TenantID})
	if err != nil {
		return nil, "", err
	}
	return signIn{c}, "the Azure CLI", nil
}

func microsoftAuthority(host string) bool {
	u, err := url.Parse(host)
	if err != nil {
		return false
	}
	for _, known := range []string{"login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn", "login.partner.microsoftonline.cn"} {
		if strings.EqualFold(u.Hostname(), known) {
			return true
		}
	}
	return false
}

// SignedIn tells, without any network, whether this machine has an Azure sign-in: variables for a service principal, a
// workload or managed identity, or an Azure CLI that somebody has signed in with.
func SignedIn(env func(string) string) bool {
	for _, k := range []string{"AZURE_CLIENT_SECRET", "ARM_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "ARM_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE",
		"ARM_OIDC_REQUEST_URL", "ARM_OIDC_TOKEN_FILE_PATH", "IDENTITY_ENDPOINT", "MSI_ENDPOINT", "INGOT_MANAGED_IDENTITY"} {
		if env(k) != "" {
			return true
		}
	}
	if env("ACTIONS_ID_TOKEN_REQUEST_URL") != "" && (env("AZURE_CLIENT_ID") != "" || env("ARM_CLIENT_ID") != "") {
		return true
	}
	if env(devOpsURI) != "" && serviceConnection(env) != "" {
		return true
	}
	dir := env("AZURE_CONFIG_DIR")
	for _, home := range []string{env("HOME"), env("USERPROFILE")} {
		if dir == "" && home != "" {
			dir = filepath.Join(home, ".azure")
		}
	}
	if dir == "" {
		return false
	}
	raw, err := os.ReadFile(filepath.Join(dir, "azureProfile.json"))
	if err != nil {
		return false
	}
	var profile struct{ Subscriptions []json.RawMessage }
	// az writes a byte order mark in front.
	return json.Unmarshal([]byte(strings.TrimPrefix(string(raw), "\ufeff")), &profile) == nil && len(profile.Subscriptions) > 0
}

// CloudByName knows Microsoft's own clouds by the names that templates use.
func CloudByName(name string) (cloud.Configuration, error) {
	switch strings.ToLower(name) {
	case "", "public", "azurecloud", "azurepubliccloud":
		return cloud.AzurePublic, nil
	case "china", "azurechinacloud":
		return cloud.AzureChina, nil
	case "usgovernment", "azureusgovernment", "azureusgovernmentcloud":
		return cloud.AzureGovernment, nil
	}
	return cloud.Configuration{}, fmt.Errorf("cannot use cloud %q: known are Public, China and USGovernment; set metadata_host for another", name)
}

// CloudFromMetadata asks a cloud for its own addresses. A host that does not answer, or whose certificate is not trusted, is
// an error and never a reason to fall back to the public cloud, as Packer's plugin does.
func CloudFromMetadata(ctx context.Context, host string, transport policy.Transporter) (cloud.Configuration, error) {
	send := http.DefaultClient.Do
	if transport != nil {
		send = transport.Do
	}
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(host, "/")+"/metadata/endpoints?api-version=2022-09-01", nil)
	if err != nil {
		return cloud.Configuration{}, fmt.Errorf("cannot ask metadata_host: %w", err)
	}
	resp, err := send(req)
	if err != nil {
		return cloud.Configuration{}, fmt.Errorf("cannot ask metadata_host: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	var m struct {
		ResourceManager string `json:"resourceManager"`
		Authentication  struct {
			LoginEndpoint string   `json:"loginEndpoint"`
			Audiences     []string `json:"audiences"`
		} `json:"authentication"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&m); err != nil || resp.StatusCode != http.StatusOK || m.ResourceManager == "" || m.Authentication.LoginEndpoint == "" {
		return cloud.Configuration{}, fmt.Errorf("cannot use metadata_host %s: it answered %s, and not with a cloud's addresses", host, resp.Status)
	}
	c := CloudAt(m.Authentication.LoginEndpoint, m.ResourceManager)
	if len(m.Authentication.Audiences) > 0 {
		s := c.Services[cloud.ResourceManager]
		s.Audience = strings.TrimSuffix(m.Authentication.Audiences[0], "/")
		c.Services[cloud.ResourceManager] = s
	}
	return c, nil
}

// signIn makes every failure of a credential one that IsAuth knows: the SDK's own type for "az is not installed" is not
// exported.
type signIn struct{ azcore.TokenCredential }

// errSignIn is the cause of such a failure.
var errSignIn = errors.New("cannot sign in")

func (s signIn) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := s.TokenCredential.GetToken(ctx, o)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", errSignIn, err)
	}
	return t, err
}

// VaultSuffix is what follows a key vault's name in its host name
// (https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-object-identifiers).
func VaultSuffix(name string) (string, error) {
	switch c, err := CloudByName(name); {
	case err != nil:
		return "", err
	case c.ActiveDirectoryAuthorityHost == cloud.AzureChina.ActiveDirectoryAuthorityHost:
		return "vault.azure.cn", nil
	case c.ActiveDirectoryAuthorityHost == cloud.AzureGovernment.ActiveDirectoryAuthorityHost:
		return "vault.usgovcloudapi.net", nil
	}
	return "vault.azure.net", nil
}
