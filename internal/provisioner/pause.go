package provisioner

import (
	"context"
	"fmt"
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
	_ Limited  = (*Breakpoint)(nil)
)

// Run goes on: one that stops is refused before anything is made.
func (p *Breakpoint) Run(_ context.Context, e *Env) error {
	e.progress("breakpoint, disabled")
	return nil
}

// Limits says that nobody can be waited for yet.
func (p *Breakpoint) Limits() []Limit {
	return limitsOf(limit{"breakpoint", !p.Disable, "this version cannot wait for a person in the middle of a build; set disable = true, and use -on-error=ask"})
}

// Check finds nothing wrong.
func (p *Breakpoint) Check(*Check) {}

// Summary is a phrase for a step's title.
func (p *Breakpoint) Summary() string { return "breakpoint" }

// Estimate is nothing: nobody knows when a person comes back.
func (p *Breakpoint) Estimate() time.Duration { return 0 }

// SBOM downloads a software bill of materials from the guest (Packer's hcp-sbom).
type SBOM struct {
	// Source is the file in the guest.
	Source string `hcl:"source"`
	// Destination is where it goes on this machine.
	Destination string `hcl:"destination"`
	// SBOMName is its name in HCP Packer.
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

var _ Settings = (*SBOM)(nil)

// Check reports what is wrong.
func (p *SBOM) Check(c *Check) {
	if !p.AutoGenerate {
		c.required("source", p.Source)
	}
}

// Summary is a phrase for a step's title.
func (p *SBOM) Summary() string { return "hcp-sbom" }

// Estimate is a guess.
func (p *SBOM) Estimate() time.Duration { return 30 * time.Second }
