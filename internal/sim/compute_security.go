package sim

import (
	"strings"
)

// confidential is how a size protects its machines from the host (learn.microsoft.com/azure/confidential-computing/virtual-machine-options):
// AMD's SEV-SNP in DCas, ECas and their kin, Intel's TDX in DCes and ECes. "": not at all.
func (s vmSize) confidential() string {
	switch {
	case strings.HasPrefix(s.family, "standardDCA"), strings.HasPrefix(s.family, "standardECA"):
		return "SNP"
	case strings.HasPrefix(s.family, "standardDCE"), strings.HasPrefix(s.family, "standardECE"):
		return "TDX"
	}
	return ""
}

// controllers are a size's disk controllers (learn.microsoft.com/azure/virtual-machines/enable-nvme-interface: of version 5 the Ebs series has
// both, from version 6 on there is NVMe only). Older sizes do not say.
func (s vmSize) controllers() []string {
	switch {
	case strings.HasSuffix(s.name, "_v6"):
		return []string{"NVMe"}
	case strings.HasPrefix(s.family, "standardEB"):
		return []string{"SCSI", "NVMe"}
	}
	return nil
}

// capabilities are those of the list of resource SKUs that a machine's options depend on. Spot machines: every size but the B series
// (learn.microsoft.com/azure/virtual-machines/spot-vms, limitations); accelerated networking from two cores on, not in the A and B series.
func (s vmSize) capabilities() map[string]string {
	yes := func(b bool) string {
		if b {
			return "True"
		}
		return "False"
	}
	burst, old := strings.HasPrefix(s.name, "Standard_B"), strings.HasPrefix(s.name, "Standard_A")
	out := map[string]string{
		"PremiumIO": yes(premiumSize(s.name)), "LowPriorityCapable": yes(!burst), "EncryptionAtHostSupported": yes(s.trusted || s.confidential() != ""),
		"AcceleratedNetworkingEnabled": yes(s.cores > 1 && !burst && !old),
	}
	if c := s.confidential(); c != "" {
		out["ConfidentialComputingType"] = c
	}
	if c := s.controllers(); len(c) > 0 {
		out["DiskControllerTypes"] = strings.Join(c, ", ")
	}
	return out
}

// checkSecurity holds a machine's security profile against its size and its image.
func checkSecurity(p map[string]any, size vmSize, generation, security string) *refusal {
	typ := text(p, "securityProfile", "securityType")
	shown := typ
	if typ == "" || typ == "Standard" {
		typ, shown = "", "<NULL>"
	}
	disk := mapping(p, "storageProfile", "osDisk", "managedDisk", "securityProfile")
	// Azure's own words, seen with "<NULL>" for an AKS node pool of a DC size.
	if (typ == "ConfidentialVM") != (size.confidential() != "") || typ == "TrustedLaunch" && !size.trusted {
		return refuse(400, "BadRequest", "The VM size '"+size.name+"' is not supported for creation of VMs and Virtual Machine Scale Set with '"+shown+"' security type.")
	}
	switch typ {
	case "TrustedLaunch":
		if generation == "V1" || !strings.HasPrefix(security, "TrustedLaunch") {
			return refuse(400, "BadRequest", "The provided image does not support security type 'TrustedLaunch'. Please use an image that is Trusted Launch supported.")
		}
	case "":
		if truth(p, "securityProfile", "uefiSettings", "secureBootEnabled") {
			return refuse(400, "BadRequest", "Use of UEFI settings is not supported for SecurityType 'Standard'.")
		}
	case "ConfidentialVM":
		// azurerm's tests and documentation of confidential machines: the disk's encryption must be named, the virtual TPM is a must, secure boot
		// is with DiskWithVMGuestState, which excludes encryption at host.
		encryption := text(disk, "securityEncryptionType")
		switch {
		case generation == "V1" || !strings.Contains(strings.ToLower(security), "confidentialvm"):
			return refuse(400, "BadRequest", "The provided image does not support security type 'ConfidentialVM'.")
		case encryption != "VMGuestStateOnly" && encryption != "DiskWithVMGuestState" && encryption != "NonPersistedTPM":
			return refuse(400, "BadRequest", "The parameter 'managedDisk.securityProfile.securityEncryptionType' is required for Confidential VMs.")
		case !truth(p, "securityProfile", "uefiSettings", "vTpmEnabled"):
			return refuse(400, "BadRequest", "The value of parameter 'securityProfile.uefiSettings.vTpmEnabled' must be true for Confidential VMs.")
		case encryption == "DiskWithVMGuestState" && !truth(p, "securityProfile", "uefiSettings", "secureBootEnabled"):
			return refuse(400, "BadRequest", "The value of parameter 'securityProfile.uefiSettings.secureBootEnabled' must be true when securityEncryptionType is 'DiskWithVMGuestState'.")
		case encryption == "DiskWithVMGuestState" && truth(p, "securityProfile", "encryptionAtHost"):
			return refuse(400, "BadRequest", "The parameter 'securityProfile.encryptionAtHost' cannot be true when securityEncryptionType is 'DiskWithVMGuestState'.")
		}
		return nil
	}
	if disk != nil { // hashicorp/terraform-provider-azurerm#30782 shows Azure's answer
		return refuse(400, "BadRequest", "The parameter 'managedDisk.securityProfile' can only be set for Confidential VMs.")
	}
	return nil
}

// checkController: what the size and the generation have.
func checkController(p map[string]any, size vmSize, generation string) *refusal {
	asked := text(p, "storageProfile", "diskControllerType")
	offered := size.controllers()
	if len(offered) == 0 {
		offered = []string{"SCSI"}
	}
	if asked == "" {
		return nil
	}
	for _, c := range offered {
		if strings.EqualFold(c, asked) && (generation == "V2" || c == "SCSI") {
			return nil
		}
	}
	return refuse(400, "InvalidParameter", "The VM size '"+size.name+"' cannot boot with disk controller type '"+asked+"'. The disk controller types supported are: "+strings.Join(offered, ", ")+". For more information, see https://aka.ms/azurediskcontrollertypes.")
}
