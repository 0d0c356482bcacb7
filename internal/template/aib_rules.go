package template

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/imagebuilder"
)

var (
	aibName        = regexp.MustCompile(`^[A-Za-z0-9-_.]{1,64}$`)
	managedImageID = regexp.MustCompile(`(?i)^/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Compute/images/([^/]+)$`)
	subnetID       = regexp.MustCompile(`(?i)^/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Network/virtualNetworks/([^/]+)/subnets/([^/]+)$`)
	groupID        = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+$`)
)

// beside are what deployment templates have in a resource that is no property of it.
func beside() []string {
	return []string{"dependsOn", "condition", "comments", "metadata", "scale", "zones", "tier", "copy"}
}

// template is an image template while it is judged.
type aib struct {
	*decoder
	d       *deployment
	version string // api-version; the newest when the template names none
	partly  bool   // parts of it are known only once it is deployed: nothing is missed
	strict  bool   // the service of that version refuses names that it does not know
}

// imageTemplate reads one resource whose expressions are evaluated.
func (l *loader) imageTemplate(n *jsonNode, dep *deployment) {
	pos := at(n.at)
	pos.End = pos.Start + 1
	if n.kind != '{' {
		l.problems.Errorf(pos, "", "an image template is an object, not %s", n.kindName())
		return
	}
	dep.placeholders(n, false)
	flattened := n.get("properties") == nil
	if flattened {
		n = unflatten(n)
	}
	n = withoutReadOnly(n)
	name := "template"
	if v := n.get("name"); v != nil && v.kind == '"' && v.text != "" {
		name = v.text // secrets of two templates in one deployment have names of their own
	}
	d := l.decoder(nil, "the image template", name, pos)
	a := &aib{decoder: d, d: dep, partly: n.unknown(), version: imagebuilder.APIVersions()[len(imagebuilder.APIVersions())-1]}
	if v := n.get("apiVersion"); v != nil && v.kind == '"' && v.text != "" {
		a.version = v.text
		if !slices.Contains(imagebuilder.APIVersions(), v.text) {
			l.problems.Errorf(at(v.at), "use "+a.newest(), "apiVersion %q is none that Image Builder has", v.text)
			a.version = a.newest()
		} else if strings.HasSuffix(v.text, "-preview") {
			l.problems.Warnf(at(v.at), "use "+a.newest(), "apiVersion %s is a preview", v.text)
		}
	}
	a.strict = a.version >= imagebuilder.StrictFrom && !flattened
	d.loose, d.typed = !a.strict, true
	if !a.strict {
		n = normalize(n, reflectNames(&imagebuilder.Template{}))
	}
	var t imagebuilder.Template
	d.into(&t, "", beside(), jsonBody{n, nil, nil})
	if len(dep.empty) > 0 {
		return // nothing that is said of a placeholder helps
	}
	img := a.toImage(&t)
	l.addImage(img, pos)
}

func (a *aib) newest() string { v := imagebuilder.APIVersions(); return v[len(v)-1] }

// withoutReadOnly leaves out what the service writes: a template that was read back or exported still holds it.
func withoutReadOnly(n *jsonNode) *jsonNode {
	drop := func(n *jsonNode, names ...string) *jsonNode {
		out := *n
		out.fields = slices.DeleteFunc(slices.Clone(n.fields), func(f jsonField) bool {
			return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, f.name) })
		})
		return &out
	}
	out := drop(n, "id", "systemData", "resourceGroup")
	for i, f := range out.fields {
		if f.name == "properties" && f.value.kind == '{' {
			out.fields[i].value = drop(f.value, "provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup")
		}
	}
	return out
}

// unflatten puts what `az image builder show` prints back into the form of the resource: it has the properties at the top, and
// null for what is not set.
func unflatten(n *jsonNode) *jsonNode {
	top := []string{"id", "name", "type", "location", "tags", "identity", "apiVersion", "systemData", "resourceGroup"}
	out, props := &jsonNode{kind: '{', at: n.at}, &jsonNode{kind: '{', at: n.at}
	for _, f := range n.fields {
		switch {
		case f.value.kind == 'n':
		case slices.Contains(top, f.name):
			out.fields = append(out.fields, f)
		default:
			props.fields = append(props.fields, f)
		}
	}
	out.fields = append(out.fields, jsonField{"properties", n.at, props})
	return out
}

// normalize gives names the case they have in the resource: older versions of the service, and the tools that print what it
// answers, do not care.
func normalize(n *jsonNode, names map[string]string) *jsonNode {
	out := *n
	out.fields, out.items = nil, nil
	for _, f := range n.fields {
		if name, ok := names[strings.ToLower(f.name)]; ok && f.name != name && n.get(name) == nil {
			f.name = name
		}
		if f.name != "tags" && f.name != "artifactTags" && f.name != "managedResourceTags" && f.name != "userAssignedIdentities" {
			f.value = normalize(f.value, names)
		}
		out.fields = append(out.fields, f)
	}
	for _, x := range n.items {
		out.items = append(out.items, normalize(x, names))
	}
	return &out
}

// bad complains of an option with the service's own words as the detail.
func (a *aib) bad(option, service, remedy, format string, args ...any) {
	if a.broken[option] {
		return
	}
	detail := ""
	if service != "" {
		detail = "Image Builder says: " + service
	}
	a.l.problems = append(a.l.problems, diag.Problem{Severity: diag.Error, Summary: fmt.Sprintf(format, args...), Detail: detail, Remedy: remedy, Pos: a.place(option)})
}

// missing complains of a property that must be there.
func (a *aib) missing(option, parent, name string) {
	if a.partly {
		return
	}
	a.bad(cmp.Or(a.known(option), parent), fmt.Sprintf("'ImageTemplate.%s': Missing field %s", wire(parent), name), "add "+name, "%s needs %s", wire(parent), name)
}

func (a *aib) known(option string) string {
	if _, ok := a.pos[option]; ok {
		return option
	}
	return ""
}

// wire is an option as the service counts it: properties.distribute, properties.distribute[1] are its [0] and [1].
func wire(option string) string {
	for _, list := range []string{"properties.customize", "properties.distribute", "properties.validate.inVMValidations"} {
		if rest, ok := strings.CutPrefix(option, list); ok && !strings.HasPrefix(rest, "[") {
			return list + "[0]" + rest
		}
	}
	return option
}

// only reports properties that the type of its object does not have, and those that the api-version does not.
func (a *aib) only(prefix, typ, key string) {
	allowed := imagebuilder.OfType()[key]
	for _, option := range keys(a.pos) {
		rest, ok := strings.CutPrefix(option, prefix+".")
		if !ok || strings.Contains(rest, ".") || !a.used[option] && !a.strict {
			continue
		}
		name, _, _ := strings.Cut(rest, "[")
		if slices.Contains(allowed, name) {
			continue
		}
		if a.strict {
			a.bad(option, fmt.Sprintf("unknown field %q. There is an issue with the syntax with the JSON template you are submitting. Please check the JSON template for syntax and grammar.", name), "remove it", "%s has no property %s", typ, name)
		} else {
			a.l.problems.Warnf(a.place(option), "remove it", "%s has no property %s: it has no effect", typ, name)
		}
	}
}

var counted = regexp.MustCompile(`\[\d+\]`)

// versions reports what the api-version is too old for.
func (a *aib) versions() {
	for _, option := range keys(a.pos) {
		v, ok := imagebuilder.Since()[counted.ReplaceAllString(option, "")]
		if !ok || a.version >= v {
			continue
		}
		name := option[strings.LastIndex(option, ".")+1:]
		if a.strict {
			a.bad(option, fmt.Sprintf("unknown field %q", name), `set "apiVersion": "`+v+`" or newer`, "%s came with api-version %s, and the template names %s", name, v, a.version)
		} else {
			a.l.problems.Warnf(a.place(option), `set "apiVersion": "`+v+`" or newer`, "%s has no effect: it came with api-version %s, and the template names %s", name, v, a.version)
		}
	}
}

// toImage applies the service's defaults and rules (reference azure-image-builder.md section 1.2) and makes the model.
func (a *aib) toImage(t *imagebuilder.Template) *image.Image {
	base := filepath.Base(a.at.File)
	name := cmp.Or(t.Name, strings.TrimSuffix(strings.TrimSuffix(base, ".jsonc"), ".json"))
	img := &image.Image{Name: name, Pos: a.at}
	img.Managed = image.Managed{Template: t.Name, APIVersion: a.version, Tags: t.Tags}
	if t.Name != "" && !aibName.MatchString(t.Name) {
		a.bad("name", "", "use at most 64 letters, digits, - _ .", "%q is no name of an image template", t.Name)
	}
	switch {
	case t.Type == "" || strings.EqualFold(t.Type, imagebuilder.Type):
	case strings.EqualFold(t.Type, "Microsoft.VirtualMachineImages"):
		a.l.problems.Warnf(a.place("type"), `write "type": "`+imagebuilder.Type+`"`, "type lacks the resource's own name")
	default:
		a.bad("type", "", `write "type": "`+imagebuilder.Type+`"`, "type %q is not an image template's", t.Type)
	}
	if t.Location == "" {
		a.missing("location", "location", "location")
	}
	img.Machine.Location = image.NormalLocation(t.Location)
	if l := img.Machine.Location; l != "" && t.Location != unknownLocation && !slices.Contains(imagebuilder.Regions(), l) {
		a.l.problems.Warnf(a.place("location"), "use one of its regions, such as westeurope; or build it on a VM of your own (ingot build), which works in any region", "Image Builder does not run in %q", t.Location)
	}
	a.unknownScope()
	a.identities(t, img)
	p := t.Properties
	if p == nil {
		a.missing("properties", "properties", "source")
		return img
	}
	a.versions()
	img.Source = a.source(p.Source, img)
	img.Machine.APITimeout, img.Machine.OSDiskType, img.Machine.DiskCaching = 15*time.Minute, "Standard_LRS", "ReadWrite"
	for i, s := range p.Customize {
		if x, ok := a.step(nth("properties.customize", i), &s, i, true); ok {
			img.Provision = append(img.Provision, x)
		}
	}
	a.builtIns(img)
	a.validation(p, img)
	img.OS = a.os(img)
	img.Communicator = image.Communicator{Kind: "winrm", User: "packer", Port: 5986, Timeout: 30 * time.Minute, UseSSL: true, Insecure: true, NTLM: true, Pos: a.at}
	if img.OS == image.Linux {
		img.Communicator = image.Communicator{Kind: "ssh", User: "packer", Port: 22, Timeout: 20 * time.Minute, Pos: a.at}
	}
	a.machine(p, img)
	a.rest(p, img)
	if len(p.Distribute) == 0 && (img.Validation == nil || !img.Validation.SourceOnly) {
		a.missing("properties.distribute", "properties", "distribute")
	}
	outputs := map[string]bool{}
	for i, x := range p.Distribute {
		a.distribute(nth("properties.distribute", i), &x, img, outputs)
	}
	return img
}

// unknownScope says once what a deployment would know and nobody has said.
func (a *aib) unknownScope() {
	if a.d.bare {
		return
	}
	text := string(a.l.r.Sources[a.at.File])
	for _, x := range []struct{ call, have, flag string }{{"resourceGroup()", a.l.o.ResourceGroup, "--resource-group and --location"}, {"subscription()", a.l.o.Subscription, "--subscription"}} {
		if x.have == "" && strings.Contains(strings.ToLower(text), strings.ToLower(x.call)) {
			a.l.problems.Warnf(a.at, "give "+x.flag, "the template asks for %s, which only its deployment knows", x.call)
			a.l.r.Unknown = append(a.l.r.Unknown, x.call)
		}
	}
}

func (a *aib) identities(t *imagebuilder.Template, img *image.Image) {
	id := t.Identity
	if id == nil && a.partly {
		return
	}
	if id == nil {
		a.bad("identity", "", `add "identity": { "type": "UserAssigned", "userAssignedIdentities": { "<id>": {} } }`, "the template has no identity, and the service builds as one")
		return
	}
	m, _ := id.UserAssigned.(map[string]any)
	switch {
	case !strings.EqualFold(id.Type, "UserAssigned"):
		a.bad("identity.type", "", `use "UserAssigned"`, "identity.type is %q", id.Type)
	case len(m) != 1 && !a.partly:
		a.bad("identity.userAssignedIdentities", "", "name one identity", "the template names %d identities, and the service takes exactly one", len(m))
	}
	for _, k := range keys(m) {
		if !identityID.MatchString(k) {
			a.bad("identity.userAssignedIdentities", "", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME", "%q is no id of a user-assigned identity", k)
		}
		img.Managed.Identities = append(img.Managed.Identities, k)
	}
}

func (a *aib) source(s *imagebuilder.Source, img *image.Image) image.Source {
	const at = "properties.source"
	if s == nil {
		a.missing(at, "properties", "source")
		return image.Marketplace{Pos: a.at}
	}
	pos := a.place(at)
	switch s.Type {
	case "PlatformImage":
		a.only(at, "a source of type PlatformImage", "PlatformImage")
		for _, x := range [][2]string{{"publisher", s.Publisher}, {"offer", s.Offer}, {"sku", s.SKU}, {"version", s.Version}} {
			if x[1] == "" {
				a.missing(at+"."+x[0], at, x[0])
			}
		}
		m := image.Marketplace{Publisher: s.Publisher, Offer: s.Offer, SKU: s.SKU, Version: s.Version, Pos: pos}
		if p := s.Plan; p != nil {
			if p.Name == "" || p.Product == "" || p.Publisher == "" {
				a.bad(at+".planInfo", "'ImageTemplate.properties.source.planInfo': Missing field planName", "add them", "planInfo needs planName, planProduct and planPublisher")
			}
			m.Plan = &image.PurchasePlan{Name: p.Name, Product: p.Product, Publisher: p.Publisher}
		}
		return m
	case "ManagedImage":
		a.only(at, "a source of type ManagedImage", "ManagedImage source")
		if s.ImageID == "" {
			a.missing(at+".imageId", at, "imageId")
			return image.ManagedImage{Pos: pos}
		}
		m := managedImageID.FindStringSubmatch(s.ImageID)
		if m == nil {
			a.bad(at+".imageId", "'ImageTemplate.properties.source': Field 'imageId' has a bad value: '"+s.ImageID+"'", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/images/NAME", "imageId is no id of a managed image")
			return image.ManagedImage{Pos: pos}
		}
		return image.ManagedImage{Subscription: m[1], ResourceGroup: m[2], Name: m[3], Pos: pos}
	case "SharedImageVersion":
		a.only(at, "a source of type SharedImageVersion", "SharedImageVersion")
		if s.ImageVersionID == "" {
			a.missing(at+".imageVersionId", at, "imageVersionId")
			return image.GalleryVersion{Pos: pos}
		}
		if directSharedID.MatchString(s.ImageVersionID) {
			return image.SharedGalleryImage{ID: s.ImageVersionID, Pos: pos}
		}
		m := galleryIDFor.FindStringSubmatch(s.ImageVersionID)
		if m == nil || m[5] == "" {
			a.bad(at+".imageVersionId", "'ImageTemplate.properties.source': Field 'imageVersionId' has a bad value: '"+s.ImageVersionID+"'", "write /subscriptions/…/galleries/NAME/images/NAME/versions/1.0.0 or …/versions/latest", "imageVersionId is no id of a gallery image version")
			return image.GalleryVersion{Pos: pos}
		}
		if strings.EqualFold(m[5], "latest") && a.version < "2022-07-01" {
			a.bad(at+".imageVersionId", "", `set "apiVersion": "2022-07-01" or newer, or name a version`, "a source version latest came with api-version 2022-07-01")
		}
		return image.GalleryVersion{Subscription: m[1], ResourceGroup: m[2], Gallery: m[3], Image: m[4], Version: m[5], Pos: pos}
	case "":
		a.missing(at+".type", at, "type")
	default:
		a.bad(at+".type", "BadSourceType", meantOf(s.Type, "PlatformImage", "ManagedImage", "SharedImageVersion"), "source type %q is none that Image Builder has", s.Type)
	}
	return image.Marketplace{Pos: pos}
}

func meantOf(word string, known ...string) string {
	return cmp.Or(meant(word, known), "use one of "+strings.Join(known, ", "))
}

func (a *aib) machine(p *imagebuilder.Properties, img *image.Image) {
	m := &img.Machine
	for i, d := range p.DataDisks {
		if d.GB < 1 {
			a.bad(nth("properties.additionalDataDisks", i), "", "write GB, such as 128", "a data disk cannot have %d GB", d.GB)
		}
		m.DataDisks = append(m.DataDisks, image.DataDisk{GB: d.GB, LUN: -1})
	}
	v := p.VM
	if v == nil || v.Size == "" {
		a.l.problems.Warnf(cmp.Or(a.pos["properties.vmProfile"], a.place("properties")), `set "vmSize": "Standard_D4ds_v5", or what you need`, "vmSize is not set: the service takes Standard_D1_v2 for generation 1 and Standard_D2ds_v4 for generation 2, which are small for Windows Update")
	}
	if v == nil {
		return
	}
	m.Size, m.OSDiskGB, m.Identities = v.Size, v.DiskGB, v.Identities
	if v.DiskGB < 0 {
		a.bad("properties.vmProfile.osDiskSizeGB", "", "leave it out for the source's", "osDiskSizeGB is negative")
	}
	for _, id := range v.Identities {
		if !identityID.MatchString(id) {
			a.bad("properties.vmProfile.userAssignedIdentities", "", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME", "%q is no id of a user-assigned identity", id)
		}
	}
	n := v.VNet
	if n == nil {
		return
	}
	const at = "properties.vmProfile.vnetConfig"
	img.Managed.ContainerSubnet, img.Managed.ProxySize = n.ContainerSubnet, n.ProxySize
	sub := subnetID.FindStringSubmatch(n.Subnet)
	switch {
	case n.Subnet != "" && sub == nil:
		a.bad(at+".subnetId", "", "write /subscriptions/…/resourceGroups/…/providers/Microsoft.Network/virtualNetworks/NAME/subnets/NAME", "subnetId is no id of a subnet: %q", n.Subnet)
	case sub != nil:
		m.Network.Subscription, m.Network.ResourceGroup, m.Network.VNet, m.Network.Subnet = sub[1], sub[2], sub[3], sub[4]
	}
	other := subnetID.FindStringSubmatch(n.ContainerSubnet)
	switch {
	case n.ContainerSubnet == "":
	case n.Subnet == "":
		a.bad(at+".containerInstanceSubnetId", "", "add subnetId", "containerInstanceSubnetId works with subnetId only")
	case other == nil:
		a.bad(at+".containerInstanceSubnetId", "", "write /subscriptions/…/virtualNetworks/NAME/subnets/NAME", "containerInstanceSubnetId is no id of a subnet: %q", n.ContainerSubnet)
	case n.ProxySize != "":
		a.bad(at+".proxyVmSize", "", "remove it", "proxyVmSize and containerInstanceSubnetId exclude one another: with a container instance there is no proxy VM")
	case sub != nil && strings.EqualFold(n.Subnet, n.ContainerSubnet):
		a.bad(at+".containerInstanceSubnetId", "", "use two subnets", "subnetId and containerInstanceSubnetId are the same subnet")
	case sub != nil && !strings.EqualFold(strings.Join(sub[1:4], "/"), strings.Join(other[1:4], "/")):
		a.bad(at+".containerInstanceSubnetId", "", "use two subnets of one network", "subnetId and containerInstanceSubnetId are in two networks")
	}
}

// rest is what concerns the service only.
func (a *aib) rest(p *imagebuilder.Properties, img *image.Image) {
	g := &img.Managed
	g.StagingGroup, g.ResourceTags = p.StagingGroup, p.ResourceTags
	g.Timeout = time.Duration(p.Timeout) * time.Minute
	const at = "properties.buildTimeoutInMinutes"
	switch {
	case p.Timeout < 0 || p.Timeout > 960:
		a.bad(at, "", "write 6 to 960, or 0 for 240", "buildTimeoutInMinutes is %d", p.Timeout)
	case p.Timeout >= 1 && p.Timeout < 6:
		a.bad(at, "client_jwt will expire within 5 minutes, please use a JWT that is valid for at least 5 minutes", "write 6 or more, or 0 for 240", "a build cannot end within %d minutes", p.Timeout)
	case p.Timeout >= 6 && p.Timeout < 60 && img.OS == image.Windows:
		a.l.problems.Warnf(a.place(at), "write 60 or more", "buildTimeoutInMinutes is %d: Windows builds take longer, distribution included", p.Timeout)
	}
	if p.StagingGroup != "" && !groupID.MatchString(p.StagingGroup) {
		a.bad("properties.stagingResourceGroup", "", "write /subscriptions/…/resourceGroups/NAME", "stagingResourceGroup is no id of a resource group: %q", p.StagingGroup)
	}
	state := func(option, s string) string {
		if s != "" && s != "Enabled" && s != "Disabled" {
			a.bad(option, "", "use Enabled or Disabled", "%s is %q", option, s)
		}
		return s
	}
	if o := p.Optimize; o != nil {
		if o.VMBoot != nil {
			g.VMBoot = state("properties.optimize.vmBoot.state", o.VMBoot.State)
		}
		if w := o.Workload; w != nil {
			g.Workload = &image.Workload{State: state("properties.optimize.workload.state", w.State), ScriptURI: w.ScriptURI, SHA256: w.SHA256}
		}
	}
	if p.AutoRun != nil {
		g.AutoRun = state("properties.autoRun.state", p.AutoRun.State)
	}
	if e := p.ErrorHandling; e != nil {
		g.OnCustomizerError, g.OnValidationError = e.Customizer, e.Validation
		for _, x := range [][2]string{{"onCustomizerError", e.Customizer}, {"onValidationError", e.Validation}} {
			if x[1] != "" && x[1] != "cleanup" && x[1] != "abort" {
				a.bad("properties.errorHandling."+x[0], "", "use cleanup or abort", "%s is %q", x[0], x[1])
			}
		}
	}
}
