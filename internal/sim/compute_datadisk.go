package sim

import (
	"context"
	"strings"

	"ingot/internal/sim/qemu"
)

// Data disks of machines: empty ones that are made with the machine, and existing ones that are attached
// (rest/api/compute/virtual-machines/create-or-update, DataDisk).

func dataDisks(props map[string]any) []any { return items(props, "storageProfile", "dataDisks") }

// dataDiskID is a data disk's id: the one that is attached, or one made of its name.
func dataDiskID(vmID string, d any) string {
	if id := text(d, "managedDisk", "id"); id != "" {
		return id
	}
	name := text(d, "name")
	if name == "" {
		name = lastPart(vmID) + "_disk_" + itoa(number(d, "lun")+2)
	}
	return parentID(vmID) + "/disks/" + name
}

// checkDataDisks holds a machine's data disks against Compute's rules; max is how many its size takes.
func checkDataDisks(w *Azure, in ask, max int) *refusal {
	seen := map[int]bool{}
	list := dataDisks(mapping(in.body, "properties"))
	if len(list) > max {
		return refuse(409, "OperationNotAllowed", "The maximum number of data disks allowed to be attached to a VM of this size is "+itoa(max)+".")
	}
	for _, d := range list {
		lun := number(d, "lun")
		if seen[lun] {
			return refuse(400, "InvalidParameter", "A disk with LUN "+itoa(lun)+" already exists on VM '"+in.name+"'.")
		}
		seen[lun] = true
		id := dataDiskID(in.id, d)
		r := w.find(id)
		by := ""
		if r != nil {
			by, _ = r.extra["managedBy"].(string)
		}
		switch option := text(d, "createOption"); strings.ToLower(option) {
		case "empty":
			if number(d, "diskSizeGB") <= 0 {
				return refuse(400, "InvalidParameter", "Required parameter 'dataDisk.diskSizeGB' is missing (null).")
			}
			if r != nil && !sameID(by, in.id) {
				return refuse(409, "Conflict", "Disk "+r.name+" already exists in resource group "+strings.ToUpper(idPart(id, "resourceGroups"))+". Only CreateOption.Attach is supported.")
			}
		case "fromimage": // which LUNs those are, checkImageLUNs looks
			if in.old == nil && r != nil {
				return refuse(409, "Conflict", "Disk "+r.name+" already exists in resource group "+strings.ToUpper(idPart(id, "resourceGroups"))+". Only CreateOption.Attach is supported.")
			}
		case "attach":
			if r == nil {
				return refuse(404, "NotFound", "Disk "+lastPart(id)+" is not found.")
			}
			if by != "" && !sameID(by, in.id) {
				return refuse(409, "AttachDiskWhileBeingDetached", "Cannot attach data disk '"+r.name+"' to VM '"+in.name+"' because it is attached to VM "+by+".")
			}
		default:
			return refuse(501, "SimulatorNotImplemented", "The simulated Azure does not know data disks of createOption "+option+".")
		}
	}
	return nil
}

// fillDataDisks makes and attaches what a machine's document asks for, and lets go what it no longer names.
func fillDataDisks(w *Azure, r *resource, before []any) {
	keep := map[string]bool{}
	for _, x := range dataDisks(r.props) {
		d := x.(map[string]any)
		id := dataDiskID(r.id, d)
		keep[strings.ToLower(id)] = true
		managed := mapping(d, "managedDisk")
		if managed == nil {
			managed = map[string]any{}
			d["managedDisk"] = managed
		}
		disk := w.find(id)
		if disk == nil {
			disk = w.place(id, diskType, r.location)
			kind := or(text(managed, "storageAccountType"), "Premium_LRS")
			tier, _, _ := strings.Cut(kind, "_")
			disk.tags, disk.sku, disk.aux = r.tags, map[string]any{"name": kind, "tier": tier}, content{}
			if text(d, "createOption") == "FromImage" {
				disk.aux = machineOf(r).content.dataFrom(number(d, "lun"))
			}
			disk.props = map[string]any{"diskSizeGB": d["diskSizeGB"], "diskSizeBytes": int64(number(d, "diskSizeGB")) << 30, "creationData": map[string]any{"createOption": or(text(d, "createOption"), "Empty")},
				"timeCreated": stamp(w.clock.Now()), "uniqueId": w.uuid()}
		}
		disk.extra = merged(disk.extra, map[string]any{"managedBy": r.id})
		disk.props["diskState"] = "Attached"
		managed["id"] = disk.id
		fill(managed, map[string]any{"storageAccountType": text(disk.sku, "name")})
		fill(d, map[string]any{"name": disk.name, "caching": "None", "toBeDetached": false, "deleteOption": "Detach", "diskSizeGB": disk.props["diskSizeGB"]})
		w.touch("resource", disk.low)
	}
	for _, d := range before {
		if id := dataDiskID(r.id, d); !keep[strings.ToLower(id)] {
			w.letGo(id)
		}
	}
}

// letGo detaches a disk.
func (w *Azure) letGo(id string) {
	if disk := w.find(id); disk != nil {
		delete(disk.extra, "managedBy")
		disk.props["diskState"] = "Unattached"
	}
}

// goneDataDisks lets a deleted machine's data disks go, or takes them along where they were told to.
func goneDataDisks(w *Azure, r *resource) {
	for _, d := range dataDisks(r.props) {
		id := dataDiskID(r.id, d)
		disk := w.find(id)
		switch {
		case disk == nil:
		case strings.EqualFold(text(d, "deleteOption"), "Delete"):
			w.leave(disk)
		default:
			w.letGo(id)
		}
	}
}

// realData is a data disk of a machine of QEMU, as it is before the lock is let go: where its file is or will be, and of what.
type realData struct {
	id   string
	path string
	base string // an image that the file is laid over; "" for an empty disk
	made bool   // the file is there
	size int64
}

// realDisks are a machine's data disks in the order of their LUNs.
func (w *Azure) realDisks(r *resource, x *realMachine) []realData {
	var out []realData
	for _, d := range dataDisks(r.props) {
		disk := w.find(dataDiskID(r.id, d))
		if disk == nil {
			continue
		}
		c, _ := disk.aux.(content)
		f := realData{id: disk.id, path: w.cfg.Machines.Path(x.name + "-lun" + itoa(number(d, "lun")) + ".qcow2"), size: int64(number(disk.props, "diskSizeGB")) << 30}
		switch {
		case strings.HasSuffix(c.image, ".qcow2"): // its own file of an earlier start, or of another machine
			f.path, f.made = c.image, true
		case c.image != "":
			f.base = c.image
		}
		out = append(out, f)
	}
	return out
}

// make makes the file of a data disk that has none.
func (f realData) make(ctx context.Context) error {
	if f.made {
		return nil
	}
	if f.base == "" {
		return qemu.Empty(ctx, f.path, f.size)
	}
	base, err := qemu.Inspect(f.base)
	if err != nil {
		return err
	}
	return qemu.Overlay(ctx, f.path, base, f.size)
}
