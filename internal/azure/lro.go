package azure

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// long is one long operation: how to begin it, or pick it up by its token, and how to see whether it has been done already.
type long[T any] struct {
	what  string // "create VM build-1"
	begin func(ctx context.Context, token string) (*runtime.Poller[T], error)
	// settled looks at the resource itself when a token leads nowhere; it reports true when the operation's work is done.
	// nil: begin again, which is harmless for a PUT by name and for a DELETE.
	settled func(ctx context.Context) (T, bool, error)
}

// run carries the operation to its end.
func (l long[T]) run(ctx context.Context, c *Client, op Op) (T, error) {
	var zero T
	if op.Token != "" {
		poller, err := l.begin(ctx, op.Token)
		if err == nil {
			v, err := l.poll(ctx, c, op, poller, nil)
			if err == nil || !staleToken(err) {
				return v, wrap(err, "%s", l.what)
			}
		}
		if ctx.Err() != nil {
			return zero, wrap(context.Cause(ctx), "%s", l.what)
		}
		if l.settled != nil {
			if v, ok, err := l.settled(ctx); err == nil && ok {
				return v, nil
			}
		}
	}
	again := 0
	for wait := time.Second; ; wait *= 2 {
		var first *http.Response
		poller, err := l.begin(runtime.WithCaptureResponse(ctx, &first), "")
		if err != nil {
			if passing(err) && wait <= 32*time.Second {
				if err := c.o.Clock.Sleep(ctx, after(first, wait)); err != nil {
					return zero, wrap(err, "%s", l.what)
				}
				continue
			}
			return zero, wrap(err, "%s", l.what)
		}
		if !poller.Done() && op.Save != nil {
			token, err := poller.ResumeToken()
			if err == nil {
				err = op.Save(token)
			}
			if err != nil {
				return zero, wrap(err, "%s", l.what)
			}
		}
		v, err := l.poll(ctx, c, op, poller, first)
		// An operation that was overtaken or could not be carried out just then may be begun again.
		if err != nil && transient(err) && again < 3 {
			again++
			if err := c.o.Clock.Sleep(ctx, wait); err != nil {
				return zero, wrap(err, "%s", l.what)
			}
			continue
		}
		return v, wrap(err, "%s", l.what)
	}
}

// transient reports an operation that ended Failed for a reason that passes.
func transient(err error) bool {
	switch code(wrap(err, "")) {
	case "RetryableError", "RetryableErrorDueToAnotherOperation", "OperationPreempted", "NotLatestOperation", "AnotherOperationInProgress":
		return true
	}
	return false
}

// poll asks until the operation has ended. Between two polls it waits as Azure says in its last answer; where it says
// nothing, one second at first, then half as long again each time.
func (l long[T]) poll(ctx context.Context, c *Client, op Op, poller *runtime.Poller[T], resp *http.Response) (T, error) {
	var zero T
	lost := 0
	floor := time.Millisecond
	for own := time.Second; !poller.Done(); own = min(own*3/2, c.o.PollCap) {
		if resp != nil {
			if err := c.o.Clock.Sleep(ctx, max(after(resp, own), floor)); err != nil {
				return zero, err
			}
			floor = min(floor*4/3, mostFloor)
		}
		next, err := poller.Poll(ctx)
		if err != nil {
			// Losing the network for a while does not end what Azure is doing.
			var answered *azcore.ResponseError
			if errors.As(err, &answered) || IsAuth(err) || ctx.Err() != nil || lost >= 10 {
				return zero, err
			}
			lost++
			resp = &http.Response{Header: http.Header{}}
			continue
		}
		lost, resp = 0, next
		if op.Progress != nil && !poller.Done() {
			op.Progress("in progress")
		}
	}
	return poller.Result(ctx)
}

// mostFloor is the shortest wait between two polls of an operation that has gone on for some time, whatever its answers ask for. Azure's own are
// longer; a simulated Azure without latencies asks for a millisecond, and an operation in it that never ends would be asked about without end.
const mostFloor = 250 * time.Millisecond

// after is how long Azure asks to wait (https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations),
// in the order in which the SDK itself reads the headers; own where it does not say.
func after(resp *http.Response, own time.Duration) time.Duration {
	if resp == nil {
		return own
	}
	for _, h := range []struct {
		name string
		unit time.Duration
	}{{"retry-after-ms", time.Millisecond}, {"x-ms-retry-after-ms", time.Millisecond}, {"Retry-After", time.Second}} {
		if n, err := strconv.Atoi(resp.Header.Get(h.name)); err == nil && n > 0 { // 0 would be a loop without a pause
			return time.Duration(n) * h.unit
		}
	}
	return own
}

// staleToken reports that an operation is no longer known: Azure forgets them after a day or so.
func staleToken(err error) bool {
	s := status(err)
	return s == http.StatusNotFound || s == http.StatusGone
}

// passing reports a conflict that goes away by itself: another operation on the same resource is under way.
func passing(err error) bool {
	if status(err) != http.StatusConflict {
		return false
	}
	switch code(err) {
	case "AnotherOperationInProgress", "RetryableError", "RetryableErrorDueToAnotherOperation", "Conflict", "OperationPreempted", "ReferencedResourceNotProvisioned":
		return true
	}
	return false
}
