package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"ingot/internal/plan"
)

// cmtrace writes the log format that Windows administrators read with CMTrace and OneTrace, Configuration Manager's log
// viewers (https://learn.microsoft.com/intune/configmgr/core/support/cmtrace): one physical line an entry, the step as
// component, so that the viewer can filter by it.
type cmtrace struct {
	mu  sync.Mutex
	w   io.Writer
	bad bool
}

// NewCMTrace writes entries that CMTrace shows with its colours: errors red, warnings yellow. Times are UTC.
func NewCMTrace(w io.Writer) Display { return &cmtrace{w: w} }

// The types of an entry.
const (
	traceInfo    = 1
	traceWarning = 2
	traceError   = 3
)

func (c *cmtrace) Event(e plan.Event) {
	text, kind := traced(e)
	if text == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad { // a reader that is gone is not written to again; the build goes on
		return
	}
	// A line end, or the mark that closes the text, would break the entry into two.
	text = strings.NewReplacer("\n", " | ", "]LOG]!>", "]LOG] !>").Replace(printable(text))
	at := e.Time.UTC()
	_, err := fmt.Fprintf(c.w, "<![LOG[%s]LOG]!><time=\"%s+000\" date=\"%s\" component=\"%s\" context=\"\" type=\"%d\" thread=\"%d\" file=\"\">\r\n",
		text, at.Format("15:04:05.000"), at.Format("01-02-2006"), attribute(e), kind, os.Getpid())
	c.bad = err != nil
}

func (c *cmtrace) Close() error { return nil }

// attribute is the entry's component: the step, or the program itself.
func attribute(e plan.Event) string {
	if e.Step == "" {
		return "ingot"
	}
	return strings.ReplaceAll(printable(e.Step), `"`, "'")
}

// traced is what an event says and how bad it is; "" where it says nothing.
func traced(e plan.Event) (string, int) {
	switch e.Kind {
	case plan.RunStarted:
		return fmt.Sprintf("%s: run %s, %d steps", e.Title, e.Run, len(e.Plan.Steps)), traceInfo
	case plan.StepStarted:
		return e.Title, traceInfo
	case plan.StepOutput:
		if e.Stream == "stderr" {
			return e.Text, traceWarning
		}
		return e.Text, traceInfo
	case plan.StepDone:
		return "done in " + Short(e.Elapsed), traceInfo
	case plan.StepFailed:
		return fmt.Sprintf("failed after %s: %s", Short(e.Elapsed), e.Err), traceError
	case plan.StepSkipped:
		return "done before", traceInfo
	case plan.Verdict:
		if e.Outcome == plan.Succeeded {
			return string(e.Outcome), traceInfo
		}
		return fmt.Sprintf("%s: %s", e.Outcome, e.Err), traceError
	case plan.UndoStarted:
		return "removing: " + e.Title, traceInfo
	case plan.UndoDone:
		return "removed in " + Short(e.Elapsed), traceInfo
	case plan.UndoFailed:
		return "not removed: " + e.Err, traceError
	case plan.RunFinished:
		return fmt.Sprintf("run %s %s in %s", e.Run, e.Outcome, Short(e.Elapsed)), traceInfo
	case plan.Notice:
		return e.Text, traceWarning
	default:
		return e.Text, traceInfo
	}
}
