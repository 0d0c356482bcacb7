package vm

import (
	"slices"

	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// LocalFiles lists the files and folders of this machine that the image's provisioners read, as absolute paths, each once. Keys
// to sign in with are not among them: they do not travel.
func LocalFiles(img *image.Image) []string {
	var out []string
	note := &provisioner.Check{Find: func(path string) (string, bool) {
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
		return path, true
	}}
	// Whatever Check asks for is what the provisioner will read; its settings hold absolute paths since the template was read.
	for _, p := range slices.Concat(img.Provision, img.Cleanup) {
		if s, ok := p.Settings.(provisioner.Settings); ok {
			s.Check(note)
		}
	}
	for _, x := range img.After {
		if s, ok := any(x.Settings).(provisioner.Settings); ok {
			s.Check(note)
		}
	}
	return out
}
