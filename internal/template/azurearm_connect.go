package template

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
)

func (d *decoder) network(o *azureARM, img *image.Image, fail failFunc, oneOf oneOfFunc) {
	n := &img.Machine.Network
	*n = image.Network{VNet: o.VNetName, Subnet: o.SubnetName, ResourceGroup: o.VNetGroup, PublicIP: o.PublicIPInVNet, PublicIPSKU: oneOf("public_ip_sku", o.PublicIPSKU, "Standard", "Basic")}
	if o.VNetName == "" && (o.SubnetName != "" || o.VNetGroup != "") {
		fail("virtual_network_subnet_name", "add virtual_network_name", "virtual_network_subnet_name and virtual_network_resource_group_name need virtual_network_name")
	}
	if o.VNetName != "" && len(o.AllowedInbound) > 0 {
		fail("allowed_inbound_ip_addresses", "set the rules in that network's own security group", "allowed_inbound_ip_addresses is for a network made for the build, not for %s", o.VNetName)
	}
	if o.VNetName != "" && d.has("public_ip_sku") {
		fail("public_ip_sku", "leave it out", "public_ip_sku and virtual_network_name exclude one another")
	}
	if o.VNetName == "" && o.PublicIPInVNet {
		d.l.problems.Warnf(d.place("private_virtual_network_with_public_ip"), "remove it", "private_virtual_network_with_public_ip has no effect without virtual_network_name")
	}
	if n.PublicIPSKU == "Basic" {
		fail("public_ip_sku", "leave it out", "Azure has retired Basic public addresses (30 September 2025)")
	}
	for _, s := range o.AllowedInbound {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil {
			fail("allowed_inbound_ip_addresses", "write 203.0.113.7 or 203.0.113.0/24", "%q is no address and no range", s)
			continue
		}
		if p.Bits() == 0 {
			d.l.problems.Warnf(d.place("allowed_inbound_ip_addresses"), "leave it out: then only this machine's own address is let in", "allowed_inbound_ip_addresses lets everybody in")
		}
		n.AllowedInbound = append(n.AllowedInbound, p)
	}
}

func (d *decoder) communicator(o *azureARM, img *image.Image, fail failFunc) {
	c := &img.Communicator
	*c = image.Communicator{Kind: o.Communicator, User: o.WinRMUsername, Password: o.WinRMPassword, Host: o.WinRMHost, Port: o.WinRMPort, Timeout: o.WinRMTimeout, UseSSL: o.WinRMUseSSL,
		Insecure: o.WinRMInsecure, NTLM: o.WinRMUseNTLM == nil || *o.WinRMUseNTLM, NoProxy: o.WinRMNoProxy, Pause: o.PauseBeforeConnect, Pos: d.place("communicator")}
	if c.Kind == "" {
		c.Kind = "ssh" // Packer's default, also for Windows
		if img.OS == image.Windows {
			d.l.problems.Warnf(d.place("communicator"), `add communicator = "winrm", winrm_use_ssl = true and winrm_insecure = true`, "communicator is not set, and Packer's default is ssh, for Windows too: Packer waits 20 minutes for an SSH server that most Windows images do not have; Ingot installs one in a machine of the marketplace")
		}
	}
	if c.Kind == "runcommand" {
		d.runCommand(o, img, fail)
		return
	}
	if c.Kind != "winrm" && c.Kind != "ssh" && c.Kind != "none" {
		fail("communicator", `use "runcommand", "winrm" or "ssh"`, "communicator is %q", c.Kind)
	}
	if c.Kind == "ssh" {
		d.ssh(o, c)
		// properties.osProfile.adminPassword of virtualMachines in Azure's REST reference; the password reaches the machine whatever the protocol.
		if s := c.Password.Reveal(); img.OS == image.Windows && s != "" && (len(s) < 8 || len(s) > 123 || classes(s) < 3) {
			fail("ssh_password", "leave it out: one is generated", "ssh_password is too weak for Azure: 8 to 123 characters of three of the classes lower case, upper case, digit, other")
		}
		return
	}
	if c.Kind == "winrm" {
		for _, k := range keys(d.pos) {
			if strings.HasPrefix(k, "ssh_") || strings.HasPrefix(k, "temporary_key_pair") {
				d.l.problems.Warnf(d.place(k), "remove it", "%s has no effect with communicator winrm", k)
			}
		}
	}
	if c.User == "" {
		c.User = "packer"
	}
	if c.Port == 0 {
		c.Port = 5986
		if !c.UseSSL {
			c.Port = 5985
		}
	}
	if c.Port < 1 || c.Port > 65535 {
		fail("winrm_port", "", "winrm_port is %d", c.Port)
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Minute
	}
	strongEnough(c.Password, fail)
}

func strongEnough(password image.Text, fail failFunc) {
	if s := password.Reveal(); s != "" && (len(s) < 8 || len(s) > 123 || classes(s) < 3) {
		fail("winrm_password", "leave it out: one is generated", "winrm_password is too weak for Azure: 8 to 123 characters of three of the classes lower case, upper case, digit, other")
	}
}

// runCommand reads what concerns communicator runcommand, which Packer does not have. The account that Azure wants every machine to have
// is named by the options of winrm or, for Linux, of ssh; everything about ports, keys, certificates and vaults is beside the point.
func (d *decoder) runCommand(o *azureARM, img *image.Image, fail failFunc) {
	c := &img.Communicator
	*c = image.Communicator{Kind: c.Kind, User: cmp.Or(o.WinRMUsername, "packer"), Password: o.WinRMPassword, Timeout: cmp.Or(o.WinRMTimeout, 30*time.Minute), Pause: c.Pause, Pos: c.Pos}
	used := []string{"winrm_username", "winrm_password", "winrm_timeout"}
	if img.OS == image.Linux {
		c.User, c.Password, c.Timeout = cmp.Or(o.SSHUsername, "packer"), o.SSHPassword, cmp.Or(o.SSHTimeout, 30*time.Minute)
		used = []string{"ssh_username", "ssh_password", "ssh_timeout"}
	}
	idle := []string{"allowed_inbound_ip_addresses", "public_ip_sku", "private_virtual_network_with_public_ip", "build_key_vault_name", "build_key_vault_secret_name", "build_key_vault_sku"}
	for _, k := range keys(d.pos) {
		about := strings.HasPrefix(k, "winrm_") || strings.HasPrefix(k, "ssh_") || strings.HasPrefix(k, "temporary_key_pair")
		if about && !slices.Contains(used, k) || slices.Contains(idle, k) {
			d.l.problems.Warnf(d.place(k), "remove it", "%s has no effect with communicator runcommand: no port is opened and no key vault is needed", k)
		}
	}
	strongEnough(c.Password, fail)
}

// ssh reads what concerns communicator ssh.
func (d *decoder) ssh(o *azureARM, c *image.Communicator) {
	c.User, c.Password, c.Host, c.Port, c.Timeout, c.UseSSL, c.Insecure, c.NTLM = cmp.Or(o.SSHUsername, "packer"), o.SSHPassword, o.SSHHost, cmp.Or(o.SSHPort, 22), cmp.Or(o.SSHTimeout, 20*time.Minute), false, false, false
	for _, x := range []struct {
		option string
		port   int
	}{{"ssh_port", o.SSHPort}, {"ssh_bastion_port", o.SSHBastionPort}, {"ssh_proxy_port", o.SSHProxyPort}} {
		if x.port < 0 || x.port > 65535 {
			d.fail(x.option, "", "%s is %d", x.option, x.port)
		}
	}
	one := func(option, value string, allowed ...string) string {
		if value == "" || slices.Contains(allowed, value) {
			return value
		}
		d.fail(option, "use one of "+strings.Join(allowed, ", "), "%s is %q", option, value)
		return value
	}
	c.SSH = image.SSH{PrivateKeyFile: o.SSHPrivateKeyFile, CertificateFile: o.SSHCertificateFile, KeypairName: o.SSHKeypairName,
		TemporaryKeyType: one("temporary_key_pair_type", o.TemporaryKeyPairType, "rsa", "ecdsa", "ed25519", "dsa"), TemporaryKeyName: o.TemporaryKeyPairName, TemporaryKeyBits: o.TemporaryKeyPairBits,
		Ciphers: o.SSHCiphers, KeyExchange: o.SSHKeyExchange, ClearAuthorizedKeys: o.SSHClearKeys, PTY: o.SSHPTY, HandshakeAttempts: o.SSHHandshakeAttempts, Agent: o.SSHAgentAuth,
		NoAgentForwarding: o.SSHDisableAgentForwarding, FileTransfer: one("ssh_file_transfer_method", o.SSHFileTransferMethod, "scp", "sftp"), KeepAlive: o.SSHKeepAlive, ReadWriteTimeout: o.SSHReadWriteTimeout,
		RemoteTunnels: o.SSHRemoteTunnels, LocalTunnels: o.SSHLocalTunnels,
		Bastion: image.Bastion{Host: o.SSHBastionHost, Port: o.SSHBastionPort, User: o.SSHBastionUsername, Password: o.SSHBastionPassword, Agent: o.SSHBastionAgentAuth, Interactive: o.SSHBastionInteractive,
			KeyFile: o.SSHBastionKeyFile, CertificateFile: o.SSHBastionCertFile},
		Proxy: image.SOCKS{Host: o.SSHProxyHost, Port: o.SSHProxyPort, User: o.SSHProxyUsername, Password: o.SSHProxyPassword}}
	if o.SSHBastionHost != "" && o.SSHProxyHost != "" {
		d.fail("ssh_proxy_host", "keep one", "ssh_proxy_host and ssh_bastion_host exclude one another")
	}
	for _, x := range []struct {
		option string
		path   *string
	}{{"ssh_private_key_file", &c.SSH.PrivateKeyFile}, {"ssh_certificate_file", &c.SSH.CertificateFile}, {"ssh_bastion_private_key_file", &c.SSH.Bastion.KeyFile}, {"ssh_bastion_certificate_file", &c.SSH.Bastion.CertificateFile}} {
		if *x.path == "" || strings.HasPrefix(*x.path, "~") {
			continue
		}
		found := d.l.local(*x.path)
		if !exists(found) {
			d.fail(x.option, "a relative path starts at the working directory, or at the template's folder", "cannot find %s", *x.path)
			continue
		}
		*x.path = found // the build may run in another folder
	}
	for _, k := range keys(d.pos) {
		if strings.HasPrefix(k, "winrm_") {
			d.l.problems.Warnf(d.place(k), "remove it", "%s has no effect with communicator ssh", k)
		}
	}
}

func classes(s string) (n int) {
	for _, set := range []string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"} {
		if strings.ContainsAny(s, set) {
			n++
		}
	}
	return n
}
