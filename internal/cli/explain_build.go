package cli

import (
	"errors"
	"strings"
	"sync"

	"ingot/internal/explain"
	"ingot/internal/plan"
)

// said keeps the end of what a run's steps said, for the explanation of its failure: an error names the exit code, the output the
// reason. The texts of events have passed the runner's redaction.
type said struct {
	to plan.Sink

	mu    sync.Mutex
	lines map[string][]string // by step
	last  string              // the step that failed first
}

// keptLines is how many lines of a step are kept.
const keptLines = 200

func (s *said) Event(e plan.Event) {
	s.mu.Lock()
	switch e.Kind {
	case plan.StepOutput:
		if s.lines == nil {
			s.lines = map[string][]string{}
		}
		l := append(s.lines[e.Step], e.Text)
		s.lines[e.Step] = l[max(0, len(l)-keptLines):]
	case plan.StepDone:
		delete(s.lines, e.Step)
	case plan.StepFailed:
		if s.last == "" {
			s.last = e.Step
		}
	}
	s.mu.Unlock()
	s.to.Event(e)
}

// text is what the failed step said.
func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines[s.last], "\n")
}

// mostExplained is how many causes are shown under a build's error; ingot explain RUN shows all.
const mostExplained = 2

// because explains how a run failed. What it finds in the error goes before what it finds in the step's output, where any old warning is.
func (a *app) because(err error, redact func(string) string, output string) []explain.Finding {
	if err == nil {
		return nil
	}
	var run *plan.RunError
	if errors.As(err, &run) && (run.Detached() || run.Outcome == plan.Cancelled || errors.Is(run.Err, plan.ErrLost)) {
		return nil
	}
	found := explain.Explain(redact(err.Error()))
	for _, f := range explain.Explain(redact(output)) {
		if !f.Harmless {
			found = append(found, f)
		}
	}
	// A cause that is named counts for more than a kind of error, wherever it was found.
	explain.Sort(found)
	var kept []explain.Finding
	seen := map[string]bool{}
	for _, f := range found {
		if !seen[f.ID] && !f.Harmless && len(kept) < mostExplained && !(f.General() && len(kept) > 0) {
			seen[f.ID] = true
			kept = append(kept, f)
		}
	}
	return kept
}

// asIs is for errors from before a run, which are shown as they are.
func asIs(s string) string { return s }

// explainRun explains how a run ended, if it failed: under the error, and to readers of --json as an event.
func (a *app) explainRun(p *prepared, err error, show plan.Sink) {
	output := ""
	if p.heard != nil {
		output = p.heard.text()
	}
	found := a.because(err, p.secrets.Redact, output)
	a.addCauses(found)
	if !a.json {
		return
	}
	for _, f := range found {
		show.Event(plan.Event{Time: p.session.clock.Now(), Kind: plan.Explained, Run: p.plan.Run, Text: f.String(), Err: f.Text})
	}
}

// addCauses notes what is shown under the error in the end, each cause once however many builds failed of it.
func (a *app) addCauses(found []explain.Finding) {
	for _, f := range found {
		known := false
		for _, g := range a.causes {
			known = known || g.ID == f.ID
		}
		if !known {
			a.causes = append(a.causes, f)
		}
	}
}

// showCauses goes under the error, whose text is not said twice.
func (a *app) showCauses(shown string) {
	for _, f := range a.causes {
		of := ""
		if !strings.Contains(shown, f.Text) {
			of = " " + f.Text
		}
		say(a.Err, "\nExplained:%s\n%s", of, indent(f.String()))
	}
}
