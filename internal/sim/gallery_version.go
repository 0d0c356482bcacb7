package sim

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	galleryType    = "Microsoft.Compute/galleries"
	definitionType = "Microsoft.Compute/galleries/images"
	versionType    = "Microsoft.Compute/galleries/images/versions"
)

// versionData is what stands behind an image version: its content, and when each region has it.
type versionData struct {
	content content
	regions map[string]replica // by region key
}

type replica struct{ start, end time.Time }

func fillGallery(w *Azure, r *resource, in ask) {
	r.props = copyMap(mapping(in.body, "properties"))
	if c := mapping(r.props, "sharingProfile", "communityGalleryInfo"); c != nil {
		fill(c, map[string]any{"communityGalleryEnabled": false, "publicNames": []any{or(text(c, "publicNamePrefix"), r.name) + "-" + w.uuid()}})
	}
	r.props["identifier"] = map[string]any{"uniqueName": idPart(r.id, "subscriptions") + "-" + strings.ToUpper(r.name)}
}

// dropWithChildren refuses to delete what still holds something.
func dropWithChildren(typ string) func(*Azure, *resource) *refusal {
	return func(w *Azure, r *resource) *refusal {
		if len(children(w, r.id, typ)) > 0 {
			return refuse(409, "CannotDeleteResource", "Can not delete resource before nested resources are deleted.")
		}
		return nil
	}
}

func checkDefinition(w *Azure, in ask) *refusal {
	if w.find(parentID(in.id)) == nil {
		return parentMissing(in.id)
	}
	p := mapping(in.body, "properties")
	for _, need := range []string{"osType", "osState"} {
		if text(p, need) == "" {
			return refuse(400, "InvalidParameter", "Required parameter '"+need+"' is missing (null).")
		}
	}
	return nil
}

func fillDefinition(_ *Azure, r *resource, in ask) {
	r.props = copyMap(mapping(in.body, "properties"))
	if text(r.props, "hyperVGeneration") == "" {
		r.props["hyperVGeneration"] = "V1"
	}
	if text(r.props, "architecture") == "" {
		r.props["architecture"] = "x64"
	}
	if m, ok := r.props["disallowed"].(map[string]any); ok && len(m) == 0 {
		delete(r.props, "disallowed") // recorded: nothing of an empty one is shown
	}
}

var versionName = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// checkVersion holds an image version against Compute's rules.
func checkVersion(w *Azure, in ask) *refusal {
	if !versionName.MatchString(in.name) {
		return refuse(400, "InvalidParameter", "The resource name '"+in.name+"' is invalid. The image version name should follow Major(int32).Minor(int32).Patch(int32), for example: 1.0.0, 2018.12.1.")
	}
	for _, n := range strings.Split(in.name, ".") {
		if v, err := strconv.ParseInt(n, 10, 64); err != nil || v > math.MaxInt32 {
			return refuse(400, "InvalidParameter", "The resource name '"+in.name+"' is invalid: each part is a 32-bit integer.")
		}
	}
	d := w.find(parentID(in.id))
	if d == nil {
		return parentMissing(in.id)
	}
	p := mapping(in.body, "properties")
	seen := map[string]bool{}
	home := false
	for _, t := range items(p, "publishingProfile", "targetRegions") {
		r, ok := findRegion(text(t, "name"))
		if !ok {
			return refuse(400, "InvalidParameter", "Region "+text(t, "name")+" is not valid or not supported.")
		}
		if seen[r.name] {
			return refuse(400, "InvalidParameter", "Duplicate regions are not allowed in target publishing regions.")
		}
		seen[r.name] = true
		home = home || r.name == in.location
	}
	if len(seen) > 0 && !home {
		return refuse(400, "InvalidParameter", "The publishing profile location '"+in.location+"' must be in the list of target regions.")
	}
	if in.old != nil {
		if in.old.state == "Failed" {
			return refuse(409, "Conflict", "The gallery image version '"+in.name+"' is in a failed state. Delete it and create it again.")
		}
		return nil
	}
	id := text(p, "storageProfile", "source", "virtualMachineId")
	if id == "" {
		id = text(p, "storageProfile", "source", "id")
	}
	if id == "" {
		id = text(p, "storageProfile", "osDiskImage", "source", "id")
	}
	s := w.find(id)
	if s == nil {
		return refuse(404, "NotFound", "The entity was not found in this Azure location: "+id)
	}
	if !sameRegion(s.location, in.location) {
		return refuse(400, "InvalidParameter", "The source '"+id+"' must be in the same region as the gallery image version: "+in.location+".")
	}
	state, generation := text(d.props, "osState"), text(d.props, "hyperVGeneration")
	switch s.typ {
	case vmType:
		m := machineOf(s)
		if state == "Generalized" && !m.generalized {
			return refuse(409, "OperationNotAllowed", "The operation 'Create Gallery Image Version' requires the Virtual Machine '"+s.name+"' to be Generalized.")
		}
		if state == "Specialized" && m.generalized {
			return refuse(409, "OperationNotAllowed", "A generalized Virtual Machine cannot be the source of a specialized gallery image.")
		}
		secured := text(s.props, "securityProfile", "securityType")
		if secured == "TrustedLaunch" && !strings.HasPrefix(feature(d.props), "TrustedLaunch") {
			return refuse(409, "OperationNotAllowed", "The security type of the source Virtual Machine 'TrustedLaunch' does not match the gallery image's security type.")
		}
		if secured == "ConfidentialVM" && !strings.Contains(strings.ToLower(feature(d.props)), "confidentialvm") {
			return refuse(409, "OperationNotAllowed", "The security type of the source Virtual Machine 'ConfidentialVM' does not match the gallery image's security type.")
		}
		if _, have, _, _, _, bad := w.source(mapping(s.props, "storageProfile", "imageReference"), s.location); bad == nil && have != "" && have != generation {
			return refuse(409, "OperationNotAllowed", "The hypervisor generation '"+have+"' of the source does not match the generation '"+generation+"' of the gallery image.")
		}
	case imageType:
		if text(s.props, "hyperVGeneration") != generation {
			return refuse(409, "OperationNotAllowed", "The hypervisor generation of the source does not match the gallery image's.")
		}
	case diskType, snapshotType:
		if have := text(s.props, "hyperVGeneration"); have != "" && have != generation {
			return refuse(409, "OperationNotAllowed", "The hypervisor generation of the source does not match the gallery image's.")
		}
	case storageType:
		if _, _, bad := w.blobOf(text(p, "storageProfile", "osDiskImage", "source", "uri")); bad != nil {
			return bad
		}
	default:
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure publishes from machines, managed images, disks, snapshots and blobs, not from "+s.typ+".")
	}
	return nil
}

func fillVersion(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	publish := mapping(p, "publishingProfile")
	if publish == nil {
		publish = map[string]any{}
		p["publishingProfile"] = publish
	}
	if publish["replicaCount"] == nil {
		publish["replicaCount"] = 1
	}
	if publish["excludeFromLatest"] == nil {
		publish["excludeFromLatest"] = false
	}
	if publish["storageAccountType"] == nil {
		publish["storageAccountType"] = "Standard_LRS"
	}
	publish["publishedDate"] = stamp(w.clock.Now())
	if items(publish, "targetRegions") == nil {
		publish["targetRegions"] = []any{map[string]any{"name": r.location}}
	}
	data, ok := r.aux.(*versionData)
	if !ok {
		data = &versionData{regions: map[string]replica{}}
		id := text(p, "storageProfile", "source", "virtualMachineId")
		if id == "" {
			id = text(p, "storageProfile", "source", "id")
		}
		if id == "" {
			id = text(p, "storageProfile", "osDiskImage", "source", "id")
		}
		if s := w.find(id); s != nil && s.typ != vmType && s.typ != imageType {
			d := w.find(parentID(r.id))
			data.content = w.contentOf(s, text(p, "storageProfile", "osDiskImage", "source", "uri"), text(d.props, "osType"), text(d.props, "osState"))
			for _, x := range items(p, "storageProfile", "dataDiskImages") {
				if of := w.find(text(x, "source", "id")); of != nil {
					data.content.data = append(data.content.data, dataContent{Lun: number(x, "lun"), GB: max(number(x, "sizeInGB"), number(of.props, "diskSizeGB")), Caching: or(text(x, "hostCaching"), "None"), Source: of.id, Content: w.contentOf(of, text(x, "source", "uri"), "", "")})
				}
			}
		} else if s != nil {
			switch x := s.aux.(type) {
			case *machine:
				data.content = w.captureVM(s)
			case content:
				data.content = x
			}
		}
		r.aux = data
	} else if old := mapping(r.props, "storageProfile"); old != nil {
		p["storageProfile"] = old // a source cannot be changed
	}
	now := w.clock.Now()
	keep := map[string]bool{}
	for i, t := range items(publish, "targetRegions") {
		reg, _ := findRegion(text(t, "name"))
		m := t.(map[string]any)
		m["name"] = reg.display
		if m["regionalReplicaCount"] == nil {
			m["regionalReplicaCount"] = publish["replicaCount"]
		}
		if m["storageAccountType"] == nil {
			m["storageAccountType"] = publish["storageAccountType"]
		}
		keep[reg.name] = true
		if _, has := data.regions[reg.name]; has {
			continue
		}
		kind := "version"
		if text(publish, "replicationMode") == "Shallow" {
			kind = "version-shallow"
		}
		d := w.duration(kind, r.id+"@"+reg.name)
		if i > 0 { // copies to further regions spread more widely (azure-protocol.md section 5)
			d = time.Duration(float64(d) * (0.8 + 0.5*w.random("spread", r.id+reg.name).Float64()))
		}
		if w.cfg.Scenario != nil {
			for _, stalled := range w.cfg.Scenario.StalledRegions {
				if regionKey(stalled) == reg.name {
					d = 1000 * time.Hour
				}
			}
		}
		data.regions[reg.name] = replica{now, now.Add(d)}
	}
	for name := range data.regions {
		if !keep[name] {
			delete(data.regions, name)
		}
	}
	if storage := mapping(p, "storageProfile"); storage != nil && storage["osDiskImage"] == nil && in.old != nil {
		storage["osDiskImage"] = field(r.props, "storageProfile", "osDiskImage")
	}
	p["safetyProfile"] = map[string]any{"allowDeletionOfReplicatedLocations": true, "reportedForPolicyViolation": false}
	r.props = p
}

func takesVersion(w *Azure, r *resource, _ bool) time.Duration {
	last := time.Duration(0)
	for _, x := range r.aux.(*versionData).regions {
		last = max(last, x.end.Sub(w.clock.Now()))
	}
	return last
}

func doneVersion(w *Azure, r *resource) *refusal {
	data := r.aux.(*versionData)
	return w.whole(&data.content, func() *refusal {
		if storage := mapping(r.props, "storageProfile"); storage != nil { // recorded: not shown before it is there
			if mapping(storage, "osDiskImage") == nil {
				storage["osDiskImage"] = map[string]any{"source": map[string]any{}}
			}
			d := mapping(storage, "osDiskImage")
			fill(d, map[string]any{"hostCaching": "ReadWrite"})
			d["sizeInGB"] = data.content.sizeGB()
		}
		if list := versionDataDisks(data.content); len(list) > 0 {
			mapping(r.props, "storageProfile")["dataDiskImages"] = list
		}
		w.sourceAppeared(r)
		return nil
	})
}

// replication is how far each region is, at this moment.
func (w *Azure) replication(r *resource) map[string]any {
	data, ok := r.aux.(*versionData)
	if !ok {
		return nil
	}
	now := w.clock.Now()
	total := "Completed"
	summary := []any{}
	for _, t := range items(r.props, "publishingProfile", "targetRegions") {
		reg, _ := findRegion(text(t, "name"))
		x := data.regions[reg.name]
		state, progress := "Completed", 100
		switch {
		case r.state == "Failed":
			state, progress, total = "Failed", 0, "Failed"
		case now.Before(x.end):
			state, progress = "Replicating", int(100*now.Sub(x.start)/max(x.end.Sub(x.start), 1))
			if total == "Completed" {
				total = "InProgress"
			}
		}
		summary = append(summary, map[string]any{"region": reg.display, "state": state, "progress": progress, "details": ""})
	}
	return map[string]any{"aggregatedState": total, "summary": summary}
}
