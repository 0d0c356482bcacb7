package plan

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Check reports everything that keeps the plan from being run: ids that are not unique, names of steps there are not, cycles.
func (p *Plan) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	index := map[string]int{}
	for i, s := range p.Steps {
		if s.ID == "" {
			bad("step %d has no id", i+1)
		}
		if _, twice := index[s.ID]; twice {
			bad("step %s stands twice in the plan", s.ID)
		}
		index[s.ID] = i
	}
	for _, s := range p.Steps {
		for _, list := range [][]string{s.After, s.Until, {s.Within}} {
			for _, id := range list {
				if _, ok := index[id]; !ok && id != "" {
					bad("step %s names step %s, which the plan does not have", s.ID, id)
				}
			}
		}
		if len(s.Until) > 0 && s.Scope != Scratch {
			bad("step %s is kept, so it cannot be undone early", s.ID)
		}
		if s.MayFail && s.Scope == Product {
			bad("step %s is kept, so it may not fail", s.ID)
		}
		if s.Within != "" && s.Scope == Product {
			bad("step %s is kept, so it cannot go with step %s", s.ID, s.Within)
		}
		seen := map[string]bool{s.ID: true}
		for in := s.Within; in != ""; {
			if seen[in] {
				bad("step %s is within itself", s.ID)
				break
			}
			seen[in] = true
			i, ok := index[in]
			if !ok {
				break
			}
			in = p.Steps[i].Within
		}
	}
	if len(errs) == 0 {
		if _, err := p.order(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("cannot run plan %s: %w", p.Title, errors.Join(errs...))
	}
	return nil
}

// order returns the steps' indices in an order in which they could run.
func (p *Plan) order() ([]int, error) {
	index := map[string]int{}
	for i, s := range p.Steps {
		index[s.ID] = i
	}
	const fresh, open, closed = 0, 1, 2
	state := make([]int, len(p.Steps))
	var out []int
	var visit func(i int) error
	visit = func(i int) error {
		switch state[i] {
		case open:
			return fmt.Errorf("step %s waits for itself", p.Steps[i].ID)
		case closed:
			return nil
		}
		state[i] = open
		for _, id := range p.Steps[i].After {
			if err := visit(index[id]); err != nil {
				return err
			}
		}
		state[i] = closed
		out = append(out, i)
		return nil
	}
	for i := range p.Steps {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Critical returns the longest chain of steps by their estimates, first to last, and how long it takes: no number of
// steps side by side makes the run shorter. The plan must pass Check.
func (p *Plan) Critical() (ids []string, total time.Duration) {
	ends, before, err := p.ends()
	if err != nil {
		return nil, 0
	}
	last := -1
	for i, e := range ends {
		if last < 0 || e > ends[last] {
			last = i
		}
	}
	if last < 0 {
		return nil, 0
	}
	total = ends[last]
	for i := last; i >= 0; i = before[i] {
		ids = append(ids, p.Steps[i].ID)
	}
	slices.Reverse(ids)
	return ids, total
}

// ends tells when each step ends, and which step it waited for last (-1: none).
func (p *Plan) ends() (ends []time.Duration, before []int, err error) {
	order, err := p.order()
	if err != nil {
		return nil, nil, err
	}
	index := map[string]int{}
	for i, s := range p.Steps {
		index[s.ID] = i
	}
	ends, before = make([]time.Duration, len(p.Steps)), make([]int, len(p.Steps))
	for _, i := range order {
		before[i] = -1
		var start time.Duration
		for _, id := range p.Steps[i].After {
			if e := ends[index[id]]; before[i] < 0 || e > start {
				start, before[i] = e, index[id]
			}
		}
		ends[i] = start + p.Steps[i].Estimate
	}
	return ends, before, nil
}

// CriticalWithUndo is the longest chain including the removal of what is scratch.
func (p *Plan) CriticalWithUndo() time.Duration {
	ends, _, err := p.ends()
	if err != nil {
		return 0
	}
	index := map[string]int{}
	for i, s := range p.Steps {
		index[s.ID] = i
	}
	_, total := p.Critical()
	order, _ := p.order()
	gone := make([]time.Duration, len(p.Steps)) // when the step's own undo has ended
	last := total
	for k := len(order) - 1; k >= 0; k-- {
		i := order[k]
		s := p.Steps[i]
		if s.Scope != Scratch || s.Within != "" {
			continue
		}
		start := total
		if len(s.Until) > 0 {
			start = 0
			for _, id := range s.Until {
				start = max(start, ends[index[id]])
			}
		}
		for j, o := range p.Steps { // whoever stands on this step goes first
			if slices.Contains(o.After, s.ID) {
				start = max(start, gone[j])
			}
		}
		gone[i] = start + s.UndoEstimate
		last = max(last, gone[i])
	}
	return last
}
