package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Summary is a run in one line.
type Summary struct {
	Run      string            `json:"run"`
	Title    string            `json:"title"`
	Started  time.Time         `json:"started"`
	Last     time.Time         `json:"last"` // the last entry
	Live     bool              `json:"live"` // a process carries it
	Outcome  Outcome           `json:"outcome,omitempty"`
	Error    string            `json:"error,omitempty"`
	Finished bool              `json:"finished"`           // everything that had to be undone is
	Detached bool              `json:"detached,omitempty"` // nobody carries it, and what is under way goes on alone
	Damaged  string            `json:"damaged,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
}

// Clean reports whether nothing is left to do for the run.
func (s Summary) Clean() bool { return s.Finished }

// SortSummaries puts the newest first.
func SortSummaries(list []Summary) {
	slices.SortFunc(list, func(a, b Summary) int { return cmp.Or(b.Started.Compare(a.Started), strings.Compare(a.Run, b.Run)) })
}

// Status is a run step by step.
type Status struct {
	Summary
	Steps []StepStatus `json:"steps"`
}

// StepStatus is how far one step is: waiting, running (or interrupted, when no process is at it), done, failed, undoing,
// undone, undo failed.
type StepStatus struct {
	Step  Step          `json:"step"`
	State string        `json:"state"`
	Took  time.Duration `json:"took"`
	Error string        `json:"error,omitempty"`
}

// StatusOf sums up a run's journal; live says that a process holds the run.
func StatusOf(run string, entries []Entry, live bool) (st Status, err error) {
	if len(entries) == 0 { // its process died, or has yet to begin
		return Status{Summary: Summary{Run: run, Live: live, Finished: !live}}, nil
	}
	p, err := planOf(entries)
	if err != nil {
		return Status{}, err
	}
	st = Status{Summary: Summary{Run: p.Run, Title: p.Title, Started: entries[0].Time, Last: entries[len(entries)-1].Time, Live: live, Meta: p.Meta}}
	at := map[string]int{}
	for i, step := range p.Steps {
		at[step.ID] = i
		st.Steps = append(st.Steps, StepStatus{Step: step, State: "waiting"})
	}
	defer func() { st.Detached = detached(st) }()
	begun := map[string]time.Time{}
	for _, e := range entries {
		i, ok := at[e.Step]
		if !ok {
			switch e.Kind {
			case EntryVerdict:
				st.Outcome, st.Error = e.Outcome, e.Error
			case EntryFinished:
				st.Finished = true
			}
			continue
		}
		step := &st.Steps[i]
		switch e.Kind {
		case EntryStart:
			begun[e.Step] = e.Time
			step.State, step.Error = "running", ""
			if !st.Live {
				step.State = "interrupted"
			}
		case EntryDone:
			step.State, step.Took = "done", e.Time.Sub(begun[e.Step])
		case EntryFailed, EntryFlaw:
			step.State, step.Took, step.Error = "failed", e.Time.Sub(begun[e.Step]), e.Error
		case EntryUndo:
			step.State = "undoing"
			if !st.Live {
				step.State = "undo interrupted"
			}
		case EntryUndone:
			step.State = "undone"
		case EntryUndoFailed:
			step.State, step.Error = "undo failed", e.Error
		}
	}
	return st, nil
}

// detached reports that nobody carries a run without a verdict, of which only steps are open that go on alone or wait for such.
func detached(st Status) bool {
	if st.Live || st.Outcome != "" {
		return false
	}
	alone := false
	for _, s := range st.Steps {
		if s.State == "interrupted" {
			if !s.Step.Alone {
				return false
			}
			alone = true
		}
	}
	return alone
}
