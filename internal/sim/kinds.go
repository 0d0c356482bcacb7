package sim

import "time"

// kinds is the one list of resource types, with how long they take and how they answer (azure-protocol.md 2.1).
func kinds() []kind {
	takes := func(kind string) func(*Azure, *resource, bool) time.Duration {
		return func(w *Azure, r *resource, _ bool) time.Duration { return w.duration(kind, r.id) }
	}
	return []kind{
		vaultKind(),
		{typ: vnetType, check: checkVNet, fill: fillVNet, show: showVNet, drop: dropVNet, creating: "Updating", takes: takes("vnet"), takesAway: "network-delete"},
		{typ: subnetType, check: checkSubnetPut, fill: fillSubnet, show: showSubnet, drop: dropSubnet, creating: "Updating", takes: takes("subnet"), takesAway: "network-delete"},
		{typ: nsgType, check: func(_ *Azure, in ask) *refusal { return checkNSG(in) }, fill: fillNSG, show: showNSG, drop: dropNSG, creating: "Updating", takes: takes("nsg"), takesAway: "network-delete"},
		{typ: ipType, check: func(_ *Azure, in ask) *refusal { return checkPublicIP(in) }, fill: fillPublicIP, show: showPublicIP, drop: dropPublicIP, creating: "Updating",
			done: func(w *Azure, r *resource) *refusal { addressPublicIP(w, r); return nil }, takes: takes("ip"), takesAway: "network-delete"},
		{typ: nicType, check: checkNIC, fill: fillNIC, show: showNIC, drop: dropNIC, creating: "Succeeded", takes: takes("nic"), takesAway: "network-delete"},
		{typ: vmType, check: checkVM, fill: fillVM, done: bootVM, drop: dropVM, gone: goneVM, takesAway: "vm-delete",
			takes: func(w *Azure, r *resource, creating bool) time.Duration {
				if creating {
					return w.duration("vm", r.id)
				}
				return w.duration("vm-update", r.id)
			},
			actions: map[string]action{
				"deallocate": {now: stopVM, done: func(_ *Azure, r *resource) *refusal { machineOf(r).power = "deallocated"; return nil }, takes: "deallocate"},
				"powerOff":   {now: stopVM, done: func(_ *Azure, r *resource) *refusal { machineOf(r).power = "stopped"; return nil }, takes: "power-off"},
				"start":      {check: mayStart, done: bootVM, takes: "start"},
				"restart":    {check: mayStart, now: stopVM, done: bootVM, takes: "restart"},
				"generalize": {check: mayGeneralize, now: func(_ *Azure, r *resource) { machineOf(r).generalized = true }},
			}},
		diskKind(diskType, takes("disk")),
		diskKind(snapshotType, takes("disk")),
		storageKind(takes("storage")),
		{typ: imageType, check: checkImage, fill: fillImage, done: doneImage, takes: takes("image"), takesAway: "image-delete"},
		{typ: galleryType, fill: fillGallery, opPath: "capsOperations", takes: takes("gallery"), takesAway: "gallery", drop: dropWithChildren(definitionType)},
		{typ: definitionType, check: checkDefinition, fill: fillDefinition, opPath: "capsOperations", takes: takes("definition"), takesAway: "definition", drop: dropWithChildren(versionType)},
		{typ: versionType, check: checkVersion, fill: fillVersion, done: doneVersion, opPath: "capsOperations", takes: takesVersion, takesAway: "version-delete"},
	}
}
