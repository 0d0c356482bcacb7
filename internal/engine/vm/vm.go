// Package vm builds an image on a machine of our own, as Packer's azure-arm does: make a VM and what it needs, provision it,
// generalise it, publish it, remove everything but the image. It compiles an image.Image to a plan and carries the plan's
// steps out; it never decides anything while running that the plan could have said.
package vm

import (
	"maps"
	"slices"

	"ingot/internal/diag"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// Tags that every resource made carries.
const (
	TagRun     = engine.TagRun
	TagExpires = engine.TagExpires
)

// Breakpoint is the kind of a step that waits for a person.
const Breakpoint = "breakpoint"

// Engine is the VM engine.
type Engine struct{}

var _ engine.Engine = Engine{}

// Check says what this engine cannot do with img.
func (Engine) Check(img *image.Image) diag.List {
	l := slices.Concat(limits(img), checkHardware(img), checkSSH(img), checkNoVault(img))
	switch kind := img.Communicator.Kind; {
	case kind == kindRunCommand:
	case img.OS == image.Linux && kind != "ssh":
		l.Errorf(img.Communicator.Pos, `set communicator = "runcommand" or "ssh"`, "a Linux guest is reached through run commands or by SSH; communicator is %q", kind)
	case img.OS == image.Linux:
	case kind == "ssh":
	case kind != "winrm":
		l.Errorf(img.Communicator.Pos, `set communicator = "runcommand", "winrm" or "ssh"`, "a Windows guest is reached through run commands, over WinRM or SSH; communicator is %q", kind)
	case !img.Communicator.UseSSL:
		l.Errorf(img.Communicator.Pos, "set winrm_use_ssl = true (and winrm_insecure = true for Packer's sake: Ingot pins its own certificate)",
			"WinRM without TLS would send the password in clear")
	}
	m := img.Machine
	if m.KeepOSDisk && m.ResourceGroup == "" {
		l.Errorf(img.Pos, "build in an existing group (build_resource_group_name), or leave keep_os_disk out", "keep_os_disk keeps a disk in a temporary resource group that is deleted with everything in it")
	}
	if len(img.Targets) == 0 && !img.SkipImage {
		l.Errorf(img.Pos, "add shared_image_gallery_destination, managed_image_name or storage_account", "the image has no target: nothing would be kept of the build")
	}
	specialized, generalized := false, false
	for _, t := range img.Targets {
		g, ok := t.(image.ToGallery)
		specialized = specialized || ok && g.Specialized
		generalized = generalized || !ok || !g.Specialized
	}
	if specialized && generalized {
		l.Errorf(img.Pos, "build them from two sources", "one machine cannot become a specialized and a generalized image")
	}
	return l
}

// Actions are what the kinds of this engine's plans mean in env.
func (Engine) Actions(env engine.Env) map[string]plan.Action {
	b := &build{env: env}
	actions := tryActions(&build{env: env})
	maps.Copy(actions, map[string]plan.Action{
		"group":             engine.Group(env),
		"vault":             plan.Typed[vaultArgs, vaultResult]{DoFunc: b.makeVault, UndoFunc: b.removeVault},
		"certificate":       plan.Typed[certificateArgs, certificateResult]{DoFunc: b.makeCertificate, UndoFunc: b.removeCertificate},
		"ssh-key":           plan.Typed[sshKeyArgs, sshKeyResult]{DoFunc: b.makeSSHKey, UndoFunc: b.removeSSHKey},
		"fetch":             plan.Typed[fetchArgs, fetchResult]{DoFunc: b.fetch},
		"storage":           plan.Typed[storageArgs, struct{}]{DoFunc: b.makeStorage, UndoFunc: b.removeStorage},
		"caller":            plan.Typed[callerArgs, callerResult]{DoFunc: b.findCaller},
		"nsg":               plan.Typed[nsgArgs, idResult]{DoFunc: b.makeNSG, UndoFunc: b.removeNSG},
		"network":           plan.Typed[networkArgs, idResult]{DoFunc: b.makeNetwork, UndoFunc: b.removeNetwork},
		"subnet":            plan.Typed[subnetArgs, idResult]{DoFunc: b.findSubnet},
		"ip":                plan.Typed[ipArgs, addressResult]{DoFunc: b.makeIP, UndoFunc: b.removeIP},
		"nic":               plan.Typed[nicArgs, addressResult]{DoFunc: b.makeNIC, UndoFunc: b.removeNIC},
		"image-from-blob":   plan.Typed[blobImageArgs, idResult]{DoFunc: b.makeBlobImage, UndoFunc: b.removeBlobImage},
		"vm":                plan.Typed[vmArgs, vmResult]{DoFunc: b.makeVM, UndoFunc: b.removeVM},
		"extension":         plan.Typed[extensionArgs, extensionResult]{DoFunc: b.runExtension},
		"openssh":           plan.Typed[openSSHArgs, struct{}]{DoFunc: b.installOpenSSH},
		"clear-keys":        plan.Typed[clearKeysArgs, struct{}]{DoFunc: b.clearKeys},
		"pause":             plan.Typed[pauseArgs, struct{}]{DoFunc: b.pause},
		"connect":           plan.Typed[connectArgs, connectResult]{DoFunc: unlessEvicted(b, b.connect)},
		"provision":         plan.Typed[provisionArgs, struct{}]{DoFunc: unlessEvicted(b, b.provision)},
		"generalize":        plan.Typed[generalizeArgs, generalizeResult]{DoFunc: unlessEvicted(b, b.generalise)},
		Breakpoint:          plan.Typed[provisionArgs, struct{}]{DoFunc: b.provision},
		"deallocate":        plan.Typed[machineArgs, struct{}]{DoFunc: b.deallocate},
		"seal":              plan.Typed[machineArgs, struct{}]{DoFunc: b.seal},
		"managed-image":     plan.Typed[imageArgs, productResult]{DoFunc: b.publishImage, UndoFunc: b.withdrawImage},
		"gallery":           plan.Typed[galleryArgs, productResult]{DoFunc: b.publishVersion, UndoFunc: b.withdrawVersion},
		"command":           engine.Command(env, b.runtime),
		"disk-from-version": plan.Typed[diskArgs, idResult]{DoFunc: b.makeExportDisk, UndoFunc: b.removeDisk},
		"upload-disk":       plan.Typed[diskArgs, idResult]{DoFunc: b.makeUploadDisk, UndoFunc: b.removeDisk},
		"download-disk":     plan.Typed[transferArgs, transferResult]{DoFunc: b.download},
		"upload-pages":      plan.Typed[transferArgs, transferResult]{DoFunc: b.upload},
		"gallery-new":       engine.NewGallery(env),
		"definition":        engine.NewDefinition(env),
		"snapshot":          plan.Typed[snapshotArgs, productResult]{DoFunc: b.makeSnapshot, UndoFunc: b.removeSnapshot},
		"container":         plan.Typed[containerArgs, struct{}]{DoFunc: b.findContainer},
		"vhd":               plan.Typed[vhdArgs, productResult]{DoFunc: b.copyVHD, UndoFunc: b.removeVHD},
		"stand-in-image":    plan.Typed[imageStandIn, productResult]{DoFunc: b.makeImageStandIn, UndoFunc: b.removeImageStandIn},
		"stand-in-version":  plan.Typed[versionStandIn, productResult]{DoFunc: b.makeVersionStandIn, UndoFunc: b.removeVersionStandIn},
		"manifest":          engine.WriteManifest(),
	})
	return actions
}
