package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/azure"
	"ingot/internal/engine"
	"ingot/internal/engine/vm"
	"ingot/internal/image"
	"ingot/internal/plan"
)

func (a *app) exportCmd() *cobra.Command {
	var t templateFlags
	var file string
	c := &cobra.Command{
		Use: "export RUN --vhd FILE", Short: "Download the disk of a published image",
		Long: "Export makes a disk of the gallery version that a run has published, downloads it as a fixed VHD, and removes the disk again.\n" +
			"What was never written stays a hole in the file. It is a run of its own: it can be resumed, cancelled and collected.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usage("say where to: --vhd FILE")
			}
			st, err := a.status(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !st.Outcome.Keeps() {
				return fmt.Errorf("cannot export run %s: it has published nothing (%s)", st.Run, stateOf(st.Summary))
			}
			if st.Meta[metaCloud] == cloudEmbedded {
				return fmt.Errorf("cannot export run %s: it was a rehearsal in the simulated Azure inside a process that has ended, and its image ended with it; keep one: ingot sim serve --guests qemu --state FOLDER, and build with the settings it prints", st.Run)
			}
			if file, err = filepath.Abs(file); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Dir(file)); err != nil {
				return fmt.Errorf("cannot write %s: %w", file, err)
			}
			built := &plan.Plan{Run: st.Run, Title: st.Title, Meta: st.Meta}
			for _, s := range st.Steps {
				built.Steps = append(built.Steps, s.Step)
			}
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			if built.Meta[metaCloud] == cloudServed && a.Getenv("INGOT_SIM") == "" {
				a.Env = append(a.Env, "INGOT_SIM="+built.Meta[metaSim])
			}
			ready, err := a.reopen(ctx, built, &t, nil, false)
			if err != nil {
				return err
			}
			defer ready.session.close()
			return a.transfer(ctx, in, ready, withoutEngine(built.Meta), func(o engine.Options) (*plan.Plan, error) { return vm.ExportPlan(built, o, file) }, file)
		},
	}
	c.Flags().StringVar(&file, "vhd", "", "file to write the disk to")
	c.Flags().StringArrayVar(&t.vars, "var", nil, "set a variable again: name=value")
	c.Flags().StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file")
	a.addProgressFlags(c)
	return c
}

func (a *app) uploadCmd() *cobra.Command {
	var d azure.Disk
	var subscription, os_ string
	c := &cobra.Command{
		Use: "upload FILE --resource-group GROUP --location REGION", Short: "Upload a VHD to a managed disk",
		Long: "Upload makes a managed disk of a fixed VHD, through an address that is good for this alone; what is zero is not sent, and an upload\n" +
			"that was cut off is resumed where it was (ingot resume). Machines, images and gallery versions can be made of the disk.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if err := vm.CheckVHD(file); err != nil {
				return err
			}
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			if d.Group == "" || d.Location == "" {
				return usage("say where to: --resource-group GROUP --location REGION")
			}
			if d.Name == "" {
				d.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
			}
			switch strings.ToLower(os_) {
			case "linux":
			case "windows":
				d.Windows = true
			default:
				return usage("--os is linux or windows, not %q", os_)
			}
			d.Location = image.NormalLocation(d.Location)
			kind, err := a.chooseCloud(image.Identity{})
			if err != nil {
				return err
			}
			if kind == cloudEmbedded {
				return usage("there is nowhere to upload to: sign in to Azure, or start ingot sim serve and use the settings it prints")
			}
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			s, err := a.open(ctx, kind, image.Identity{SubscriptionID: subscription}, "")
			if err != nil {
				return err
			}
			defer s.close()
			ready := &prepared{img: &image.Image{}, secrets: &engine.Secrets{}, session: s}
			meta := map[string]string{metaCloud: kind, metaVersion: Version, metaSub: s.cloud.Subscription()}
			if kind == cloudServed {
				meta[metaSim] = a.Getenv("INGOT_SIM")
			}
			return a.transfer(ctx, in, ready, meta, func(o engine.Options) (*plan.Plan, error) { return vm.UploadPlan(d, info.Size(), o, file) }, "disk "+d.Name)
		},
	}
	f := c.Flags()
	f.StringVar(&d.Group, "resource-group", "", "resource group of the disk; it must exist")
	f.StringVar(&d.Location, "location", "", "region of the disk")
	f.StringVar(&d.Name, "name", "", "name of the disk (default: the file's)")
	f.StringVar(&os_, "os", "linux", "linux or windows")
	f.StringVar(&d.Generation, "generation", "V2", "V1 (BIOS) or V2 (UEFI)")
	f.StringVar(&d.Type, "sku", "", "StandardSSD_LRS, Premium_LRS, …")
	f.StringVar(&subscription, "subscription", "", "subscription of the disk")
	a.addProgressFlags(c)
	return c
}

// transfer makes a plan and runs it, as a build is run.
func (a *app) transfer(ctx context.Context, in *interrupts, p *prepared, meta map[string]string, compile func(engine.Options) (*plan.Plan, error), what string) error {
	run, err := newRun()
	if err != nil {
		return err
	}
	p.plan, err = compile(engine.Options{Run: run, Made: p.session.clock.Now().UTC().Truncate(time.Second), Expires: lifetime})
	if err != nil {
		return err
	}
	p.plan.Meta = meta
	show, err := a.display(1)
	if err != nil {
		return err
	}
	in.through(show)
	err = a.runOne(ctx, in, p, plan.OnErrorCleanup, show)
	in.through(nil)
	a.explainRun(p, err, show)
	show.Close() //nolint:errcheck // the display has nothing to lose
	a.report(p, err)
	if err == nil && !a.json {
		say(a.Out, "%s", what)
	}
	return err
}

// withoutEngine is a run's Meta for one that carries disks: the VM engine does that, whichever engine built.
func withoutEngine(meta map[string]string) map[string]string {
	out := maps.Clone(meta)
	delete(out, metaEngine)
	return out
}
