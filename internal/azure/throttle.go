package azure

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// throttling waits out Azure's 429 on the client's clock. The SDK would give up after its few retries, which many builds at once need
// just for the calls of the others: Resource Manager allows an identity so many calls a second (250 reads at once and 25 a second,
// 200 writes and 10: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling). Whoever is
// refused stands in line, and so does who comes then; a few at a time try again once Azure's Retry-After is over. A machine's own limits
// (Compute's) are nobody else's, so that their calls wait alone.
type throttling struct {
	clock Clock
	mu    sync.Mutex
	lines map[string]*line
}

// line is who waits for calls of one kind.
type line struct {
	turns   chan struct{} // a few at a time; Go serves those who wait for a channel in their order
	waiting int
	until   time.Time // Azure's last word
}

const (
	// abreast is how many of a line try at a time: enough to use what is allowed up to a round trip of 0.3 s.
	abreast = 8
	// patience is how long one call is kept waiting before its 429 is an error.
	patience = 30 * time.Minute
)

func newThrottling(clock Clock) *throttling {
	return &throttling{clock: clock, lines: map[string]*line{}}
}

// Do makes the call as often as it takes.
func (x *throttling) Do(r *policy.Request) (*http.Response, error) {
	ctx := r.Raw().Context()
	l := x.line(r.Raw())
	in := false
	defer func() {
		if in {
			x.leave(l)
		}
	}()
	for begun := x.clock.Now(); ; {
		if in = in || x.busy(l); in {
			if err := x.turn(ctx, l); err != nil {
				in = false
				return nil, err
			}
		}
		if err := r.RewindBody(); err != nil {
			return nil, err
		}
		resp, err := r.Clone(ctx).Next()
		wait := after(resp, time.Second)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || x.clock.Now().Add(wait).Sub(begun) > patience {
			return resp, err
		}
		if own(resp) {
			runtime.Drain(resp)
			if in {
				x.leave(l)
				in = false
			}
			if err := x.clock.Sleep(ctx, wait); err != nil {
				return nil, err
			}
			continue
		}
		runtime.Drain(resp)
		x.refused(l, wait)
		if in { // to the end of the line
			x.leave(l)
		}
		in = true
	}
}

// own reports a limit of the one machine that the call is about (computeRefusal of the simulated Azure has the form).
func own(resp *http.Response) bool {
	err := runtime.NewResponseError(resp)
	return code(err) != "SubscriptionRequestsThrottled"
}

// line is the one for calls like r: of one host, and of the kinds that Resource Manager counts apart.
func (x *throttling) line(r *http.Request) *line {
	kind := "reads"
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodDelete:
		kind = "deletes"
	default:
		kind = "writes"
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	key := r.URL.Host + " " + kind
	if x.lines[key] == nil {
		x.lines[key] = &line{turns: make(chan struct{}, abreast)}
	}
	return x.lines[key]
}

func (x *throttling) busy(l *line) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return l.waiting > 0
}

// turn waits until it is one's turn and Azure's Retry-After is over.
func (x *throttling) turn(ctx context.Context, l *line) error {
	x.mu.Lock()
	l.waiting++
	x.mu.Unlock()
	select {
	case l.turns <- struct{}{}:
	case <-ctx.Done():
		x.mu.Lock()
		l.waiting--
		x.mu.Unlock()
		return context.Cause(ctx)
	}
	for slept := (time.Time{}); ; {
		x.mu.Lock()
		until := l.until
		x.mu.Unlock()
		wait := until.Sub(x.clock.Now())
		if wait <= 0 || until.Equal(slept) {
			return nil
		}
		if err := x.clock.Sleep(ctx, wait); err != nil {
			x.leave(l)
			return err
		}
		slept = until
	}
}

func (x *throttling) leave(l *line) {
	x.mu.Lock()
	l.waiting--
	x.mu.Unlock()
	<-l.turns
}

func (x *throttling) refused(l *line, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.clock.Now().Add(wait); t.After(l.until) {
		l.until = t
	}
}
