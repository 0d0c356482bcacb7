package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"ingot/internal/sim/guest"
)

// The machines of a run: made of an image, let Packer in, captured.

// machine makes a machine of an image and waits until Azure calls it running.
func (x *imageRun) machine(ref map[string]any, name string) (vm *resource, bad *refusal) {
	w := x.w
	x.log.say("Deploying deployment template ...")
	profile := mapping(x.r.props, "vmProfile")
	bad = x.locked(func() *refusal {
		c, generation, _, plan, _, bad := w.source(ref, x.r.location)
		if bad != nil {
			return bad
		}
		size := text(profile, "vmSize")
		if size == "" { // azure-image-builder.md 1.2, vmProfile
			size = map[bool]string{true: "Standard_D2ds_v4", false: "Standard_D1_v2"}[generation == "V2"]
		}
		if gb := number(profile, "osDiskSizeGB"); gb > 0 && gb < c.sizeGB() {
			return refuse(409, "OperationNotAllowed", fmt.Sprintf("The specified disk size %d GB is smaller than the size of the corresponding disk in the VM image: %d GB. This is not allowed. Please choose equal or greater size or do not specify an explicit size.", gb, c.sizeGB()))
		}
		subnet := text(profile, "vnetConfig", "subnetId")
		if v := w.find(x.d.Staging + "/providers/" + vnetType + "/vnet-" + x.mark); subnet == "" && v != nil {
			subnet = v.id + "/subnets/build"
		} else if subnet == "" || v == nil {
			if subnet, bad = x.network(); bad != nil {
				return bad
			}
		}
		nic, bad := x.put(nicType, "nic-"+name, map[string]any{"properties": map[string]any{"ipConfigurations": []any{map[string]any{"name": "ipconfig", "properties": map[string]any{"privateIPAllocationMethod": "Dynamic", "subnet": map[string]any{"id": subnet}}}}}})
		if bad != nil {
			return bad
		}
		disk := map[string]any{"name": "pkros" + name, "createOption": "FromImage", "deleteOption": "Delete"}
		if gb := number(profile, "osDiskSizeGB"); gb > 0 {
			disk["diskSizeGB"] = gb
		}
		account := map[string]any{"computerName": name[:min(len(name), 15)], "adminUsername": "packer", "adminPassword": "P9!" + strings.ReplaceAll(w.uuid(), "-", "")}
		if !c.windows {
			account["linuxConfiguration"] = map[string]any{"disablePasswordAuthentication": false}
		}
		storage := map[string]any{"imageReference": ref, "osDisk": disk}
		var data []any
		for i, d := range items(x.r.props, "additionalDataDisks") {
			data = append(data, map[string]any{"lun": len(c.data) + i, "createOption": "Empty", "diskSizeGB": number(d, "sizeGB"), "name": fmt.Sprintf("%s_data_%d", name, i)})
		}
		if len(data) > 0 {
			for _, d := range c.data {
				data = append(data, map[string]any{"lun": d.Lun, "createOption": "FromImage"})
			}
			storage["dataDisks"] = data
		}
		body := map[string]any{"properties": map[string]any{"hardwareProfile": map[string]any{"vmSize": size}, "storageProfile": storage, "osProfile": account,
			"networkProfile": map[string]any{"networkInterfaces": []any{map[string]any{"id": nic.id}}}}}
		if ids := texts(profile, "userAssignedIdentities"); len(ids) > 0 {
			of := map[string]any{}
			for _, id := range ids {
				of[id] = map[string]any{}
			}
			body["identity"] = map[string]any{"type": "UserAssigned", "userAssignedIdentities": of}
		}
		if info := mapping(x.r.props, "source", "planInfo"); plan != "" && info != nil {
			body["plan"] = map[string]any{"name": text(info, "planName"), "product": text(info, "planProduct"), "publisher": text(info, "planPublisher")}
		}
		x.gen = generation
		if vm, bad = x.put(vmType, name, body); bad != nil {
			return bad
		}
		vm.state = "Creating"
		return nil
	})
	if bad != nil || !x.wait("vm", vm.id) {
		return vm, bad
	}
	return vm, x.whole(x.locked(func() *refusal {
		bad := bootVM(w, vm)
		if bad == nil || bad.later != nil {
			vm.state = "Succeeded"
		}
		return bad
	}))
}

// winRMPatience and sshPatience are how long the service waits for a machine to let it in (azure-image-builder.md 2, network).
const (
	winRMPatience = 10 * time.Minute
	sshPatience   = 20 * time.Minute
)

// connect waits until the machine lets Packer in.
func (x *imageRun) connect(vm *resource) (guestSteps, error) {
	var m *machine
	if bad := x.locked(func() *refusal { m = machineOf(vm); return nil }); bad != nil {
		return nil, errors.New(bad.message)
	}
	if !m.content.windows {
		x.log.say("Waiting for SSH to become available...")
		g := x.w.commandGuest(m)
		if g == nil {
			return nil, errors.New("Timeout waiting for SSH.") //nolint:revive,staticcheck // Packer's own words
		}
		x.log.say("Connected to SSH!")
		return &linuxSteps{x, g, m.real.user}, nil
	}
	x.log.say("Waiting for WinRM to become available...")
	x.log.info("Waiting for WinRM, up to timeout: 10m0s")
	var b guest.Builder
	x.locked(func() *refusal {
		if m.guest != nil {
			b = guest.Build(m.guest)
		}
		return nil
	})
	if b == nil || !guest.Patient(x.ctx, x.w.clock, b, 0, winRMPatience) {
		return nil, errors.New("Timeout waiting for WinRM.") //nolint:revive,staticcheck // Packer's own words
	}
	x.log.msg("WinRM connected.")
	x.log.say("Connected to WinRM!")
	return &windowsSteps{x: x, b: b}, nil
}

// capture stops the machine, calls it generalised and keeps its disks.
func (x *imageRun) capture(vm *resource) *refusal {
	w := x.w
	x.log.say("Powering off machine ...")
	if bad := x.locked(func() *refusal { stopVM(w, vm); return nil }); bad != nil {
		return bad
	}
	x.wait("deallocate", vm.id)
	if bad := x.whole(x.locked(func() *refusal { return stopped("deallocated")(w, vm) })); bad != nil {
		return bad
	}
	x.log.say("Generalizing machine ...")
	x.log.msg("Skipping image creation...")
	var c content
	bad := x.whole(x.locked(func() *refusal {
		machineOf(vm).generalized = true
		c = w.captureVM(vm)
		return w.whole(&c, func() *refusal { return x.keep(vm, c) })
	}))
	if bad != nil {
		return bad
	}
	x.wait("aib-capture", "")
	x.log.say("Deleting individual resources ...")
	return x.locked(func() *refusal {
		w.drop(vm.id)
		w.drop(x.d.Staging + "/providers/" + nicType + "/nic-" + vm.name)
		x.log.say("The resource group was not created by Packer, not deleting ...")
		return nil
	})
}

// keep holds what was captured as a snapshot in the staging group until it is distributed: output is captured by snapshot
// (azure-image-builder.md 2, Run). The lock is held.
func (x *imageRun) keep(vm *resource, c content) *refusal {
	if gb := number(vm.props, "storageProfile", "osDisk", "diskSizeGB"); c.disk != nil && gb > 0 {
		c.bytes = int64(gb) << 30
	}
	x.content = c
	s := x.w.place(x.d.Staging+"/providers/"+snapshotType+"/snapshot-"+x.mark, snapshotType, x.r.location)
	s.aux, s.sku, s.extra = c, map[string]any{"name": "Standard_LRS", "tier": "Standard"}, map[string]any{}
	s.tags = copyMap(mapping(x.r.props, "managedResourceTags"))
	s.props = map[string]any{"osType": osType(c.windows), "diskSizeGB": c.sizeGB(), "diskState": "Unattached", "incremental": false, "hyperVGeneration": x.gen, "timeCreated": stamp(x.w.clock.Now()),
		"creationData": map[string]any{"createOption": "Copy", "sourceResourceId": diskID(vm.id, vm.props)}}
	return nil
}

// interim is a managed image of what was built, to make a validation machine of.
func (x *imageRun) interim() (ref map[string]any, bad *refusal) {
	id := x.d.Staging + "/providers/" + imageType + "/image-" + x.mark
	return map[string]any{"id": id}, x.locked(func() *refusal { x.w.placeImage(id, x.r.location, x.content, x.gen); return nil })
}
