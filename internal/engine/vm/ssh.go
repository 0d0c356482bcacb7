package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/communicator"
	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// localFile reads a file that the template names, with ~ for the home of whoever runs this.
func localFile(option, path string) ([]byte, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", option, err)
		}
		path = filepath.Join(home, rest)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", option, err)
	}
	return b, nil
}

// checkSSH says which of the template's settings of SSH cannot work, before anything is made.
func checkSSH(img *image.Image) (l diag.List) {
	com := img.Communicator
	if com.Kind != "ssh" {
		return nil
	}
	ssh, pos := com.SSH, com.Pos
	if ssh.KeypairName != "" {
		l.Errorf(pos, "leave it out; to use a key pair of your own, set ssh_private_key_file or ssh_agent_auth",
			"ssh_keypair_name means nothing for Azure, which keeps public keys only (Microsoft.Compute/sshPublicKeys): the private key has to come from here")
	}
	if ssh.TemporaryKeyType == "ecdsa" || ssh.TemporaryKeyType == "dsa" {
		l.Errorf(pos, "use ed25519 or rsa", "Azure takes no key of type %s for a new machine", ssh.TemporaryKeyType)
	}
	if bits := ssh.TemporaryKeyBits; bits != 0 && ssh.TemporaryKeyType == "rsa" && (bits < 2048 || bits > 16384) {
		l.Errorf(pos, "use 3072 or 4096", "temporary_key_pair_bits is %d: Azure takes RSA keys of 2048 bits and more, and OpenSSH none beyond 16384", bits)
	}
	if unknown := communicator.UnknownSSHAlgorithms(ssh.Ciphers, ssh.KeyExchange); len(unknown) > 0 {
		l.Errorf(pos, "use OpenSSH's names (ssh -Q cipher, ssh -Q kex), or leave the setting out", "unknown in ssh_ciphers or ssh_key_exchange_algorithms: %s", strings.Join(unknown, ", "))
	}
	for _, t := range append(append([]string(nil), ssh.LocalTunnels...), ssh.RemoteTunnels...) {
		if _, _, err := communicator.ParseTunnel(t); err != nil {
			l.Errorf(pos, "write port:host:port", "%v", err)
		}
	}
	checkKey := func(option, key, certificate string, machine bool) {
		var private, cert []byte
		var err error
		if key != "" {
			private, err = localFile(option, key)
		}
		if err == nil && certificate != "" {
			cert, err = localFile("the certificate", certificate)
		}
		if err == nil {
			err = communicator.CheckSSHKey(private, cert)
		}
		if err == nil && machine && img.OS == image.Linux && key != "" {
			err = communicator.AzureTakesPrivateKey(private)
		}
		if err != nil {
			l.Errorf(pos, "", "%s: %v", option, err)
		}
	}
	if ssh.PrivateKeyFile != "" {
		checkKey("ssh_private_key_file", ssh.PrivateKeyFile, ssh.CertificateFile, true)
	} else if ssh.CertificateFile != "" && !ssh.Agent {
		l.Errorf(pos, "set ssh_private_key_file, or ssh_agent_auth", "ssh_certificate_file is of a key, and none is given")
	}
	b := ssh.Bastion
	if b.KeyFile != "" {
		checkKey("ssh_bastion_private_key_file", b.KeyFile, b.CertificateFile, false)
	}
	switch {
	case b.Host == "" && b != image.Bastion{}:
		l.Errorf(pos, "add ssh_bastion_host", "settings of a bastion without a bastion")
	case b.Host != "" && b.KeyFile == "" && b.Password.IsZero() && !b.Agent && !b.Interactive:
		l.Errorf(pos, "set ssh_bastion_private_key_file, ssh_bastion_password, ssh_bastion_agent_auth or ssh_bastion_interactive", "nothing says how to sign in to bastion %s", b.Host)
	}
	if ssh.Proxy.Host == "" && ssh.Proxy != (image.SOCKS{}) {
		l.Errorf(pos, "add ssh_proxy_host", "settings of a SOCKS proxy without a proxy")
	}
	if img.OS == image.Windows {
		for option, set := range map[string]bool{"ssh_clear_authorized_keys": ssh.ClearAuthorizedKeys, "ssh_pty": ssh.PTY} {
			if set {
				l.Warnf(pos, "remove it", "%s has no effect in a Windows guest", option)
			}
		}
	}
	return l
}

// overSSH tells a Windows machine that is reached by SSH.
func (c *compiler) overSSH() bool { return c.windows() && c.img.Communicator.Kind == "ssh" }

type openSSHArgs struct{ Extension azure.OpenSSH }

// openSSH plans how SSH comes into a Windows machine of the marketplace: OpenSSH Server is off there or not installed. An image of one's own is
// expected to bring it, and custom_script is how Packer's users install it themselves (docs/decisions/0013-windows-over-ssh.md).
func (c *compiler) openSSH() {
	if _, marketplace := c.img.Source.(image.Marketplace); !c.overSSH() || !marketplace || !c.img.Machine.CustomScript.IsZero() {
		return
	}
	n := c.n
	// It is part of the machine: its undo is the machine's.
	c.add(plan.Step{Scope: plan.Nothing, ID: "openssh", Kind: "openssh", Title: "Install and start OpenSSH Server on " + n.VM + " through its agent", After: []string{"vm"}, Estimate: takesOpenSSH},
		openSSHArgs{azure.OpenSSH{Group: n.Group, VM: n.VM, Name: "WindowsOpenSSH", Location: c.f.Location, Tags: c.tags}})
}

func (b *build) installOpenSSH(ctx context.Context, t *plan.Task, a openSSHArgs) (struct{}, error) {
	return struct{}{}, b.env.Cloud.InstallOpenSSH(ctx, a.Extension, op(t))
}

type clearKeysArgs struct {
	User    string
	Account bool // the account stays in the image: its own list is cleared, too
}

// clearKeys plans ssh_clear_authorized_keys. waagent removes the account with its list; root's, where cloud-init writes the key too, it leaves.
func (c *compiler) clearKeys(last string) string {
	if c.windows() || c.img.Communicator.Kind != "ssh" || !c.img.Communicator.SSH.ClearAuthorizedKeys {
		return last
	}
	c.add(plan.Step{Scope: plan.Nothing, ID: "clear-keys", Kind: "clear-keys", Title: "Remove the build's SSH key from the guest (ssh_clear_authorized_keys)", After: []string{last}, Estimate: time.Second},
		clearKeysArgs{User: c.img.Communicator.User, Account: c.specialized()})
	return "clear-keys"
}

// clearKeys does it. Once the account's list is cleared nobody gets in by the key again: who is refused then was done before a crash.
func (b *build) clearKeys(ctx context.Context, t *plan.Task, a clearKeysArgs) (struct{}, error) {
	var key sshKeyResult
	if err := t.Result("ssh-key", &key); err != nil {
		return struct{}{}, err
	}
	fields := strings.Fields(key.Public)
	if len(fields) < 2 {
		return struct{}{}, fmt.Errorf("cannot clear the SSH key: it is %q", key.Public)
	}
	g, err := b.dial(ctx, t)
	if err != nil {
		return struct{}{}, err
	}
	var began struct{ Began bool }
	if _, err := t.Saved(&began); err != nil {
		return struct{}{}, err
	}
	if began.Began {
		if _, err := g.Ready(ctx); errors.Is(err, communicator.ErrAuth) {
			t.Output("stdout", "the key is gone: it was removed before this process")
			return struct{}{}, nil
		}
	}
	if err := t.Save(struct{ Began bool }{true}); err != nil {
		return struct{}{}, err
	}
	lists := "/root/.ssh/authorized_keys"
	if a.Account {
		lists += " ~" + a.User + "/.ssh/authorized_keys"
	}
	code, err := g.Run(ctx, communicator.Script{ID: t.Step.ID, Shell: "sh", User: "root", Text: fmt.Sprintf(clearKeysScript, lists, fields[1])}, t.Output)
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot remove the SSH key from the guest: exit code %d", code)
	}
	return struct{}{}, err
}

// clearKeysScript writes the lists anew, in place: their owners and rights stay.
const clearKeysScript = `for f in %s; do
	[ -f "$f" ] && grep -qF '%[2]s' "$f" || continue
	kept=$(grep -vF '%[2]s' "$f")
	printf '%%s' "${kept:+$kept
}" >"$f" || exit 1
	echo "removed the build's key from $f"
done
`

// dialSSH makes the communicator of either system.
func (b *build) dialSSH(ctx context.Context, t *plan.Task, a image.Communicator, address string) (communicator.Communicator, error) {
	var v vmArgs
	if err := b.argsOf(t, "vm", &v); err != nil {
		return nil, err
	}
	s := a.SSH
	c := communicator.SSHConfig{Address: address, User: a.User, Dial: b.env.Dial, Clock: b.env.Clock, Dir: "/var/tmp/ingot-" + t.Run, Ciphers: s.Ciphers, KeyExchange: s.KeyExchange,
		Handshakes: s.HandshakeAttempts, KeepAlive: s.KeepAlive, Silence: s.ReadWriteTimeout, LocalTunnels: s.LocalTunnels, RemoteTunnels: s.RemoteTunnels, SCP: s.FileTransfer == "scp",
		Terminal: s.PTY, ForwardAgent: s.Agent && !s.NoAgentForwarding}
	var err error
	if s.Agent {
		c.Agent = communicator.AgentSocket(os.Getenv)
	}
	if v.VM.Windows {
		c.Dir = `C:\Windows\Temp\ingot-` + t.Run
		if c.Password, err = b.password(ctx, t); err == nil && s.PrivateKeyFile != "" {
			c.Key, err = localFile("ssh_private_key_file", s.PrivateKeyFile)
		}
	} else {
		var key sshKeyResult
		if err = errors.Join(t.Result("ssh-key", &key)); err == nil {
			c.AgentKey = key.Public
			c.Key, err = b.sshKey(ctx, t)
		}
		if err == nil {
			c.Password, err = b.given(t)
		}
	}
	if err == nil && s.CertificateFile != "" {
		c.Certificate, err = localFile("ssh_certificate_file", s.CertificateFile)
	}
	if err != nil {
		return nil, err
	}
	if c.Bastion, err = b.bastion(s.Bastion); err != nil {
		return nil, err
	}
	if p := s.Proxy; p.Host != "" {
		if !p.Password.Fill(b.env.Secrets.Lookup) {
			return nil, missingSecret(p.Password.Secret())
		}
		c.Proxy = &communicator.SOCKS{Address: net.JoinHostPort(p.Host, strconv.Itoa(cmp.Or(p.Port, 1080))), User: p.User, Password: p.Password.Reveal()}
	}
	if err := b.pins(t, &c); err != nil {
		return nil, err
	}
	if v.VM.Windows {
		return communicator.NewWindowsSSH(c)
	}
	return communicator.NewSSH(c)
}

// bastion is what the template says of one; nil without.
func (b *build) bastion(s image.Bastion) (*communicator.SSHBastion, error) {
	if s.Host == "" {
		return nil, nil
	}
	if !s.Password.Fill(b.env.Secrets.Lookup) {
		return nil, missingSecret(s.Password.Secret())
	}
	out := &communicator.SSHBastion{Address: net.JoinHostPort(s.Host, strconv.Itoa(cmp.Or(s.Port, 22))), User: s.User, Password: s.Password.Reveal()}
	var err error
	if s.KeyFile != "" {
		out.Key, err = localFile("ssh_bastion_private_key_file", s.KeyFile)
	}
	if err == nil && s.CertificateFile != "" {
		out.Certificate, err = localFile("ssh_bastion_certificate_file", s.CertificateFile)
	}
	if err != nil {
		return nil, err
	}
	if s.Agent {
		out.Agent = communicator.AgentSocket(os.Getenv)
	}
	if s.Interactive {
		out.Ask = communicator.AskTerminal
	}
	if home, err := os.UserHomeDir(); err == nil {
		out.KnownHosts = filepath.Join(home, ".ssh", "known_hosts")
	}
	return out, nil
}

// pins gives a connection the host keys that this run has seen first, and keeps those that the connecting step sees.
func (b *build) pins(t *plan.Task, c *communicator.SSHConfig) error {
	var done connectResult
	var seen pinned
	switch err := t.Result("connect", &done); {
	case errors.Is(err, plan.ErrNoResult): // this is the connecting step
		if _, err := t.Saved(&seen); err != nil {
			return err
		}
		c.Pinned = func(hostKey string) error { seen.HostKey = hostKey; return t.Save(seen) }
		if c.Bastion != nil {
			c.Bastion.Pinned = func(hostKey string) error { seen.Bastion = hostKey; return t.Save(seen) }
		}
	case err != nil:
		return err
	default:
		seen = pinned{HostKey: done.HostKey, Bastion: done.Bastion}
	}
	c.HostKey = seen.HostKey
	if c.Bastion != nil {
		c.Bastion.HostKey = seen.Bastion
	}
	return nil
}
