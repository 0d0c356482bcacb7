package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// PutVault creates a key vault with an access policy for v.ObjectID and waits until its name can be resolved, which takes
// Azure up to half a minute.
func (c *Client) PutVault(ctx context.Context, v Vault, op Op) (VaultInfo, error) {
	family, sku := armkeyvault.SKUFamilyA, armkeyvault.SKUNameStandard
	if strings.EqualFold(v.SKU, "premium") {
		sku = armkeyvault.SKUNamePremium
	}
	var rights []*armkeyvault.SecretPermissions
	for _, p := range []armkeyvault.SecretPermissions{armkeyvault.SecretPermissionsGet, armkeyvault.SecretPermissionsSet, armkeyvault.SecretPermissionsDelete,
		armkeyvault.SecretPermissionsPurge, armkeyvault.SecretPermissionsList} {
		rights = append(rights, &p)
	}
	yes, days := true, int32(7)
	body := armkeyvault.VaultCreateOrUpdateParameters{Location: &v.Location, Tags: ptrs(v.Tags), Properties: &armkeyvault.VaultProperties{
		SKU: &armkeyvault.SKU{Family: &family, Name: &sku}, TenantID: &v.TenantID, EnabledForDeployment: &yes, EnabledForTemplateDeployment: &yes,
		EnableSoftDelete: &yes, SoftDeleteRetentionInDays: &days,
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{{TenantID: &v.TenantID, ObjectID: &v.ObjectID, Permissions: &armkeyvault.Permissions{Secrets: rights}}}}}
	_, err := long[armkeyvault.VaultsClientCreateOrUpdateResponse]{
		what: "create key vault " + v.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armkeyvault.VaultsClientCreateOrUpdateResponse], error) {
			return c.vaults.BeginCreateOrUpdate(ctx, v.Group, v.Name, body, &armkeyvault.VaultsClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return VaultInfo{}, err
	}
	return c.GetVault(ctx, v.Group, v.Name)
}

// GetVault looks a vault up.
func (c *Client) GetVault(ctx context.Context, group, name string) (VaultInfo, error) {
	r, err := c.vaults.Get(ctx, group, name, nil)
	if err != nil {
		return VaultInfo{}, wrap(err, "look up key vault %s", name)
	}
	i := VaultInfo{ID: val(r.ID)}
	if r.Properties != nil {
		i.URI = val(r.Properties.VaultURI)
	}
	return i, nil
}

// DeleteVault deletes a vault; it stays recoverable until it is purged. One that is not there is deleted.
func (c *Client) DeleteVault(ctx context.Context, group, name string) error {
	_, err := c.vaults.Delete(ctx, group, name, nil)
	return gone(wrap(err, "delete key vault %s", name))
}

// PurgeVault removes a deleted vault for good; one that is not there is purged.
func (c *Client) PurgeVault(ctx context.Context, name, location string, op Op) error {
	_, err := long[armkeyvault.VaultsClientPurgeDeletedResponse]{
		what: "purge key vault " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armkeyvault.VaultsClientPurgeDeletedResponse], error) {
			return c.vaults.BeginPurgeDeleted(ctx, name, location, &armkeyvault.VaultsClientBeginPurgeDeletedOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// secrets is the client of one vault's data plane.
func (c *Client) secrets(vaultURI string) (*azsecrets.Client, error) {
	u, err := url.Parse(vaultURI)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("cannot use key vault %q: that is no URL", vaultURI)
	}
	// The SDK checks that the resource a vault asks a token for is the vault's own domain. That is right for Microsoft's
	// domains and cannot hold for Azure Stack's or a simulated one's.
	own := true
	for _, d := range []string{".azure.net", ".azure.cn", ".usgovcloudapi.net"} {
		own = own && !strings.HasSuffix(u.Hostname(), d)
	}
	return azsecrets.NewClient(vaultURI, c.o.Credential, &azsecrets.ClientOptions{ClientOptions: c.http, DisableChallengeResourceVerification: own})
}

// PutSecret sets a secret and returns its id with the version: the URL a VM is given.
func (c *Client) PutSecret(ctx context.Context, vaultURI, name, value, contentType string, expires time.Time, tags map[string]string) (string, error) {
	s, err := c.secrets(vaultURI)
	if err != nil {
		return "", err
	}
	p := azsecrets.SetSecretParameters{Value: &value, ContentType: &contentType, Tags: ptrs(tags)}
	if !expires.IsZero() {
		p.SecretAttributes = &azsecrets.SecretAttributes{Expires: &expires}
	}
	r, err := s.SetSecret(ctx, name, p, nil)
	if err != nil {
		return "", wrap(err, "set secret %s in %s", name, vaultURI)
	}
	return string(val(r.ID)), nil
}

// GetSecret reads a secret; version "" is the newest.
func (c *Client) GetSecret(ctx context.Context, vaultURI, name, version string) (value, id string, err error) {
	s, err := c.secrets(vaultURI)
	if err != nil {
		return "", "", err
	}
	r, err := s.GetSecret(ctx, name, version, nil)
	if err != nil {
		return "", "", wrap(err, "read secret %s of %s", name, vaultURI)
	}
	return val(r.Value), string(val(r.ID)), nil
}

// DeleteSecret deletes a secret and purges it, where the vault allows purging. One that is not there is deleted.
func (c *Client) DeleteSecret(ctx context.Context, vaultURI, name string) error {
	s, err := c.secrets(vaultURI)
	if err != nil {
		return err
	}
	if _, err := s.DeleteSecret(ctx, name, nil); err != nil && !IsNotFound(wrap(err, "")) {
		return wrap(err, "delete secret %s of %s", name, vaultURI)
	}
	// Deleting goes on for a while after the answer; until it has ended a purge is refused with a conflict.
	for wait := time.Second; ; wait *= 2 {
		_, err := s.PurgeDeletedSecret(ctx, name, nil)
		err = wrap(err, "purge secret %s of %s", name, vaultURI)
		switch {
		case err == nil || IsNotFound(err):
			return nil
		case IsForbidden(err):
			return nil // purge protection: the secret is deleted, expires, and goes by itself
		case !IsConflict(err) || wait > time.Minute:
			return err
		}
		if err := c.o.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// SecretVersion is one version of a secret, without its value.
type SecretVersion struct {
	Version string
	Enabled bool
	Expires time.Time // zero: never
	Tags    map[string]string
}

// SecretVersions lists the versions of a secret. It needs a permission that reading one does not: list.
func (c *Client) SecretVersions(ctx context.Context, vaultURI, name string) (out []SecretVersion, err error) {
	s, err := c.secrets(vaultURI)
	if err != nil {
		return nil, err
	}
	for p := s.NewListSecretPropertiesVersionsPager(name, nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list the versions of secret %s of %s", name, vaultURI)
		}
		for _, x := range page.Value {
			v := SecretVersion{Version: x.ID.Version(), Tags: vals(x.Tags)}
			if a := x.Attributes; a != nil {
				v.Enabled, v.Expires = val(a.Enabled), val(a.Expires)
			}
			out = append(out, v)
		}
	}
	return out, nil
}

// DisableSecret lets nobody read a version any more. A single version cannot be deleted.
func (c *Client) DisableSecret(ctx context.Context, vaultURI, name, version string) error {
	s, err := c.secrets(vaultURI)
	if err != nil {
		return err
	}
	off := false
	_, err = s.UpdateSecretProperties(ctx, name, version, azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: &off}}, nil)
	return wrap(err, "disable secret %s of %s", name, vaultURI)
}

// CallerAddress is this machine's address as Azure sees it. Key Vault names it in a header of every answer, the refusal of
// an anonymous call included: `x-ms-keyvault-network-info: conn_type=Ipv4;addr=203.0.113.7;act_addr_fam=InterNetwork;`
// (seen in the recordings of Azure/azure-sdk-for-js, sdk/keyvault).
func (c *Client) CallerAddress(ctx context.Context, vaultURI string) (netip.Addr, error) {
	var lost error
	for wait := time.Second; wait <= 8*time.Second; wait *= 2 {
		a, err := c.callerAddress(ctx, vaultURI)
		if err == nil || ctx.Err() != nil {
			return a, err
		}
		lost = err
		if err := c.o.Clock.Sleep(ctx, wait); err != nil {
			return netip.Addr{}, err
		}
	}
	return netip.Addr{}, lost
}

func (c *Client) callerAddress(ctx context.Context, vaultURI string) (netip.Addr, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(vaultURI, "/")+"/secrets?api-version=7.4", nil)
	if err != nil {
		return netip.Addr{}, err
	}
	send := http.DefaultClient.Do
	if c.o.Transport != nil {
		send = c.o.Transport.Do
	}
	resp, err := send(req)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot ask %s: %w", vaultURI, err)
	}
	resp.Body.Close() //nolint:errcheck // the header is all we want
	for _, field := range strings.Split(resp.Header.Get("x-ms-keyvault-network-info"), ";") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(field), "addr="); ok {
			a, err := netip.ParseAddr(text)
			return a.Unmap(), err
		}
	}
	return netip.Addr{}, errors.New("Key Vault did not say where the call came from")
}
