package progress

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ingot/internal/plan"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// story is one run's events.
func story() []plan.Event {
	at := func(s int, e plan.Event) plan.Event {
		e.Time, e.Run = start.Add(time.Duration(s)*time.Second), "abcd2345"
		return e
	}
	return []plan.Event{
		at(0, plan.Event{Kind: plan.RunStarted, Title: "azure-arm.w", Plan: &plan.Plan{Steps: make([]plan.Step, 2)}}),
		at(0, plan.Event{Kind: plan.StepStarted, Step: "vm", Title: "Create VM x"}),
		at(1, plan.Event{Kind: plan.StepProgress, Step: "vm", Text: "in progress"}),
		at(2, plan.Event{Kind: plan.StepProgress, Step: "vm", Text: "in progress"}),
		at(90, plan.Event{Kind: plan.StepDone, Step: "vm", Elapsed: 90 * time.Second}),
		at(90, plan.Event{Kind: plan.StepStarted, Step: "p", Title: "Provision"}),
		at(91, plan.Event{Kind: plan.StepOutput, Step: "p", Stream: "stdout", Text: "hello \x1b[2Jworld"}),
		at(91, plan.Event{Kind: plan.StepOutput, Step: "p", Stream: "stderr", Text: "oh"}),
		at(92, plan.Event{Kind: plan.StepFailed, Step: "p", Elapsed: 2 * time.Second, Err: "exit code 3"}),
		at(92, plan.Event{Kind: plan.Verdict, Outcome: plan.Failed, Err: "Provision: exit code 3"}),
		at(92, plan.Event{Kind: plan.UndoStarted, Step: "vm", Title: "Create VM x"}),
		at(99, plan.Event{Kind: plan.UndoFailed, Step: "vm", Title: "Create VM x", Err: "stuck"}),
		at(99, plan.Event{Kind: plan.RunFinished, Outcome: plan.Failed, Elapsed: 99 * time.Second}),
	}
}

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	d := NewPlain(&b, Options{})
	for _, e := range story() {
		d.Event(e)
	}
	want := `    0.0s  azure-arm.w: run abcd2345, 2 steps
    0.0s  #1 [vm] Create VM x
    1.0s  #1 [vm] ... in progress
   1m30s  #1 [vm] DONE 1m30s
   1m30s  #2 [p] Provision
   1m31s  #2 [p] hello [2Jworld
   1m31s  #2 [p] ! oh
   1m32s  #2 [p] FAILED after 2.0s: exit code 3
   1m32s  FAILED: Provision: exit code 3
   1m32s  #1 [vm] removing: Create VM x
   1m39s  #1 [vm] NOT REMOVED: stuck
   1m39s  run abcd2345 failed in 1m39s
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestTimestamps(t *testing.T) {
	var b bytes.Buffer
	d := NewPlain(&b, Options{Timestamps: true})
	d.Event(story()[1])
	if !strings.HasPrefix(b.String(), "2026-11-23T12:00:00Z  #1 [vm]") {
		t.Error(b.String())
	}
}

func TestJSONIsOneEventALine(t *testing.T) {
	var b bytes.Buffer
	d := NewJSON(&b)
	for _, e := range story() {
		d.Event(e)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != len(story()) {
		t.Fatalf("%d lines", len(lines))
	}
	var e plan.Event
	if err := json.Unmarshal([]byte(lines[6]), &e); err != nil || e.Step != "p" || e.Stream != "stdout" {
		t.Errorf("%v %+v", err, e)
	}
}

func TestTerminalDraws(t *testing.T) {
	m := &model{steps: map[string]*stepView{}, width: 60}
	for _, e := range story()[:8] {
		m.event(e)
	}
	m.event(plan.Event{Kind: plan.Notice, Text: "Interrupted"})
	got := m.draw()
	for _, want := range []string{"azure-arm.w, run abcd2345", "✓", "Create VM x", "1m30s", "Provision", "hello [2Jworld", "Interrupted", "1 of 2 steps"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, e := range story()[8:] {
		m.event(e)
	}
	got = m.draw()
	for _, want := range []string{"✗", "exit code 3", "NOT removed: stuck", "failed in 1m39s"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	m.width = 20
	for _, l := range strings.Split(m.draw(), "\n") {
		if n := len([]rune(stripped(l))); n > 20 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
}

// stripped is a line without its colours.
func stripped(s string) string {
	var b strings.Builder
	in := false
	for _, r := range s {
		switch {
		case r == 0x1b:
			in = true
		case in && r == 'm':
			in = false
		case !in:
			b.WriteRune(r)
		}
	}
	return b.String()
}
