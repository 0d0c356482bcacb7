package sim

import "time"

// kinds is the one list of resource types, with how long they take and how they answer (azure-protocol.md 2.1).
func kinds() []kind {
	takes := func(kind string) func(*Azure, *resource, bool) time.Duration {
		return func(w *Azure, r *resource, _ bool) time.Duration { return w.duration(kind, r.id) }
	}
	return append(append(desktopKinds(), imageBuilderKinds(takes)...),
		kind{typ: identityType, sync: true, fresh: 201, fill: fillIdentity, show: showIdentity, gone: goneIdentity},
		kind{typ: federationType, sync: true, fresh: 201, check: checkFederation, show: withoutProvisioning, fill: func(_ *Azure, r *resource, in ask) { r.props = copyMap(mapping(in.body, "properties")) }},
		vaultKind(),
		vaultSecretKind(),
		kind{typ: vnetType, check: checkVNet, fill: fillVNet, show: showVNet, drop: dropVNet, creating: "Updating", takes: takes("vnet"), takesAway: "network-delete"},
		kind{typ: subnetType, check: checkSubnetPut, fill: fillSubnet, show: showSubnet, drop: dropSubnet, creating: "Updating", takes: takes("subnet"), takesAway: "network-delete"},
		kind{typ: nsgType, check: func(_ *Azure, in ask) *refusal { return checkNSG(in) }, fill: fillNSG, show: showNSG, drop: dropNSG, creating: "Updating", takes: takes("nsg"), takesAway: "network-delete"},
		kind{typ: ipType, check: func(_ *Azure, in ask) *refusal { return checkPublicIP(in) }, fill: fillPublicIP, show: showPublicIP, drop: dropPublicIP, creating: "Updating",
			done: func(w *Azure, r *resource) *refusal { addressPublicIP(w, r); return nil }, takes: takes("ip"), takesAway: "network-delete"},
		kind{typ: nicType, since: map[string]string{"auxiliarySku": "2022-11-01", "disableTcpStateTracking": "2022-11-01"}, check: checkNIC, fill: fillNIC, show: showNIC, drop: dropNIC, atOnce: true, takesAway: "network-delete"},
		kind{typ: vmType, check: checkVM, fill: fillVM, show: showVM, done: bootVM, drop: dropVM, gone: goneVM, takesAway: "vm-delete",
			takes: func(w *Azure, r *resource, creating bool) time.Duration {
				if creating {
					return w.duration("vm", r.id)
				}
				return w.duration("vm-update", r.id)
			},
			actions: map[string]action{
				"deallocate":                  {now: stopVM, done: stopped("deallocated"), takes: "deallocate"},
				"powerOff":                    {now: stopVM, done: stopped("stopped"), takes: "power-off"},
				"start":                       {check: mayStart, done: bootVM, takes: "start"},
				"restart":                     {check: mayStart, now: stopVM, done: bootVM, takes: "restart"},
				"retrieveBootDiagnosticsData": {answer: bootDiagnostics},
				"simulateEviction":            {answer: simulateEviction, done: evict},
				"generalize":                  {check: mayGeneralize, now: func(_ *Azure, r *resource) { machineOf(r).generalized = true }},
			}},
		runCommandKind(takes("run-command")),
		kind{typ: extensionType, check: checkExtension, fill: fillExtension, done: doneExtension, takes: takes("extension"), takesAway: "extension"},
		diskKind(diskType, takes("disk")),
		diskKind(snapshotType, takes("disk")),
		encryptionSetKind(takes("disk")),
		storageKind(takes("storage")),
		kind{typ: imageType, check: checkImage, fill: fillImage, done: doneImage, takes: takes("image"), takesAway: "image-delete"},
		kind{typ: galleryType, fill: fillGallery, opPath: "capsOperations", takes: takes("gallery"), takesAway: "gallery", drop: dropGallery,
			actions: map[string]action{"share": {check: mayShare, output: shareGallery, takes: "gallery"}}},
		kind{typ: applicationType, sync: true, fresh: 201, quiet: true, check: checkApplication, show: withoutProvisioning, drop: dropWithChildren(applicationVersionType),
			fill: func(_ *Azure, r *resource, in ask) { r.props = copyMap(mapping(in.body, "properties")) }},
		kind{typ: applicationVersionType, check: checkApplicationVersion, fill: fillApplicationVersion, opPath: "capsOperations", takes: takes("version-shallow"), takesAway: "version-delete"},
		kind{typ: asgType, check: func(*Azure, ask) *refusal { return nil }, fill: func(w *Azure, r *resource, _ ask) { r.etag = newEtag(w) }, drop: dropASG, creating: "Updating", takes: takes("nsg"), takesAway: "network-delete"},
		kind{typ: "Microsoft.Compute/proximityPlacementGroups", sync: true, fresh: 201, fill: fillPlacement(map[string]any{"proximityPlacementGroupType": "Standard"}), show: withoutProvisioning},
		kind{typ: availabilityType, sync: true, fill: fillAvailabilitySet, show: showAvailabilitySet, drop: dropAvailabilitySet},
		kind{typ: "Microsoft.Compute/sshPublicKeys", sync: true, fresh: 201, fill: fillPlacement(nil), show: withoutProvisioning,
			actions: map[string]action{"generateKeyPair": {answer: generateKeyPair}}},
		kind{typ: definitionType, check: checkDefinition, fill: fillDefinition, opPath: "capsOperations", takes: takes("definition"), takesAway: "definition", drop: dropWithChildren(versionType)},
		kind{typ: versionType, check: checkVersion, fill: fillVersion, done: doneVersion, opPath: "capsOperations", takes: takesVersion, takesAway: "version-delete"},
	)
}

func withoutProvisioning(_ *Azure, _ *resource, b map[string]any) {
	delete(mapping(b, "properties"), "provisioningState")
}
