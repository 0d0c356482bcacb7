package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// world is what steps make, as the cloud would hold it: it outlives the processes that a test lets die.
type world struct {
	mu       sync.Mutex
	plan     *Plan
	journal  *memory
	alive    func() bool // false once the process is dead: nothing it does reaches the world any more
	stands   map[string]bool
	failDo   map[string]bool
	failUndo map[string]int
	stuck    map[string]bool // an undo of it failed, and the others went on past that
	wrong    []string        // rules that were broken
}

func (w *world) step(id string) Step {
	for _, s := range w.plan.Steps {
		if s.ID == id {
			return s
		}
	}
	panic("no step " + id)
}

// has reports whether the journal holds such an entry.
func (w *world) has(k EntryKind, step string) bool {
	entries, _ := w.journal.Entries() // memory's never fails
	return slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == k && e.Step == step })
}

func (w *world) Do(ctx context.Context, t *Task) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := t.Step.ID
	if !w.alive() {
		return errDied
	}
	if w.has(EntryVerdict, "") {
		w.wrong = append(w.wrong, id+" was done after the verdict")
	}
	if w.has(EntryDone, id) || w.has(EntryFlaw, id) {
		w.wrong = append(w.wrong, id+" was done twice")
	}
	if !w.has(EntryStart, id) {
		w.wrong = append(w.wrong, id+" was done before it was journalled")
	}
	for _, before := range t.Step.After {
		if !w.has(EntryDone, before) && !w.has(EntryFlaw, before) {
			w.wrong = append(w.wrong, id+" was done before "+before)
		}
	}
	if in := t.Step.Within; in != "" && !w.stands[in] { // a process without a journal has removed it: nothing can be made in it
		return errors.New(in + " is not there")
	}
	w.stands[id] = true // what a failed Do leaves must go too
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if w.failDo[id] {
		return errors.New(id + " does not work")
	}
	return nil
}

func (w *world) Undo(_ context.Context, t *Task) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := t.Step.ID
	if !w.alive() {
		return errDied
	}
	if !w.has(EntryStart, id) {
		w.wrong = append(w.wrong, id+" was undone though it never began")
	}
	if t.Step.Scope == Nothing || t.Step.Scope == Product && t.Outcome.Keeps() {
		w.wrong = append(w.wrong, id+" was undone though it is not to be")
	}
	for _, s := range w.plan.Steps {
		// Until is the plan's own word that nobody needs the step; without it whoever stands on a step goes first.
		if len(t.Step.Until) == 0 && slices.Contains(s.After, id) && w.stands[s.ID] && w.ownUndo(s, t.Outcome) && !w.stuck[s.ID] {
			w.wrong = append(w.wrong, id+" was undone under "+s.ID)
		}
	}
	if w.failUndo[id] > 0 {
		w.failUndo[id]--
		w.stuck[id] = true
		return errors.New(id + " does not go")
	}
	w.remove(id)
	return nil
}

// ownUndo reports whether s is due and does not go with another.
func (w *world) ownUndo(s Step, outcome Outcome) bool {
	if s.Scope == Nothing || s.Scope == Product && (outcome.Keeps() || !w.has(EntryVerdict, "")) {
		return false
	}
	return s.Within == "" || !w.has(EntryStart, s.Within)
}

// remove takes a step's work away and what is within it.
func (w *world) remove(id string) {
	delete(w.stands, id)
	for _, s := range w.plan.Steps {
		if s.Within == id && w.stands[s.ID] {
			w.remove(s.ID)
		}
	}
}

// drawPlan makes a random plan that passes Check.
func drawPlan(t *testing.T, r *rand.Rand) *Plan {
	p := &Plan{Run: "test", Title: "test"}
	for i := range 1 + r.IntN(7) {
		s := Step{ID: string(rune('a' + i)), Kind: "any", Scope: []Scope{Scratch, Scratch, Product, Nothing}[r.IntN(4)]}
		s.Title = s.ID
		s.MayFail = s.Scope != Product && r.IntN(3) == 0
		for _, before := range p.Steps {
			if r.IntN(3) == 0 {
				s.After = append(s.After, before.ID)
				if s.Scope == Scratch && before.Scope == Scratch && len(before.Until) == 0 && s.Within == "" && r.IntN(2) == 0 {
					s.Within = before.ID
				}
			}
		}
		p.Steps = append(p.Steps, s)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		contains := slices.ContainsFunc(p.Steps, func(o Step) bool { return o.Within == s.ID })
		if s.Scope != Scratch || s.Within != "" || contains || r.IntN(2) == 0 {
			continue
		}
		for _, o := range p.Steps[i+1:] {
			if o.Scope != Scratch && slices.Contains(o.After, s.ID) {
				s.Until = append(s.Until, o.ID)
			}
		}
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCrashAnywhere lets processes die after random journal entries, goes on, and finds what the verdict says.
func TestCrashAnywhere(t *testing.T) {
	everySeed(t, true)
}

// TestFullDiskAnywhere is the same, but the process lives on and undoes from memory what it cannot journal any more.
func TestFullDiskAnywhere(t *testing.T) {
	everySeed(t, false)
}

// everySeed makes as many different plans, failures and ends; the name of a subtest says which seed to run again.
func everySeed(t *testing.T, dies bool) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crash(t, rand.New(rand.NewPCG(seed, 0)), dies) })
	}
}

func crash(t *testing.T, draw *rand.Rand, dies bool) {
	p := drawPlan(t, draw)
	m := &memory{}
	w := &world{plan: p, journal: m, stands: map[string]bool{}, failDo: map[string]bool{}, failUndo: map[string]int{}, stuck: map[string]bool{}}
	for _, s := range p.Steps {
		w.failDo[s.ID] = draw.IntN(10) == 0
		if draw.IntN(6) == 0 {
			w.failUndo[s.ID] = 1
		}
	}
	w.alive = func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return !dies || m.die == 0 || len(m.entries) < m.die
	}
	r := func() *Runner { return &Runner{Actions: map[string]Action{"any": w}, Journal: m, Clock: WallClock{}} }
	for range 1 + draw.IntN(3) {
		m.die = len(m.entries) + 1 + draw.IntN(12)
		if err := r().Run(t.Context(), p); err != nil && !w.alive() && errors.Is(err, errDied) {
			continue
		}
	}
	m.die = 0
	var err error
	for range 3 { // once goes on, again retries what did not go the first time
		err = r().Run(t.Context(), p)
	}
	var run *RunError
	errors.As(err, &run)
	if flawed := slices.ContainsFunc(p.Steps, func(s Step) bool { return w.has(EntryFlaw, s.ID) }); flawed && err == nil {
		t.Error("a step failed, and the run is a success")
	}
	if run != nil && len(run.Left) > 0 {
		t.Errorf("still left: %v", run.Left)
	}
	keeps := err == nil || run != nil && run.Outcome.Keeps()
	for _, s := range p.Steps {
		switch {
		case s.Scope == Nothing:
		case s.Scope == Product && keeps && !w.stands[s.ID]:
			t.Errorf("%s is gone, though the run succeeded or was to keep it (%v)", s.ID, err)
		case w.stands[s.ID] && (s.Scope == Scratch || !keeps):
			t.Errorf("%s is left (%v)", s.ID, err)
		}
	}
	for _, rule := range w.wrong {
		t.Error(rule)
	}
	if t.Failed() {
		raw, _ := json.Marshal(p.Steps)
		t.Logf("plan %s", raw)
		for _, e := range m.entries {
			t.Log(strings.TrimSpace(fmt.Sprintln(e.Seq, e.Kind, e.Step, e.Outcome, e.Error)))
		}
	}
}
