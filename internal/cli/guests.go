package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ingot/internal/image"
	"ingot/internal/sim"
	"ingot/internal/sim/qemu"
)

// Kinds of guests that VMs of a simulated Azure have.
const (
	guestsAuto     = "auto"     // QEMU for Linux, scripted for Windows
	guestsScripted = "scripted" // a model of Windows; Linux VMs are documents, and nobody answers
	guestsQEMU     = "qemu"     // real machines, where the image has a disk
)

func (a *app) addGuestsFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.guests, "guests", guestsAuto, "what the simulated Azure's VMs are: auto, scripted (a model of Windows), qemu (real machines; Linux needs them)")
}

// chooseGuests decides for a rehearsal of these images, and says what is missing.
func (a *app) chooseGuests(images []*image.Image) error {
	linux := false
	for _, img := range images {
		linux = linux || img.OS == image.Linux
	}
	switch a.guests {
	case guestsScripted, guestsQEMU, "":
		if linux && a.guests == guestsScripted {
			return usage("--guests scripted knows no Linux: leave it out, or use qemu")
		}
		return nil
	case guestsAuto:
		a.guests = guestsScripted
		if linux {
			a.guests = guestsQEMU
		}
		return nil
	}
	return usage("--guests is auto, scripted or qemu, not %q", a.guests)
}

// guestsFolder is where rehearsals keep the disks of their machines, each in a folder of its own.
func (a *app) guestsFolder() string { return filepath.Join(a.folder(), "guests") }

// openHost makes this computer a host of real machines. Without a folder it gets one of its own, which goes with it.
func (a *app) openHost(dir string, keep bool) (*qemu.Host, error) {
	a.sweepGuests()
	if m := qemu.Missing(); m != nil {
		return nil, fmt.Errorf("cannot run real machines (--guests qemu): install what is missing: apt-get install --no-install-recommends %s", strings.Join(append(m, "ovmf"), " "))
	}
	if dir == "" {
		root := a.guestsFolder()
		if err := os.MkdirAll(root, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the folder for disks: %w", err)
		}
		var err error
		if dir, err = os.MkdirTemp(root, "azure-"); err != nil {
			return nil, fmt.Errorf("cannot make the folder for disks: %w", err)
		}
	}
	return qemu.Open(qemu.Options{Dir: dir, Keep: keep, Log: func(format string, args ...any) {
		if !a.json {
			say(a.Err, "Guests: "+format+".", args...)
		}
	}})
}

// sweepGuests removes the machines and disks of processes that have died.
func (a *app) sweepGuests() []string { return qemu.Sweep(a.guestsFolder()) }

// acceleration says in a few words how machines run.
func acceleration(h *qemu.Host) string {
	name, why := h.Accelerator()
	if name == "kvm" {
		return "KVM"
	}
	return "software emulation: " + why
}

// makeImages makes the disks that a build starts from before it begins, so that it does not stand still in the middle.
func (s *session) makeImages(ctx context.Context, img *image.Image) error {
	src, ok := img.Source.(image.Marketplace)
	if s.host == nil || !ok || !strings.EqualFold(src.Publisher, "Debian") {
		return nil
	}
	_, err := s.host.Debian(ctx)
	return err
}

// diskImages reads --image: publisher:offer:sku[:version]=FILE.
func diskImages(flags []string) ([]sim.DiskImage, error) {
	var out []sim.DiskImage
	for _, f := range flags {
		name, file, ok := strings.Cut(f, "=")
		p := strings.Split(name, ":")
		if !ok || file == "" || len(p) < 3 || len(p) > 4 {
			return nil, usage("--image is publisher:offer:sku[:version]=FILE, not %q", f)
		}
		d := sim.DiskImage{Publisher: p[0], Offer: p[1], SKU: p[2], File: file}
		if len(p) == 4 {
			d.Version = p[3]
		}
		out = append(out, d)
	}
	return out, nil
}
