package vm

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"ingot/internal/azure"
	"ingot/internal/communicator"
	"ingot/internal/diag"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// Windows without a certificate of ours. A key vault is how Azure hands one to a machine, and only to a machine that it provisions: a specialised
// image keeps the listener it has, and skip_create_build_key_vault does without (docs/decisions/0021-no-key-vault.md).

// ownCertificate reports that the machine gets a certificate of ours.
func (c *compiler) ownCertificate() bool {
	return c.windows() && !c.f.Base.Specialized && !c.img.Machine.KeyVault.Skip
}

// needsVault reports that a vault is made or used: for the certificate, for the SSH key, or to learn which address to let in.
func (c *compiler) needsVault() bool {
	net := c.img.Machine.Network
	return !c.windows() || c.ownCertificate() || !c.img.Machine.KeyVault.Skip && net.VNet == "" && len(net.AllowedInbound) == 0
}

// ownListener reports that a script of ours opens WinRM, since nothing else does.
func (c *compiler) ownListener() bool {
	return c.windows() && c.img.Communicator.Kind == "winrm" && c.img.Machine.KeyVault.Skip && !c.f.Base.Specialized && c.img.Machine.CustomScript.IsZero()
}

// checkNoVault is what skip_create_build_key_vault asks of a template.
func checkNoVault(img *image.Image) diag.List {
	var l diag.List
	m, com := img.Machine, img.Communicator
	if !m.KeyVault.Skip || com.Kind != "winrm" || img.OS != image.Windows {
		return l
	}
	if m.Network.VNet == "" && len(m.Network.AllowedInbound) == 0 {
		l.Errorf(img.Pos, "set allowed_inbound_ip_addresses to the address that this machine has in the internet, or build in a network of your own",
			"without a key vault nobody tells Ingot which address to let in, and it lets in nobody else")
	}
	if !m.CustomScript.IsZero() && !com.Insecure {
		l.Errorf(com.Pos, "set winrm_insecure = true: Ingot then takes the certificate that the machine shows first, and no other after it",
			"the certificate that custom_script gives to WinRM is not known beforehand")
	}
	if com.Password.IsZero() {
		l.Warnf(com.Pos, "set winrm_password, from a sensitive variable", "without a key vault the generated password is in this process only: a build that is interrupted in the guest cannot be resumed")
	}
	return l
}

// listenerScript opens WinRM over HTTPS with a certificate that Windows makes, and writes down what that certificate is
// (https://learn.microsoft.com/troubleshoot/windows-client/system-management-components/configure-winrm-for-https). Its first line names it to the
// simulated guest (docs/guest-protocol.md).
const listenerScript = `#ingot:winrm/1
$ErrorActionPreference = 'Stop'
$c = New-SelfSignedCertificate -DnsName $env:COMPUTERNAME -CertStoreLocation Cert:\LocalMachine\My -NotAfter (Get-Date).AddDays(2)
Set-WSManQuickConfig -SkipNetworkProfileCheck -Force | Out-Null
Get-ChildItem WSMan:\localhost\Listener | Where-Object { $_.Keys -contains 'Transport=HTTPS' } | Remove-Item -Recurse -Force
New-Item -Path WSMan:\localhost\Listener -Transport HTTPS -Address * -CertificateThumbPrint $c.Thumbprint -Force | Out-Null
if (%BASIC%) { Set-Item WSMan:\localhost\Service\Auth\Basic $true }
if (-not (Get-NetFirewallRule -Name ingot-winrm -ErrorAction SilentlyContinue)) {
  New-NetFirewallRule -Name ingot-winrm -DisplayName 'WinRM over HTTPS' -Direction Inbound -Action Allow -Protocol TCP -LocalPort 5986 | Out-Null
}
$h = [Security.Cryptography.SHA256]::Create().ComputeHash($c.RawData)
'#ingot:certificate ' + (($h | ForEach-Object { $_.ToString('x2') }) -join '')
`

// listenerCommand is the script as a command line: 8,191 characters are the most that cmd.exe takes.
func listenerCommand(ntlm bool) string {
	basic := "$true"
	if ntlm {
		basic = "$false"
	}
	var raw []byte
	for _, u := range utf16.Encode([]rune(strings.Replace(listenerScript, "%BASIC%", basic, 1))) {
		raw = append(raw, byte(u), byte(u>>8))
	}
	return "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -EncodedCommand " + base64.StdEncoding.EncodeToString(raw)
}

// certificateIn finds the line in which the script says what its certificate is.
func certificateIn(out string) string {
	for line := range strings.Lines(out) {
		if sum, ok := strings.CutPrefix(strings.TrimSpace(line), "#ingot:certificate "); ok {
			return sum
		}
	}
	return ""
}

// passwordName is what this run's generated password is called in memory.
func passwordName(run string) string { return "ingot-" + run + "-password" }

// passwordAtHand is the template's password, or the one that this process has generated.
func (b *build) passwordAtHand(t *plan.Task) (string, error) {
	var a connectArgs
	if err := b.argsOf(t, "connect", &a); err != nil {
		return "", err
	}
	if given := a.Communicator.Password; !given.IsZero() {
		if !given.Fill(b.env.Secrets.Lookup) {
			return "", missingSecret(given.Secret())
		}
		return given.Reveal(), nil
	}
	if p, ok := b.env.Secrets.Lookup(passwordName(t.Run)); ok {
		return p, nil
	}
	return "", errors.New("cannot go on: the password of the machine was generated by a process that is gone, and no key vault keeps it; build again, and set winrm_password or leave skip_create_build_key_vault out if builds must be resumable")
}

// freshPassword is passwordAtHand for a machine that is to be made: a machine that an earlier process began to make, whose password is lost, is
// nothing to anybody and goes.
func (b *build) freshPassword(ctx context.Context, t *plan.Task, m azure.VM) (string, error) {
	var a connectArgs
	if err := b.argsOf(t, "connect", &a); err != nil {
		return "", err
	}
	if _, known := b.env.Secrets.Lookup(passwordName(t.Run)); known || !a.Communicator.Password.IsZero() {
		return b.passwordAtHand(t)
	}
	if v, err := b.env.Cloud.GetVM(ctx, m.Group, m.Name); err == nil && v.Tags[TagRun] == t.Run {
		if err := errors.Join(b.env.Cloud.DeleteVM(ctx, m.Group, m.Name, undoOp(t)), b.env.Cloud.DeleteDisk(ctx, m.Group, m.OSDiskName, undoOp(t))); err != nil {
			return "", err
		}
		if err := engine.Forget(t); err != nil { // the operation that made it is over
			return "", err
		}
	} else if err != nil && !azure.IsNotFound(err) {
		return "", err
	}
	p, err := newPassword()
	if err == nil {
		b.env.Secrets.Put(passwordName(t.Run), p)
	}
	return p, err
}

// dialForeign connects to a listener whose certificate is not ours: it is known from the script that opened the listener, or it is the one that
// was shown first, which is journalled before anything is sent.
func (b *build) dialForeign(_ context.Context, t *plan.Task, a image.Communicator, address string) (communicator.Communicator, error) {
	password, err := b.passwordAtHand(t)
	if err != nil {
		return nil, err
	}
	c := communicator.WinRMConfig{Address: address, User: a.User, Password: password, NTLM: a.NTLM, Dial: b.env.Dial, Clock: b.env.Clock, Dir: `C:\Windows\Temp\ingot-` + t.Run, Insecure: true}
	var script extensionResult
	if err := optional(t.Result("custom-script", &script)); err != nil {
		return nil, err
	}
	known := script.Certificate
	var done connectResult
	switch err := t.Result("connect", &done); {
	case errors.Is(err, plan.ErrNoResult): // this is the connecting step
		var seen pinned
		if _, err := t.Saved(&seen); err != nil {
			return nil, err
		}
		if known == "" {
			known = seen.Certificate
		}
		c.Pinned = func(sum [32]byte) error { return t.Save(pinned{Certificate: hex.EncodeToString(sum[:])}) }
	case err != nil:
		return nil, err
	case known == "":
		known = done.Certificate
	}
	if known != "" {
		sum, err := hex.DecodeString(known)
		if err != nil || len(sum) != len(c.Fingerprint) {
			return nil, fmt.Errorf("cannot pin the guest's certificate: its fingerprint is %q", known)
		}
		copy(c.Fingerprint[:], sum)
	}
	return communicator.NewWinRM(c)
}

// listener plans the script of ours that opens WinRM.
func (c *compiler) listener() {
	if !c.ownListener() {
		return
	}
	n := c.n
	c.add(plan.Step{Scope: plan.Nothing, ID: "custom-script", Kind: "extension", Title: "Open WinRM on " + n.VM + " through its agent", After: []string{"vm"}, Estimate: time.Minute},
		extensionArgs{Script: azure.CustomScript{Group: n.Group, VM: n.VM, Name: "custom-script", Location: c.f.Location, Tags: c.tags}, Listener: true, NTLM: c.img.Communicator.NTLM})
}
