package sshtest

import (
	"context"
	"sync"
	"time"
)

// Clock is a clock on which a wait passes a hundred times as fast as it says, so that patience of minutes takes a second.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time that has passed on it.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep waits a hundredth of d.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d / 100)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
	return nil
}
