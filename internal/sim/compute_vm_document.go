package sim

import (
	"fmt"
	"strings"
)

// What Compute fills into a machine's document, for Windows and for Linux, and what it hides again: key by key as in the
// recorded answers of GET and PUT of machines (recordings of Azure/azure-cli, api-version 2024-07-01).

// origin is what an image reference says about the machine made of it.
type origin struct {
	osType, generation string
	sizeGB             int
}

func (w *Azure) originOf(ref map[string]any) origin {
	if m, ok := w.findMarketImage(text(ref, "publisher"), text(ref, "offer"), text(ref, "sku")); ok {
		return origin{m.os, m.generation, m.sizeGB}
	}
	id, _ := w.referenced(ref)
	r := w.find(id)
	if r != nil && r.typ == versionType {
		o := origin{sizeGB: number(r.props, "storageProfile", "osDiskImage", "sizeInGB")}
		r = w.find(parentID(r.id))
		if r != nil {
			o.osType, o.generation = text(r.props, "osType"), text(r.props, "hyperVGeneration")
		}
		return o
	}
	switch {
	case r == nil:
		return origin{}
	case r.typ == definitionType:
		return origin{osType: text(r.props, "osType"), generation: text(r.props, "hyperVGeneration")}
	}
	return origin{text(r.props, "storageProfile", "osDisk", "osType"), text(r.props, "hyperVGeneration"), number(r.props, "storageProfile", "osDisk", "diskSizeGB")}
}

// completeVM fills in what a creation left open. The name of the disk is settled already.
func (w *Azure) completeVM(p map[string]any) {
	storage := mapping(p, "storageProfile")
	osDisk := mapping(storage, "osDisk")
	from := w.originOf(mapping(storage, "imageReference"))
	if osDisk["osType"] == nil {
		osDisk["osType"] = or(from.osType, "Windows")
	}
	if osDisk["diskSizeGB"] == nil {
		osDisk["diskSizeGB"] = 127
		if from.sizeGB > 0 {
			osDisk["diskSizeGB"] = from.sizeGB
		} else if text(osDisk, "osType") == "Linux" {
			osDisk["diskSizeGB"] = 30
		}
	}
	if c := text(osDisk, "createOption"); c == "" || strings.EqualFold(c, "fromImage") {
		osDisk["createOption"] = "FromImage" // whichever way it was written
	}
	fill(osDisk, map[string]any{"caching": "ReadWrite", "deleteOption": "Detach"})
	managed := mapping(osDisk, "managedDisk")
	if managed == nil {
		managed = map[string]any{}
		osDisk["managedDisk"] = managed
	}
	premium := premiumSize(text(p, "hardwareProfile", "vmSize"))
	account := "Standard_LRS"
	if premium {
		account = "Premium_LRS"
	}
	fill(managed, map[string]any{"storageAccountType": account})
	if from.generation == "V2" {
		fill(storage, map[string]any{"diskControllerType": "SCSI"})
	}
	for _, x := range items(storage, "dataDisks") {
		if d, ok := x.(map[string]any); ok && d["createOption"] != nil {
			d["createOption"] = azureOption(text(d, "createOption"))
		}
	}
	if o := mapping(p, "osProfile"); o != nil {
		completeOSProfile(o, text(osDisk, "osType"))
	}
}

// azureOption is a createOption as Azure answers it, whichever way it was written (recorded: "empty" comes back as "Empty").
func azureOption(option string) string {
	for _, known := range []string{"Empty", "Attach", "FromImage", "Copy", "Restore"} {
		if strings.EqualFold(option, known) {
			return known
		}
	}
	return option
}

// completeOSProfile: an agent that is not provisioned allows no extensions.
func completeOSProfile(o map[string]any, osType string) {
	key, defaults, patches := "windowsConfiguration", map[string]any{"provisionVMAgent": true, "enableAutomaticUpdates": true},
		map[string]any{"patchMode": "AutomaticByOS", "assessmentMode": "ImageDefault"}
	if osType == "Linux" {
		key, defaults = "linuxConfiguration", map[string]any{"disablePasswordAuthentication": false, "provisionVMAgent": true}
		patches["patchMode"] = "ImageDefault"
	}
	c := mapping(o, key)
	if c == nil {
		c = map[string]any{}
		o[key] = c
	}
	fill(c, defaults)
	agent := c["provisionVMAgent"] == true
	if text(c, "patchSettings", "patchMode") == "Manual" || c["enableAutomaticUpdates"] == false && osType != "Linux" {
		patches["patchMode"] = "Manual"
	}
	if mapping(c, "patchSettings") == nil {
		c["patchSettings"] = map[string]any{}
	}
	fill(mapping(c, "patchSettings"), patches)
	fill(o, map[string]any{"secrets": []any{}, "allowExtensionOperations": agent, "requireGuestProvisionSignal": true})
}

// premiumSize: sizes with an s after the number take premium disks (learn.microsoft.com/azure/virtual-machines/vm-naming-conventions).
func premiumSize(name string) bool {
	name = strings.TrimPrefix(strings.ToLower(name), "standard_")
	first, _, _ := strings.Cut(name, "_")
	return strings.Contains(first, "s")
}

func fill(m, defaults map[string]any) {
	for k, v := range defaults {
		if m[k] == nil {
			m[k] = v
		}
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// showVM: without its instance view the kind and size of a disk are hidden while the machine is deallocated, since nothing is
// attached to a host then (recorded: every GET after deallocate).
func showVM(w *Azure, r *resource, b map[string]any) {
	var extensions []any
	for _, x := range w.extensionsOf(r) {
		extensions = append(extensions, w.show(w.kinds[strings.ToLower(extensionType)], x, ""))
	}
	if extensions != nil {
		b["resources"] = extensions
	}
	if machineOf(r).power != "deallocated" {
		return
	}
	if d := mapping(b, "properties", "storageProfile", "osDisk"); d != nil {
		delete(d, "diskSizeGB")
		if m := mapping(d, "managedDisk"); m != nil {
			delete(m, "storageAccountType")
		}
	}
}

// bump is the next version of a machine's document: Compute counts (recorded: "1" to "5").
func bump(etag string) string {
	n := 0
	fmt.Sscanf(etag, `"%d"`, &n) //nolint:errcheck // a first one has no number
	return fmt.Sprintf(`"%d"`, n+1)
}

// instanceView is how a machine is at this moment; the agent speaks only while it runs.
func (w *Azure) instanceView(r *resource) map[string]any {
	m := machineOf(r)
	at := stamp(r.created)
	status := func(code, shown string) map[string]any {
		return map[string]any{"code": code, "level": "Info", "displayStatus": shown}
	}
	timed := func(code, shown string) map[string]any {
		s := status(code, shown)
		s["time"] = at
		return s
	}
	state := strings.ToLower(r.state)
	statuses := []any{timed("ProvisioningState/"+state, "Provisioning "+state)}
	if m.generalized {
		statuses = append(statuses, status("OSState/generalized", "VM generalized"))
	}
	statuses = append(statuses, status("PowerState/"+m.power, "VM "+m.power))
	disks := []any{map[string]any{"name": lastPart(diskID(r.id, r.props)), "statuses": []any{timed("ProvisioningState/succeeded", "Provisioning succeeded")}}}
	for _, d := range items(r.props, "storageProfile", "dataDisks") {
		if n := text(d, "name"); n != "" {
			disks = append(disks, map[string]any{"name": n, "statuses": []any{timed("ProvisioningState/succeeded", "Provisioning succeeded")}})
		}
	}
	from := w.originOf(mapping(r.props, "storageProfile", "imageReference"))
	out := map[string]any{"hyperVGeneration": or(from.generation, "V1"), "disks": disks, "statuses": statuses}
	agent := mapping(r.props, "osProfile") == nil || truth(r.props, "osProfile", "allowExtensionOperations")
	if m.power == "running" && agent {
		ready := timed("ProvisioningState/succeeded", "Ready")
		ready["message"] = "Guest Agent is running"
		out["vmAgent"] = map[string]any{"vmAgentVersion": "2.13.0.2", "statuses": []any{ready}, "extensionHandlers": []any{}}
		var views, programs []any
		for _, x := range w.extensionsOf(r) {
			if x.state == "Succeeded" || x.state == "Failed" {
				views, programs = append(views, extensionView(x)), append(programs, handlerView(x))
			}
		}
		if views != nil {
			out["extensions"], mapping(out, "vmAgent")["extensionHandlers"] = views, programs
		}
		out["computerName"] = or(text(r.props, "osProfile", "computerName"), r.name)
		out["osName"], out["osVersion"] = systemName(r.props)
	}
	return out
}

// systemName is what the agent reports; only the names are taken from the image, nobody has asked the machine.
func systemName(props map[string]any) (name, version string) {
	ref := mapping(props, "storageProfile", "imageReference")
	exact := text(ref, "exactVersion")
	if text(props, "storageProfile", "osDisk", "osType") != "Linux" {
		build, _, _ := strings.Cut(exact, ".")
		if len(build) < 4 {
			build = "20348"
		}
		return "Windows", "10.0." + build
	}
	parts := strings.Split(exact, ".")
	name = strings.ToLower(text(ref, "publisher"))
	if name == "canonical" || name == "" {
		name = "ubuntu"
	}
	if len(parts) > 1 {
		return name, parts[0] + "." + parts[1]
	}
	return name, "22.04"
}
