package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"ingot/internal/sim/guest"
	"ingot/internal/sim/qemu"
)

// What disks hold: those of machines as they are at this moment, the data disks that an image brings along, and the bytes of a
// disk that has none, because a scripted guest is on it.

// dataContent is a data disk of an image.
type dataContent struct {
	Lun     int     `json:"lun"`
	GB      int     `json:"gb"`
	Caching string  `json:"caching,omitempty"`
	Type    string  `json:"type,omitempty"` // of the disk it was captured from
	Source  string  `json:"source,omitempty"`
	Content content `json:"content"`
}

// diskContent is what a disk holds, to be kept somewhere else: later writes to the disk do not reach it.
func (w *Azure) diskContent(d *resource) content {
	by, _ := d.extra["managedBy"].(string)
	if v := w.find(by); v != nil && v.typ == vmType {
		if sameID(diskID(v.id, v.props), d.id) {
			return w.capture(machineOf(v))
		}
		return w.captureData(machineOf(v), d)
	}
	c, _ := d.aux.(content)
	if c.disk != nil {
		c.disk = c.disk.Clone()
	}
	return c
}

// captureData keeps what a data disk of a machine holds. A real machine goes on with a file over the one that is kept.
func (w *Azure) captureData(m *machine, d *resource) content {
	c, _ := d.aux.(content)
	host := w.cfg.Machines
	if m.real == nil || host == nil || !strings.HasSuffix(c.image, ".qcow2") {
		return c
	}
	out := content{bytes: int64(number(d.props, "diskSizeGB")) << 30}
	if m.real.vm != nil {
		out.frozen = &frozen{err: errors.New("the data disks of a machine that runs are not captured: stop it first")}
		return out
	}
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	old, next := qemu.Image{Path: c.image, Format: "qcow2", Bytes: out.bytes}, host.Path(m.real.name+"-data-"+w.uuid()[:8]+".qcow2")
	err := qemu.Overlay(ctx, next, old, 0)
	if err == nil {
		c.image = next
		d.aux = c
		w.touch("resource", d.low)
	}
	out.frozen = &frozen{disk: old, err: err}
	return out
}

// captureVM keeps what all disks of a machine hold.
func (w *Azure) captureVM(v *resource) content {
	m := machineOf(v)
	c := w.capture(m)
	c.data = nil
	for _, x := range dataDisks(v.props) {
		d := w.find(dataDiskID(v.id, x))
		if d == nil {
			continue
		}
		c.data = append(c.data, dataContent{Lun: number(x, "lun"), GB: number(d.props, "diskSizeGB"), Caching: or(text(x, "caching"), "None"), Type: text(d.sku, "name"), Source: d.id, Content: w.captureData(m, d)})
	}
	return c
}

// imageDataDisks are the data disks of a managed image's document.
func imageDataDisks(c content) []any {
	out := []any{}
	for _, d := range c.data {
		x := map[string]any{"lun": d.Lun, "diskSizeGB": d.GB, "caching": d.Caching, "storageAccountType": or(d.Type, "Standard_LRS")}
		if d.Source != "" {
			x["managedDisk"] = map[string]any{"id": d.Source}
		}
		out = append(out, x)
	}
	return out
}

// versionDataDisks are those of an image version's document
// (https://learn.microsoft.com/rest/api/compute/gallery-image-versions/get: storageProfile.dataDiskImages).
func versionDataDisks(c content) []any {
	out := []any{}
	for _, d := range c.data {
		out = append(out, map[string]any{"lun": d.Lun, "sizeInGB": d.GB, "hostCaching": d.Caching})
	}
	return out
}

// checkImageLUNs: a request that lists data disks must list those of the image. The message is Azure's
// (hashicorp/terraform-provider-azurerm#85 and others); a request without a list gets them all.
func checkImageLUNs(c content, list []any) *refusal {
	from := map[int]bool{}
	for _, x := range list {
		from[number(x, "lun")] = strings.EqualFold(text(x, "createOption"), "FromImage")
	}
	has := map[int]bool{}
	for _, d := range c.data {
		has[d.Lun] = true
		if len(list) > 0 && !from[d.Lun] {
			return refuse(400, "InvalidParameter", "StorageProfile.dataDisks.lun does not have required value(s) for image specified in storage profile.")
		}
	}
	for lun, wanted := range from {
		if wanted && !has[lun] {
			return refuse(400, "InvalidParameter", "StorageProfile.dataDisks.lun does not have required value(s) for image specified in storage profile.")
		}
	}
	return nil
}

// withImageDisks completes a machine's list of data disks from its image: what the request leaves open.
func withImageDisks(storage map[string]any, c content) {
	list, _ := storage["dataDisks"].([]any)
	if len(list) == 0 {
		for _, d := range c.data {
			list = append(list, map[string]any{"lun": d.Lun, "createOption": "FromImage"})
		}
	}
	for _, x := range list {
		d, ok := x.(map[string]any)
		if !ok || !strings.EqualFold(text(d, "createOption"), "FromImage") {
			continue
		}
		for _, of := range c.data {
			if of.Lun == number(d, "lun") {
				fill(d, map[string]any{"diskSizeGB": of.GB, "caching": of.Caching})
			}
		}
	}
	if list == nil {
		list = []any{}
	}
	storage["dataDisks"] = list
}

// dataFrom is what an image brings along for a data disk.
func (c content) dataFrom(lun int) content {
	for _, d := range c.data {
		if d.Lun == lun {
			return d.Content
		}
	}
	return content{}
}

// diskState is a disk's state as Azure tells it: a disk of a machine that is deallocated is Reserved
// (https://learn.microsoft.com/rest/api/compute/disks/get: DiskState).
func (w *Azure) diskState(r *resource) string {
	state := text(r.props, "diskState")
	if state == "Attached" {
		by, _ := r.extra["managedBy"].(string)
		if v := w.find(by); v != nil && v.typ == vmType && machineOf(v).power == "deallocated" {
			return "Reserved"
		}
	}
	return state
}

// modelMark begins a disk that has a scripted guest on it. Whoever looks into the file can read what it is.
const modelMark = "This is a disk of a simulated machine. There is no operating system on it, only what follows.\n"

// modelDisk writes a disk that has no bytes as a fixed VHD: the model of the guest at its beginning, and holes.
func (w *Azure) modelDisk(r *resource, c content) (string, error) {
	size := int64(max(number(r.props, "diskSizeGB"), 1)) << 30
	file := w.sparse(r.id, size+512)
	if file == "" {
		return "", errors.New("there is no room for the disk")
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	head := append([]byte(modelMark), make([]byte, 8)...)
	binary.BigEndian.PutUint64(head[len(modelMark):], uint64(len(raw)))
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(head, raw...))
	if err = errors.Join(err, f.Close()); err == nil {
		err = writeFooter(file, size, w.clock.Now())
	}
	return file, err
}

// modelOf reads back what modelDisk wrote; false for a disk with anything else on it.
func modelOf(file string) (c content, ok bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return c, false, err
	}
	defer f.Close() //nolint:errcheck // only read
	head := make([]byte, len(modelMark)+8)
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.HasPrefix(head, []byte(modelMark)) {
		return c, false, nil
	}
	n := binary.BigEndian.Uint64(head[len(modelMark):])
	if n > 1<<30 {
		return c, false, fmt.Errorf("the disk of a simulated machine is damaged")
	}
	raw := make([]byte, n)
	if _, err := f.ReadAt(raw, int64(len(head))); err != nil { //nolint:gosec // bounded above
		return c, false, err
	}
	err = json.Unmarshal(raw, &c)
	return c, err == nil, err
}

// fromFile is what a disk made of a file holds. A model takes the place of its file.
func fromFile(file string) content {
	if c, ok, err := modelOf(file); ok && err == nil {
		os.Remove(file) //nolint:errcheck // in the simulation's own folder
		return c
	}
	return content{image: file}
}

// open makes the file that is given out of a disk, and tells whether it is only for this.
func (w *Azure) open(r *resource) (file string, temporary bool, err error) {
	c := w.diskContent(r)
	host := w.cfg.Machines
	from := qemu.Image{Path: c.image}
	switch {
	case c.frozen != nil && c.frozen.err != nil:
		return "", false, c.frozen.err
	case c.frozen != nil:
		from = c.frozen.disk
	case scripted(c):
		file, err = w.modelDisk(r, c)
		return file, true, err
	case c.image == "": // an empty disk: zeros and a footer
		size := int64(number(r.props, "diskSizeGB")) << 30
		if file = w.sparse(r.id, size+512); file == "" {
			return "", false, errors.New("there is no room for the disk")
		}
		return file, true, writeFooter(file, size, w.clock.Now())
	case host == nil || !strings.HasSuffix(c.image, ".qcow2"):
		return c.image, false, nil
	default:
		if from, err = qemu.Inspect(c.image); err != nil {
			return "", false, err
		}
	}
	made, err := qemu.Capture(context.Background(), from, host.Path("disk-"+w.uuid()[:8]+".vhd"))
	return made.Path, true, err
}

// doneDisk ends the making of a disk or snapshot: of a real machine's disk a file is made.
func doneDisk(w *Azure, r *resource) *refusal {
	c, ok := r.aux.(content)
	if !ok || c.frozen == nil {
		return nil
	}
	return w.whole(&c, func() *refusal {
		r.aux = c
		return nil
	})
}

// showDisk says what a disk of the scripted model holds: an image version's, a managed image's or a managed disk's. It is for tests and people,
// not Azure's.
func (w *Azure) showDisk(id string) *reply {
	r := w.find(id)
	if r == nil {
		return failed(refuse(404, "NotFound", "There is no resource "+id+"."))
	}
	d := w.scriptedDisk(r)
	if d == nil {
		return failed(refuse(404, "NotFound", "The disk of "+id+" is not one of the scripted model."))
	}
	files := map[string]string{}
	for _, name := range d.Files() {
		raw, _ := d.File(name)
		files[name] = fmt.Sprintf("%x", sha256.Sum256(raw))
	}
	return &reply{status: 200, body: map[string]any{"imageState": d.ImageState(), "files": files}}
}

// scriptedDisk is the disk of the scripted model that stands behind a resource, or nil.
func (w *Azure) scriptedDisk(r *resource) *guest.Disk {
	if v, ok := r.aux.(*versionData); ok {
		return v.content.disk
	}
	return w.contentOf(r, "", "", "").disk
}

// holds sums up what a build has left on a disk: two builds of the same template, by whichever way, leave the same. What generalising leaves
// behind tells of the way and the time, and does not count: sysprep's logs, and the service's own script for it.
func holds(d *guest.Disk) string {
	sum, n := sha256.New(), 0
	for _, name := range d.Files() {
		if low := strings.ToLower(name); strings.Contains(low, `\sysprep\panther\`) || low == `c:\deprovisioningscript.ps1` {
			continue
		}
		raw, _ := d.File(name)
		fmt.Fprintf(sum, "%s\n%x\n", strings.ToLower(name), sha256.Sum256(raw))
		n++
	}
	word := "files"
	if n == 1 {
		word = "file"
	}
	return fmt.Sprintf("%d %s, digest %x", n, word, sum.Sum(nil)[:6])
}
