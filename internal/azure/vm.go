package azure

import (
	"context"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
)

// PutVM creates a virtual machine and waits until Azure says that its guest is up.
func (c *Client) PutVM(ctx context.Context, v VM, op Op) (VMInfo, error) {
	body := vmBody(v)
	r, err := long[armcompute.VirtualMachinesClientCreateOrUpdateResponse]{
		what: "create VM " + v.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.VirtualMachinesClientCreateOrUpdateResponse], error) {
			return c.vms.BeginCreateOrUpdate(ctx, v.Group, v.Name, body, &armcompute.VirtualMachinesClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return VMInfo{}, err
	}
	return vmInfo(r.VirtualMachine), nil
}

func vmBody(v VM) armcompute.VirtualMachine {
	size, yes := armcompute.VirtualMachineSizeTypes(v.Size), true
	from, detach := armcompute.DiskCreateOptionTypesFromImage, armcompute.DiskDeleteOptionTypesDetach
	os := armcompute.OperatingSystemTypesLinux
	if v.Windows {
		os = armcompute.OperatingSystemTypesWindows
	}
	disk := &armcompute.OSDisk{Name: &v.OSDiskName, CreateOption: &from, DeleteOption: &detach, OSType: &os, DiskSizeGB: opt(v.OSDiskGB), ManagedDisk: &armcompute.ManagedDiskParameters{}}
	if v.OSDiskType != "" {
		t := armcompute.StorageAccountTypes(v.OSDiskType)
		disk.ManagedDisk.StorageAccountType = &t
	}
	switch {
	case v.SecurityEncryption == "DiskWithVMGuestState" && v.DiskEncryptionSetID != "":
		// The key of a confidential disk is named beside its encryption (armcompute, VMDiskSecurityProfile).
		disk.ManagedDisk.SecurityProfile = &armcompute.VMDiskSecurityProfile{DiskEncryptionSet: &armcompute.DiskEncryptionSetParameters{ID: &v.DiskEncryptionSetID}}
	case v.DiskEncryptionSetID != "":
		disk.ManagedDisk.DiskEncryptionSet = &armcompute.DiskEncryptionSetParameters{ID: &v.DiskEncryptionSetID}
	}
	if v.SecurityEncryption != "" {
		t := armcompute.SecurityEncryptionTypes(v.SecurityEncryption)
		if disk.ManagedDisk.SecurityProfile == nil {
			disk.ManagedDisk.SecurityProfile = &armcompute.VMDiskSecurityProfile{}
		}
		disk.ManagedDisk.SecurityProfile.SecurityEncryptionType = &t
	}
	if v.Caching != "" {
		t := armcompute.CachingTypes(v.Caching)
		disk.Caching = &t
	}
	image := &armcompute.ImageReference{Publisher: opt(v.Image.Publisher), Offer: opt(v.Image.Offer), SKU: opt(v.Image.SKU), Version: opt(v.Image.Version)}
	switch {
	case v.Image.ID != "":
		image = &armcompute.ImageReference{ID: &v.Image.ID}
	case v.Image.Shared != "":
		image = &armcompute.ImageReference{SharedGalleryImageID: &v.Image.Shared}
	case v.Image.Community != "":
		image = &armcompute.ImageReference{CommunityGalleryImageID: &v.Image.Community}
	}
	p := &armcompute.VirtualMachineProperties{
		HardwareProfile: &armcompute.HardwareProfile{VMSize: &size},
		StorageProfile:  &armcompute.StorageProfile{ImageReference: image, OSDisk: disk},
		NetworkProfile:  &armcompute.NetworkProfile{NetworkInterfaces: []*armcompute.NetworkInterfaceReference{{ID: &v.NICID, Properties: &armcompute.NetworkInterfaceReferenceProperties{Primary: &yes}}}},
		LicenseType:     opt(v.LicenseType), UserData: opt(v.UserData),
		DiagnosticsProfile: &armcompute.DiagnosticsProfile{BootDiagnostics: &armcompute.BootDiagnostics{Enabled: &yes, StorageURI: opt(v.BootDiagnosticsURI)}},
	}
	p.StorageProfile.DataDisks = dataDisks(v.DataDisks)
	if v.DiskController != "" {
		t := armcompute.DiskControllerTypes(v.DiskController)
		p.StorageProfile.DiskControllerType = &t
	}
	if v.Spot != nil {
		spot, price := armcompute.VirtualMachinePriorityTypesSpot, v.Spot.MaxPrice
		if price == 0 {
			price = -1
		}
		p.Priority, p.BillingProfile = &spot, &armcompute.BillingProfile{MaxPrice: &price}
		p.EvictionPolicy = opt(armcompute.VirtualMachineEvictionPolicyTypes(v.Spot.Eviction))
	}
	if v.SecurityType != "" || v.EncryptionAtHost != nil {
		p.SecurityProfile = &armcompute.SecurityProfile{EncryptionAtHost: v.EncryptionAtHost}
		if v.SecurityType != "" {
			t := armcompute.SecurityTypes(v.SecurityType)
			p.SecurityProfile.SecurityType = &t
			p.SecurityProfile.UefiSettings = &armcompute.UefiSettings{SecureBootEnabled: &v.SecureBoot, VTpmEnabled: &v.VTPM}
		}
	}
	if !v.Specialized {
		p.OSProfile = &armcompute.OSProfile{ComputerName: &v.Computer, AdminUsername: &v.User, AdminPassword: opt(v.Password), CustomData: opt(v.CustomData)}
		if !v.Windows {
			only, path := v.Password == "", "/home/"+v.User+"/.ssh/authorized_keys"
			p.OSProfile.LinuxConfiguration = &armcompute.LinuxConfiguration{DisablePasswordAuthentication: &only, ProvisionVMAgent: &yes,
				SSH: &armcompute.SSHConfiguration{PublicKeys: []*armcompute.SSHPublicKey{{Path: &path, KeyData: &v.SSHPublicKey}}}}
		}
		if v.Windows {
			// Automatic updates would reboot the machine in the middle of the build.
			no := false
			p.OSProfile.WindowsConfiguration = &armcompute.WindowsConfiguration{ProvisionVMAgent: &yes, EnableAutomaticUpdates: &no}
			if v.WinRMCertificateURL != "" {
				https, store := armcompute.ProtocolTypesHTTPS, "My"
				p.OSProfile.WindowsConfiguration.WinRM = &armcompute.WinRMConfiguration{Listeners: []*armcompute.WinRMListener{{Protocol: &https, CertificateURL: &v.WinRMCertificateURL}}}
				p.OSProfile.Secrets = []*armcompute.VaultSecretGroup{{SourceVault: &armcompute.SubResource{ID: &v.VaultID},
					VaultCertificates: []*armcompute.VaultCertificate{{CertificateURL: &v.WinRMCertificateURL, CertificateStore: &store}}}}
			}
		}
	}
	body := armcompute.VirtualMachine{Location: &v.Location, Tags: ptrs(v.Tags), Properties: p}
	if v.Plan != nil {
		body.Plan = &armcompute.Plan{Name: opt(v.Plan.Name), Product: opt(v.Plan.Product), Publisher: opt(v.Plan.Publisher), PromotionCode: opt(v.Plan.PromotionCode)}
	}
	if len(v.Identities) > 0 {
		t := armcompute.ResourceIdentityTypeUserAssigned
		body.Identity = &armcompute.VirtualMachineIdentity{Type: &t, UserAssignedIdentities: map[string]*armcompute.UserAssignedIdentitiesValue{}}
		for _, id := range v.Identities {
			body.Identity.UserAssignedIdentities[id] = &armcompute.UserAssignedIdentitiesValue{}
		}
	}
	return body
}

func vmInfo(v armcompute.VirtualMachine) VMInfo {
	i := VMInfo{ID: val(v.ID), Tags: vals(v.Tags)}
	p := v.Properties
	if p == nil {
		return i
	}
	i.Spot = val(p.Priority) == armcompute.VirtualMachinePriorityTypesSpot
	if s := p.StorageProfile; s != nil && s.OSDisk != nil {
		i.OSDiskName = val(s.OSDisk.Name)
		if s.OSDisk.ManagedDisk != nil {
			i.OSDiskID = val(s.OSDisk.ManagedDisk.ID)
		}
	}
	if p.InstanceView != nil {
		for _, s := range p.InstanceView.Statuses {
			if power, ok := strings.CutPrefix(val(s.Code), "PowerState/"); ok {
				i.Power = power
			}
			i.Generalized = i.Generalized || strings.EqualFold(val(s.Code), "OSState/generalized")
		}
	}
	return i
}

// GetVM looks a machine up, with its power state.
func (c *Client) GetVM(ctx context.Context, group, name string) (VMInfo, error) {
	view := armcompute.InstanceViewTypesInstanceView
	r, err := c.vms.Get(ctx, group, name, &armcompute.VirtualMachinesClientGetOptions{Expand: &view})
	if err != nil {
		return VMInfo{}, wrap(err, "look up VM %s", name)
	}
	return vmInfo(r.VirtualMachine), nil
}

// Deallocate stops a machine and gives its hardware back.
func (c *Client) Deallocate(ctx context.Context, group, name string, op Op) error {
	_, err := long[armcompute.VirtualMachinesClientDeallocateResponse]{
		what: "deallocate VM " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.VirtualMachinesClientDeallocateResponse], error) {
			return c.vms.BeginDeallocate(ctx, group, name, &armcompute.VirtualMachinesClientBeginDeallocateOptions{ResumeToken: token})
		},
		settled: func(ctx context.Context) (r armcompute.VirtualMachinesClientDeallocateResponse, done bool, err error) {
			v, err := c.GetVM(ctx, group, name)
			return r, v.Power == "deallocated", err
		},
	}.run(ctx, c, op)
	return err
}

// Generalize marks a machine as generalised; that cannot be undone. It changes nothing in the guest.
func (c *Client) Generalize(ctx context.Context, group, name string) error {
	for wait := time.Second; ; wait *= 2 {
		_, err := c.vms.Generalize(ctx, group, name, nil)
		if err == nil || !passing(err) || wait > 32*time.Second {
			return wrap(err, "mark VM %s as generalised", name)
		}
		if err := c.o.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// DeleteVM deletes a machine without shutting it down first; its disk stays. One that is not there is deleted.
func (c *Client) DeleteVM(ctx context.Context, group, name string, op Op) error {
	_, err := long[armcompute.VirtualMachinesClientDeleteResponse]{
		what: "delete VM " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.VirtualMachinesClientDeleteResponse], error) {
			force := true
			return c.vms.BeginDelete(ctx, group, name, &armcompute.VirtualMachinesClientBeginDeleteOptions{ForceDeletion: &force, ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// DeleteDisk deletes a managed disk; one that is not there is deleted.
func (c *Client) DeleteDisk(ctx context.Context, group, name string, op Op) error {
	_, err := long[armcompute.DisksClientDeleteResponse]{
		what: "delete disk " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.DisksClientDeleteResponse], error) {
			return c.disks.BeginDelete(ctx, group, name, &armcompute.DisksClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}

// PutManagedImage captures a managed image of a generalised machine.
func (c *Client) PutManagedImage(ctx context.Context, m ManagedImage, op Op) (ManagedImageInfo, error) {
	generation := armcompute.HyperVGenerationTypes(m.Generation)
	body := armcompute.Image{Location: &m.Location, Tags: ptrs(m.Tags), Properties: &armcompute.ImageProperties{
		SourceVirtualMachine: &armcompute.SubResource{ID: &m.SourceVMID}, HyperVGeneration: opt(generation)}}
	if m.ZoneResilient {
		body.Properties.StorageProfile = &armcompute.ImageStorageProfile{ZoneResilient: &m.ZoneResilient}
	}
	r, err := long[armcompute.ImagesClientCreateOrUpdateResponse]{
		what: "capture managed image " + m.Name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.ImagesClientCreateOrUpdateResponse], error) {
			return c.images.BeginCreateOrUpdate(ctx, m.Group, m.Name, body, &armcompute.ImagesClientBeginCreateOrUpdateOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	if err != nil {
		return ManagedImageInfo{}, err
	}
	return imageInfo(r.Image), nil
}

func imageInfo(m armcompute.Image) ManagedImageInfo {
	i := ManagedImageInfo{ID: val(m.ID), Location: val(m.Location), Tags: vals(m.Tags)}
	if p := m.Properties; p != nil {
		i.Generation, i.State = string(val(p.HyperVGeneration)), val(p.ProvisioningState)
		if p.StorageProfile != nil && p.StorageProfile.OSDisk != nil {
			i.OS = string(val(p.StorageProfile.OSDisk.OSType))
		}
		if p.StorageProfile != nil {
			for _, d := range p.StorageProfile.DataDisks {
				i.DataLUNs = append(i.DataLUNs, val(d.Lun))
			}
		}
	}
	return i
}

// GetManagedImage looks a managed image up.
func (c *Client) GetManagedImage(ctx context.Context, group, name string) (ManagedImageInfo, error) {
	r, err := c.images.Get(ctx, group, name, nil)
	if err != nil {
		return ManagedImageInfo{}, wrap(err, "look up managed image %s", name)
	}
	return imageInfo(r.Image), nil
}

// DeleteManagedImage deletes a managed image; one that is not there is deleted.
func (c *Client) DeleteManagedImage(ctx context.Context, group, name string, op Op) error {
	_, err := long[armcompute.ImagesClientDeleteResponse]{
		what: "delete managed image " + name,
		begin: func(ctx context.Context, token string) (*runtime.Poller[armcompute.ImagesClientDeleteResponse], error) {
			return c.images.BeginDelete(ctx, group, name, &armcompute.ImagesClientBeginDeleteOptions{ResumeToken: token})
		},
	}.run(ctx, c, op)
	return gone(err)
}
