// Package progress shows plan.Event: on a terminal, as plain lines for pipes and CI, and as lines of JSON. It knows nothing
// of what the steps do.
package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"ingot/internal/plan"
)

// Display shows events until it is closed.
type Display interface {
	plan.Sink
	Close() error
}

// Options change how it looks.
type Options struct {
	Timestamps bool // plain lines begin with the time
}

// New makes a display: auto (terminal or plain), terminal, plain, json, cmtrace.
func New(kind string, out *os.File, o Options) (Display, error) {
	switch kind {
	case "auto", "":
		if term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb" {
			return NewTerminal(out), nil
		}
		return NewPlain(out, o), nil
	case "terminal":
		return NewTerminal(out), nil
	case "plain":
		return NewPlain(out, o), nil
	case "json":
		return NewJSON(out), nil
	case "cmtrace":
		return NewCMTrace(out), nil
	}
	return nil, fmt.Errorf("--progress is auto, terminal, plain, json or cmtrace, not %q", kind)
}

// jsonLines is one event a line.
type jsonLines struct {
	mu  sync.Mutex
	enc *json.Encoder
	bad bool
}

// NewJSON writes one event a line.
func NewJSON(w io.Writer) Display {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return &jsonLines{enc: e}
}

func (j *jsonLines) Event(e plan.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.bad { // a reader that is gone is not written to again; the build goes on
		j.bad = j.enc.Encode(e) != nil
	}
}

func (j *jsonLines) Close() error { return nil }

// plainLines numbers the steps, so that lines of steps that run side by side can be told apart.
type plainLines struct {
	mu      sync.Mutex
	w       io.Writer
	o       Options
	numbers map[string]int
	start   time.Time
	last    map[string]string
}

// NewPlain writes lines.
func NewPlain(w io.Writer, o Options) Display {
	return &plainLines{w: w, o: o, numbers: map[string]int{}, last: map[string]string{}}
}

func (p *plainLines) Event(e plan.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == plan.Notice { // from outside the run: its time is another clock's
		fmt.Fprintf(p.w, "\n%s\n", printable(e.Text))
		return
	}
	if p.start.IsZero() {
		p.start = e.Time
	}
	key := e.Run + "/" + e.Step
	n := p.numbers[key]
	if n == 0 && e.Step != "" {
		n = len(p.numbers) + 1
		p.numbers[key] = n
	}
	tag := fmt.Sprintf("#%d [%s]", n, e.Step)
	switch e.Kind {
	case plan.RunStarted:
		p.line(e, "%s: run %s, %d steps", e.Title, e.Run, len(e.Plan.Steps))
	case plan.StepStarted:
		p.line(e, "%s %s", tag, e.Title)
	case plan.StepOutput:
		mark := ""
		if e.Stream == "stderr" {
			mark = "! "
		}
		p.line(e, "%s %s%s", tag, mark, printable(e.Text))
	case plan.StepProgress:
		if e.Text != p.last[key] { // a poll that found nothing new says nothing
			p.last[key] = e.Text
			p.line(e, "%s ... %s", tag, printable(e.Text))
		}
	case plan.StepDone:
		p.line(e, "%s DONE %s", tag, Short(e.Elapsed))
	case plan.StepFailed:
		p.line(e, "%s FAILED after %s: %s", tag, Short(e.Elapsed), printable(e.Err))
	case plan.StepSkipped:
		p.line(e, "%s DONE before", tag)
	case plan.Verdict:
		if e.Outcome != plan.Succeeded {
			p.line(e, "%s: %s", strings.ToUpper(string(e.Outcome)), printable(e.Err))
		}
	case plan.UndoStarted:
		p.line(e, "%s removing: %s", tag, e.Title)
	case plan.UndoDone:
		p.line(e, "%s REMOVED %s", tag, Short(e.Elapsed))
	case plan.UndoFailed:
		p.line(e, "%s NOT REMOVED: %s", tag, printable(e.Err))
	case plan.RunFinished:
		p.line(e, "run %s %s in %s", e.Run, e.Outcome, Short(e.Elapsed))
	default:
		if e.Text != "" {
			p.line(e, "%s", printable(e.Text))
		}
	}
}

func (p *plainLines) line(e plan.Event, format string, args ...any) {
	at := fmt.Sprintf("%8s", Short(e.Time.Sub(p.start)))
	if p.o.Timestamps {
		at = e.Time.UTC().Format(time.RFC3339)
	}
	fmt.Fprintf(p.w, "%s  %s\n", at, fmt.Sprintf(format, args...))
}

func (p *plainLines) Close() error { return nil }

// printable takes out what a guest could use to draw on somebody's terminal; only tabs and the line ends of our own
// messages stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return -1
	}, s)
}

// Short is a duration as people say it.
func Short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Short(-d)
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}
