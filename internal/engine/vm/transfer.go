package vm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/plan"
)

// accessFor is how long a disk's address is good for: as long as Azure gives (rest/api/compute/disks/grant-access knows no limit, az
// uses an hour), but it is taken back as soon as the bytes are over.
const accessFor = 24 * time.Hour

// ExportPlan brings the disk of an image that a run has published to a file: a disk is made of the gallery version in a temporary group,
// read through an address that is good for this alone, and removed again.
func ExportPlan(built *plan.Plan, o engine.Options, file string) (*plan.Plan, error) {
	var from *galleryArgs
	windows := false
	for _, s := range built.Steps {
		switch s.Kind {
		case "gallery":
			if from == nil {
				from = &galleryArgs{}
				if err := json.Unmarshal(s.Args, from); err != nil {
					return nil, fmt.Errorf("cannot read the plan of run %s: %w", built.Run, err)
				}
			}
		case "vm":
			var a vmArgs
			if err := json.Unmarshal(s.Args, &a); err != nil {
				return nil, fmt.Errorf("cannot read the plan of run %s: %w", built.Run, err)
			}
			windows = a.VM.Windows
		}
	}
	if from == nil {
		return nil, fmt.Errorf("cannot export run %s: it published no gallery version, and Azure makes disks of those only", built.Run)
	}
	v := from.Version
	tags := map[string]string{TagRun: o.Run, TagExpires: o.Made.Add(o.Expires).UTC().Format(time.RFC3339)}
	group := "ingot-" + o.Run
	id := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/galleries/%s/images/%s/versions/%s", v.Subscription, v.Group, v.Gallery, v.Image, v.Version)
	c := &compiler{}
	c.add(plan.Step{ID: "group", Kind: "group", Title: "Create resource group " + group, Estimate: time.Second, UndoEstimate: takesGroupDelete},
		groupArgs{Group: azure.Group{Name: group, Location: v.Location, Tags: tags}})
	disk := azure.Disk{Group: group, Name: "ingot-" + o.Run + "-export", Location: v.Location, Windows: windows, Tags: tags}
	c.add(plan.Step{ID: "disk", Kind: "disk-from-version", Title: fmt.Sprintf("Make a disk of %s/%s %s", v.Gallery, v.Image, v.Version), After: []string{"group"}, Within: "group", Estimate: time.Minute, UndoEstimate: time.Second},
		diskArgs{Disk: disk, Version: id})
	c.add(plan.Step{Scope: plan.Nothing, ID: "download", Kind: "download-disk", Title: "Download it to " + file, After: []string{"disk"}, Estimate: 10 * time.Minute}, transferArgs{Group: group, Name: disk.Name, File: file})
	p := &plan.Plan{Run: o.Run, Title: "export of " + built.Title, Made: o.Made, Steps: c.steps}
	return p, errors.Join(append(c.errs, p.Check())...)
}

// UploadPlan brings a VHD to a managed disk of that description, which stays.
func UploadPlan(d azure.Disk, size int64, o engine.Options, file string) (*plan.Plan, error) {
	d.Tags = map[string]string{TagRun: o.Run}
	c := &compiler{}
	c.add(plan.Step{ID: "disk", Kind: "upload-disk", Title: fmt.Sprintf("Create disk %s in %s", d.Name, d.Group), Scope: plan.Product, Estimate: time.Second, UndoEstimate: time.Second}, diskArgs{Disk: d, Bytes: size})
	c.add(plan.Step{Scope: plan.Nothing, ID: "upload", Kind: "upload-pages", Title: "Upload " + file, After: []string{"disk"}, Estimate: 10 * time.Minute}, transferArgs{Group: d.Group, Name: d.Name, File: file})
	p := &plan.Plan{Run: o.Run, Title: "upload of " + filepath.Base(file), Made: o.Made, Steps: c.steps}
	return p, errors.Join(append(c.errs, p.Check())...)
}

type diskArgs struct {
	Disk    azure.Disk
	Version string `json:",omitempty"` // made of this gallery version
	Bytes   int64  `json:",omitempty"` // or waiting for as many bytes
}

func (b *build) makeExportDisk(ctx context.Context, t *plan.Task, a diskArgs) (idResult, error) {
	d, err := b.env.Cloud.PutDiskFromVersion(ctx, a.Disk, a.Version, op(t))
	return idResult{ID: d.ID}, err
}

// makeUploadDisk makes the disk, or finds the one that this run has begun to fill.
func (b *build) makeUploadDisk(ctx context.Context, t *plan.Task, a diskArgs) (idResult, error) {
	old, err := b.env.Cloud.GetDisk(ctx, a.Disk.Group, a.Disk.Name)
	switch {
	case err == nil && old.Tags[TagRun] == t.Run:
		return idResult{ID: old.ID}, nil
	case err == nil:
		return idResult{}, fmt.Errorf("cannot upload to disk %s: it exists in %s already; use another name, or delete it", a.Disk.Name, a.Disk.Group)
	case !azure.IsNotFound(err):
		return idResult{}, err
	}
	d, err := b.env.Cloud.PutUploadDisk(ctx, a.Disk, a.Bytes, op(t))
	return idResult{ID: d.ID}, err
}

// removeDisk deletes the disk if this run made it. Nobody can delete one whose address is still good.
func (b *build) removeDisk(ctx context.Context, t *plan.Task, a diskArgs, _ *idResult) error {
	d, err := b.env.Cloud.GetDisk(ctx, a.Disk.Group, a.Disk.Name)
	if azure.IsNotFound(err) || err == nil && d.Tags[TagRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	if err := b.env.Cloud.RevokeAccess(ctx, a.Disk.Group, a.Disk.Name); err != nil {
		return err
	}
	return b.env.Cloud.DeleteDisk(ctx, a.Disk.Group, a.Disk.Name, undoOp(t))
}

type transferArgs struct{ Group, Name, File string }

type transferResult struct{ Bytes int64 }

// progressOf shows how much of a transfer is done, in twenty steps, or every 256 MiB where nobody knows how much there is.
func progressOf(t *plan.Task, size int64) func(done int64) {
	step, shown := max(size/20, 1), int64(0)
	if size == 0 {
		step = 256 << 20
	}
	return func(done int64) {
		if done-shown < step && done != size {
			return
		}
		shown = done
		if size > 0 {
			t.Progress(float64(done)/float64(size), "%d of %d MiB", done>>20, size>>20)
		} else {
			t.Progress(-1, "%d MiB", done>>20)
		}
	}
}

// download writes beside the file and renames, so that a half one is never taken for a whole one.
func (b *build) download(ctx context.Context, t *plan.Task, a transferArgs) (r transferResult, err error) {
	sas, err := b.env.Cloud.GrantAccess(ctx, a.Group, a.Name, false, accessFor)
	if err != nil {
		return r, err
	}
	b.env.Secrets.Hide(sas)
	defer func() {
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
		err = errors.Join(err, b.env.Cloud.RevokeAccess(last, a.Group, a.Name))
	}()
	f, err := os.CreateTemp(filepath.Dir(a.File), ".ingot-*")
	if err != nil {
		return r, fmt.Errorf("cannot write %s: %w", a.File, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	size, err := b.env.Cloud.DownloadPages(ctx, sas, f, progressOf(t, 0))
	if err == nil {
		err = f.Truncate(size)
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return r, fmt.Errorf("cannot download the disk: %w", err)
	}
	if err := CheckVHD(f.Name()); err != nil {
		return r, fmt.Errorf("cannot download the disk: what came is no VHD: %w", err)
	}
	if err := errors.Join(os.Chmod(f.Name(), 0o644), os.Rename(f.Name(), a.File)); err != nil {
		return r, fmt.Errorf("cannot write %s: %w", a.File, err)
	}
	t.Progress(1, "%d MiB", size>>20)
	return transferResult{size}, nil
}

// upload sends what the disk does not have yet.
func (b *build) upload(ctx context.Context, t *plan.Task, a transferArgs) (r transferResult, err error) {
	f, err := os.Open(a.File)
	if err != nil {
		return r, fmt.Errorf("cannot read %s: %w", a.File, err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return r, fmt.Errorf("cannot read %s: %w", a.File, err)
	}
	d, err := b.env.Cloud.GetDisk(ctx, a.Group, a.Name)
	if err != nil {
		return r, err
	}
	if d.State == "Unattached" { // done before a crash
		return transferResult{info.Size()}, nil
	}
	sas, err := b.env.Cloud.GrantAccess(ctx, a.Group, a.Name, true, accessFor)
	if err != nil {
		return r, err
	}
	b.env.Secrets.Hide(sas)
	if err := b.env.Cloud.UploadPages(ctx, sas, f, info.Size(), progressOf(t, info.Size())); err != nil {
		return r, fmt.Errorf("cannot upload %s: %w", a.File, err)
	}
	return transferResult{info.Size()}, b.env.Cloud.RevokeAccess(ctx, a.Group, a.Name)
}

// CheckVHD tells why Azure would refuse a file as a disk, or nil: it must be a fixed VHD, whose footer says so in its last 512 bytes, and
// hold a whole number of MiB (https://learn.microsoft.com/azure/virtual-machines/windows/prepare-for-upload-vhd-image).
func CheckVHD(path string) error {
	const footer = 512
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	remedy := fmt.Sprintf("convert it: qemu-img convert -O vpc -o subformat=fixed,force_size=on %s DISK.vhd", path)
	b := make([]byte, footer)
	if info.Size() > footer {
		if _, err := f.ReadAt(b, info.Size()-footer); err != nil {
			return fmt.Errorf("cannot read %s: %w", path, err)
		}
	}
	size := info.Size() - footer
	switch {
	case string(b[:8]) != "conectix" || binary.BigEndian.Uint32(b[60:]) != 2:
		return fmt.Errorf("%s is no fixed VHD; %s", path, remedy)
	case int64(binary.BigEndian.Uint64(b[48:])) != size:
		return fmt.Errorf("%s is damaged: its footer gives %d bytes, it holds %d", path, binary.BigEndian.Uint64(b[48:]), size)
	case size%(1<<20) != 0:
		return fmt.Errorf("%s holds %d bytes, no whole number of MiB, which Azure asks for; %s", path, size, remedy)
	}
	return nil
}
