package sim

import (
	"strings"
)

// The staging group: where the service keeps what a template needs, and builds (azure-image-builder.md 2; Learn, "image-builder-json",
// stagingResourceGroup).

const containerGroupType = "Microsoft.ContainerInstance/containerGroups"

// containerGroupKind shows the container in which the service's Packer runs; nobody else can make one here.
func containerGroupKind() kind {
	return kind{typ: containerGroupType, sync: true, takesAway: "nic", fill: func(_ *Azure, r *resource, in ask) { r.props = copyMap(mapping(in.body, "properties")) },
		check: func(*Azure, ask) *refusal {
			return refuse(501, "SimulatorNotImplemented", "The simulated Azure has container groups of Image Builder's runs only: it runs no containers.")
		}}
}

// stagingName is IT_<group>_<template>_<guid>, the middle cut at 40 characters (recorded: IT_img_tmpl_trigger_oz344kb4jenrponiavteww5_<guid>
// of group img_tmpl_trigger_oz344kb4jenrponiavteww5…, template01).
func (w *Azure) stagingName(r *resource) string {
	middle := idPart(r.id, "resourceGroups") + "_" + r.name
	return "IT_" + middle[:min(len(middle), 40)] + "_" + w.uuid()
}

// stage makes the staging group of a template, or takes the one that it names.
func (w *Azure) stage(r *resource, who *principal) *refusal {
	d := templateOf(r)
	bad := func(text string) *refusal { return refuse(400, "BadStagingResourceGroup", text) }
	d.Staging, d.Made = text(r.props, "stagingResourceGroup"), true
	if d.Staging == "" {
		d.Staging = "/subscriptions/" + w.cfg.Subscription + "/resourceGroups/" + w.stagingName(r)
	} else if !strings.EqualFold(idPart(d.Staging, "subscriptions"), w.cfg.Subscription) || idPart(d.Staging, "resourceGroups") == "" || strings.Contains(strings.ToLower(d.Staging), "/providers/") {
		return bad("The staging resource group '" + d.Staging + "' must be the id of a resource group in the subscription of the image template.")
	}
	g := w.find(d.Staging)
	by := "createdBy"
	switch {
	case g == nil:
		g = w.place(d.Staging, groupType, r.location)
		if who != nil { // "by default the identity … has the Contributor RBAC applied to it in the resource group"
			w.grantHere(who, g.id)
		}
	case g.deleting:
		return bad("The staging resource group '" + d.Staging + "' is being deleted.")
	case !sameRegion(g.location, r.location):
		return bad("The staging resource group '" + d.Staging + "' is in " + g.location + ", the image template in " + r.location + ": they must be in the same region.")
	case text(g.tags, "imageTemplateName") != "" || text(g.tags, "imageTemplateResourceGroupName") != "":
		return bad("The staging resource group '" + d.Staging + "' is associated with the image template '" + text(g.tags, "imageTemplateName") + "'.")
	case len(w.staged(g)) > 0:
		return bad("The staging resource group '" + d.Staging + "' is not empty.")
	case !w.may(who, "Microsoft.Storage/storageAccounts/write", g.id) || !w.may(who, "Microsoft.Compute/virtualMachines/write", g.id):
		return notAuthorized(g.id)
	default:
		by, d.Made = "usedBy", false
	}
	d.Staging = g.id
	tags := copyMap(g.tags)
	for k, v := range mapping(r.props, "managedResourceTags") {
		tags[k] = v
	}
	tags[by], tags["imageTemplateName"], tags["imageTemplateResourceGroupName"] = "AzureVMImageBuilder", r.name, idPart(r.id, "resourceGroups")
	g.tags = tags
	w.touch("resource", g.low)
	d.Account = w.accountName(g.id)
	a := w.place(g.id+"/providers/"+storageType+"/"+d.Account, storageType, r.location)
	fillStorage(w, a, ask{id: a.id, name: a.name, location: r.location, body: map[string]any{"sku": map[string]any{"name": "Standard_LRS"}}})
	a.tags = copyMap(tags)
	s, refused := w.plane()
	if refused != nil {
		return refused
	}
	for _, box := range []string{"shell", "packerlogs", "vhds"} {
		if err := s.Box(d.Account, box); err != nil {
			return refuse(500, "InternalOperationError", err.Error())
		}
	}
	return nil
}

// accountName draws the 24 letters and digits of a staging account (as in danielsollondon/azvmimagebuilder#11: xkzlyccln2x4qrzk8r60s8oc).
func (w *Azure) accountName(id string) string {
	g := w.random("aib-account", id)
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 24)
	for i := range b {
		b[i] = letters[g.IntN(len(letters))]
	}
	b[0] = letters[g.IntN(26)]
	return string(b)
}

// stagingIntact is looked at when a run begins: "If these tags … do not match the running image template during the image build, the
// operation will fail."
func (w *Azure) stagingIntact(r *resource) *refusal {
	d := templateOf(r)
	g := w.find(d.Staging)
	if g == nil || w.find(g.id+"/providers/"+storageType+"/"+d.Account) == nil {
		return refuse(400, "BadStagingResourceGroup", "The staging resource group '"+d.Staging+"' of the image template or its storage account does not exist any more. Delete the image template and submit it again.")
	}
	if text(g.tags, "imageTemplateName") != r.name || !strings.EqualFold(text(g.tags, "imageTemplateResourceGroupName"), idPart(r.id, "resourceGroups")) {
		return refuse(400, "BadStagingResourceGroup", "The tags imageTemplateName and imageTemplateResourceGroupName of the staging resource group '"+d.Staging+"' do not match the image template.")
	}
	return nil
}

// unstage removes what the service made for a template: its group, or what is in a group that was there.
func (w *Azure) unstage(d *templateData) {
	g := w.find(d.Staging)
	if g == nil {
		return
	}
	if d.Made {
		w.drop(g.id)
		return
	}
	for _, o := range w.staged(g) {
		w.drop(o.id)
	}
	for _, tag := range []string{"usedBy", "imageTemplateName", "imageTemplateResourceGroupName"} {
		delete(g.tags, tag)
	}
	w.touch("resource", g.low)
}

// sweep removes what runs leave in the staging group: everything but the storage account.
func (w *Azure) sweep(d *templateData) {
	g := w.find(d.Staging)
	if g == nil {
		return
	}
	for _, o := range w.staged(g) {
		if o.typ != storageType {
			w.drop(o.id)
		}
	}
}

// staged is what lies in a group, the deepest first; role assignments and locks do not count.
func (w *Azure) staged(g *resource) []*resource {
	var out []*resource
	for _, key := range w.below(g.low) {
		if r := w.resources[key]; r != nil && r != g && !strings.HasPrefix(r.typ, "Microsoft.Authorization/") {
			out = append(out, r)
		}
	}
	return out
}

// grantHere makes an account Contributor of a group.
func (w *Azure) grantHere(who *principal, group string) {
	a := w.place(group+"/providers/"+assignmentType+"/"+w.uuid(), assignmentType, "")
	a.props = map[string]any{"principalId": who.ObjectID, "principalType": "ServicePrincipal", "scope": group,
		"roleDefinitionId": "/subscriptions/" + w.cfg.Subscription + "/providers/" + roleType + "/b24988ac-6180-42a0-ab88-20f7382dd24c"}
}

// put makes a resource as the service does: its document is held against the same rules as anybody's, and it lies in the staging
// group until the run is over.
func (x *imageRun) put(typ, name string, body map[string]any) (*resource, *refusal) {
	w := x.w
	id := x.d.Staging + "/providers/" + typ + "/" + name
	k := w.kinds[strings.ToLower(typ)]
	body["location"] = x.r.location
	in := ask{id: id, name: name, location: x.r.location, body: body, old: nil}
	if bad := w.disallowed(id, typ, x.r.location, body); bad != nil {
		return nil, bad
	}
	if k.check != nil {
		if bad := k.check(w, in); bad != nil {
			return nil, bad
		}
	}
	o := w.place(id, k.typ, x.r.location)
	o.tags = copyMap(mapping(x.r.props, "managedResourceTags"))
	k.fill(w, o, in)
	return o, nil
}

// network makes what the template's topology asks for (azure-image-builder.md 2, network topologies) and returns the subnet of the
// build machine.
func (x *imageRun) network() (subnet string, bad *refusal) {
	at := mapping(x.r.props, "vmProfile", "vnetConfig")
	subnet = text(at, "subnetId")
	if subnet != "" && text(at, "containerInstanceSubnetId") != "" {
		return subnet, nil // both of one's own: nothing is deployed
	}
	if subnet != "" && x.w.find(subnet) == nil {
		return "", missingReference(subnet, x.r.id)
	}
	nsg, bad := x.put(nsgType, "nsg-"+x.mark, map[string]any{"properties": map[string]any{"securityRules": []any{}}})
	if bad != nil {
		return "", bad
	}
	group := map[string]any{"id": nsg.id}
	part := func(name, prefix string) map[string]any {
		return map[string]any{"name": name, "properties": map[string]any{"addressPrefix": prefix, "networkSecurityGroup": group}}
	}
	net, bad := x.put(vnetType, "vnet-"+x.mark, map[string]any{"properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": []any{"10.0.0.0/16"}},
		"subnets": []any{part("container", "10.0.0.0/24"), part("build", "10.0.1.0/24")}}})
	if bad != nil {
		return "", bad
	}
	if subnet == "" {
		return net.id + "/subnets/build", nil
	}
	// A proxy stands between the container's network and the machine's. It is a document: nothing runs on it here.
	proxy := x.w.place(x.d.Staging+"/providers/"+vmType+"/proxyVm"+x.mark, vmType, x.r.location)
	proxy.props = map[string]any{"hardwareProfile": map[string]any{"vmSize": or(text(at, "proxyVmSize"), "Standard_A1_v2")}, "storageProfile": map[string]any{"osDisk": map[string]any{"osType": "Linux", "name": "proxyVmDisk_" + x.mark}}}
	machineOf(proxy).power = "running"
	return subnet, nil
}

// container starts the container that Packer runs in: four cores for each build (azure-image-builder.md 2, Limits; 4.1, rows 19, 20).
func (x *imageRun) container() *refusal {
	w := x.w
	if w.registration("Microsoft.ContainerInstance") != "Registered" {
		return refuse(400, "InternalOperationError", "Azure Container Instances provider not registered for your subscription.")
	}
	used := 4
	for _, g := range w.all(containerGroupType) {
		if sameRegion(g.location, x.r.location) {
			used += 4
		}
	}
	if s := w.cfg.Scenario; s != nil {
		if limit, ok := s.ContainerQuota[x.r.location]; ok && used > limit {
			return refuse(400, "InternalOperationError", "Azure Container Instances quota exceeded")
		}
	}
	g := w.place(x.d.Staging+"/providers/"+containerGroupType+"/vmimagebuilder-build-container-"+x.mark, containerGroupType, x.r.location)
	g.tags = copyMap(mapping(x.r.props, "managedResourceTags"))
	g.props = map[string]any{"sku": "Standard", "osType": "Linux", "restartPolicy": "Never", "instanceView": map[string]any{"state": "Running", "events": []any{}},
		"containers": []any{map[string]any{"name": "vmimagebuilder-build-container", "properties": map[string]any{"command": []any{}, "ports": []any{}, "environmentVariables": []any{},
			"image":     "mcr.microsoft.com/vmimagebuilder",
			"resources": map[string]any{"requests": map[string]any{"cpu": 4, "memoryInGB": 8}}}}}}
	return nil
}
