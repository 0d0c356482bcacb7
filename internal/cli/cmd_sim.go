package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ingot/internal/sim"
)

func (a *app) simCmd() *cobra.Command {
	sims := &cobra.Command{Use: "sim", Short: "The simulated Azure"}
	var addr, scenario, clock, latency, ca string
	var images []string
	var guests string // not a.guests, whose default is another
	var ready, state, envFile string
	var port int
	var asJSON bool
	c := &cobra.Command{
		Use: "serve", Short: "Put the simulated Azure on a loopback socket, for any client", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := sim.Config{Clock: sim.WallClock{}, State: state}
			switch latency {
			case "realistic":
			case "none":
				config.Latency = sim.NoLatency
			default:
				return usage("--latency is realistic or none, not %q", latency)
			}
			if port < 0 || port > 65535 {
				return usage("--port is a number up to 65535, not %d", port)
			}
			chosen := cmd.Flags().Changed("listen") || cmd.Flags().Changed("port")
			if cmd.Flags().Changed("port") {
				if cmd.Flags().Changed("listen") {
					return usage("--port and --listen say the same thing; give one")
				}
				addr = fmt.Sprintf("127.0.0.1:%d", port)
			}
			if clock != "1x" {
				factor, err := strconv.ParseFloat(strings.TrimSuffix(clock, "x"), 64)
				if err != nil || factor <= 0 {
					return usage("--clock is a factor such as 60x, not %q", clock)
				}
				config.Clock = sim.ScaledClock{Start: time.Now(), Factor: factor}
			}
			if scenario != "" {
				s, err := sim.ReadScenario(scenario)
				if err != nil {
					return &exitError{exitUsage, err}
				}
				config.Scenario = s
			}
			extra, err := diskImages(images)
			if err != nil {
				return err
			}
			config.Images = extra
			if guests != guestsScripted && guests != guestsQEMU {
				return usage("--guests is scripted or qemu, not %q", guests)
			}
			disks := ""
			if state != "" {
				disks = filepath.Join(state, "disks")
				config.Dir = filepath.Join(state, "storage")
				if _, err := os.Stat(disks); err == nil { // it had real machines before
					guests = guestsQEMU
				}
			}
			if guests == guestsQEMU || len(extra) > 0 {
				host, err := a.openHost(disks, disks != "")
				if err != nil {
					return err
				}
				defer host.Close() //nolint:errcheck // what it leaves, the next sweep finds
				config.Machines = host
				say(a.Err, "Its guests are real machines (QEMU, %s).", acceleration(host))
			}
			az, err := sim.New(config)
			if err != nil {
				return err
			}
			defer az.Close()
			if kept := az.KeptPort(); kept != "" && !chosen {
				addr = "127.0.0.1:" + kept
			}
			s, err := az.Serve(addr)
			if err != nil && !chosen && az.KeptPort() != "" {
				say(a.Err, "Port %s, where it was before, is taken: clients need the new settings.", az.KeptPort())
				s, err = az.Serve("127.0.0.1:0")
			}
			if err != nil {
				return err
			}
			defer s.Close() //nolint:errcheck // the process ends
			if ca == "" && state != "" {
				if ca, err = filepath.Abs(filepath.Join(state, "ca.pem")); err != nil {
					return err
				}
			}
			if ca == "" {
				dir, err := os.MkdirTemp("", "ingot-sim-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir) //nolint:errcheck // a certificate in the temporary folder
				ca = filepath.Join(dir, "ca.pem")
			}
			if err := os.WriteFile(ca, s.CA, 0o644); err != nil {
				return err
			}
			all := simSettings(s.URL, ca, state)
			if asJSON {
				raw, err := settingsJSON(s.URL, ca, all)
				if err != nil {
					return err
				}
				say(a.Out, "%s", raw)
			} else {
				writeSettings(a.Out, s.URL, all)
			}
			if envFile != "" {
				if err := os.WriteFile(envFile, exportLines(all), 0o600); err != nil {
					return err
				}
			}
			if ready != "" {
				if err := os.WriteFile(ready, []byte(s.URL+"\n"), 0o644); err != nil {
					return err
				}
			}
			ctx, in := a.interruptible(cmd.Context())
			defer in.stop()
			<-ctx.Done()
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&addr, "listen", "127.0.0.1:0", "loopback address and port; with --state the port it had before, if it is free")
	f.IntVar(&port, "port", 0, "port on 127.0.0.1; 0 is any that is free")
	f.StringVar(&state, "state", "", "folder that keeps everything, so that it is there again after a restart or a crash")
	f.StringVar(&envFile, "env-file", "", "file to write the settings of all clients to, as export lines")
	f.BoolVar(&asJSON, "json", false, "print the settings as one JSON object")
	f.StringVar(&scenario, "scenario", "", "file that says what it holds and what goes wrong in it")
	f.StringVar(&clock, "clock", "1x", "how fast its time runs: 60x is an hour a minute")
	f.StringVar(&latency, "latency", "realistic", "realistic (as recorded of real Azure) or none")
	f.StringVar(&ca, "ca", "", "file to write the certificate authority to")
	f.StringVar(&guests, "guests", guestsScripted, "what its VMs are: scripted (a model of Windows; nobody answers in Linux), qemu (real machines, where the image has a disk)")
	f.StringArrayVar(&images, "image", nil, "add a disk to the marketplace: publisher:offer:sku[:version]=FILE (VHD, VHDX, qcow2); more can be said in a scenario (repeatable)")
	f.StringVar(&ready, "ready-file", "", "file to write the address to once it answers")
	sims.AddCommand(c)
	return sims
}
