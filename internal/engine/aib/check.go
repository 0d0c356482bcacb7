package aib

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/imagebuilder"
)

// Check says what the service cannot do with img. What it can do in another way only, or does by itself, is no word worth; what has no
// effect on the image is a warning; what would be lost is an error unless the image says allow_lossy; what cannot be had is an error.
func (Engine) Check(img *image.Image) diag.List {
	var l diag.List
	const vm = "or build on a VM of your own: --engine vm"
	if loc := image.NormalLocation(img.Machine.Location); loc != "" && !slices.Contains(imagebuilder.Regions(), loc) {
		l.Errorf(img.Pos, "use one of its regions for location, such as westeurope; it distributes anywhere; "+vm+", which works in every region", "Image Builder does not run in %s", loc)
	}
	r := imagebuilder.Compile(img, imagebuilder.Options{Hosted: true})
	without := map[string][]string{}
	var reasons []string
	for _, x := range r.Losses {
		pos := x.Pos
		if pos == (diag.Pos{}) {
			pos = img.Pos
		}
		switch {
		case x.Mild && x.Kind == "lossy" && !strings.Contains(x.Reason, "no effect"):
		case x.Mild:
			if without[x.Reason] == nil {
				reasons = append(reasons, x.Reason)
			}
			without[x.Reason] = append(without[x.Reason], x.Field)
		case x.Kind == "impossible":
			l.Errorf(pos, "do what it says, leave it out, "+vm, "Image Builder cannot do %s: %s", x.Field, x.Reason)
		case img.Engine.AllowLossy:
			l.Warnf(pos, "nothing, if that is all right: --allow-lossy says so", "lost on Image Builder: %s: %s", x.Field, x.Reason)
		default:
			l.Errorf(pos, "--allow-lossy goes on without it; "+vm, "%s would be lost on Image Builder: %s", x.Field, x.Reason)
		}
	}
	for _, reason := range reasons {
		fields := without[reason]
		l.Warnf(img.Pos, "nothing: the same template builds on a VM of your own", "Image Builder goes without %s: %s", strings.Join(fields, ", "), strings.TrimSuffix(reason, "; it has no effect on the image"))
	}
	checkSystem(img, &l)
	checkBuilder(img, &l)
	checkTargets(img, r.Template, &l)
	if d := timeout(img); d != 0 && (d < 6*time.Minute || d > 960*time.Minute) {
		l.Errorf(img.Pos, "set timeout (or buildTimeoutInMinutes) to 6m to 960m; 0 is the service's own 240 minutes", "Image Builder gives a build 6 to 960 minutes, not %s", d)
	} else if d != 0 && d < time.Hour && img.OS == image.Windows {
		l.Warnf(img.Pos, "give it an hour or more", "a Windows build on Image Builder seldom takes less than an hour, and it is given %s", d)
	}
	if n := len(img.Tags); n > 48 {
		l.Errorf(img.Pos, "remove some", "%d tags: Azure allows 50 on a resource, and Ingot needs two of them", n)
	}
	return l
}

// timeout is what the service is told: the engine block's wins.
func timeout(img *image.Image) time.Duration {
	if img.Engine.Timeout != 0 {
		return img.Engine.Timeout
	}
	return img.Managed.Timeout
}

func checkSystem(img *image.Image, l *diag.List) {
	steps := img.Provision
	if img.Validation != nil {
		steps = slices.Concat(steps, img.Validation.Steps)
	}
	for _, p := range steps {
		switch {
		case img.OS == image.Linux && slices.Contains([]string{"powershell", "windows-restart", "windows-update"}, p.Type):
			l.Errorf(p.Pos, "use a shell provisioner", "provisioner %s is for Windows guests; os_type is Linux", p.Type)
		case img.OS == image.Windows && p.Type == "shell":
			l.Errorf(p.Pos, "use a powershell provisioner", "provisioner shell is for Linux guests; os_type is Windows")
		}
	}
}

// checkBuilder judges how the build is handed over.
func checkBuilder(img *image.Image, l *diag.List) {
	o := img.Engine.Builder
	given := o.Identity
	if given == "" && len(img.Managed.Identities) > 0 {
		given = img.Managed.Identities[0]
	}
	switch {
	case o.CreateIdentity && o.Identity != "":
		l.Errorf(img.Pos, "keep one of them", "identity and create_identity exclude one another")
	case len(img.Managed.Identities) > 1:
		l.Errorf(img.Pos, "name one", "the template names %d identities, and Image Builder takes exactly one", len(img.Managed.Identities))
	case given != "" && !strings.Contains(strings.ToLower(given), "/providers/microsoft.managedidentity/userassignedidentities/"):
		l.Errorf(img.Pos, "write /subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME", "%q is no id of a user-assigned identity", given)
	}
	if o.KeepTemplate && o.ResourceGroup == "" && img.Machine.ResourceGroup == "" {
		l.Errorf(img.Pos, "set resource_group in the engine block, or build_resource_group_name", "a template that is kept needs a resource group that stays")
	}
	if o.KeepTemplate && o.CreateIdentity {
		l.Errorf(img.Pos, "name an identity that stays", "a template that is kept needs an identity that stays, and one made for the build (create_identity) goes with it")
	}
	if o.ReadAsIdentity && o.CreateIdentity && o.StorageAccount == "" {
		l.Errorf(img.Pos, "set storage_account, or leave read_as_identity out", "an identity made for the build could not be given a role on a storage account made for it in time")
	}
	if !o.Trigger {
		return
	}
	if !o.KeepTemplate {
		l.Errorf(img.Pos, "set keep_template = true", "a trigger builds with the template later on, so that the template must be kept")
	}
	for _, t := range img.Targets {
		if g, ok := t.(image.ToGallery); ok && g.Version != "auto" && !g.FromSource {
			l.Errorf(g.Pos, `set image_version = "auto"`, "a trigger builds version after version, and the target names version %s", g.Version)
		}
	}
	switch s := img.Source.(type) {
	case image.Marketplace:
		if s.Version != "" && s.Version != "latest" {
			l.Errorf(s.Pos, "leave image_version out", "a trigger waits for newer versions of the source, and the template names version %s", s.Version)
		}
	case image.GalleryVersion:
		if s.Version != "" && s.Version != "latest" {
			l.Errorf(s.Pos, "leave image_version out", "a trigger waits for newer versions of the source, and the template names version %s", s.Version)
		}
		for _, t := range img.Targets {
			if g, ok := t.(image.ToGallery); ok && strings.EqualFold(g.Gallery, s.Gallery) && strings.EqualFold(g.Image, s.Image) {
				l.Errorf(g.Pos, "publish to another definition", "a trigger would set itself off: source and target are the definition %s/%s", g.Gallery, g.Image)
			}
		}
	default:
		l.Errorf(img.Pos, "start from the marketplace or a gallery", "a trigger waits for newer versions of a marketplace or gallery image, and the source is neither")
	}
}

func checkTargets(img *image.Image, t *imagebuilder.Template, l *diag.List) {
	if len(img.Targets) == 0 && (img.Validation == nil || !img.Validation.SourceOnly) && !img.SkipImage {
		l.Errorf(img.Pos, "add shared_image_gallery_destination, managed_image_name or storage_account", "the image has no target: nothing would be kept of the build")
	}
	if o := img.Engine.Builder; !o.KeepTemplate {
		for _, x := range img.Targets {
			if v, ok := x.(image.ToVHD); ok && v.URI == "" && v.StorageAccount == "" {
				l.Errorf(v.Pos, "give it a uri: https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME.vhd; or keep the template (keep_template)", "a VHD without an address goes to the template's own storage account, and with the template")
			}
		}
	}
	seen := map[string]bool{}
	for _, d := range t.Properties.Distribute {
		switch {
		case !imagebuilder.ValidName(d.RunOutputName):
			l.Errorf(img.Pos, "use at most 64 letters, digits, - _ .", "runOutputName is no name: %q", d.RunOutputName)
		case seen[d.RunOutputName]:
			l.Errorf(img.Pos, "give each target a name of its own", "runOutputName %q stands twice", d.RunOutputName)
		}
		seen[d.RunOutputName] = true
	}
	if n := img.Managed.Template; n != "" && !imagebuilder.ValidName(n) {
		l.Errorf(img.Pos, "use at most 64 letters, digits, - _ .", "%q is no name of an image template", n)
	}
	if v := t.Properties.VM; v != nil && v.VNet != nil {
		switch n := v.VNet; {
		case n.ContainerSubnet != "" && n.Subnet == "":
			l.Errorf(img.Pos, "name the build machine's subnet too", "containerInstanceSubnetId works with a subnet of the build machine only")
		case n.ContainerSubnet != "" && n.ProxySize != "":
			l.Errorf(img.Pos, "leave proxyVmSize out", "proxyVmSize and containerInstanceSubnetId exclude one another: there is no proxy with a subnet for the container")
		case strings.EqualFold(n.ContainerSubnet, n.Subnet) && n.Subnet != "":
			l.Errorf(img.Pos, "name two subnets of one network", "the container and the build machine cannot share a subnet")
		}
	}
}

// noIdentity is said where there is nobody that the service could build as. Whether there is, a rehearsal decides late: it makes one.
func noIdentity(img *image.Image) error {
	return fmt.Errorf("cannot build %s with Image Builder without an identity for it: name one (--identity, or identity in the engine block of a *.ingot.hcl file), or have one made for the build (--create-identity)", img.Name)
}
