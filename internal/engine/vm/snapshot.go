package vm

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

type snapshotArgs struct {
	Snapshot azure.Snapshot
	Replace  bool `json:",omitempty"`
}

// tagReplaced is on what has taken the place of something that is gone: a failed run keeps it.
const tagReplaced = "ingot-replaced"

// makeSnapshot makes a snapshot of one of the machine's disks. With -force one of that name gives way only when the new one stands
// under another name.
func (b *build) makeSnapshot(ctx context.Context, t *plan.Task, a snapshotArgs) (productResult, error) {
	s := a.Snapshot
	old, err := b.env.Cloud.GetSnapshot(ctx, s.Group, s.Name)
	replace := false
	switch {
	case azure.IsNotFound(err):
	case err != nil:
		return productResult{}, err
	case old.Tags[TagRun] == t.Run && old.State == "Succeeded":
		return productResult{ID: old.ID}, b.dropSnapshot(ctx, t, s.Group, standInName(s.Name, t.Run))
	case old.Tags[TagRun] == t.Run: // under way
	case !a.Replace:
		return productResult{}, fmt.Errorf("cannot make snapshot %s: one of that name is in %s already; use another name, or -force", s.Name, s.Group)
	default:
		replace = true
	}
	if a.Replace && !replace {
		// An earlier process may have been killed between the two.
		_, err := b.env.Cloud.GetSnapshot(ctx, s.Group, standInName(s.Name, t.Run))
		replace = err == nil
		if err != nil && !azure.IsNotFound(err) {
			return productResult{}, err
		}
	}
	if replace {
		stand := s
		stand.Name = standInName(s.Name, t.Run)
		s.Tags = maps.Clone(s.Tags)
		s.Tags[tagReplaced] = "true"
		if i, err := b.env.Cloud.GetSnapshot(ctx, stand.Group, stand.Name); err != nil || i.State != "Succeeded" {
			if _, err := b.env.Cloud.PutSnapshot(ctx, stand, undoOp(t)); err != nil {
				return productResult{}, err
			}
		}
		if err := b.dropIfNot(ctx, t, s); err != nil {
			return productResult{}, err
		}
	}
	i, err := b.env.Cloud.PutSnapshot(ctx, s, op(t))
	if err != nil && replace {
		return productResult{}, fmt.Errorf("%w; the new snapshot stands as %s", err, standInName(s.Name, t.Run))
	}
	if err == nil && replace {
		err = b.dropSnapshot(ctx, t, s.Group, standInName(s.Name, t.Run))
	}
	return productResult{ID: i.ID}, err
}

// dropIfNot deletes the snapshot of that name that another run made.
func (b *build) dropIfNot(ctx context.Context, t *plan.Task, s azure.Snapshot) error {
	i, err := b.env.Cloud.GetSnapshot(ctx, s.Group, s.Name)
	if azure.IsNotFound(err) || err == nil && i.Tags[TagRun] == t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	return b.env.Cloud.DeleteSnapshot(ctx, s.Group, s.Name, undoOp(t))
}

// dropSnapshot deletes a snapshot that this run made.
func (b *build) dropSnapshot(ctx context.Context, t *plan.Task, group, name string) error {
	i, err := b.env.Cloud.GetSnapshot(ctx, group, name)
	if azure.IsNotFound(err) || err == nil && i.Tags[TagRun] != t.Run {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(b.env.Cloud.CloseSnapshot(ctx, group, name), b.env.Cloud.DeleteSnapshot(ctx, group, name, undoOp(t)))
}

// removeSnapshot deletes the snapshot if this run made it, but for one that has taken an older one's place.
func (b *build) removeSnapshot(ctx context.Context, t *plan.Task, a snapshotArgs, _ *productResult) error {
	s := a.Snapshot
	if !a.Replace {
		return b.dropSnapshot(ctx, t, s.Group, s.Name)
	}
	i, err := b.env.Cloud.GetSnapshot(ctx, s.Group, s.Name)
	switch {
	case err != nil && !azure.IsNotFound(err):
		return err
	case err == nil && i.Tags[TagRun] == t.Run && i.Tags[tagReplaced] != "" && i.State == "Succeeded":
		t.Output("stdout", "kept: snapshot "+s.Name+" has taken the place of an older one")
	case err == nil && i.Tags[TagRun] == t.Run && i.Tags[tagReplaced] == "":
		if err := b.dropSnapshot(ctx, t, s.Group, s.Name); err != nil {
			return err
		}
	case azure.IsNotFound(err) || i.State != "Succeeded":
		if _, err := b.env.Cloud.GetSnapshot(ctx, s.Group, standInName(s.Name, t.Run)); err == nil {
			t.Output("stderr", "kept: the new snapshot stands as "+standInName(s.Name, t.Run)+"; the older one is gone")
			return nil
		}
	}
	return b.dropSnapshot(ctx, t, s.Group, standInName(s.Name, t.Run))
}
