package cli

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ingot/internal/plan"
	"ingot/internal/progress"
)

func (a *app) addProgressFlags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&a.json, "json", false, "print every event as a line of JSON")
	f.StringVar(&a.progress, "progress", "auto", "auto, terminal, plain, json or cmtrace")
	f.BoolVar(&a.stamps, "timestamp-ui", false, "begin every line with the time")
}

// display shows a run. Several runs at once have no room on a terminal display: they are shown as plain lines.
func (a *app) display(runs int) (progress.Display, error) {
	kind := a.progress
	if a.json {
		kind = "json"
	}
	if kind == "auto" && (runs > 1 || a.stamps) {
		kind = "plain"
	}
	d, err := progress.New(kind, a.Out, progress.Options{Timestamps: a.stamps})
	if err != nil {
		return nil, usage("%v", err)
	}
	return d, nil
}

// color reports whether f is a terminal that wants colours (https://no-color.org).
func (a *app) color(f *os.File) bool {
	return a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

var _ plan.Sink = progress.Display(nil)
