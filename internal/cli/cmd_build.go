package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
	"ingot/internal/sim"
)

func (a *app) buildCmd() *cobra.Command {
	var t templateFlags
	var scenario, onError string
	var force, skip, detach bool
	var parallel int
	c := &cobra.Command{
		Use: "build PATH", Short: "Build the images of a template",
		Example: "  ingot build --detach --state https://acct.blob.core.windows.net/avd .   # returns while the image is copied to its regions\n" +
			"  ingot wait --state https://acct.blob.core.windows.net/avd RUN             # in a later job: its end, and its exit code",
		Long: "Build checks the template, resolves what it leaves open (\"latest\", versions, sizes), makes a plan and carries it out.\n" +
			"Ctrl-C stops the build and removes what it made; a second Ctrl-C leaves at once, and ingot resume goes on from there.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			how, err := onErrorOf(onError)
			if err != nil {
				return err
			}
			r, err := a.loadOrStop(args[0], &t)
			if err != nil {
				return err
			}
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			a.preflight = !skip
			ready, err := a.prepare(ctx, args[0], &t, r, scenario, force)
			if err != nil {
				a.addCauses(a.because(err, asIs, ""))
				return err
			}
			if err := a.mayDetach(ready, detach); err != nil {
				for _, p := range ready {
					p.session.close()
				}
				return err
			}
			if !cmd.Flags().Changed("on-error") {
				how = ""
			}
			return a.runAll(ctx, in, ready, how, parallel)
		},
	}
	t.add(c)
	t.engine.add(c, "what builds: vm, a machine of your own (default), or aib, Azure Image Builder")
	f := c.Flags()
	f.StringVar(&onError, "on-error", "cleanup", "when a step fails: cleanup, abort (leave everything, resumable), keep (the same, and say how to clean up), ask")
	f.BoolVar(&skip, "skip-preflight", false, "do not ask Azure first whether the build would be allowed and has room")
	f.BoolVar(&force, "force", false, "replace an image or version that exists, once the new one is ready")
	f.StringVar(&scenario, "scenario", "", "file that says what the simulated Azure holds and what goes wrong in it")
	f.BoolVar(&detach, "detach", false, "return with exit code 5 once only what Azure does by itself is left to wait for; ingot wait RUN goes on")
	a.addGuestsFlag(c)
	f.IntVar(&parallel, "parallel-builds", 0, "how many images at once; 0 is all")
	a.addProgressFlags(c)
	return c
}

func onErrorOf(s string) (plan.OnError, error) {
	switch s {
	case "cleanup", "run-cleanup-provisioner":
		return plan.OnErrorCleanup, nil
	case "abort":
		return plan.OnErrorAbort, nil
	case "keep":
		return plan.OnErrorKeep, nil
	case "ask":
		return plan.OnErrorAsk, nil
	}
	return plan.OnErrorCleanup, usage("-on-error is cleanup, abort, keep or ask, not %q", s)
}

// runAll carries out the plans side by side and reports on all of them.
func (a *app) runAll(ctx context.Context, in *interrupts, ready []*prepared, how plan.OnError, parallel int) error {
	show, err := a.display(len(ready))
	if err != nil {
		return err
	}
	in.through(show)
	slots := make(chan struct{}, max(1, min(len(ready), cmpOr(parallel, len(ready)))))
	errs := make([]error, len(ready))
	var wg sync.WaitGroup
	for i, p := range ready {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = a.runOne(ctx, in, p, how, show)
		})
	}
	wg.Wait()
	in.through(nil)
	for i, p := range ready {
		a.explainRun(p, errs[i], show)
	}
	show.Close() //nolint:errcheck // the display has nothing to lose
	closed := map[*session]bool{}
	kept := map[string]bool{}
	for i, p := range ready {
		a.report(p, errs[i])
		for _, s := range p.plan.Steps {
			if id := keptDisk(p, s); id != "" {
				kept[strings.ToLower(id)] = true
			}
		}
	}
	for _, p := range ready {
		if !closed[p.session] {
			closed[p.session] = true
			a.reportSim(p.session, kept)
			p.session.close()
		}
	}
	return worst(errs)
}

func cmpOr(n, m int) int {
	if n > 0 {
		return n
	}
	return m
}

func (a *app) runOne(ctx context.Context, in *interrupts, p *prepared, how plan.OnError, show plan.Sink) error {
	if err := a.attended(p.plan); err != nil {
		return err
	}
	store, err := a.store()
	if err != nil {
		return err
	}
	run, err := store.Create(ctx, p.plan)
	if err != nil {
		return err
	}
	defer run.Close() //nolint:errcheck // every entry is safe already
	in.running(p.plan.Run)
	if err := a.keepFiles(ctx, p.plan, run); err != nil {
		return err // nothing has begun: the journal is empty
	}
	if how == "" {
		how = onErrorIn(p.img)
	}
	limit := timeLimit(p.img)
	if limit == 0 {
		return a.runner(p, run, how, show).Run(ctx, p.plan)
	}
	over := fmt.Errorf("the build took longer than %s, which is all that its template gives it", limit)
	limited, stop := plan.Within(ctx, p.session.clock, limit, over)
	defer stop()
	err = a.runner(p, run, how, show).Run(limited, p.plan)
	var failed *plan.RunError
	if errors.As(err, &failed) && failed.Outcome == plan.Cancelled && errors.Is(context.Cause(limited), over) && len(failed.Left) == 0 {
		return &exitError{exitFailed, fmt.Errorf("run %s: %w", p.plan.Run, over)}
	}
	return err
}

// onErrorIn is what the template itself says of a failed step: *.ingot.hcl, or Image Builder's errorHandling.
func onErrorIn(img *image.Image) plan.OnError {
	if how, err := onErrorOf(img.Engine.OnError); err == nil {
		return how
	}
	if img.Managed.OnCustomizerError == "abort" {
		return plan.OnErrorAbort
	}
	return plan.OnErrorCleanup
}

// timeLimit is how long a whole build may take: *.ingot.hcl's, or Image Builder's buildTimeoutInMinutes; 0 for no limit.
func timeLimit(img *image.Image) time.Duration {
	if img.Engine.Timeout > 0 {
		return img.Engine.Timeout
	}
	return img.Managed.Timeout
}

// runner is set up alike for a new run and a resumed one.
func (a *app) runner(p *prepared, run plan.Held, how plan.OnError, show plan.Sink) *plan.Runner {
	env := p.session.env(p.secrets)
	env.Wait = a.wait
	p.heard = &said{to: show}
	return &plan.Runner{
		Actions: p.moved.elsewhere(engineNamed(p.plan.Meta[metaEngine]).Actions(env)), Journal: p.session.still(a.journal(run)), Lost: run.Lost(), Detach: p.detach, Clock: p.session.clock, Sink: p.heard,
		Redact: p.secrets.Redact, OnError: how, Ask: a.ask, Cancelled: run.CancelRequested,
	}
}

// ask is -on-error=ask.
func (a *app) ask(s plan.Step, err error) plan.OnErrorAnswer {
	for {
		fmt.Fprintf(a.Err, "\n%s failed: %v\n[c] clean up and leave, [a] leave everything as it is, [r] try the step again: ", s.Title, err)
		var word string
		if _, err := fmt.Fscanln(a.In, &word); err != nil && word == "" {
			return plan.AnswerCleanup
		}
		switch strings.ToLower(word) {
		case "c":
			return plan.AnswerCleanup
		case "a":
			return plan.AnswerAbort
		case "r":
			return plan.AnswerRetry
		}
	}
}

// report says how one run ended.
func (a *app) report(p *prepared, err error) {
	if a.json {
		return
	}
	var run *plan.RunError
	if errors.As(err, &run) {
		if run.Detached() {
			say(a.Out, "")
			say(a.Out, "run %s goes on by itself; see it to its end, from any machine that has the same --state:", p.plan.Run)
			say(a.Out, "  ingot wait %s", p.plan.Run)
		}
		for _, l := range run.Left {
			say(a.Err, "LEFT BEHIND by run %s: %s: %v", p.plan.Run, l.Title, l.Err)
		}
		if len(run.Left) > 0 {
			say(a.Err, "Try again to remove it: ingot gc %s", p.plan.Run)
		}
	}
}

// reportSim lists what the embedded Azure holds in the end, from its own inventory.
func (a *app) reportSim(s *session, kept map[string]bool) {
	if s.sim == nil || a.json {
		return
	}
	say(a.Out, "")
	say(a.Out, "The simulated Azure's own listing:")
	others := 0
	for _, item := range s.sim.Inventory() {
		if item.Seeded || s.before[strings.ToLower(item.ID)] {
			continue
		}
		if strings.EqualFold(item.Type, "Microsoft.Compute/galleries/images/versions") || strings.EqualFold(item.Type, "Microsoft.Compute/images") {
			say(a.Out, "  %s  %s", item.State, item.ID)
			for _, r := range item.Regions {
				say(a.Out, "      %s: %s", r.Region, r.State)
			}
			if item.Holds != "" {
				say(a.Out, "      holds %s", item.Holds)
			}
			continue
		}
		if target(item) {
			say(a.Out, "  %s  %s", item.State, item.ID)
			continue
		}
		if kept[strings.ToLower(item.ID)] {
			say(a.Out, "  kept (keep_os_disk)  %s", item.ID)
			continue
		}
		others++
		say(a.Out, "  left over: %s", item.ID)
	}
	say(a.Out, "  %d other resources that were not there before the build", others)
}

// target reports what a build keeps beside images: snapshots, image definitions and galleries, which carry its run and no expiry, and disks
// in storage accounts.
func target(i sim.Item) bool {
	switch i.Type {
	case "Microsoft.Compute/snapshots", "Microsoft.Compute/galleries", "Microsoft.Compute/galleries/images":
		_, made := i.Tags[engine.TagRun]
		_, expires := i.Tags[engine.TagExpires]
		return made && !expires
	case "Microsoft.Storage/storageAccounts/blobServices/containers/blobs":
		return true
	}
	return false
}

// worst picks the error that decides the exit code.
func worst(errs []error) error {
	var list []error
	for _, e := range errs {
		if e != nil {
			list = append(list, e)
		}
	}
	// A build that failed says more than one that goes on.
	slices.SortStableFunc(list, func(x, y error) int { return cmp.Compare(detachedLast(x), detachedLast(y)) })
	if len(list) <= 1 {
		return errors.Join(list...)
	}
	return fmt.Errorf("%d of %d builds failed: %w", len(list), len(errs), errors.Join(list...))
}

func detachedLast(err error) int {
	var run *plan.RunError
	if errors.As(err, &run) && run.Detached() {
		return 1
	}
	return 0
}

// interrupts turns signals into a cancelled context first, and an end second.
type interrupts struct {
	signals chan os.Signal
	done    chan struct{}
	mu      sync.Mutex
	runs    []string
	show    plan.Sink // what draws on the terminal, once there is one
}

// through lets notices go through the display, which would otherwise draw over them.
func (i *interrupts) through(s plan.Sink) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.show = s
}

func (i *interrupts) tell(a *app, text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.show == nil {
		say(a.Err, "\n%s", text)
		return
	}
	i.show.Event(plan.Event{Time: time.Now(), Kind: plan.Notice, Text: text})
}

var errInterrupted = errors.New("interrupted")

func (i *interrupts) running(run string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.runs = append(i.runs, run)
}

func (i *interrupts) stop() { close(i.done) }

func (a *app) interruptible(ctx context.Context) (context.Context, *interrupts) {
	in := &interrupts{signals: make(chan os.Signal, 2), done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	if a.Signal != nil {
		a.Signal(in.signals)
	}
	go func() {
		select {
		case <-in.signals:
		case <-in.done:
			return
		}
		in.tell(a, fmt.Sprintf("Interrupted: stopping, then removing what was made (at most %s a step). Interrupt again to leave at once.", plan.DefaultUndoTimeout.Round(time.Minute)))
		cancel(errInterrupted)
		select {
		case <-in.signals:
		case <-in.done:
			return
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		fmt.Fprint(a.Err, "\x1b[?25h") // a display may have hidden the cursor
		say(a.Err, "\nLeft at once. Nothing is lost; what was made is still there:")
		for _, r := range in.runs {
			say(a.Err, "  ingot resume %s   goes on with the clean-up", r)
		}
		os.Exit(exitInterrupted)
	}()
	return ctx, in
}

// keptDisk is the id of the disk that a step keeps on request, or "".
func keptDisk(p *prepared, s plan.Step) string {
	if s.Kind != "vm" || !p.img.Machine.KeepOSDisk {
		return ""
	}
	var args struct {
		VM struct{ Group, OSDiskName string }
	}
	if err := json.Unmarshal(s.Args, &args); err != nil {
		return ""
	}
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/disks/%s", p.plan.Meta[metaSub], args.VM.Group, args.VM.OSDiskName)
}
