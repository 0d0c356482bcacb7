package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/plan"
)

func (a *app) planCmd() *cobra.Command {
	var t templateFlags
	var scenario string
	var force bool
	c := &cobra.Command{
		Use: "plan PATH", Short: "Show the steps of a build, what waits for what, and how long it should take",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.loadOrStop(args[0], &t)
			if err != nil {
				return err
			}
			ready, err := a.prepare(cmd.Context(), args[0], &t, r, scenario, force)
			if err != nil {
				return err
			}
			plans := []*plan.Plan{}
			for _, p := range ready {
				defer p.session.close()
				plans = append(plans, p.plan)
			}
			if a.json {
				e := json.NewEncoder(a.Out)
				e.SetIndent("", "  ")
				return e.Encode(plans)
			}
			for _, p := range plans {
				printPlan(a.Out, p)
			}
			return nil
		},
	}
	t.add(c)
	t.engine.add(c, "what would build: vm, a machine of your own (default), or aib, Azure Image Builder")
	c.Flags().BoolVar(&a.json, "json", false, "print the plans as JSON")
	c.Flags().StringVar(&scenario, "scenario", "", "file that says what the simulated Azure holds and what goes wrong in it")
	c.Flags().BoolVar(&force, "force", false, "plan to replace an image or version that exists")
	return c
}

// printPlan shows the graph in an order in which it could run; steps of the critical path carry a star.
func printPlan(w io.Writer, p *plan.Plan) {
	path, total := p.Critical()
	critical := map[string]bool{}
	for _, id := range path {
		critical[id] = true
	}
	width := 4
	for _, s := range p.Steps {
		width = max(width, len(s.ID))
	}
	say(w, "%s, run %s", p.Title, p.Run)
	say(w, "")
	for _, s := range p.Steps {
		star := " "
		if critical[s.ID] {
			star = "*"
		}
		if s.Alone {
			star += "~"
		} else {
			star += " "
		}
		after := ""
		if len(s.After) > 0 {
			after = "after " + strings.Join(s.After, ", ")
		}
		fate := "kept"
		switch {
		case s.Scope == plan.Nothing:
			fate = ""
		case s.Scope == plan.Product:
		case s.Within != "":
			fate = "removed with " + s.Within
		case len(s.Until) > 0:
			fate = "removed after " + strings.Join(s.Until, ", ")
		default:
			fate = "removed at the end"
		}
		say(w, "%s%-*s  %6s  %s", star, width, s.ID, short(s.Estimate), s.Title)
		if note := strings.Trim(after+"; "+fate, "; "); note != "" {
			say(w, "  %-*s  %6s    %s", width, "", "", note)
		}
	}
	say(w, "")
	say(w, "* critical path: %s (%s with everything removed), by what Azure took in recorded builds", short(total), short(p.CriticalWithUndo()))
	if at := p.Alone(); len(at) > 0 {
		say(w, "~ goes on without a runner once Azure has begun it; every other step needs a runner. ingot build --detach returns at %s, after about %s", strings.Join(at, ", "), short(p.DetachAfter()))
	} else {
		say(w, "every step needs a runner: ingot build --detach is not possible")
	}
}

// short prints a duration as people say it.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}
