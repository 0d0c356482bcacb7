package template

import (
	"slices"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// builtIns judges how the template runs Azure Virtual Desktop's own scripts: the portal writes them as pairs of customizers, one that copies a
// file and one that runs it (reference azure-image-builder.md, section 6.5). What is wrong with a script itself is said where its address stands.
func (a *aib) builtIns(img *image.Image) {
	var copies []provisioner.AVDStep
	var at []int // in img.Provision, of each copy
	ran := map[int]bool{}
	for i, p := range img.Provision {
		settings, ok := p.Settings.(provisioner.Settings)
		if !ok {
			continue
		}
		s, ok := provisioner.AVDStepOf(settings, copies)
		switch {
		case !ok:
		case s.Copies:
			copies, at = append(copies, s), append(at, i)
		case s.Path != "": // run from where it was copied to
			n := len(copies) - 1
			for copies[n].Path != s.Path {
				n--
			}
			ran[n] = true
			if between := i - at[n] - 1; between > 0 {
				a.l.problems.Warnf(p.Pos, "put the two side by side; or "+s.Script.Instead(), "%s is copied to %s and run later, with %d customizers in between: nine of these scripts delete C:\\AVDImage when they end, and what waits there is gone", s.Script.File, s.Path, between)
			}
			if !s.Checked {
				for _, f := range s.Script.Defects() {
					a.l.problems.Warnf(p.Pos, f.Remedy, "%s", f.Summary)
				}
			}
		}
	}
	for n, s := range copies {
		if !ran[n] && slices.IndexFunc(copies[n+1:], func(c provisioner.AVDStep) bool { return c.Path == s.Path }) < 0 {
			a.l.problems.Warnf(img.Provision[at[n]].Pos, "run it in the customizer after it; or "+s.Script.Instead(), "%s is copied to %s, and no customizer runs it", s.Script.File, s.Path)
		}
	}
}
