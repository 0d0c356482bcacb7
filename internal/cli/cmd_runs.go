package cli

import (
	"context"
	"encoding/json"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/plan"
)

func (a *app) runsCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "runs", Short: "List runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := a.store()
			if err != nil {
				return err
			}
			list, err := store.List(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.Out).Encode(list)
			}
			if len(list) == 0 {
				say(a.Out, "no runs yet")
				return nil
			}
			w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
			say(w, "RUN\tSTARTED\tIMAGE\tCLOUD\tSTATE")
			for _, s := range list {
				say(w, "%s\t%s\t%s\t%s\t%s", s.Run, s.Started.Local().Format(time.DateTime), s.Title, s.Meta[metaCloud], stateOf(s))
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return c
}

// stateOf says in a few words how a run stands and what one can do about it.
func stateOf(s plan.Summary) string {
	switch {
	case s.Live:
		return "running"
	case s.Damaged != "":
		return "journal damaged: " + s.Damaged
	case s.Outcome == "" && s.Detached:
		return "detached: ingot wait " + s.Run
	case s.Outcome == "":
		return "interrupted: ingot resume " + s.Run
	case !s.Clean():
		return string(s.Outcome) + ", not cleaned up: ingot gc " + s.Run
	default:
		return string(s.Outcome)
	}
}

// status reads how far a run is.
func (a *app) status(ctx context.Context, run string) (plan.Status, error) {
	store, err := a.store()
	if err != nil {
		return plan.Status{}, err
	}
	return store.Status(ctx, run)
}

func (a *app) statusCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "status RUN", Short: "Show how far a run is, step by step", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := a.status(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.Out).Encode(st)
			}
			say(a.Out, "%s, run %s: %s", st.Title, st.Run, stateOf(st.Summary))
			if st.Error != "" {
				say(a.Out, "%s", st.Error)
			}
			if g := st.Meta[metaGuests]; g != "" {
				say(a.Out, "guests: %s", g)
			}
			say(a.Out, "")
			w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
			for _, s := range st.Steps {
				say(w, "  %s\t%s\t%s\t%s", s.State, short(s.Took), s.Step.Title, s.Error)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return c
}
