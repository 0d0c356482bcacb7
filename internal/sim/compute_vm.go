package sim

import (
	"strings"

	"ingot/internal/sim/guest"
)

const (
	vmType   = "Microsoft.Compute/virtualMachines"
	diskType = "Microsoft.Compute/disks"
)

// machine is what stands behind a VM.
type machine struct {
	guest          guest.Machine // scripted
	real           *realMachine  // or of QEMU
	addrs          []string      // its keys in Azure.guests
	power          string        // starting, running, stopped, deallocated
	generalized    bool
	user, password string
	certificateURL string
	generation     string
	domain         string // that it has joined
	entra          bool   // it has joined Entra ID
	content        content
	kept           machineMark
}

// content is what a disk or an image holds: the guest's own disk, and the account that a specialised image brings along.
type content struct {
	disk           *guest.Disk // of the scripted model, or
	image          string      // a real one: a file of the host that nobody changes any more
	plan           string      // "publisher:product:name" that a machine of it must name; "": none
	made           string      // or one that the host makes when a machine first wants it: "debian-12"
	frozen         *frozen     // or what a machine's disk held when it was captured, until it has become an image
	bytes          int64       // of a real disk
	user, password string
	windows        bool
	generalized    bool          // the image says that it is; the disk may know better
	winrm          bool          // a specialised Windows brings its listener along
	data           []dataContent // of an image: its data disks
}

// isReal reports whether there is a disk that a machine of QEMU can start from.
func (c content) isReal() bool { return c.image != "" || c.made != "" }

func machineOf(r *resource) *machine {
	m, ok := r.aux.(*machine)
	if !ok {
		m = &machine{}
		r.aux = m
	}
	return m
}

// source resolves an image reference.
func (w *Azure) source(ref map[string]any, location string) (c content, generation, security string, plan, exact string, bad *refusal) {
	if id, _ := w.referenced(ref); id != "" {
		r := w.find(id)
		if r != nil && r.typ == definitionType { // without a version: the newest
			var best *resource
			for _, v := range children(w, r.id, versionType) {
				if !truth(v.props, "publishingProfile", "excludeFromLatest") && v.state == "Succeeded" && (best == nil || versionLess(best.name, v.name)) {
					best = v
				}
			}
			r = best
		}
		switch {
		case r == nil:
			return c, "", "", "", "", refuse(404, "NotFound", "The entity was not found in this Azure location.")
		case r.typ == versionType:
			d := w.find(parentID(r.id))
			in := false
			for _, s := range items(w.replication(r), "summary") {
				in = in || sameRegion(text(s, "region"), location) && text(s, "state") == "Completed"
			}
			if !in {
				return c, "", "", "", "", refuse(404, "GalleryImageNotFound", "The gallery image "+r.id+" is not available in "+location+" region. Please contact image owner to replicate to this region, or change your requested region.")
			}
			c := r.aux.(*versionData).content
			return c, text(d.props, "hyperVGeneration"), feature(d.props), c.plan, r.name, nil
		case r.typ == imageType:
			if !sameRegion(r.location, location) {
				return c, "", "", "", "", refuse(400, "InvalidParameter", "The image "+r.id+" is not in the region of the virtual machine.")
			}
			c := r.aux.(content)
			return c, text(r.props, "hyperVGeneration"), "", c.plan, "", nil
		}
		return c, "", "", "", "", refuse(400, "InvalidParameter", "The value of parameter imageReference.id is invalid.")
	}
	p, o, s, v := text(ref, "publisher"), text(ref, "offer"), text(ref, "sku"), text(ref, "version")
	missing := refuse(404, "PlatformImageNotFound", "The platform image '"+p+":"+o+":"+s+":"+v+"' is not available. Verify that all fields in the storage profile are correct. For more details about storage profile information, please refer to https://aka.ms/storageprofile")
	m, ok := w.findMarketImage(p, o, s)
	if !ok {
		return c, "", "", "", "", missing
	}
	exact, ok = m.exact(v)
	if !ok {
		return c, "", "", "", "", missing
	}
	if m.plan {
		plan = m.publisher + ":" + m.offer + ":" + m.sku
	}
	c = content{windows: m.os == "Windows", generalized: !m.specialized}
	switch {
	case w.cfg.Machines == nil || m.file == "" && m.made == "":
		c.disk = guest.NewDisk()
	default:
		c.image, c.made = m.file, m.made
	}
	return c, m.generation, m.security, plan, exact, nil
}

func feature(props map[string]any) string {
	for _, f := range items(props, "features") {
		if text(f, "name") == "SecurityType" {
			return text(f, "value")
		}
	}
	return ""
}

// checkVM holds a machine against Compute's rules.
func checkVM(w *Azure, in ask) *refusal {
	p := mapping(in.body, "properties")
	if in.old != nil {
		size, _ := findSize(text(in.old.props, "hardwareProfile", "vmSize"))
		if m := machineOf(in.old); m.real != nil && m.real.vm != nil && len(dataDisks(p)) != len(dataDisks(in.old.props)) {
			return refuse(501, "SimulatorNotImplemented", "The simulated Azure attaches disks to real machines while they are off: deallocate VM '"+in.name+"' first.")
		}
		return checkDataDisks(w, in, size.disks)
	}
	size, ok := findSize(text(p, "hardwareProfile", "vmSize"))
	if !ok {
		return refuse(400, "InvalidParameter", "The value "+text(p, "hardwareProfile", "vmSize")+" provided for the VM size is not valid. The valid sizes in the current region are listed by: az vm list-skus.")
	}
	if s := w.cfg.Scenario; s != nil {
		for _, name := range s.UnavailableSizes[in.location] {
			if strings.EqualFold(name, size.name) {
				return refuse(409, "SkuNotAvailable", "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "+size.name+"' is currently not available in location '"+in.location+
					"'. Please try another size or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details.")
			}
		}
		if bad := w.quota(size, in.location); bad != nil {
			return bad
		}
	}
	if bad := checkDataDisks(w, in, size.disks); bad != nil {
		return bad
	}
	if mapping(p, "storageProfile", "imageReference") == nil {
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure makes machines of images, not of disks that are there already or of blobs.")
	}
	c, generation, security, plan, _, bad := w.source(mapping(p, "storageProfile", "imageReference"), in.location)
	if bad != nil {
		return bad
	}
	if bad := w.checkPlan(in, plan); bad != nil {
		return bad
	}
	if !strings.Contains(size.gens, generation) {
		return refuse(400, "BadRequest", "The selected VM size '"+size.name+"' cannot boot Hypervisor Generation '"+strings.TrimPrefix(generation, "V")+"'. If this was a Create operation please check that the Hypervisor Generation of the Image matches the Hypervisor Generation of the selected VM Size. For more information, see https://aka.ms/azuregen2vm")
	}
	for _, bad := range []*refusal{checkSecurity(p, size, generation, security), checkController(p, size, generation), w.checkSpot(in, size)} {
		if bad != nil {
			return bad
		}
	}
	if bad := checkImageLUNs(c, dataDisks(p)); bad != nil {
		return bad
	}
	o := mapping(p, "osProfile")
	switch {
	case c.generalized && o == nil:
		return refuse(400, "InvalidParameter", "Required parameter 'osProfile' is missing (null).")
	case !c.generalized && o != nil:
		return refuse(400, "InvalidParameter", "Parameter 'osProfile' is not allowed.")
	}
	if o != nil {
		if n := text(o, "computerName"); n == "" && c.windows || c.windows && len(n) > 15 {
			return refuse(400, "InvalidParameter", "Windows computer name cannot be more than 15 characters long, be entirely numeric, or contain the following characters: ` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : . ' \" , < > / ?.")
		}
		if l := len(text(o, "adminPassword")); c.windows && (l < 8 || l > 123) {
			return refuse(400, "InvalidParameter", "The supplied password must be between 8-123 characters long and must satisfy at least 3 of password complexity requirements from the following: Contains an uppercase character; Contains a lowercase character; Contains a numeric digit; Contains a special character; Control characters are not allowed")
		}
		for _, l := range items(o, "windowsConfiguration", "winRM", "listeners") {
			if url := text(l, "certificateUrl"); url != "" {
				value, ok := w.secretByURL(url)
				if !ok {
					return refuse(400, "KeyVaultSecretDoesNotExist", "The Key Vault secret referenced with the URL "+url+" does not exist or cannot be read.")
				}
				if _, err := machineCertificate(value); err != nil {
					return refuse(400, "CertificateImproperlyFormatted", "The secret's JSON representation retrieved from "+url+" has data field which is not properly formatted.")
				}
			}
		}
	}
	nics := items(p, "networkProfile", "networkInterfaces")
	if len(nics) == 0 {
		return refuse(400, "InvalidParameter", "Virtual Machine must have at least one network interface.")
	}
	for _, n := range nics {
		nic := w.find(text(n, "id"))
		if nic == nil || !sameRegion(nic.location, in.location) {
			return missingReference(text(n, "id"), in.id)
		}
		if user := nicUser(w, nic.id); user != nil {
			return nicInUse(nic.id, user.id)
		}
	}
	if d := w.find(diskID(in.id, p)); d != nil {
		return refuse(409, "Conflict", "Disk "+d.name+" already exists in resource group "+strings.ToUpper(idPart(d.id, "resourceGroups"))+". Only CreateOption.Attach is supported.")
	}
	return nil
}

// diskID is the OS disk's id: by the name that was asked for, or one made of the machine's.
func diskID(vmID string, props map[string]any) string {
	name := text(props, "storageProfile", "osDisk", "name")
	if name == "" {
		name = lastPart(vmID) + "_OsDisk_1"
	}
	return parentID(vmID) + "/disks/" + name
}

func fillVM(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	m := machineOf(r)
	if in.old != nil && m.power != "" {
		// An update keeps what only a creation may set.
		before := dataDisks(r.props)
		if storage := mapping(p, "storageProfile"); storage["dataDisks"] != nil {
			mapping(r.props, "storageProfile")["dataDisks"] = storage["dataDisks"]
			fillDataDisks(w, r, before)
		}
		for key, v := range p {
			if key != "storageProfile" && key != "osProfile" {
				r.props[key] = v
			}
		}
		r.etag = bump(r.etag)
		return
	}
	c, generation, _, plan, exact, _ := w.source(mapping(p, "storageProfile", "imageReference"), in.location)
	if c.isReal() && w.cfg.Machines == nil && c.windows { // bytes that nobody here can start: the guest is a model, as those of the marketplace are
		c.image, c.made, c.disk = "", "", guest.NewDisk()
	}
	if c.disk != nil {
		c.disk = c.disk.Clone()
	}
	m.power, m.content, m.generation = "starting", c, generation
	if plan != "" {
		m.content.plan = plan
	}
	m.user, m.password = c.user, c.password
	if c.isReal() {
		m.real = w.newReal(m, p, c)
	}
	if o := mapping(p, "osProfile"); o != nil {
		m.user, m.password = text(o, "adminUsername"), text(o, "adminPassword")
		for _, l := range items(o, "windowsConfiguration", "winRM", "listeners") {
			m.certificateURL = text(l, "certificateUrl")
		}
		delete(o, "adminPassword")
		delete(o, "customData")
	}
	p["vmId"], p["timeCreated"] = w.uuid(), stamp(w.clock.Now())
	delete(p, "userData")
	storage := mapping(p, "storageProfile")
	if exact != "" {
		mapping(storage, "imageReference")["exactVersion"] = exact
	}
	osDisk := mapping(storage, "osDisk")
	if osDisk == nil {
		osDisk = map[string]any{}
		storage["osDisk"] = osDisk
	}
	id := diskID(r.id, p)
	osDisk["name"] = lastPart(id)
	w.completeVM(p)
	completeSpot(p)
	managed := mapping(osDisk, "managedDisk")
	managed["id"] = id
	withImageDisks(storage, c)
	r.props = p
	r.extra = map[string]any{}
	for _, key := range []string{"plan", "identity", "zones"} {
		if v := in.body[key]; v != nil {
			r.extra[key] = deepCopy(v)
		}
	}
	r.etag = bump("")
	d := w.place(id, diskType, r.location)
	d.tags, d.aux, d.state = r.tags, c, "Succeeded"
	d.sku = map[string]any{"name": text(managed, "storageAccountType"), "tier": "Premium"}
	d.props = map[string]any{"osType": osDisk["osType"], "diskSizeGB": osDisk["diskSizeGB"], "creationData": map[string]any{"createOption": "FromImage"}, "diskState": "Attached",
		"timeCreated": stamp(w.clock.Now()), "uniqueId": w.uuid()}
	d.extra = map[string]any{"managedBy": r.id}
	fillDataDisks(w, r, nil)
}

func mayStart(_ *Azure, r *resource, _ map[string]any) *refusal {
	if machineOf(r).generalized {
		return refuse(409, "OperationNotAllowed", "Operation 'start' is not allowed on VM '"+r.name+"' since the VM is generalized.")
	}
	return nil
}

func mayGeneralize(_ *Azure, r *resource, _ map[string]any) *refusal {
	if p := machineOf(r).power; p != "stopped" && p != "deallocated" {
		return refuse(409, "OperationNotAllowed", "Operation 'generalize' is not allowed on VM '"+r.name+"' since the VM is not stopped or deallocated.")
	}
	return nil
}

func dropVM(*Azure, *resource) *refusal { return nil }

// goneVM frees the disk, or takes it along where the machine was told to.
func goneVM(w *Azure, r *resource) {
	stopVM(w, r)
	defer w.dropReal(r)
	goneDataDisks(w, r)
	d := w.find(diskID(r.id, r.props))
	if d == nil {
		return
	}
	if strings.EqualFold(text(r.props, "storageProfile", "osDisk", "deleteOption"), "Delete") {
		w.leave(d)
		return
	}
	delete(d.extra, "managedBy")
	d.props["diskState"] = "Unattached"
	if m := machineOf(r); m.real != nil && m.real.disk != "" { // what the machine has written to it stays
		d.aux = content{image: m.real.disk, plan: m.content.plan, bytes: m.content.bytes, windows: m.content.windows, generalized: m.generalized, user: m.user, password: m.password}
	}
}
