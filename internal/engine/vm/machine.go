package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ingot/internal/azure"
	"ingot/internal/image"
	"ingot/internal/plan"
)

type vmArgs struct {
	VM                   azure.VM // without the password and the data, which may be secret
	CustomData, UserData image.Text
	KeepDisk             bool
}

type vmResult struct {
	ID     string
	DiskID string
}

// makeVM creates the machine. After a crash it looks first: a VM of that name with this run's tag is the one we began.
func (b *build) makeVM(ctx context.Context, t *plan.Task, a vmArgs) (vmResult, error) {
	var nic addressResult
	var cert certificateResult
	var vault vaultResult
	if err := errors.Join(t.Result("nic", &nic), optional(t.Result("vault", &vault))); err != nil {
		return vmResult{}, err
	}
	var key sshKeyResult
	var password string
	var err error
	_, commands := t.Find("storage")
	_, own := t.Find("certificate")
	switch {
	case commands:
		password, key.Public, err = b.unusedAccount(t, a.VM.Windows)
	case a.VM.Windows && own:
		if err := t.Result("certificate", &cert); err != nil {
			return vmResult{}, err
		}
		password, err = b.password(ctx, t)
	case a.VM.Windows && a.VM.Specialized:
	case a.VM.Windows:
		password, err = b.freshPassword(ctx, t, a.VM)
	default:
		if err := t.Result("ssh-key", &key); err != nil {
			return vmResult{}, err
		}
		password, err = b.given(t)
	}
	if err != nil {
		return vmResult{}, err
	}
	for _, text := range []*image.Text{&a.CustomData, &a.UserData} {
		if !text.Fill(b.env.Secrets.Lookup) {
			return vmResult{}, missingSecret(text.Secret())
		}
	}
	if v, err := b.env.Cloud.GetVM(ctx, a.VM.Group, a.VM.Name); err == nil && v.Tags[TagRun] != t.Run {
		return vmResult{}, fmt.Errorf("cannot create VM %s: one of that name exists in %s that this run did not make; use another temp_compute_name", a.VM.Name, a.VM.Group)
	} else if err != nil && !azure.IsNotFound(err) {
		return vmResult{}, err
	} else if err == nil && commands {
		// Begun before a crash, with a password or key that nobody has kept: neither may be changed by asking again.
		password, key.Public = "", ""
	}
	if a.VM.Image == (azure.ImageRef{}) {
		var source idResult
		if err := t.Result("source-image", &source); err != nil {
			return vmResult{}, err
		}
		a.VM.Image.ID = source.ID
	}
	a.VM.NICID, a.VM.Password = nic.ID, password
	a.VM.WinRMCertificateURL, a.VM.VaultID, a.VM.SSHPublicKey = cert.URL, vault.ID, key.Public
	a.VM.CustomData, a.VM.UserData = a.CustomData.Reveal(), a.UserData.Reveal()
	v, err := b.env.Cloud.PutVM(ctx, a.VM, op(t))
	return vmResult{ID: v.ID, DiskID: v.OSDiskID}, err
}

// removeVM deletes the machine and its disk where no group's deletion takes them along. The disk outlives the machine that
// was deleted, so it is deleted by its planned name even when the machine is gone already.
func (b *build) removeVM(ctx context.Context, t *plan.Task, a vmArgs, _ *vmResult) error {
	v, err := b.env.Cloud.GetVM(ctx, a.VM.Group, a.VM.Name)
	switch {
	case azure.IsNotFound(err):
	case err != nil:
		return err
	case v.Tags[TagRun] != t.Run:
		return nil // not ours: makeVM refused it
	default:
		if err := b.env.Cloud.DeleteVM(ctx, a.VM.Group, a.VM.Name, undoOp(t)); err != nil {
			return err
		}
	}
	if a.KeepDisk && t.Outcome.Keeps() {
		return b.removeDataDisks(ctx, t, a.VM)
	}
	return errors.Join(b.removeDataDisks(ctx, t, a.VM), b.env.Cloud.DeleteDisk(ctx, a.VM.Group, a.VM.OSDiskName, undoOp(t)))
}

// removeDataDisks deletes the machine's data disks by the names that the plan gave them. All are tried.
func (b *build) removeDataDisks(ctx context.Context, t *plan.Task, v azure.VM) error {
	var errs []error
	for _, d := range v.DataDisks {
		errs = append(errs, b.env.Cloud.DeleteDisk(ctx, v.Group, d.Name, undoOp(t)))
	}
	return errors.Join(errs...)
}

type machineArgs struct{ Group, Name string }

func (b *build) deallocate(ctx context.Context, t *plan.Task, a machineArgs) (struct{}, error) {
	b.hangUp()
	return struct{}{}, b.env.Cloud.Deallocate(ctx, a.Group, a.Name, op(t))
}

func (b *build) seal(ctx context.Context, _ *plan.Task, a machineArgs) (struct{}, error) {
	return struct{}{}, b.env.Cloud.Generalize(ctx, a.Group, a.Name)
}

// argsOf decodes the arguments of another step of the plan.
func (b *build) argsOf(t *plan.Task, step string, v any) error {
	s, ok := t.Find(step)
	if !ok {
		return fmt.Errorf("cannot find step %s in the plan", step)
	}
	return json.Unmarshal(s.Args, v)
}
