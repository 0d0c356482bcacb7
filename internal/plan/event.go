package plan

import "time"

// EventKind names what happened. Displays switch on it; unknown kinds are to be shown as plain text.
type EventKind string

const (
	RunStarted   EventKind = "run-started"   // Plan is set
	StepStarted  EventKind = "step-started"  // Step
	StepOutput   EventKind = "step-output"   // Step, Text: one line the guest or the step said
	StepProgress EventKind = "step-progress" // Step, Text, and Fraction (0 to 1) where known
	StepDone     EventKind = "step-done"     // Step, Elapsed
	StepFailed   EventKind = "step-failed"   // Step, Elapsed, Err
	StepSkipped  EventKind = "step-skipped"  // Step: done already in an earlier process
	Verdict      EventKind = "verdict"       // Outcome, Err
	UndoStarted  EventKind = "undo-started"  // Step
	UndoDone     EventKind = "undo-done"     // Step, Elapsed
	UndoFailed   EventKind = "undo-failed"   // Step, Elapsed, Err
	Notice       EventKind = "notice"        // Text: something a person should read ("interrupted: cleaning up, at most 10 m")
	RunFinished  EventKind = "run-finished"  // Outcome, Err, Elapsed
	Explained    EventKind = "explained"     // after a run that failed: Text says cause and fix, Err is what they are of
)

// Outcome is how a run was judged.
type Outcome string

const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	Cancelled Outcome = "cancelled"
	// FailedKept is a run that was carried to its end although a step that may fail has failed (Step.MayFail): it has failed, and
	// what it made is kept.
	FailedKept Outcome = "failed-kept"
)

// Keeps reports whether the products of a run that was judged so are kept.
func (o Outcome) Keeps() bool { return o == Succeeded || o == FailedKept }

// Event is one thing that happened in a run: the one stream that every display, log and dashboard reads. Its texts have
// passed the runner's redaction.
type Event struct {
	Time     time.Time     `json:"time"`
	Kind     EventKind     `json:"kind"`
	Run      string        `json:"run"`
	Step     string        `json:"step,omitempty"`
	Title    string        `json:"title,omitempty"` // of the step
	Text     string        `json:"text,omitempty"`
	Stream   string        `json:"stream,omitempty"` // stdout or stderr, for StepOutput
	Fraction float64       `json:"fraction,omitempty"`
	Elapsed  time.Duration `json:"elapsed,omitempty"`
	Outcome  Outcome       `json:"outcome,omitempty"`
	Err      string        `json:"error,omitempty"`
	Plan     *Plan         `json:"plan,omitempty"`
}

// Sink receives events in order, one at a time; it must not block for long.
type Sink interface{ Event(Event) }

// SinkFunc makes a function a Sink.
type SinkFunc func(Event)

// Event calls f.
func (f SinkFunc) Event(e Event) { f(e) }
