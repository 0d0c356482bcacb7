package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"ingot/internal/azure"
	"ingot/internal/image"
	"ingot/internal/plan"
)

type vaultArgs struct {
	Vault    azure.Vault
	Existing bool
}

type vaultResult struct{ ID, URI string }

func (b *build) makeVault(ctx context.Context, t *plan.Task, a vaultArgs) (vaultResult, error) {
	var v azure.VaultInfo
	var err error
	if a.Existing {
		v, err = b.env.Cloud.GetVault(ctx, a.Vault.Group, a.Vault.Name)
	} else {
		v, err = b.env.Cloud.PutVault(ctx, a.Vault, op(t))
	}
	return vaultResult(v), err
}

// removeVault deletes and purges: a vault that is only soft-deleted would keep its name, and its secrets, for weeks.
func (b *build) removeVault(ctx context.Context, t *plan.Task, a vaultArgs, _ *vaultResult) error {
	if a.Existing {
		return nil
	}
	if err := b.env.Cloud.DeleteVault(ctx, a.Vault.Group, a.Vault.Name); err != nil && !azure.IsNotFound(err) {
		return err
	}
	return b.env.Cloud.PurgeVault(ctx, a.Vault.Name, a.Vault.Location, undoOp(t))
}

type certificateArgs struct {
	Host           string // the certificate's common name
	Secret         string // vault secret of the certificate
	PasswordSecret string // vault secret of the administrator's password
	Shared         bool   `json:",omitempty"` // Secret's name is the template's: other builds may use it, too
	PasswordOnly   bool   `json:",omitempty"` // a machine that is reached by SSH has no WinRM listener
	Given          image.Text
	Expires        time.Time
	Tags           map[string]string
}

type certificateResult struct {
	URL         string // versioned secret URL
	Fingerprint string // SHA-256 of the certificate, hex
}

// makeCertificate puts a new certificate and the machine's administrator password into the vault. The password is there for
// a resumed run: it is in no journal and in no file.
func (b *build) makeCertificate(ctx context.Context, t *plan.Task, a certificateArgs) (certificateResult, error) {
	var v vaultResult
	if err := t.Result("vault", &v); err != nil {
		return certificateResult{}, err
	}
	password := a.Given
	if password.IsZero() {
		generated, err := newPassword()
		if err != nil {
			return certificateResult{}, err
		}
		password = image.Hidden(a.PasswordSecret, generated)
	} else if !password.Fill(b.env.Secrets.Lookup) {
		return certificateResult{}, missingSecret(password.Secret())
	}
	b.env.Secrets.Put(a.PasswordSecret, password.Reveal())
	if _, err := b.env.Cloud.PutSecret(ctx, v.URI, a.PasswordSecret, password.Reveal(), "text/plain", a.Expires, a.Tags); err != nil {
		return certificateResult{}, err
	}
	if a.PasswordOnly {
		return certificateResult{}, nil
	}
	cert, err := newCertificate(a.Host, t.Clock().Now())
	if err != nil {
		return certificateResult{}, err
	}
	b.env.Secrets.Hide(cert.Secret)
	url, err := b.env.Cloud.PutSecret(ctx, v.URI, a.Secret, cert.Secret, "application/x-pkcs12", a.Expires, a.Tags)
	if err != nil {
		return certificateResult{}, err
	}
	sum := sha256.Sum256(cert.DER)
	return certificateResult{URL: url, Fingerprint: hex.EncodeToString(sum[:])}, nil
}

// removeCertificate takes both secrets out of a vault that stays.
func (b *build) removeCertificate(ctx context.Context, t *plan.Task, a certificateArgs, _ *certificateResult) error {
	var v vaultResult
	if err := t.Result("vault", &v); errors.Is(err, plan.ErrNoResult) {
		return nil // the vault was never found, so nothing was put into it
	} else if err != nil {
		return err
	}
	if a.PasswordOnly {
		return b.env.Cloud.DeleteSecret(ctx, v.URI, a.PasswordSecret)
	}
	drop := b.env.Cloud.DeleteSecret
	if a.Shared {
		drop = func(ctx context.Context, uri, name string) error { return b.dropShared(ctx, t, uri, name) }
	}
	return errors.Join(drop(ctx, v.URI, a.Secret), b.env.Cloud.DeleteSecret(ctx, v.URI, a.PasswordSecret))
}

// dropShared ends this run's use of a secret whose name other builds may use at the same time (build_key_vault_secret_name). A version
// cannot be deleted alone, so that ours is disabled, and the last build to end deletes the secret. What a build that died has put there
// counts until it expires, or until that run is cleaned up.
func (b *build) dropShared(ctx context.Context, t *plan.Task, uri, name string) error {
	versions, err := b.env.Cloud.SecretVersions(ctx, uri, name)
	if azure.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, v := range versions {
		if v.Enabled && v.Tags[TagRun] == t.Run {
			if err := b.env.Cloud.DisableSecret(ctx, uri, name, v.Version); err != nil && !azure.IsNotFound(err) {
				return err
			}
		}
	}
	// Asked again: of two builds that end at the same time, the second to ask sees that both have ended.
	if versions, err = b.env.Cloud.SecretVersions(ctx, uri, name); azure.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	for _, v := range versions {
		if v.Enabled && v.Tags[TagRun] != t.Run && (v.Expires.IsZero() || v.Expires.After(t.Clock().Now())) {
			t.Output("stdout", "secret "+name+" stays: another build uses it")
			return nil
		}
	}
	return b.env.Cloud.DeleteSecret(ctx, uri, name)
}

// password is the administrator's, from this process's memory or from the vault.
func (b *build) password(ctx context.Context, t *plan.Task) (string, error) {
	if _, ok := t.Find("storage"); ok {
		return b.passwordWithoutVault(t)
	}
	if _, own := t.Find("certificate"); !own {
		return b.passwordAtHand(t)
	}
	var a certificateArgs
	if err := b.argsOf(t, "certificate", &a); err != nil {
		return "", err
	}
	if p, ok := b.env.Secrets.Lookup(a.PasswordSecret); ok {
		return p, nil
	}
	var v vaultResult
	if err := t.Result("vault", &v); err != nil {
		return "", err
	}
	p, _, err := b.env.Cloud.GetSecret(ctx, v.URI, a.PasswordSecret, "")
	if err != nil {
		return "", err
	}
	b.env.Secrets.Put(a.PasswordSecret, p)
	return p, nil
}

func missingSecret(name string) error {
	return fmt.Errorf("cannot go on without the secret %s: it is neither in the template's variables nor in the environment; give the sensitive variables again (-var, -var-file or PKR_VAR_)", name)
}

type callerArgs struct{}

type callerResult struct {
	Address string `json:"address"`
}

// findCaller learns this machine's public address from Key Vault, which names it in every answer; no third party is asked.
func (b *build) findCaller(ctx context.Context, t *plan.Task, _ callerArgs) (callerResult, error) {
	var v vaultResult
	if err := t.Result("vault", &v); err != nil {
		return callerResult{}, err
	}
	a, err := b.env.Cloud.CallerAddress(ctx, v.URI)
	if err != nil {
		return callerResult{}, fmt.Errorf("cannot tell which address to let in: %w; set allowed_inbound_ip_addresses", err)
	}
	return callerResult{a.String()}, nil
}
