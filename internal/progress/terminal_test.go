package progress

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ingot/internal/plan"
)

// many is a run of n steps of which the last is still running.
func many(n int) []plan.Event {
	events := []plan.Event{{Time: start, Kind: plan.RunStarted, Title: "T", Run: "r", Plan: &plan.Plan{Steps: make([]plan.Step, n)}}}
	for i := range n {
		id := fmt.Sprintf("s%02d", i)
		events = append(events, plan.Event{Time: start, Kind: plan.StepStarted, Step: id, Title: "Title " + id})
		if i < n-1 {
			events = append(events, plan.Event{Time: start, Kind: plan.StepDone, Step: id, Elapsed: time.Second})
		}
	}
	return events
}

func TestWhatIsGoingOnFitsTheTerminal(t *testing.T) {
	for _, c := range []struct{ steps, height, folded int }{{5, 24, 0}, {5, 0, 0}, {25, 10, 19}, {21, 24, 0}, {22, 24, 2}} {
		m := &model{steps: map[string]*stepView{}, width: 60, height: c.height}
		for _, e := range many(c.steps) {
			m.event(e)
		}
		got := stripped(m.draw())
		if rows := strings.Count(got, "\n"); c.height > 0 && rows >= c.height {
			t.Errorf("%d rows of %d:\n%s", rows, c.height, got)
		}
		if !strings.Contains(got, fmt.Sprintf("Title s%02d", c.steps-1)) || !strings.HasPrefix(got, "T, run r\n") {
			t.Errorf("the running step or the title is out of sight:\n%s", got)
		}
		if line := fmt.Sprintf("✓ %d steps\n", c.folded); strings.Contains(got, " steps\n") != (c.folded > 0) || c.folded > 0 && !strings.Contains(got, line) {
			t.Errorf("%d steps in %d rows:\n%s", c.steps, c.height, got)
		}
		m.over = true
		if rows := strings.Count(m.draw(), "\n"); rows != c.steps+2 {
			t.Errorf("what stays has %d rows", rows)
		}
	}
}

// TestTerminalLeavesAllOfIt drives the real program; a file is a terminal of no size.
func TestTerminalLeavesAllOfIt(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test
	d := NewTerminal(f)
	for _, e := range many(30) {
		d.Event(e)
		for i := range 400 {
			d.Event(plan.Event{Time: start, Kind: plan.StepOutput, Step: e.Step + "x", Text: fmt.Sprint("line ", i)})
		}
	}
	d.Event(plan.Event{Time: start, Kind: plan.RunFinished, Outcome: plan.Succeeded, Elapsed: time.Minute})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if !strings.Contains(string(raw), fmt.Sprintf("Title s%02d", i)) {
			t.Errorf("step %d is missing", i)
		}
	}
	if !strings.HasSuffix(strings.TrimRight(string(raw), "\n"), "succeeded in 1m00s") {
		t.Errorf("ends with %q", raw[max(0, len(raw)-80):])
	}
}
