package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
	"ingot/internal/plan"
)

type sshKeyArgs struct {
	Kind    string // ed25519 or rsa
	File    string // or the template's own key
	Secret  string // vault secret of the private key
	Given   image.Text
	Expires time.Time
	Tags    map[string]string
}

type sshKeyResult struct{ Public string }

// pinned is what connecting remembers before it is done: the host key that was seen first.
type pinned struct {
	HostKey     string `json:",omitempty"`
	Certificate string `json:",omitempty"` // SHA-256 of the one that WinRM showed first
}

// makeSSHKey puts the build's private key into the vault, for a resumed run: it is in no journal and in no file.
func (b *build) makeSSHKey(ctx context.Context, t *plan.Task, a sshKeyArgs) (sshKeyResult, error) {
	if a.File != "" {
		private, err := os.ReadFile(a.File)
		if err != nil {
			return sshKeyResult{}, fmt.Errorf("cannot read ssh_private_key_file: %w", err)
		}
		public, err := communicator.PublicKey(private)
		return sshKeyResult{public}, err
	}
	var v vaultResult
	if err := t.Result("vault", &v); err != nil {
		return sshKeyResult{}, err
	}
	private, public, err := communicator.NewSSHKey(a.Kind)
	if err != nil {
		return sshKeyResult{}, err
	}
	b.env.Secrets.Put(a.Secret, string(private))
	if _, err := b.env.Cloud.PutSecret(ctx, v.URI, a.Secret, string(private), "application/x-pem-file", a.Expires, a.Tags); err != nil {
		return sshKeyResult{}, err
	}
	return sshKeyResult{public}, nil
}

// removeSSHKey takes the key out of a vault that stays.
func (b *build) removeSSHKey(ctx context.Context, t *plan.Task, a sshKeyArgs, _ *sshKeyResult) error {
	var v vaultResult
	if err := t.Result("vault", &v); a.File != "" || errors.Is(err, plan.ErrNoResult) {
		return nil // nothing was put anywhere
	} else if err != nil {
		return err
	}
	return b.env.Cloud.DeleteSecret(ctx, v.URI, a.Secret)
}

// sshKey is the private key, from this process's memory, the template's file or the vault.
func (b *build) sshKey(ctx context.Context, t *plan.Task) ([]byte, error) {
	var a sshKeyArgs
	if err := b.argsOf(t, "ssh-key", &a); err != nil {
		return nil, err
	}
	if a.File != "" {
		return os.ReadFile(a.File)
	}
	if k, ok := b.env.Secrets.Lookup(a.Secret); ok {
		return []byte(k), nil
	}
	var v vaultResult
	if err := t.Result("vault", &v); err != nil {
		return nil, err
	}
	k, _, err := b.env.Cloud.GetSecret(ctx, v.URI, a.Secret, "")
	if err != nil {
		return nil, err
	}
	b.env.Secrets.Put(a.Secret, k)
	return []byte(k), nil
}

// given is the password that the template sets for SSH; "" without one.
func (b *build) given(t *plan.Task) (string, error) {
	var a sshKeyArgs
	if err := b.argsOf(t, "ssh-key", &a); err != nil {
		return "", err
	}
	if a.Given.IsZero() {
		return "", nil
	}
	if !a.Given.Fill(b.env.Secrets.Lookup) {
		return "", missingSecret(a.Given.Secret())
	}
	return a.Given.Reveal(), nil
}

func (b *build) dialSSH(ctx context.Context, t *plan.Task, a image.Communicator, address string) (communicator.Communicator, error) {
	key, err := b.sshKey(ctx, t)
	if err != nil {
		return nil, err
	}
	password, err := b.given(t)
	if err != nil {
		return nil, err
	}
	c := communicator.SSHConfig{Address: address, User: a.User, Key: key, Password: password, Dial: b.env.Dial, Clock: b.env.Clock, Dir: "/var/tmp/ingot-" + t.Run}
	var done connectResult
	switch err := t.Result("connect", &done); {
	case errors.Is(err, plan.ErrNoResult): // this is the connecting step
		var seen pinned
		if _, err := t.Saved(&seen); err != nil {
			return nil, err
		}
		c.HostKey = seen.HostKey
		c.Pinned = func(hostKey string) error { return t.Save(pinned{HostKey: hostKey}) }
	case err != nil:
		return nil, err
	default:
		c.HostKey = done.HostKey
	}
	return communicator.NewSSH(c)
}
