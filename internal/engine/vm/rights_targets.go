package vm

import (
	"ingot/internal/engine"
	"ingot/internal/plan"
)

// target lists what the steps for targets, disks and the trial of an image need. A VHD is written with the identity's token or with the
// account's key (azure.VHDStore); the role of exactly what is needed has the data actions.
func (r *rights) target(p *plan.Plan, s plan.Step) {
	const storage = "Microsoft.Storage/storageAccounts"
	switch s.Kind {
	case "gallery-new":
		var a newGalleryArgs
		r.decode(s, &a)
		r.own(s, r.at(a.Subscription, a.Group), compute+"galleries")
	case "definition":
		var a definitionArgs
		r.decode(s, &a)
		r.own(s, r.at(a.Definition.Subscription, a.Definition.Group), compute+"galleries/images")
	case "snapshot":
		var a snapshotArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Snapshot.Group), compute+"snapshots")
		r.need(s, r.at("", a.Snapshot.Group), compute+"snapshots/endGetAccess/action") // nothing can be deleted whose address is good
		var v vmArgs
		if step, ok := p.Find("vm"); ok {
			r.decode(step, &v)
			r.need(s, r.at("", v.VM.Group), compute+"disks/beginGetAccess/action") // asked of whoever copies a disk
		}
	case "container":
		var a containerArgs
		r.decode(s, &a)
		if a.Store.URI == "" {
			r.need(s, r.at("", a.Store.Group), storage+"/read", storage+"/blobServices/containers/read")
		}
	case "vhd":
		var a vhdArgs
		r.decode(s, &a)
		r.need(s, r.at("", a.Group), compute+"snapshots/beginGetAccess/action", compute+"snapshots/endGetAccess/action")
		for _, action := range []string{"read", "write", "delete"} {
			if a.Store.URI == "" {
				r.out = append(r.out, engine.Right{Action: storage + "/blobServices/containers/blobs/" + action, Scope: r.at("", a.Store.Group), Data: true, For: s.Title})
			}
		}
	case "stand-in-image":
		var a imageStandIn
		r.decode(s, &a)
		r.own(s, r.at("", a.Image.Group), compute+"images")
	case "stand-in-version":
		var a versionStandIn
		r.decode(s, &a)
		r.own(s, r.at(a.Version.Subscription, a.Version.Group), compute+"galleries/images/versions")
	case "try-ip", "try-nic", "try-vm":
		s.Kind = s.Kind[len(tryPrefix):]
		r.step(p, s)
	}
}
