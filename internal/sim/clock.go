package sim

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Clock is the time of a simulated Azure.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// WallClock is real time.
type WallClock struct{}

// Now is the time.
func (WallClock) Now() time.Time { return time.Now() }

// Sleep waits.
func (WallClock) Sleep(ctx context.Context, d time.Duration) error { return wait(ctx, d) }

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ScaledClock runs Factor times as fast as the wall clock from Start on: an Azure hour in seconds, for clients of other
// processes.
type ScaledClock struct {
	Start  time.Time
	Factor float64
	At     time.Time // the time it shows at Start; zero: Start itself
}

// Now is the scaled time.
func (c ScaledClock) Now() time.Time {
	at := c.At
	if at.IsZero() {
		at = c.Start
	}
	return at.Add(time.Duration(float64(time.Since(c.Start)) * c.Factor))
}

// Sleep waits a fraction of d.
func (c ScaledClock) Sleep(ctx context.Context, d time.Duration) error {
	return wait(ctx, time.Duration(float64(d)/c.Factor))
}

// VirtualClock is for a simulation inside one process: its time stands still while anything happens and jumps to the next
// sleeper when nothing does. What happens over real sockets cannot be seen by it, so "nothing" is a short real time without
// a call of the clock; a jump over more than two minutes, which is never the pace of a poll but somebody's time limit, waits
// longer and for a process that does not work either, so that a machine under load, or with hundreds of builds on it, does not run
// into limits.
type VirtualClock struct {
	mu       sync.Mutex
	now      time.Time
	sleepers sleepers
	calls    uint64
	holds    int
	pumping  bool
}

const (
	quiet     = 2 * time.Millisecond
	quietLong = time.Second
	longJump  = 2 * time.Minute
	// idle is the part of the time that a process in which nothing happens may use a processor for: this clock's own looks do.
	idle = 0.1
	// windows is how many times quietLong a process that works all the time, at who knows what, is waited for.
	windows = 10
)

// NewVirtualClock starts at a time.
func NewVirtualClock(start time.Time) *VirtualClock { return &VirtualClock{now: start} }

// Now is the simulated time.
func (c *VirtualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	return c.now
}

// Hold keeps the time from moving until the function it returns is called.
func (c *VirtualClock) Hold() (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.holds--
		c.calls++
	})
}

// Sleep waits until the simulated time is d later, or ctx is done.
func (c *VirtualClock) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	c.calls++
	s := &sleeper{at: c.now.Add(d), seq: c.calls, done: make(chan struct{})}
	heap.Push(&c.sleepers, s)
	if !c.pumping {
		c.pumping = true
		go c.pump()
	}
	c.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls++
		if s.index >= 0 {
			heap.Remove(&c.sleepers, s.index)
		}
		return context.Cause(ctx)
	}
}

// pump moves the time while anybody sleeps.
func (c *VirtualClock) pump() {
	var seen uint64
	still, since := time.Duration(0), time.Duration(0) // since: what the process had worked when it became still
	waited := 0
	for {
		c.mu.Lock()
		if len(c.sleepers) == 0 {
			c.pumping = false
			c.mu.Unlock()
			return
		}
		if c.calls != seen || c.holds > 0 {
			seen, still = c.calls, 0
			since, _ = worked() // 0, as later, where it cannot be told
			waited = 0
		}
		need := quiet
		if c.sleepers[0].at.Sub(c.now) > longJump {
			need = quietLong
		}
		if did, ok := worked(); ok && need == quietLong && still >= need && waited < windows && float64(did-since) > idle*float64(still) {
			still, since = 0, did
			waited++
		}
		if still >= need {
			c.now = c.sleepers[0].at
			for len(c.sleepers) > 0 && !c.sleepers[0].at.After(c.now) {
				close(heap.Pop(&c.sleepers).(*sleeper).done)
			}
			still = 0
		}
		c.mu.Unlock()
		time.Sleep(quiet / 2) // real time: it is the quiet that is being measured
		still += quiet / 2
	}
}

type sleeper struct {
	at    time.Time
	seq   uint64
	index int
	done  chan struct{}
}

type sleepers []*sleeper

func (s sleepers) Len() int { return len(s) }
func (s sleepers) Less(i, j int) bool {
	return s[i].at.Before(s[j].at) || s[i].at.Equal(s[j].at) && s[i].seq < s[j].seq
}
func (s sleepers) Swap(i, j int) { s[i], s[j] = s[j], s[i]; s[i].index, s[j].index = i, j }
func (s *sleepers) Push(x any)   { e := x.(*sleeper); e.index = len(*s); *s = append(*s, e) }
func (s *sleepers) Pop() any {
	old := *s
	e := old[len(old)-1]
	*s = old[:len(old)-1]
	e.index = -1
	return e
}
