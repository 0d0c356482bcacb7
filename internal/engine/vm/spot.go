package vm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

// evictionCheck is how often a spot machine is looked at while something happens in it: Azure gives thirty seconds' notice inside the machine
// and none outside (https://learn.microsoft.com/azure/virtual-machines/spot-vms).
const evictionCheck = 30 * time.Second

// errEvicted ends a step in a spot machine that Azure has taken back.
var errEvicted = errors.New("Azure has taken the spot machine back (evicted): its capacity was wanted, or its price rose above max_price; build again, at a quieter time or in another region, or leave spot out") //nolint:staticcheck // Azure is a name

// unlessEvicted lets a step in the guest of a spot machine end when Azure takes the machine back: nobody would answer any more, and the step
// would wait for its time limit to learn it.
func unlessEvicted[A, R any](b *build, do func(context.Context, *plan.Task, A) (R, error)) func(context.Context, *plan.Task, A) (R, error) {
	return func(ctx context.Context, t *plan.Task, a A) (R, error) {
		var v vmArgs
		if err := b.argsOf(t, "vm", &v); err != nil || v.VM.Spot == nil {
			return do(ctx, t, a)
		}
		ctx, stop := context.WithCancelCause(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for t.Clock().Sleep(ctx, evictionCheck) == nil {
				if b.evicted(ctx, v.VM) {
					stop(errEvicted)
				}
			}
		}()
		r, err := do(ctx, t, a)
		gone := errors.Is(context.Cause(ctx), errEvicted)
		if err != nil && !gone && ctx.Err() == nil {
			gone = b.evicted(ctx, v.VM) // it failed before anybody looked
		}
		stop(nil)
		<-watched
		if err != nil && gone {
			return r, fmt.Errorf("%w (machine %s)", errEvicted, v.VM.Name)
		}
		return r, err
	}
}

// evicted reports a machine that is deallocated or gone although nobody here has done that.
func (b *build) evicted(ctx context.Context, m azure.VM) bool {
	v, err := b.env.Cloud.GetVM(ctx, m.Group, m.Name)
	return azure.IsNotFound(err) || err == nil && (v.Power == "deallocated" || v.Power == "deallocating")
}
