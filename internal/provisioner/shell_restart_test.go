package provisioner

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"ingot/internal/communicator"
)

// slow is a guest that goes on answering for a while after it was told to restart. What runs in it then is lost.
type slow struct {
	clock    *handClock
	boot     time.Time
	goes     time.Duration // it goes down so long after the script; 0: never
	downAt   time.Time
	lost     bool // the script is ended with the guest
	restarts int
}

// handClock moves when somebody sleeps.
type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time { return c.now }
func (c *handClock) Sleep(_ context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return nil
}

func (s *slow) tick() {
	if !s.downAt.IsZero() && !s.clock.Now().Before(s.downAt) {
		s.restarts++
		s.boot, s.downAt = s.downAt.Add(20*time.Second), time.Time{}
	}
}

func (s *slow) Ready(context.Context) (communicator.Facts, error) {
	s.tick()
	return communicator.Facts{Boot: s.boot}, nil
}

func (s *slow) Run(_ context.Context, script communicator.Script, _ communicator.Output) (int, error) {
	s.tick()
	if script.ID == "two" {
		if !s.downAt.IsZero() {
			return 0, communicator.ErrLost
		}
		return 0, nil
	}
	if s.goes > 0 {
		s.downAt = s.clock.Now().Add(s.goes)
	}
	if s.lost {
		return 0, communicator.ErrLost
	}
	return 0, nil
}

func (s *slow) Command(_ context.Context, line string, _ communicator.Output) (int, error) {
	s.tick()
	if line == goingDown && s.downAt.IsZero() {
		return 1, nil
	}
	return 0, nil
}

func (s *slow) Upload(context.Context, string, io.ReaderAt, int64) error { return nil }
func (s *slow) Download(context.Context, string, io.Writer) error        { return errors.New("not here") }
func (s *slow) Close() error                                             { return nil }

// TestTheNextStepWaitsForTheRestart: the guest answers for another half minute; the step after the restart must not run in it.
func TestTheNextStepWaitsForTheRestart(t *testing.T) {
	for name, c := range map[string]struct {
		goes     time.Duration
		lost     bool
		restarts int
	}{
		"the script ends before the guest goes down": {30 * time.Second, false, 1},
		"the script is ended with the guest":         {30 * time.Second, true, 1},
		"the guest does not restart":                 {0, false, 0},
		"only the script was ended":                  {0, true, 0},
	} {
		clock := &handClock{time.Unix(1e9, 0)}
		g := &slow{clock: clock, boot: clock.Now().Add(-time.Hour), goes: c.goes, lost: c.lost}
		e := &Env{Comm: g, Clock: clock, StepID: "one"}
		begun := clock.Now()
		if err := (&Shell{Inline: text("reboot"), ExpectDisconnect: true, SkipClean: true}).Run(t.Context(), e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		took := clock.Now().Sub(begun)
		e.StepID = "two"
		if err := (&Shell{Inline: text("second"), SkipClean: true}).Run(t.Context(), e); err != nil {
			t.Errorf("%s: the next step: %v", name, err)
		}
		if g.restarts != c.restarts || took > lostPatience+time.Minute || !c.lost && c.goes == 0 && took > 5*time.Second {
			t.Errorf("%s: %d restarts, %s", name, g.restarts, took)
		}
	}
}
