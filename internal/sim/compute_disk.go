package sim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/sim/guest"
)

const snapshotType = "Microsoft.Compute/snapshots"

// diskFile is what is open of a disk: an upload that is under way, an address that was given out.
type diskFile struct {
	pending string // the file of an upload
	account string // of the data plane; "": no address is out
	write   bool
	until   time.Time
	before  string // diskState to go back to
	opened  string // a file that was made for being read, and goes with the address
}

// forget removes what was made for being read.
func (f *diskFile) forget() {
	if f.opened != "" {
		os.Remove(f.opened) //nolint:errcheck // in the simulation's own folder
	}
	f.opened = ""
}

// diskKind is managed disks and snapshots, which differ in little.
func diskKind(typ string, takes takesTime) kind {
	return kind{typ: typ, check: checkDisk, fill: fillDisk, done: doneDisk, drop: dropDisk, gone: goneDisk, show: func(w *Azure, r *resource, b map[string]any) {
		if w.lapse(r); typ == diskType {
			mapping(b, "properties")["diskState"] = w.diskState(r)
		} else {
			mapping(b, "properties")["diskState"] = r.props["diskState"]
		}
		if typ == diskType && r.state == "Succeeded" {
			iops, speed := diskSpeed(text(r.sku, "name"), number(r.props, "diskSizeGB"))
			fill(mapping(b, "properties"), map[string]any{"diskIOPSReadWrite": iops, "diskMBpsReadWrite": speed})
		}
	}, put202: true, creating: "Updating", opPath: "DiskOperations", takes: takes, takesAway: "disk-delete", update: updateDisk,
		actions: map[string]action{
			"beginGetAccess": {check: mayGrant, output: grantDisk, takes: "disk-access"},
			"endGetAccess":   {done: func(w *Azure, r *resource) *refusal { w.revoke(r); return nil }, takes: "disk-access"},
		}}
}

const mib = 1 << 20

// diskSpeed is what a disk of a kind and size in GB can do: operations and MB a second
// (learn.microsoft.com/azure/virtual-machines/disks-types; the smaller sizes).
func diskSpeed(sku string, gb int) (iops, speed int) {
	if !strings.HasPrefix(sku, "Premium_") {
		return 500, 60
	}
	for _, s := range [][3]int{{32, 120, 25}, {64, 240, 50}, {128, 500, 100}, {256, 1100, 125}, {512, 2300, 150}, {1024, 5000, 200}} {
		if gb <= s[0] {
			return s[1], s[2]
		}
	}
	return 7500, 250
}

// checkDisk holds a disk against Compute's rules (rest/api/compute/disks/create-or-update).
func checkDisk(w *Azure, in ask) *refusal {
	p := mapping(in.body, "properties")
	if in.old != nil {
		return mayResize(in.old, p)
	}
	create := mapping(p, "creationData")
	switch option := text(create, "createOption"); option {
	case "Empty":
		if number(p, "diskSizeGB") <= 0 {
			return refuse(400, "InvalidParameter", "Required parameter 'diskSizeGB' is missing (null).")
		}
	case "Upload":
		if strings.Contains(strings.ToLower(in.id), "/microsoft.compute/snapshots/") {
			return refuse(400, "InvalidParameter", "Snapshots cannot be created with createOption 'Upload'.")
		}
		// "20972032 bytes (20 MiB + 512 bytes for the VHD footer) to 35183298347520 bytes (32 TiB + 512 bytes)".
		size := int64(number(create, "uploadSizeBytes"))
		if size < 20972032 || size > 35183298347520+512 || (size-512)%mib != 0 {
			return refuse(400, "InvalidParameter", "The value of parameter uploadSizeBytes is invalid: it is the size of a fixed VHD, a whole number of MiB plus a footer of 512 bytes.")
		}
	case "Copy":
		s := w.find(text(create, "sourceResourceId"))
		if s == nil || s.typ != diskType && s.typ != snapshotType {
			return refuse(404, "ResourceNotFound", "The source resource "+text(create, "sourceResourceId")+" was not found.")
		}
		if !sameRegion(s.location, in.location) {
			return refuse(400, "InvalidParameter", "The source resource "+s.id+" is not in the region "+in.location+".")
		}
	case "Import":
		account, path, bad := w.blobOf(text(create, "sourceUri"))
		if bad != nil {
			return bad
		}
		if id := text(create, "storageAccountId"); id != "" && !sameID(id, account.id) {
			return refuse(400, "InvalidParameter", "The source blob does not belong to the storage account "+id+".")
		}
		if bad := w.importable(account.name, path); bad != nil {
			return bad
		}
	case "FromImage":
		_, _, _, _, _, bad := w.source(diskImage(create), in.location)
		return bad
	default:
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure does not know disks of createOption "+option+".")
	}
	return nil
}

func mayResize(r *resource, p map[string]any) *refusal {
	if n := number(p, "diskSizeGB"); n > 0 && n < number(r.props, "diskSizeGB") {
		return refuse(409, "OperationNotAllowed", "Disk "+r.name+" cannot be shrunk: its size is "+itoa(number(r.props, "diskSizeGB"))+" GB.")
	}
	return nil
}

// diskImage is an image reference as machines have it. Of the marketplace a disk names an id:
// …/Publishers/P/ArtifactTypes/VMImage/Offers/O/Skus/S/Versions/V.
func diskImage(create map[string]any) map[string]any {
	id := text(create, "galleryImageReference", "id")
	if id == "" {
		id = text(create, "imageReference", "id")
	}
	if p := idPart(id, "publishers"); p != "" {
		return map[string]any{"publisher": p, "offer": idPart(id, "offers"), "sku": idPart(id, "skus"), "version": idPart(id, "versions")}
	}
	return map[string]any{"id": id}
}

// imported copies a blob; it must be a fixed VHD.
func (w *Azure) imported(account string, path []string) (string, *refusal) {
	s, bad := w.plane()
	if bad != nil {
		return "", bad
	}
	file, err := s.Extract(account, path[0], path[1])
	if err != nil {
		return "", refuse(404, "BlobNotFound", "The source blob was not found or is not a page blob: "+err.Error())
	}
	if err := fixedVHD(file); err != nil {
		return "", refuse(400, "InvalidParameter", errors.Join(errors.New("the source blob is not a valid VHD: "+err.Error()), os.Remove(file)).Error())
	}
	return file, nil
}

// importable looks whether a blob can be imported, and keeps nothing of it.
func (w *Azure) importable(account string, path []string) *refusal {
	file, bad := w.imported(account, path)
	if bad != nil {
		return bad
	}
	if err := os.Remove(file); err != nil {
		return refuse(500, "InternalExecutionError", err.Error())
	}
	return nil
}

func fillDisk(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	if in.old != nil {
		resizeDisk(r, p, mapping(in.body, "sku"))
		return
	}
	create := mapping(p, "creationData")
	c, state := content{}, "Unattached"
	switch text(create, "createOption") {
	case "Upload":
		state = "ReadyToUpload"
		size := int64(number(create, "uploadSizeBytes"))
		p["diskSizeGB"] = int((size - 512 + 1<<30 - 1) >> 30)
		if _, bad := w.plane(); bad == nil {
			w.fileOf(r).pending = w.sparse(r.id, size)
		}
	case "Copy":
		s := w.find(text(create, "sourceResourceId"))
		c = w.contentOf(s, "", "", "")
		for _, key := range []string{"osType", "diskSizeGB", "hyperVGeneration"} {
			if p[key] == nil && s.props[key] != nil {
				p[key] = s.props[key]
			}
		}
	case "Import":
		if account, path, bad := w.blobOf(text(create, "sourceUri")); bad == nil {
			file, _ := w.imported(account.name, path)
			if info, err := os.Stat(file); err == nil && p["diskSizeGB"] == nil {
				p["diskSizeGB"] = int((info.Size() - 512 + 1<<30 - 1) >> 30)
			}
			c = fromFile(file)
		}
		c.windows = text(p, "osType") == "Windows"
	case "FromImage":
		var generation string
		c, generation, _, _, _, _ = w.source(diskImage(create), in.location)
		if c.disk != nil {
			c.disk = c.disk.Clone()
		}
		p["hyperVGeneration"] = generation
		if p["osType"] == nil {
			p["osType"] = map[bool]string{true: "Windows", false: "Linux"}[c.windows]
		}
		if p["diskSizeGB"] == nil {
			p["diskSizeGB"] = 127
		}
	}
	p["diskState"], p["timeCreated"], p["uniqueId"] = state, stamp(w.clock.Now()), w.uuid()
	p["diskSizeBytes"] = int64(number(p, "diskSizeGB")) << 30
	// What Azure fills in, as recorded.
	for key, v := range map[string]any{"encryption": map[string]any{"type": "EncryptionAtRestWithPlatformKey"}, "networkAccessPolicy": "AllowAll", "publicNetworkAccess": "Enabled"} {
		if p[key] == nil {
			p[key] = v
		}
	}
	if r.typ == snapshotType && p["incremental"] == nil {
		p["incremental"] = false
	}
	r.props, r.aux, r.extra = p, c, map[string]any{}
	if z := in.body["zones"]; z != nil {
		r.extra["zones"] = deepCopy(z)
	}
	resizeDisk(r, nil, mapping(in.body, "sku"))
}

// resizeDisk takes over what may change of a disk.
func resizeDisk(r *resource, p, sku map[string]any) {
	if n := number(p, "diskSizeGB"); n > 0 {
		r.props["diskSizeGB"], r.props["diskSizeBytes"] = n, int64(n)<<30
	}
	name := text(sku, "name")
	if name == "" && r.sku == nil {
		name = "Standard_LRS"
	}
	if name != "" {
		tier, _, _ := strings.Cut(strings.Replace(name, "UltraSSD", "Ultra", 1), "_")
		r.sku = map[string]any{"name": name, "tier": tier}
	}
}

// updateDisk is PATCH: size, sku, tags; 202 as a PUT is.
func updateDisk(w *Azure, q *request, k *kind, r *resource) *reply {
	p := mapping(q.body, "properties")
	for key := range p {
		if key != "diskSizeGB" && key != "osType" && key != "networkAccessPolicy" && key != "publicNetworkAccess" {
			return w.unknown(q)
		}
	}
	if bad := mayResize(r, p); bad != nil {
		return failed(bad)
	}
	if q.body["tags"] != nil {
		r.tags = copyMap(mapping(q.body, "tags"))
	}
	for key, v := range p {
		r.props[key] = v
	}
	resizeDisk(r, p, mapping(q.body, "sku"))
	r.state = "Updating"
	o := w.begin(r, k.opPath, w.duration("disk", r.id), func() *refusal { r.state = "Succeeded"; return nil })
	return &reply{status: 202, header: w.async(q, o, true), body: w.show(k, r, "")}
}

func dropDisk(w *Azure, r *resource) *refusal {
	w.lapse(r)
	if by, _ := r.extra["managedBy"].(string); by != "" {
		return refuse(409, "OperationNotAllowed", "Disk "+r.name+" is attached to VM "+by+".")
	}
	if s := text(r.props, "diskState"); s == "ActiveSAS" || s == "ActiveUpload" {
		return refuse(409, "OperationNotAllowed", "There is currently an active shared access signature for disk "+r.name+". Call EndGetAccess to revoke the shared access signature before attempting this operation.")
	}
	return nil
}

func goneDisk(w *Azure, r *resource) {
	if f := w.storage.files[strings.ToLower(r.id)]; f != nil {
		if f.account != "" {
			w.storage.blobs.Drop(f.account)
		}
		f.forget()
		if f.pending != "" {
			os.Remove(f.pending) //nolint:errcheck // in the simulation's own folder
		}
		delete(w.storage.files, strings.ToLower(r.id))
	}
}

// contentOf is what another resource's disk holds, to be put into a disk or an image.
func (w *Azure) contentOf(s *resource, uri, osType, osState string) content {
	c, _ := s.aux.(content)
	switch s.typ {
	case storageType:
		if account, path, bad := w.blobOf(uri); bad == nil {
			file, _ := w.imported(account.name, path)
			c = fromFile(file)
		}
	case diskType, snapshotType:
		c = w.diskContent(s)
	}
	if osType != "" {
		c.windows = osType == "Windows"
	}
	if osState != "" {
		c.generalized = osState == "Generalized"
	}
	return c
}

// checkImageOfDisk: an image of a disk, a snapshot or a blob.
func checkImageOfDisk(w *Azure, in ask) *refusal {
	d := mapping(in.body, "properties", "storageProfile", "osDisk")
	for _, need := range []string{"osType", "osState"} {
		if text(d, need) == "" {
			return refuse(400, "InvalidParameter", "Required parameter '"+need+"' is missing (null).")
		}
	}
	if uri := text(d, "blobUri"); uri != "" {
		account, path, bad := w.blobOf(uri)
		if bad == nil {
			bad = w.importable(account.name, path)
		}
		return bad
	}
	s := imageSource(w, d)
	switch {
	case s == nil:
		return refuse(404, "NotFound", "The entity was not found in this Azure location.")
	case !sameRegion(s.location, in.location):
		return refuse(400, "InvalidParameter", "The source disk is not in the location of the image.")
	}
	return nil
}

func imageSource(w *Azure, d any) *resource {
	if id := text(d, "snapshot", "id"); id != "" {
		return w.find(id)
	}
	if uri := text(d, "blobUri"); uri != "" {
		account, _, _ := w.blobOf(uri)
		return account
	}
	return w.find(text(d, "managedDisk", "id"))
}

func fillImageOfDisk(w *Azure, r *resource, p map[string]any) {
	d := mapping(p, "storageProfile", "osDisk")
	s := imageSource(w, d)
	if d == nil || s == nil {
		return
	}
	r.aux = w.contentOf(s, text(d, "blobUri"), text(d, "osType"), text(d, "osState"))
	if d["diskSizeGB"] == nil && s.props["diskSizeGB"] != nil {
		d["diskSizeGB"] = s.props["diskSizeGB"]
	}
	if d["caching"] == nil {
		d["caching"] = "None"
	}
	if text(p, "hyperVGeneration") == "" {
		p["hyperVGeneration"] = "V1"
	}
	c := r.aux.(content)
	for _, x := range items(p, "storageProfile", "dataDisks") {
		if of := imageSource(w, x); of != nil {
			c.data = append(c.data, dataContent{Lun: number(x, "lun"), GB: max(number(x, "diskSizeGB"), number(of.props, "diskSizeGB")), Caching: or(text(x, "caching"), "None"), Source: of.id, Content: w.contentOf(of, text(x, "blobUri"), "", "")})
		}
	}
	r.aux = c
	mapping(p, "storageProfile")["dataDisks"] = imageDataDisks(c)
}

// scripted reports content that has no bytes: a guest made of a model.
func scripted(c content) bool { return c.image == "" && c.disk != (*guest.Disk)(nil) }

func (w *Azure) fileOf(r *resource) *diskFile {
	f := w.storage.files[strings.ToLower(r.id)]
	if f == nil {
		f = &diskFile{}
		w.storage.files[strings.ToLower(r.id)] = f
	}
	return f
}

// sparse makes a file of a size that takes no room; "" when it cannot.
func (w *Azure) sparse(id string, size int64) string {
	f, err := os.CreateTemp(w.storage.dir, strings.ReplaceAll(lastPart(id), "*", "")+"-*.vhd")
	if err != nil {
		return ""
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return ""
	}
	return filepath.Clean(f.Name())
}
