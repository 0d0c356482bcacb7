package plan

import "time"

// Alone lists the steps at which a detached run lets go (Runner.Detach): of those that go on without a runner once begun, the
// ones that take longest. Empty: the plan needs a runner from its first step to its last.
func (p *Plan) Alone() []string {
	var out []string
	longest := Step{}
	for _, s := range p.Steps {
		switch {
		case !s.Alone || s.Estimate < longest.Estimate:
		case s.Estimate > longest.Estimate:
			longest, out = s, []string{s.ID}
		default:
			out = append(out, s.ID)
		}
	}
	return out
}

// DetachAfter is when a detached run lets go, by the estimates. The plan must pass Check.
func (p *Plan) DetachAfter() time.Duration {
	ends, _, err := p.ends()
	if err != nil {
		return 0
	}
	var at time.Duration
	for _, id := range p.Alone() {
		for i, s := range p.Steps {
			if s.ID == id {
				at = max(at, ends[i]-s.Estimate)
			}
		}
	}
	return at
}

// aloneNow reports whether a detached run may let go: everything under way goes on alone and has been accepted (its token is in
// the journal), a step that the plan lets go at is among it, and nothing else could begin. The lock is held.
func (x *execution) aloneNow() bool {
	at := map[string]bool{}
	for _, id := range x.plan.Alone() {
		at[id] = true
	}
	found := false
	for _, s := range x.plan.Steps {
		rec := x.recs[s.ID]
		switch {
		case rec.undoing && (!s.Alone || rec.done || rec.saved == nil): // a step that must be watched, or an early undo
			return false
		case rec.undoing:
			found = found || at[s.ID]
		case !rec.done && x.ready(rec): // about to begin, or failed
			return false
		}
	}
	return found
}

// allDone reports whether every step is. The lock is held.
func (x *execution) allDone() bool {
	for _, rec := range x.recs {
		if !rec.done {
			return false
		}
	}
	return true
}
