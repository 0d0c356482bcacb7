package vm

import (
	"slices"

	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/provisioner"
)

// limits says what a template may ask for and this engine does not do yet: it is refused by name before anything is made, and
// never left out in silence.
func limits(img *image.Image) diag.List {
	var l diag.List
	no := func(set bool, pos diag.Pos, remedy, what string) {
		if set {
			if pos == (diag.Pos{}) {
				pos = img.Pos
			}
			l.Errorf(pos, remedy, "this version of Ingot cannot build with %s on a VM of its own yet", what)
		}
	}
	if n := len(img.Tags); n > 48 && n <= 50 {
		l.Errorf(img.Pos, "remove some", "%d tags: Azure allows 50 on a resource, and Ingot needs two of them", n)
	}
	l = append(l, targetLimits(img)...)
	no(img.Managed.AutoRun == "Enabled", img.Pos, "leave autoRun out: ingot build runs it", "autoRun")
	no(img.Managed.Workload != nil || img.Managed.VMBoot == "Enabled", img.Pos, "leave optimize out", "the managed service's optimisation of the image")
	windowsOnly := []string{"powershell", "windows-shell", "windows-restart", "windows-update", "dsc"}
	for _, p := range slices.Concat(img.Provision, img.Cleanup, trials(img)) {
		if img.OS == image.Linux && slices.Contains(windowsOnly, p.Type) {
			l.Errorf(p.Pos, "use a shell provisioner", "provisioner %s is for Windows guests; os_type is Linux", p.Type)
			continue
		}
		if img.OS == image.Windows && p.Type == "shell" {
			l.Errorf(p.Pos, "use a powershell provisioner", "provisioner shell is for Linux guests; os_type is Windows")
			continue
		}
		if p.Type == "ansible" && img.Communicator.Kind == "runcommand" {
			l.Errorf(p.Pos, `use ansible-local, or communicator = "ssh" or "winrm"`, "provisioner ansible signs in to the guest itself, and communicator runcommand leaves no port open for it")
			continue
		}
		if img.OS == image.Windows && p.Type == "ansible-local" {
			l.Errorf(p.Pos, "use ansible, which runs on this machine", "provisioner ansible-local is for Linux guests, since Ansible does not run on Windows; os_type is Windows")
			continue
		}
		if _, ok := p.Settings.(provisioner.Runner); !ok {
			no(true, p.Pos, "leave it out, or do the same in a powershell provisioner", "provisioner "+p.Type)
		}
		if s, ok := p.Settings.(provisioner.Limited); ok {
			for _, x := range s.Limits() {
				l.Errorf(p.Pos, x.Remedy, "%s of provisioner %s is not supported: %s", x.Option, p.Type, x.Why)
			}
		}
	}
	return l
}
