package vm

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
	"ingot/internal/plan"
)

type sshKeyArgs struct {
	Kind    string // ed25519 or rsa
	Bits    int    `json:",omitempty"` // of rsa
	File    string // or the template's own key
	Agent   bool   `json:",omitempty"` // or one that this computer's SSH agent holds
	Name    string `json:",omitempty"` // is the key's comment
	Secret  string // vault secret of the private key
	Given   image.Text
	Expires time.Time
	Tags    map[string]string
}

type sshKeyResult struct{ Public string }

// pinned is what connecting remembers before it is done: the host key that was seen first.
type pinned struct {
	HostKey     string `json:",omitempty"`
	Bastion     string `json:",omitempty"`
	Certificate string `json:",omitempty"` // SHA-256 of the one that WinRM showed first
}

// makeSSHKey puts the build's private key into the vault, for a resumed run: it is in no journal and in no file.
func (b *build) makeSSHKey(ctx context.Context, t *plan.Task, a sshKeyArgs) (sshKeyResult, error) {
	if a.File != "" {
		private, err := localFile("ssh_private_key_file", a.File)
		if err != nil {
			return sshKeyResult{}, err
		}
		public, err := communicator.PublicKey(private)
		return sshKeyResult{public}, err
	}
	if a.Agent {
		socket := communicator.AgentSocket(os.Getenv)
		if socket == "" {
			return sshKeyResult{}, errors.New("cannot use ssh_agent_auth: no SSH agent runs here (SSH_AUTH_SOCK is not set)")
		}
		public, err := communicator.AgentKey(socket)
		return sshKeyResult{public}, err
	}
	var v vaultResult
	if err := t.Result("vault", &v); err != nil {
		return sshKeyResult{}, err
	}
	private, public, err := communicator.NewSSHKey(a.Kind, a.Bits)
	if err != nil {
		return sshKeyResult{}, err
	}
	b.env.Secrets.Put(a.Secret, string(private))
	if _, err := b.env.Cloud.PutSecret(ctx, v.URI, a.Secret, string(private), "application/x-pem-file", a.Expires, a.Tags); err != nil {
		return sshKeyResult{}, err
	}
	return sshKeyResult{strings.TrimSpace(public + " " + a.Name)}, nil
}

// removeSSHKey takes the key out of a vault that stays.
func (b *build) removeSSHKey(ctx context.Context, t *plan.Task, a sshKeyArgs, _ *sshKeyResult) error {
	var v vaultResult
	if err := t.Result("vault", &v); a.File != "" || a.Agent || errors.Is(err, plan.ErrNoResult) {
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
	switch {
	case a.File != "":
		return localFile("ssh_private_key_file", a.File)
	case a.Agent:
		return nil, nil // which has it
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
