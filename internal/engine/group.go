package engine

import (
	"context"
	"fmt"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

// GroupArgs are those of a step of kind "group".
type GroupArgs struct {
	Group azure.Group
	Async bool // do not wait for the end of the deletion
}

// Group makes the temporary resource group of a build, and deletes it with everything in it.
func Group(e Env) plan.Action {
	return plan.Typed[GroupArgs, struct{}]{DoFunc: e.makeGroup, UndoFunc: e.removeGroup}
}

// makeGroup makes the temporary group. One that exists already is only ours if it carries this run's tag: what a person
// made is never taken over, because Undo deletes the group with everything in it.
func (e Env) makeGroup(ctx context.Context, t *plan.Task, a GroupArgs) (struct{}, error) {
	g, err := e.Cloud.GetGroup(ctx, a.Group.Name)
	switch {
	case azure.IsNotFound(err):
		return struct{}{}, e.Cloud.PutGroup(ctx, a.Group)
	case err != nil:
		return struct{}{}, err
	case g.Tags[TagRun] != t.Run:
		return struct{}{}, fmt.Errorf("cannot create resource group %s: one of that name exists that this run did not make; use another temp_resource_group_name, or build_resource_group_name to build in it", g.Name)
	}
	return struct{}{}, nil
}

// removeGroup deletes the group and everything in it in one call.
func (e Env) removeGroup(ctx context.Context, t *plan.Task, a GroupArgs, _ *struct{}) error {
	g, err := e.Cloud.GetGroup(ctx, a.Group.Name)
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
		return e.Cloud.DeleteGroup(ctx, a.Group.Name, UndoOp(t))
	}
	accepted, stop := context.WithCancelCause(ctx)
	o := UndoOp(t)
	o.Save = func(string) error { stop(errAccepted); return nil }
	err = e.Cloud.DeleteGroup(accepted, a.Group.Name, o)
	stop(nil)
	if context.Cause(accepted) == errAccepted {
		return nil
	}
	return err
}

var errAccepted = fmt.Errorf("deletion accepted")
