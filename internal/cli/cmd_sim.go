package cli

import (
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
	var ready string
	var images []string
	var guests string // not a.guests, whose default is another
	c := &cobra.Command{
		Use: "serve", Short: "Put the simulated Azure on a loopback socket, for any client", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := sim.Config{Clock: sim.WallClock{}}
			switch latency {
			case "realistic":
			case "none":
				config.Latency = sim.NoLatency
			default:
				return usage("--latency is realistic or none, not %q", latency)
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
			if guests == guestsQEMU || len(extra) > 0 {
				host, err := a.openHost("", false)
				if err != nil {
					return err
				}
				defer host.Close() //nolint:errcheck // what it leaves, the next sweep finds
				config.Machines = host
				say(a.Out, "Its guests are real machines (QEMU, %s).", acceleration(host))
			}
			az, err := sim.New(config)
			if err != nil {
				return err
			}
			defer az.Close()
			s, err := az.Serve(addr)
			if err != nil {
				return err
			}
			defer s.Close() //nolint:errcheck // the process ends
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
			say(a.Out, "The simulated Azure answers at %s", s.URL)
			say(a.Out, "export INGOT_SIM=%s INGOT_SIM_CA=%s", s.URL, ca)
			say(a.Out, "export SSL_CERT_FILE=%s ARM_METADATA_URL=%s     # Packer, azurerm, Go programs", ca, s.URL)
			say(a.Out, "tenant %s  subscription %s", sim.DefaultTenant, sim.DefaultSubscription)
			say(a.Out, "client id %s  client secret %s  (Owner)", sim.DefaultClientID, sim.DefaultClientSecret)
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
	f.StringVar(&addr, "listen", "127.0.0.1:0", "loopback address and port")
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
