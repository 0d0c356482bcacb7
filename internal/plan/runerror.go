package plan

import (
	"errors"
	"fmt"
)

// RunError is how a run ended that did not end well.
type RunError struct {
	Outcome Outcome    // Succeeded when only the clean-up did not
	Err     error      // the first error, or the one of the verdict when the run was resumed after it
	Left    []LeftOver // what could not be undone
	Kept    bool       // nothing was undone on purpose (OnErrorAbort, OnErrorKeep, ErrDetached, ErrLost): the run can be resumed
}

// LeftOver is a step that could not be undone.
type LeftOver struct {
	Step, Title string
	Err         error
}

// Error is the first error, and a line for each thing left.
func (e *RunError) Error() string {
	var text string
	switch {
	case e.Err != nil:
		text = e.Err.Error()
	case e.Outcome == Cancelled:
		text = "cancelled"
	default:
		text = "the image is ready, but not everything could be removed"
	}
	for _, l := range e.Left {
		text += fmt.Sprintf("\nleft behind: %s: %v", l.Title, l.Err)
	}
	return text
}

// Unwrap gives the first error.
func (e *RunError) Unwrap() error { return e.Err }

// Detached reports that the run was let go of on purpose and goes on by itself.
func (e *RunError) Detached() bool { return errors.Is(e.Err, ErrDetached) }

// ErrDetached ends a run that goes on without a process (Runner.Detach); its RunError has no outcome yet.
var ErrDetached = errors.New("detached: what is under way goes on by itself")

// ErrLost ends a run whose journal or lease this process has lost: it stopped at once and undid nothing.
var ErrLost = errors.New("this process has lost hold of the run and stopped at once; nothing was undone, and whoever resumes the run goes on from its journal")

// ErrCancelled is the cause of a cancelled run.
var ErrCancelled = errors.New("cancelled")
