package vm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

// store is a container in a storage account, or the address of a blob.
type store struct{ Group, Account, Container, URI string }

func (s store) title() string {
	if s.URI != "" {
		return s.URI
	}
	return s.Account + "/" + s.Container
}

// open opens the container, and answers the blob's name where the address has it.
func (b *build) open(ctx context.Context, s store, name string) (*azure.VHDStore, string, error) {
	if s.URI != "" {
		return b.env.Cloud.OpenVHDStoreAt(ctx, s.URI)
	}
	v, err := b.env.Cloud.OpenVHDStore(ctx, s.Group, s.Account, s.Container)
	return v, name, err
}

type containerArgs struct {
	Store   store
	Names   []string
	Replace bool
}

// Names of a blob's metadata must be those of C# identifiers.
const (
	metaRun      = "ingot_run"
	metaReplaced = "ingot_replaced"
)

// findContainer makes sure, before there is a machine, that the container is there, that the identity may read blobs in it, and that
// none of the names is taken.
func (b *build) findContainer(ctx context.Context, t *plan.Task, a containerArgs) (struct{}, error) {
	for _, n := range a.Names {
		v, name, err := b.open(ctx, a.Store, n)
		if err != nil {
			return struct{}{}, err
		}
		i, err := v.Look(ctx, name)
		if azure.IsNotFound(err) {
			continue
		}
		if err != nil {
			return struct{}{}, err
		}
		if i.Meta[metaRun] != t.Run && !a.Replace {
			return struct{}{}, fmt.Errorf("cannot copy a disk to %s: a blob of that name is there already; use another capture_name_prefix, or -force", v.URL(name))
		}
	}
	return struct{}{}, nil
}

type vhdArgs struct {
	Store           store
	Name            string            `json:",omitempty"`
	Group, Snapshot string            // that is copied
	Access          time.Duration     // how long its address is good for
	Meta            map[string]string `json:",omitempty"`
	Replace         bool              `json:",omitempty"`
}

// copyVHD copies a snapshot to a page blob; the service does it, from one address to the other. A copy that an earlier process began is
// waited for. With -force a blob of that name gives way when the new one stands beside it.
func (b *build) copyVHD(ctx context.Context, t *plan.Task, a vhdArgs) (productResult, error) {
	v, name, err := b.open(ctx, a.Store, a.Name)
	if err != nil {
		return productResult{}, err
	}
	meta := map[string]string{metaRun: t.Run}
	for k, x := range a.Meta {
		meta[k] = x
	}
	old, err := v.Look(ctx, name)
	ours := err == nil && old.Meta[metaRun] == t.Run
	switch {
	case err != nil && !azure.IsNotFound(err):
		return productResult{}, err
	case err != nil: // nothing is there
	case !ours && !a.Replace:
		return productResult{}, fmt.Errorf("cannot copy a disk to %s: a blob of that name is there already; use another capture_name_prefix, or -force", v.URL(name))
	case !ours:
		if err := b.replaceVHD(ctx, t, a, v, name, meta); err != nil {
			return productResult{}, err
		}
		return b.vhdDone(ctx, t, a, v, name)
	}
	if !ours || old.Copy != "success" {
		if err := b.copySnapshot(ctx, t, a, v, name, meta, old); err != nil {
			return productResult{}, err
		}
	}
	return b.vhdDone(ctx, t, a, v, name)
}

// vhdDone takes back what is not needed any more, and tells where the VHD is in Packer's word for it.
func (b *build) vhdDone(ctx context.Context, t *plan.Task, a vhdArgs, v *azure.VHDStore, name string) (productResult, error) {
	if a.Replace {
		if err := b.dropVHD(ctx, t, v, beside(name, t.Run)); err != nil {
			return productResult{}, err
		}
	}
	word := "OSDiskUri: "
	if strings.Contains(t.Step.ID, "-data-") {
		word = "AdditionalDiskUri: "
	}
	t.Output("stdout", word+v.URL(name))
	return productResult{ID: v.URL(name)}, b.env.Cloud.CloseSnapshot(ctx, a.Group, a.Snapshot)
}

// beside is the blob's name until it has its own.
func beside(name, run string) string { return name + ".ingot-" + run }

// copySnapshot copies the snapshot to a blob; was is what is there of an earlier try.
func (b *build) copySnapshot(ctx context.Context, t *plan.Task, a vhdArgs, v *azure.VHDStore, name string, meta map[string]string, was azure.VHDInfo) (err error) {
	var tell func(int64)
	show := func(i azure.VHDInfo) {
		if tell == nil && i.Bytes > 0 {
			tell = progressOf(t, i.Bytes)
		}
		if tell != nil {
			tell(i.Copied)
		}
	}
	if was.Copy == "pending" {
		return v.Wait(ctx, name, show)
	}
	// An address that an earlier process was given would keep this one from getting one.
	if err := b.env.Cloud.CloseSnapshot(ctx, a.Group, a.Snapshot); err != nil {
		return err
	}
	sas, err := b.env.Cloud.OpenSnapshot(ctx, a.Group, a.Snapshot, a.Access)
	if err != nil {
		return err
	}
	b.env.Secrets.Hide(sas)
	if _, query, ok := strings.Cut(sas, "?"); ok {
		b.env.Secrets.Hide(query)
	}
	return v.Copy(ctx, name, sas, meta, show)
}

// replaceVHD copies the snapshot beside an older blob and then, within the account, over it.
func (b *build) replaceVHD(ctx context.Context, t *plan.Task, a vhdArgs, v *azure.VHDStore, name string, meta map[string]string) error {
	other := beside(name, t.Run)
	was, err := v.Look(ctx, other)
	if err != nil && !azure.IsNotFound(err) {
		return err
	}
	if err != nil || was.Copy != "success" {
		if err := b.copySnapshot(ctx, t, a, v, other, meta, was); err != nil {
			return err
		}
	}
	meta[metaReplaced] = "true"
	if err := v.Copy(ctx, name, v.URL(other), meta, nil); err != nil {
		return fmt.Errorf("%w; the new disk stands as %s", err, v.URL(other))
	}
	return nil
}

// removeVHD deletes the blobs that this run made, but for one that has taken an older one's place, and closes the snapshot, which could
// not be deleted else.
func (b *build) removeVHD(ctx context.Context, t *plan.Task, a vhdArgs, _ *productResult) error {
	if err := b.env.Cloud.CloseSnapshot(ctx, a.Group, a.Snapshot); err != nil {
		return err
	}
	v, name, err := b.open(ctx, a.Store, a.Name)
	if azure.IsNotFound(err) { // account or container have gone
		return nil
	}
	if err != nil {
		return err
	}
	i, err := v.Look(ctx, name)
	if err != nil && !azure.IsNotFound(err) {
		return err
	}
	if err == nil && i.Meta[metaRun] == t.Run && i.Meta[metaReplaced] != "" {
		if i.Copy != "success" {
			t.Output("stderr", "kept: the new disk stands as "+v.URL(beside(name, t.Run)))
			return nil
		}
		t.Output("stdout", "kept: "+v.URL(name)+" has taken the place of an older disk")
	} else if err := b.dropVHD(ctx, t, v, name); err != nil {
		return err
	}
	if !a.Replace {
		return nil
	}
	return b.dropVHD(ctx, t, v, beside(name, t.Run))
}

// dropVHD deletes a blob that this run made.
func (b *build) dropVHD(ctx context.Context, t *plan.Task, v *azure.VHDStore, name string) error {
	i, err := v.Look(ctx, name)
	if azure.IsNotFound(err) || err == nil && i.Meta[metaRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	return v.Delete(ctx, name)
}
