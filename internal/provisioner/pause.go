package provisioner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Sleep waits.
type Sleep struct {
	// Duration is how long.
	Duration time.Duration `hcl:"duration"`
}

var (
	_ Settings = (*Sleep)(nil)
	_ Runner   = (*Sleep)(nil)
)

// Check reports what is wrong.
func (p *Sleep) Check(c *Check) {
	if p.Duration <= 0 {
		c.fail("duration", `write "30s"`, "duration is missing")
	}
}

// Run waits, anew after a crash.
func (p *Sleep) Run(ctx context.Context, e *Env) error {
	e.progress("waiting %s", p.Duration)
	return e.Clock.Sleep(ctx, p.Duration)
}

// Summary is a phrase for a step's title.
func (p *Sleep) Summary() string { return fmt.Sprintf("sleep, %s", p.Duration) }

// Estimate is the duration.
func (p *Sleep) Estimate() time.Duration { return p.Duration }

// Breakpoint stops a build until a person says to go on.
type Breakpoint struct {
	// Note is shown.
	Note string `hcl:"note"`
	// Disable goes on without stopping.
	Disable bool `hcl:"disable"`
}

var (
	_ Settings = (*Breakpoint)(nil)
	_ Runner   = (*Breakpoint)(nil)
)

// Run waits until a person says to go on; the machine runs, and can be looked at. After a crash it asks again.
func (p *Breakpoint) Run(ctx context.Context, e *Env) error {
	if p.Disable {
		e.progress("breakpoint, disabled")
		return nil
	}
	if e.Wait == nil {
		return errors.New("cannot stop at the breakpoint: nobody is there to say when to go on; set disable = true, or build from a terminal")
	}
	if p.Note != "" {
		e.progress("breakpoint: %s", p.Note)
	}
	return e.Wait(ctx, p.Note)
}

// Stops says whether it will wait for a person.
func (p *Breakpoint) Stops() bool { return !p.Disable }

// Check finds nothing wrong.
func (p *Breakpoint) Check(*Check) {}

// Summary is a phrase for a step's title.
func (p *Breakpoint) Summary() string {
	switch {
	case p.Disable:
		return "breakpoint, disabled"
	case p.Note != "":
		return "breakpoint, " + p.Note
	}
	return "breakpoint"
}

// Estimate is nothing: nobody knows when a person comes back.
func (p *Breakpoint) Estimate() time.Duration { return 0 }

// SBOM downloads a software bill of materials from the guest (Packer's hcp-sbom).
type SBOM struct {
	// Source is the file in the guest.
	Source string `hcl:"source"`
	// Destination is where it goes on this machine.
	Destination string `hcl:"destination"`
	// SBOMName has no effect: it is its name in HCP Packer, to which nothing is sent.
	SBOMName string `hcl:"sbom_name"`
	// AutoGenerate makes it in the guest.
	AutoGenerate bool `hcl:"auto_generate"`
	// ScannerURL is where the scanner that makes it comes from.
	ScannerURL string `hcl:"scanner_url"`
	// ScannerChecksum is its checksum.
	ScannerChecksum string `hcl:"scanner_checksum"`
	// ScannerArgs are handed to it.
	ScannerArgs []string `hcl:"scanner_args"`
	// ScanPath is what it looks at.
	ScanPath string `hcl:"scan_path"`
}

var (
	_ Settings = (*SBOM)(nil)
	_ Runner   = (*SBOM)(nil)
	_ Limited  = (*SBOM)(nil)
)

// Check reports what is wrong.
func (p *SBOM) Check(c *Check) {
	if !p.AutoGenerate {
		c.required("source", p.Source)
	}
	c.ignored("sbom_name", p.SBOMName != "", "nothing is sent to HCP Packer")
	if p.Destination != "" && !filepath.IsAbs(p.Destination) {
		p.Destination = localPath(c.Cwd, p.Destination)
	}
}

// Limits lists the options that Run cannot honour.
func (p *SBOM) Limits() []Limit {
	l := limitsOf(limit{"auto_generate", p.AutoGenerate, "no scanner is brought into the guest; run one in a provisioner before, and name its file in source"})
	if p.Destination == "" {
		l = append(l, Limit{"a missing destination", "the file would go to HCP Packer only, to which nothing is sent", "set destination"})
	}
	return l
}

// Run downloads the file.
func (p *SBOM) Run(ctx context.Context, e *Env) error {
	return (&File{Source: p.Source, Destination: p.Destination, Direction: "download"}).Run(ctx, e)
}

// Summary is a phrase for a step's title.
func (p *SBOM) Summary() string { return "hcp-sbom" }

// Estimate is a guess.
func (p *SBOM) Estimate() time.Duration { return 30 * time.Second }
