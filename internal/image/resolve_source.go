package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ingot/internal/diag"
)

// shared resolves an image of somebody else's gallery: its id is spelt as Azure wants it, with an exact version.
func (r *resolver) shared(ctx context.Context, s SharedGalleryImage) (Base, bool) {
	what, root := "directly shared gallery image", "/SharedGalleries/"
	if s.Community {
		what, root = "community gallery image", "/CommunityGalleries/"
	}
	parts := strings.Split(strings.Trim(s.ID, "/"), "/") // sharedGalleries/G/images/I[/versions/V]: its form has been checked
	if len(parts) < 4 {
		r.problem(s.Pos, "write "+root+"NAME/Images/NAME/Versions/1.0.0", "%q is no id of a %s", s.ID, what)
		return Base{}, false
	}
	gallery, image, version := parts[1], parts[3], ""
	if len(parts) > 5 && !strings.EqualFold(parts[5], "latest") {
		version = parts[5]
	}
	d, err := r.c.SharedImage(ctx, r.f.Location, gallery, image, s.Community)
	if r.failed(err, s.Pos, "check the names, and that its owner has replicated it to "+r.f.Location, "%s %s/%s does not exist in %s, or is not shared with this subscription", what, gallery, image, r.f.Location) {
		return Base{}, false
	}
	if version == "" {
		version = Newest(d.Versions)
	}
	// A version that its owner keeps from being the latest is not in the list and can be asked for all the same.
	if version == "" {
		r.problem(s.Pos, "ask its owner to publish one there", "%s %s/%s has no version in %s", what, gallery, image, r.f.Location)
		return Base{}, false
	}
	id := root + gallery + "/Images/" + image + "/Versions/" + version
	b := Base{Version: version, OS: d.OS, Generation: d.Generation, Specialized: d.OSState == "Specialized", SecurityType: d.SecurityType, Plan: r.planOr(s.Plan, d.Plan)}
	if s.Community {
		b.CommunityImageID = id
	} else {
		b.SharedImageID = id
	}
	return b, true
}

// plan is the template's plan for an image that is sold with one.
func (r *resolver) plan(given, asked *PurchasePlan, pos diag.Pos, what string) *PurchasePlan {
	if asked != nil && given == nil {
		r.problem(pos, fmt.Sprintf("add plan_info { plan_name = %q  plan_product = %q  plan_publisher = %q } and accept the terms once: %s", asked.Name, asked.Product, asked.Publisher, accept(*asked)),
			"%s is sold with a plan that the template does not name", what)
	}
	return cmp.Or(given, asked)
}

// planOr is the template's plan, or the one that the image's definition names: whoever made that has said it already.
func (r *resolver) planOr(given, asked *PurchasePlan) *PurchasePlan { return cmp.Or(given, asked) }

// accept is how terms are accepted, once for each subscription.
func accept(p PurchasePlan) string {
	return fmt.Sprintf("az vm image terms accept --publisher %s --offer %s --plan %s", p.Publisher, p.Product, p.Name)
}

// terms asks whether the subscription has accepted a plan's terms: Azure would refuse the machine, minutes later
// (MarketplacePurchaseEligibilityFailed, ResourcePurchaseValidationFailed).
func (r *resolver) terms(ctx context.Context, p PurchasePlan) {
	pos := r.img.Pos
	if s, ok := r.img.Source.(interface{ at() diag.Pos }); ok {
		pos = s.at()
	}
	accepted, err := r.c.TermsAccepted(ctx, p)
	switch {
	case errors.Is(err, ErrNotFound):
		r.problem(pos, "check plan_name, plan_product and plan_publisher: az vm image show names them under plan", "the marketplace has no plan %q of %s:%s", p.Name, p.Publisher, p.Product)
	case err != nil:
		// The right to read agreements is no part of the roles that a build needs otherwise; Azure checks again.
		r.warn(pos, accept(p), "cannot tell whether the terms of plan %q of %s:%s are accepted: %v", p.Name, p.Publisher, p.Product, err)
	case !accepted:
		r.problem(pos, accept(p), "the terms of marketplace plan %q of %s:%s are not accepted in subscription %s", p.Name, p.Publisher, p.Product, r.f.Subscription)
	}
}

func (s Marketplace) at() diag.Pos        { return s.Pos }
func (s GalleryVersion) at() diag.Pos     { return s.Pos }
func (s SharedGalleryImage) at() diag.Pos { return s.Pos }
func (s ManagedImage) at() diag.Pos       { return s.Pos }
func (s VHD) at() diag.Pos                { return s.Pos }

// generation settles that of a VHD, which nothing but its owner knows: what the definitions say that it goes to; without one,
// generation 1, which is all that Packer's image_url could ever start.
func (r *resolver) generation() {
	if r.f.Base.BlobURL == "" || r.f.Base.Generation != "" {
		return
	}
	r.f.Base.Generation = "V1"
	for _, g := range r.f.Galleries {
		r.f.Base.Generation = cmp.Or(g.Generation, "V1")
	}
}

// hardware holds the kind of machine against what the size and the source are able to
// (https://learn.microsoft.com/azure/virtual-machines/: spot-vms, enable-nvme-interface; confidential-vm-overview; the size's
// capabilities are those of the list of resource SKUs).
func (r *resolver) hardware() {
	f, m, pos := r.f, r.img.Machine, r.img.Pos
	r.specialized()
	if (m.SecurityType == "TrustedLaunch" || m.SecureBoot || m.VTPM) && m.SecurityType != "ConfidentialVM" && (f.Base.ManagedImageID != "" || f.Base.BlobURL != "") {
		// learn.microsoft.com/azure/virtual-machines/trusted-launch: "Managed image" is among what it does not support.
		r.problem(pos, "start from a gallery version, or leave Trusted Launch out", "Trusted Launch cannot be had with a managed image or a VHD as the source")
	}
	if m.SecurityType == "ConfidentialVM" {
		if f.Size.Confidential == "" {
			r.problem(pos, "choose a size of the DCasv5, DCadsv5, ECasv5, ECadsv5, DCesv5 or ECesv5 series, or their successors", "VM size %s cannot be a confidential VM", f.Size.Name)
		}
		switch {
		case f.Base.Generation == "V1":
			r.problem(pos, "start from a generation 2 image", "a confidential VM needs a generation 2 image, and the source is generation 1")
		case f.Base.ManagedImageID != "" || f.Base.BlobURL != "":
			r.problem(pos, "start from a marketplace image or a gallery version that supports it", "a confidential VM cannot be made of a managed image or a VHD")
		case !strings.Contains(strings.ToLower(f.Base.SecurityType), "confidential"):
			r.problem(pos, "start from an image whose SecurityType is ConfidentialVM, ConfidentialVmSupported or TrustedLaunchAndConfidentialVmSupported",
				"the source image does not support confidential VMs (its SecurityType is %q)", f.Base.SecurityType)
		}
	} else if f.Size.Confidential != "" {
		r.problem(pos, `set security_type = "ConfidentialVM", or choose another size`, "VM size %s is for confidential VMs only", f.Size.Name)
	}
	if c := m.DiskController; c != "" {
		offered := f.Size.Controllers
		if len(offered) == 0 {
			offered = []string{"SCSI"}
		}
		if !slices.Contains(offered, c) {
			r.problem(pos, "leave disk_controller_type out, or choose another size", "VM size %s has no %s disk controller (it has %s)", f.Size.Name, c, strings.Join(offered, " and "))
		}
		if c == "NVMe" && f.Base.Generation == "V1" {
			r.problem(pos, "start from a generation 2 image", "an NVMe disk controller needs a generation 2 image, and the source is generation 1")
		}
	}
	if m.Spot != nil && f.Size.Name != "" && !f.Size.LowPriority {
		r.problem(pos, "choose another size, or leave spot out", "VM size %s cannot be a spot VM", f.Size.Name)
	}
	if m.AcceleratedNetworking != nil && *m.AcceleratedNetworking && !f.Size.Accelerated {
		r.problem(pos, "leave accelerated_networking out, or choose another size", "VM size %s has no accelerated networking", f.Size.Name)
	}
	if m.EncryptionAtHost != nil && *m.EncryptionAtHost && !f.Size.HostEncrypts {
		r.problem(pos, "leave encryption_at_host out, or choose another size", "VM size %s cannot encrypt at the host", f.Size.Name)
	}
	if strings.HasPrefix(m.OSDiskType, "Premium") && !f.Size.Premium {
		r.problem(pos, `set managed_image_storage_account_type = "StandardSSD_LRS", or choose a size with an s in its name`, "VM size %s takes no premium disks", f.Size.Name)
	}
}

// specialized is what a specialised source asks of the template: Azure makes no accounts in its machines and installs no certificate
// (https://learn.microsoft.com/azure/virtual-machines/shared-image-galleries, "Generalized and specialized images").
func (r *resolver) specialized() {
	if !r.f.Base.Specialized {
		return
	}
	m, c, pos := r.img.Machine, r.img.Communicator, r.img.Pos
	if !m.CustomData.IsZero() {
		r.problem(pos, "use user_data, or a provisioner", "custom_data has no effect on a machine of a specialised image: Azure does not provision it")
	}
	switch c.Kind {
	case "winrm":
		if c.Password.IsZero() {
			r.problem(c.Pos, "set winrm_username and winrm_password to an account that is in the image", "the source image is specialised: its machines keep its accounts, and the template names none")
		}
		if !c.Insecure {
			r.problem(c.Pos, "set winrm_insecure = true: Ingot then takes the certificate that the machine shows first, and no other after it", "the source image is specialised: its WinRM has a certificate that is not known beforehand")
		}
	case "ssh":
		if c.Password.IsZero() && c.SSH.PrivateKeyFile == "" && !c.SSH.Agent {
			r.problem(c.Pos, "set ssh_username with ssh_private_key_file or ssh_password, of an account that is in the image", "the source image is specialised: its machines keep its accounts, and the template names none")
		}
	}
}
