package vm

import (
	"slices"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// limits says what a template may ask for and this engine does not do yet: it is refused by name before anything is made, and
// never left out in silence.
func limits(img *image.Image) diag.List {
	var l diag.List
	no := func(set bool, pos diag.Pos, remedy, what string) {
		if set {
			if pos == (diag.Pos{}) {
				pos = img.Pos
			}
			l.Errorf(pos, remedy, "this version of Ingot cannot build with %s on a VM of its own yet", what)
		}
	}
	switch s := img.Source.(type) {
	case image.VHD:
		no(true, s.Pos, "import the VHD as a managed image and name that", "a VHD as the source (image_url)")
	case image.SharedGalleryImage:
		what := "a directly shared gallery image as the source"
		if s.Community {
			what = "a community gallery image as the source"
		}
		no(true, s.Pos, "copy the image to a gallery of your own", what)
	case image.GalleryVersion:
		no(s.Plan != nil, s.Pos, "start from the marketplace image itself", "a purchase plan on a gallery image")
	case image.ManagedImage:
		no(s.Plan != nil, s.Pos, "start from the marketplace image itself", "a purchase plan on a managed image")
		no(s.Subscription != "" && img.Identity.SubscriptionID != "" && s.Subscription != img.Identity.SubscriptionID, s.Pos, "copy the image into the build's subscription", "a managed image of another subscription")
	}
	if n := len(img.Tags); n > 48 && n <= 50 {
		l.Errorf(img.Pos, "remove some", "%d tags: Azure allows 50 on a resource, and Ingot needs two of them", n)
	}
	m := img.Machine
	no(m.SecurityType == "ConfidentialVM", img.Pos, `use security_type = "TrustedLaunch"`, "a confidential VM")
	no(m.DiskController != "", img.Pos, "leave disk_controller_type out", "a choice of disk controller")
	no(m.Spot != nil, img.Pos, "leave spot out", "a spot VM")
	no(!m.CustomScript.IsZero(), img.Pos, "use a powershell provisioner", "custom_script")
	no(m.KeyVault.Skip, img.Pos, "leave skip_create_build_key_vault out, or name an existing vault in build_key_vault_name", "no key vault")
	no(img.Communicator.Pause > 0, img.Communicator.Pos, "leave pause_before_connecting out: Ingot waits until the guest answers", "pause_before_connecting")
	no(m.Network.Subscription != "" && m.Network.Subscription != img.Identity.SubscriptionID, img.Pos, "use a network of the build's subscription", "a network of another subscription")
	l = append(l, targetLimits(img)...)
	no(img.Engine.Name == "aib", img.Pos, `set name = "vm" in the engine block`, "Azure Image Builder as the engine")
	no(img.Managed.AutoRun == "Enabled", img.Pos, "leave autoRun out: ingot build runs it", "autoRun")
	no(img.Engine.Detach, img.Pos, "leave detach out", "detached builds")
	no(img.Managed.Workload != nil || img.Managed.VMBoot == "Enabled", img.Pos, "leave optimize out", "the managed service's optimisation of the image")
	ssh := img.Communicator.SSH
	no(ssh.CertificateFile != "" || ssh.KeypairName != "", img.Communicator.Pos, "leave it out: a key is made for each build", "an SSH certificate or key pair")
	no(ssh.Bastion != image.Bastion{}, img.Communicator.Pos, "build from a machine inside the network", "an SSH bastion")
	no(ssh.Proxy != image.SOCKS{}, img.Communicator.Pos, "build from a machine inside the network", "a SOCKS proxy")
	no(len(ssh.RemoteTunnels)+len(ssh.LocalTunnels) > 0, img.Communicator.Pos, "leave them out", "SSH tunnels")
	no(ssh.TemporaryKeyType == "ecdsa" || ssh.TemporaryKeyType == "dsa", img.Communicator.Pos, "use ed25519 or rsa: Azure takes no other", "a key of type "+ssh.TemporaryKeyType)
	windowsOnly := []string{"powershell", "windows-shell", "windows-restart", "windows-update", "dsc"}
	for _, p := range slices.Concat(img.Provision, img.Cleanup, trials(img)) {
		if img.OS == image.Linux && slices.Contains(windowsOnly, p.Type) {
			l.Errorf(p.Pos, "use a shell provisioner", "provisioner %s is for Windows guests; os_type is Linux", p.Type)
			continue
		}
		if img.OS == image.Windows && p.Type == "shell" {
			l.Errorf(p.Pos, "use a powershell provisioner", "provisioner shell is for Linux guests; os_type is Windows")
			continue
		}
		if _, ok := p.Settings.(provisioner.Runner); !ok {
			no(true, p.Pos, "leave it out, or do the same in a powershell provisioner", "provisioner "+p.Type)
		}
		if s, ok := p.Settings.(provisioner.Limited); ok {
			for _, x := range s.Limits() {
				l.Errorf(p.Pos, x.Remedy, "%s of provisioner %s is not supported: %s", x.Option, p.Type, x.Why)
			}
		}
	}
	return l
}
