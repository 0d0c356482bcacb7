package vm

import (
	"context"
	"fmt"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

type groupArgs struct {
	Group azure.Group
	Async bool // do not wait for the end of the deletion
}

type groupResult struct{}

// makeGroup makes the temporary group. One that exists already is only ours if it carries this run's tag: what a person
// made is never taken over, because Undo deletes the group with everything in it.
func (b *build) makeGroup(ctx context.Context, t *plan.Task, a groupArgs) (groupResult, error) {
	g, err := b.env.Cloud.GetGroup(ctx, a.Group.Name)
	switch {
	case azure.IsNotFound(err):
		return groupResult{}, b.env.Cloud.PutGroup(ctx, a.Group)
	case err != nil:
		return groupResult{}, err
	case g.Tags[TagRun] != t.Run:
		return groupResult{}, fmt.Errorf("cannot create resource group %s: one of that name exists that this run did not make; use another temp_resource_group_name, or build_resource_group_name to build in it", g.Name)
	}
	return groupResult{}, nil
}

// removeGroup deletes the group and everything in it in one call.
func (b *build) removeGroup(ctx context.Context, t *plan.Task, a groupArgs, _ *groupResult) error {
	g, err := b.env.Cloud.GetGroup(ctx, a.Group.Name)
	if azure.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if g.Tags[TagRun] != t.Run {
		return nil
	}
	if !a.Async {
		return b.env.Cloud.DeleteGroup(ctx, a.Group.Name, undoOp(t))
	}
	accepted, stop := context.WithCancelCause(ctx)
	o := undoOp(t)
	o.Save = func(string) error { stop(errAccepted); return nil }
	err = b.env.Cloud.DeleteGroup(accepted, a.Group.Name, o)
	stop(nil)
	if context.Cause(accepted) == errAccepted {
		return nil
	}
	return err
}

var errAccepted = fmt.Errorf("deletion accepted")
