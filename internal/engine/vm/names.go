package vm

import (
	"cmp"
	"time"

	"ingot/internal/image"
)

// names are what the plan calls everything. Those that must be unique in all of Azure (the vault: 3 to 24 letters, digits
// and hyphens) or short (the computer: 15 characters) get by with the run's 8 characters.
type names struct {
	Group, Vault, CertificateSecret, PasswordSecret, KeySecret string
	NSG, Network, Subnet, IP, NIC                              string
	VM, Computer, OSDisk, DataDisk, Storage                    string
}

func namesFor(img *image.Image, run string) names {
	m := img.Machine
	prefix := cmp.Or(m.NamePrefix, "ingot")
	if m.NamePrefix != "" && prefix[len(prefix)-1] != '-' {
		prefix += "-"
	} else if m.NamePrefix == "" {
		prefix += "-"
	}
	base := prefix + run
	return names{
		Group:             cmp.Or(m.ResourceGroup, m.TempGroup, base),
		Vault:             cmp.Or(m.KeyVault.Name, base),
		CertificateSecret: cmp.Or(m.KeyVault.SecretName, "ingot-"+run+"-winrm"),
		PasswordSecret:    "ingot-" + run + "-password",
		KeySecret:         "ingot-" + run + "-ssh",
		NSG:               base + "-nsg",
		Network:           base + "-vnet",
		Subnet:            "build",
		IP:                base + "-ip",
		NIC:               cmp.Or(m.NICName, base+"-nic"),
		VM:                cmp.Or(m.ComputeName, base),
		Computer:          computer(cmp.Or(m.ComputeName, "ingot-"+run)),
		OSDisk:            cmp.Or(m.OSDiskName, base+"-os"),
		Storage:           "ingot" + run,
		DataDisk:          base + "-data",
	}
}

func computer(s string) string { return s[:min(len(s), 15)] }

// How long Azure takes, in the median of recorded operations (reference: azure-protocol.md section 5). They feed the
// plan's critical path and nothing else.
const (
	takesGroupDelete   = 139 * time.Second
	takesVault         = 30 * time.Second
	takesVaultDelete   = 12 * time.Second
	takesNSG           = 4 * time.Second
	takesNetwork       = 4 * time.Second
	takesIP            = 2 * time.Second
	takesNIC           = time.Second
	takesVM            = 91 * time.Second
	takesVMDelete      = 28 * time.Second
	takesConnect       = 3 * time.Minute
	takesStorage       = 17 * time.Second
	takesCommand       = time.Minute
	takesOpenSSH       = time.Minute // a guess: no recording has one
	takesSysprep       = 150 * time.Second
	takesDeprovision   = 5 * time.Second
	takesDeallocate    = 53 * time.Second
	takesImage         = 10 * time.Second
	takesReplication   = 7 * time.Minute
	takesShallow       = 45 * time.Second
	takesVersionDelete = 91 * time.Second
	takesSnapshot      = time.Second
	takesCopy          = 35 * time.Minute // 127 GiB at 60 MB a second
	takesImageDelete   = 10 * time.Second
)
