package sshtest

import (
	"context"
	"sync"
	"time"
)

// speed is how many times as fast as time a Clock goes.
const speed = 100

// Clock goes a hundred times as fast as time, so that a patience of minutes takes a second. It begins when it is first asked.
type Clock struct {
	once  sync.Once
	begun time.Time
}

// Now is its time.
func (c *Clock) Now() time.Time {
	c.once.Do(func() { c.begun = time.Now() })
	return c.begun.Add(speed * time.Since(c.begun))
}

// Sleep waits d of its time.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d / speed)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
