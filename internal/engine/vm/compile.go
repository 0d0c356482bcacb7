package vm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

// compiler turns one image into steps. Names are chosen here, once: ARM's PUT-by-name then makes Do repeatable.
type compiler struct {
	img   *image.Image
	f     image.Facts
	o     engine.Options
	n     names
	tags  map[string]string // of everything made
	steps []plan.Step
	errs  []error
}

// Plan compiles img. It is pure.
func (Engine) Plan(img *image.Image, f image.Facts, o engine.Options) (*plan.Plan, error) {
	img = sourceOnly(img)
	c := &compiler{img: img, f: f, o: o, n: namesFor(img, o.Run), tags: maps.Clone(img.Tags)}
	if c.tags == nil {
		c.tags = map[string]string{}
	}
	c.tags[TagRun] = o.Run
	c.tags[TagExpires] = o.Made.Add(o.Expires).UTC().Format(time.RFC3339)

	c.addresses()
	c.around()
	c.machine()
	c.beforehand()
	last := c.try(c.guest())
	c.publish(last)
	c.settle()

	p := &plan.Plan{Run: o.Run, Title: img.Name, Made: o.Made, Steps: c.steps}
	return p, errors.Join(append(c.errs, p.Check())...)
}

// add appends a step; more may set what is rare.
func (c *compiler) add(s plan.Step, args any) {
	raw, err := json.Marshal(args)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("cannot plan step %s: %w", s.ID, err))
	}
	s.Args = raw
	c.take(s)
}

// take appends a step that has its arguments.
func (c *compiler) take(s plan.Step) {
	// polling_duration_timeout bounds every single operation of Azure but publishing, which has a limit of its own.
	switch s.Kind {
	case "group", "vault", "nsg", "network", "ip", "nic", "vm", "deallocate", "managed-image", "storage", "snapshot", "gallery-new", "definition", "container", "image-from-blob", "extension", "openssh":
		if c.img != nil {
			s.Timeout = c.img.Machine.APITimeout
		}
	}
	// Once accepted, Azure captures and copies by itself: nobody needs to be there until it has ended.
	s.Alone = s.Kind == "gallery" || s.Kind == "managed-image"
	if s.Scope == "" {
		s.Scope = plan.Scratch
	}
	c.steps = append(c.steps, s)
}

func (c *compiler) has(id string) bool {
	for _, s := range c.steps {
		if s.ID == id {
			return true
		}
	}
	return false
}

// after keeps the ids of steps that the plan has.
func (c *compiler) after(ids ...string) (out []string) {
	for _, id := range ids {
		if c.has(id) {
			out = append(out, id)
		}
	}
	return out
}

// inGroup is the step whose undo takes a resource with it: the temporary group, when there is one.
func (c *compiler) inGroup() string {
	if c.has("group") {
		return "group"
	}
	return ""
}

// around plans what stands around the machine: group, vault with certificate, network, address.
func (c *compiler) around() {
	m, n := c.img.Machine, c.n
	temporary := m.ResourceGroup == ""
	if temporary {
		c.add(plan.Step{ID: "group", Kind: "group", Title: "Create resource group " + n.Group, Estimate: time.Second, UndoEstimate: takesGroupDelete},
			groupArgs{Group: azure.Group{Name: n.Group, Location: c.f.Location, Tags: c.tags}, Async: m.AsyncDelete})
	}

	if c.commands() {
		c.storage()
		c.network()
		return
	}
	if !c.needsVault() {
		c.network()
		return
	}
	// The vault is needed to hand the certificate to the machine and the password to a resumed run; once the machine is
	// stopped for good neither is, so it goes while the image is still being published.
	vault := vaultArgs{Vault: azure.Vault{Group: n.Group, Name: n.Vault, Location: c.f.Location, SKU: m.KeyVault.SKU,
		TenantID: c.f.Tenant, ObjectID: c.f.ObjectID, Tags: c.tags}, Existing: m.KeyVault.Name != ""}
	title := "Create key vault " + n.Vault
	takes := takesVault
	if vault.Existing {
		title, takes = "Find key vault "+n.Vault, time.Second
	}
	c.add(plan.Step{ID: "vault", Kind: "vault", Title: title, After: c.after("group"), Until: []string{"deallocate"}, Estimate: takes, UndoEstimate: takesVaultDelete}, vault)
	certificate := plan.Step{ID: "certificate", Kind: "certificate", Title: "Make a 24-hour WinRM certificate in " + n.Vault, After: []string{"vault"}, Estimate: 2 * time.Second}
	if vault.Existing {
		certificate.Until, certificate.UndoEstimate = []string{"deallocate"}, 5*time.Second
	} else {
		certificate.Within = "vault"
	}
	if !c.windows() {
		key := certificate
		key.ID, key.Kind, key.Title = "ssh-key", "ssh-key", "Make an SSH key for this build, kept in "+n.Vault
		ssh := c.img.Communicator.SSH
		if ssh.PrivateKeyFile != "" {
			key.Title = "Use the SSH key in " + ssh.PrivateKeyFile
		} else if ssh.Agent {
			key.Title = "Use a key of this computer's SSH agent"
		}
		c.add(key, sshKeyArgs{Kind: cmp.Or(ssh.TemporaryKeyType, "ed25519"), Bits: ssh.TemporaryKeyBits, Name: ssh.TemporaryKeyName, File: ssh.PrivateKeyFile, Agent: ssh.Agent && ssh.PrivateKeyFile == "", Secret: n.KeySecret, Given: c.img.Communicator.Password, Tags: c.tags, Expires: c.o.Made.Add(24 * time.Hour)})
		c.network()
		return
	}
	if !c.ownCertificate() { // the vault is there to tell this machine's address, and for nothing else
		c.network()
		return
	}
	if c.overSSH() {
		certificate.Title = "Keep the account's password in " + n.Vault
	}
	c.add(certificate, certificateArgs{Host: n.Computer, Shared: vault.Existing && m.KeyVault.SecretName != "", PasswordOnly: c.overSSH(), Secret: n.CertificateSecret, PasswordSecret: n.PasswordSecret, Tags: c.tags,
		Given: c.img.Communicator.Password, Expires: c.o.Made.Add(cmp.Or(m.KeyVault.Expires, 24*time.Hour))})
	c.network()
}

func (c *compiler) windows() bool { return c.img.OS != image.Linux }

// network plans the network that the machine is in, and its way to it.
func (c *compiler) network() {
	m, n := c.img.Machine, c.n
	net := m.Network
	public := (net.VNet == "" || net.PublicIP) && !c.commands()
	if net.VNet == "" {
		if len(net.AllowedInbound) == 0 && !c.commands() {
			c.add(plan.Step{Scope: plan.Nothing, ID: "caller", Kind: "caller", Title: "Find this machine's address as Azure sees it", After: []string{"vault"}, Estimate: time.Second}, callerArgs{})
		}
		lets := fmt.Sprintf("port %d only", c.img.Communicator.Port)
		if c.commands() {
			lets = "nobody is let in"
		}
		c.add(plan.Step{ID: "nsg", Kind: "nsg", Title: fmt.Sprintf("Create network security group %s (%s)", n.NSG, lets),
			After: c.after("group", "caller"), Within: c.inGroup(), Estimate: takesNSG, UndoEstimate: takesNSG},
			nsgArgs{azure.SecurityGroup{Group: n.Group, Name: n.NSG, Location: c.f.Location, Port: c.img.Communicator.Port, Sources: net.AllowedInbound, Tags: c.tags}})
		c.add(plan.Step{ID: "network", Kind: "network", Title: "Create virtual network " + n.Network, After: c.after("group", "nsg"), Within: c.inGroup(), Estimate: takesNetwork, UndoEstimate: takesNetwork},
			networkArgs{azure.Network{Group: n.Group, Name: n.Network, Location: c.f.Location, Subnet: n.Subnet, AddressSpace: "10.0.0.0/16", SubnetSpace: "10.0.0.0/24", Outbound: c.commands(), Tags: c.tags}})
	} else {
		c.add(plan.Step{Scope: plan.Nothing, ID: "network", Kind: "subnet", Title: "Find virtual network " + net.VNet, Estimate: time.Second},
			subnetArgs{Group: net.ResourceGroup, VNet: net.VNet, Subnet: net.Subnet, Subscription: c.elsewhere(net.Subscription)})
	}
	if public {
		c.add(plan.Step{ID: "ip", Kind: "ip", Title: "Create public address " + n.IP, After: c.after("group"), Within: c.inGroup(), Estimate: takesIP, UndoEstimate: takesIP},
			ipArgs{azure.PublicIP{Group: n.Group, Name: n.IP, Location: c.f.Location, SKU: net.PublicIPSKU, Tags: c.tags}})
	}
	c.add(plan.Step{ID: "nic", Kind: "nic", Title: "Create network interface " + n.NIC, After: c.after("group", "network", "ip"), Within: c.inGroup(), Estimate: takesNIC, UndoEstimate: takesNIC},
		nicArgs{azure.NIC{Group: n.Group, Name: n.NIC, Location: c.f.Location, Accelerated: m.AcceleratedNetworking, Tags: c.tags}})
}

// machine plans the VM.
func (c *compiler) machine() {
	m, n, base := c.img.Machine, c.n, c.f.Base
	v := azure.VM{Group: n.Group, Name: n.VM, Location: c.f.Location, Size: m.VMSize(), Computer: n.Computer, Windows: c.windows(),
		User: c.img.Communicator.User, OSDiskName: n.OSDisk, OSDiskGB: m.OSDiskGB, OSDiskType: m.OSDiskType, Caching: m.DiskCaching,
		DiskEncryptionSetID: m.DiskEncryptionSetID, SecurityType: m.SecurityType, SecureBoot: m.SecureBoot, VTPM: m.VTPM,
		EncryptionAtHost: m.EncryptionAtHost, LicenseType: m.LicenseType, Identities: m.Identities,
		BootDiagnosticsURI: m.BootDiagnosticsEndpoint, Specialized: base.Specialized, Tags: c.tags}
	c.hardware(&v)
	v.Image = imageOf(base)
	if p := base.Plan; p != nil {
		v.Plan = &azure.PurchasePlan{Name: p.Name, Product: p.Product, Publisher: p.Publisher, PromotionCode: p.PromotionCode}
	}
	// Secure boot and vTPM are settings of Trusted Launch; Azure refuses them without it.
	if v.SecurityType == "" && (v.SecureBoot || v.VTPM) {
		v.SecurityType = "TrustedLaunch"
	}
	v.DataDisks = c.dataDisks()
	c.sourceImage()
	c.add(plan.Step{ID: "vm", Kind: "vm", Title: fmt.Sprintf("Create VM %s (%s) from %s", n.VM, m.VMSize(), sourceTitle(base)),
		After: append([]string{"nic"}, c.after("certificate", "ssh-key", "source-image")...), Within: c.inGroup(), Estimate: takesVM, UndoEstimate: takesVMDelete},
		vmArgs{VM: v, CustomData: m.CustomData, UserData: m.UserData, KeepDisk: m.KeepOSDisk})
	c.extension()
	c.openSSH()
}

func sourceTitle(b image.Base) string {
	switch {
	case b.GalleryVersionID != "":
		return "gallery version " + b.Version
	case b.ManagedImageID != "":
		return "managed image"
	case b.SharedImageID != "":
		return "shared gallery image " + b.SharedImageID
	case b.CommunityImageID != "":
		return "community gallery image " + b.CommunityImageID
	case b.BlobURL != "":
		return "the VHD " + b.BlobURL
	default:
		return fmt.Sprintf("%s:%s:%s", b.Offer, b.SKU, b.Version)
	}
}

// guest plans what happens inside the machine, up to its being stopped and sealed; it returns the last step's id.
func (c *compiler) guest() string {
	com, n := c.img.Communicator, c.n
	timeout := com.Timeout
	if timeout == 0 {
		timeout = 30 * time.Minute
	}
	wait, takes := fmt.Sprintf("Wait for %s on port %d", protocol(com.Kind), com.Port), takesConnect
	if c.commands() {
		wait, takes = "Wait until the guest's agent runs commands", takesCommand
	}
	c.pause()
	c.add(plan.Step{Scope: plan.Nothing, ID: "connect", Kind: "connect", Title: wait, After: c.after("vm", "storage", "custom-script", "openssh", "pause"), Timeout: timeout, Estimate: takes},
		connectArgs{com})
	last := "connect"
	var cleanup []provisionArgs
	for _, p := range c.img.Cleanup {
		if args, _, ok := c.provision(p); ok {
			cleanup = append(cleanup, args)
		}
	}
	own := "" // the step in which the template runs sysprep itself
	for i, p := range c.img.Provision {
		args, settings, ok := c.provision(p)
		if !ok {
			continue
		}
		args.Cleanup = cleanup
		id := fmt.Sprintf("provision-%d", i+1)
		if c.windows() && provisioner.RunsSysprep(settings) {
			own = id
		}
		title := "Provision: " + settings.Summary()
		if p.Name != "" {
			title = fmt.Sprintf("Provision %s: %s", p.Name, settings.Summary())
		}
		kind := "provision"
		if s, ok := p.Settings.(interface{ Stops() bool }); ok && s.Stops() {
			kind = Breakpoint
		}
		c.add(plan.Step{Scope: plan.Nothing, ID: id, Kind: kind, Title: title, After: append([]string{last}, c.after(fetchStep)...), Estimate: p.PauseBefore + settings.Estimate()}, args)
		last = id
	}
	if c.img.SkipImage { // nothing is captured: the machine is as good as gone
		return last
	}
	last = c.clearKeys(last)
	if !c.specialized() {
		with, takes := "sysprep", takesSysprep
		if !c.windows() {
			with, takes = "waagent", takesDeprovision
		}
		title := "Generalise with " + with
		if own != "" {
			title = "Wait for the sysprep that the template runs itself (" + own + "); not run again"
		}
		c.add(plan.Step{Scope: plan.Nothing, ID: "generalize", Kind: "generalize", Title: title, After: []string{last}, Timeout: 60 * time.Minute, Estimate: takes}, generalizeArgs{By: own})
		last = "generalize"
	}
	where := machineArgs{Group: n.Group, Name: n.VM}
	c.add(plan.Step{Scope: plan.Nothing, ID: "deallocate", Kind: "deallocate", Title: "Stop and deallocate VM " + n.VM, After: []string{last}, Estimate: takesDeallocate}, where)
	last = "deallocate"
	if !c.specialized() {
		c.add(plan.Step{Scope: plan.Nothing, ID: "seal", Kind: "seal", Title: "Mark VM " + n.VM + " as generalised", After: []string{last}, Estimate: time.Second}, where)
		last = "seal"
	}
	return last
}

func protocol(kind string) string {
	if kind == "ssh" {
		return "SSH"
	}
	return "WinRM"
}

// provision is a provisioner as the arguments of a step.
func (c *compiler) provision(p image.Provision) (provisionArgs, provisioner.Settings, bool) {
	args, settings, err := engine.EncodeProvision(c.img, p)
	if err != nil {
		c.errs = append(c.errs, err)
	}
	return args, settings, err == nil
}

func (c *compiler) specialized() bool {
	for _, t := range c.img.Targets {
		if g, ok := t.(image.ToGallery); ok && g.Specialized {
			return true
		}
	}
	return false
}
