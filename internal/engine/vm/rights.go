package vm

import (
	"cmp"
	"encoding/json"

	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
)

var _ engine.Righter = Engine{}

// Rights lists what the plan's calls need, kind by kind, as Azure's list of operations names them
// (https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations). What is made in a temporary group is
// needed on the subscription: the group that it could be given on does not exist yet. Reading how a long operation stands needs nothing.
func (Engine) Rights(p *plan.Plan, f image.Facts) []engine.Right {
	r := &rights{sub: "/subscriptions/" + f.Subscription, made: map[string]bool{}}
	for _, s := range p.Steps {
		if s.Kind == "group" {
			var a groupArgs
			r.decode(s, &a)
			r.made[a.Group.Name] = true
		}
	}
	for _, s := range p.Steps {
		r.step(p, s)
	}
	return engine.Compact(r.out)
}

type rights struct {
	sub  string
	made map[string]bool // groups that the plan makes
	out  []engine.Right
}

// decode reads a step's arguments. They were encoded by this package; what does not fit yields zero values, and Azure's own refusal later.
func (r *rights) decode(s plan.Step, into any) { json.Unmarshal(s.Args, into) } //nolint:errcheck // as said

// at is the id of a group, or of the subscription when the group is yet to be made.
func (r *rights) at(subscription, group string) string {
	sub := r.sub
	if subscription != "" {
		sub = "/subscriptions/" + subscription
	}
	if group == "" || r.made[group] {
		return sub
	}
	return sub + "/resourceGroups/" + group
}

func (r *rights) need(s plan.Step, scope string, actions ...string) {
	for _, a := range actions {
		r.out = append(r.out, engine.Right{Action: a, Scope: scope, For: s.Title})
	}
}

// own needs to make, read and remove resources of a type.
func (r *rights) own(s plan.Step, scope, typ string) {
	r.need(s, scope, typ+"/read", typ+"/write", typ+"/delete")
}

const (
	compute  = "Microsoft.Compute/"
	network  = "Microsoft.Network/"
	keyVault = "Microsoft.KeyVault/"
	groups   = "Microsoft.Resources/subscriptions/resourceGroups"
)

func (r *rights) step(p *plan.Plan, s plan.Step) {
	switch s.Kind {
	case "group":
		r.own(s, r.sub, groups)
	case "vault":
		var a vaultArgs
		r.decode(s, &a)
		at := r.at("", a.Vault.Group)
		if a.Existing {
			r.need(s, at, keyVault+"vaults/read")
			break
		}
		r.own(s, at, keyVault+"vaults")
		r.need(s, r.sub, keyVault+"locations/deletedVaults/purge/action")
	case "certificate", "ssh-key":
		var v vaultArgs
		if at, ok := p.Find("vault"); ok {
			r.decode(at, &v)
		}
		if v.Existing {
			actions := []string{"setSecret/action", "getSecret/action", "delete"}
			var c certificateArgs
			if s.Kind == "certificate" {
				r.decode(s, &c)
			}
			if c.Shared {
				actions = append(actions, "readMetadata/action", "update/action", "purge/action")
			}
			for _, a := range actions {
				id := r.at("", v.Vault.Group) + "/providers/Microsoft.KeyVault/vaults/" + v.Vault.Name
				r.out = append(r.out, engine.Right{Action: keyVault + "vaults/secrets/" + a, Scope: id, Data: true, For: s.Title, Vault: id})
			}
		}
	case "nsg":
		var a nsgArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Group), network+"networkSecurityGroups")
	case "network":
		var a networkArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Group), network+"virtualNetworks")
		r.need(s, r.at("", a.Group), network+"networkSecurityGroups/join/action", network+"virtualNetworks/subnets/join/action")
	case "subnet":
		var a subnetArgs
		r.decode(s, &a)
		at := r.at(a.Subscription, a.Group)
		if a.Group == "" {
			r.need(s, at, network+"virtualNetworks/read")
		}
		r.need(s, at, network+"virtualNetworks/read", network+"virtualNetworks/subnets/read", network+"virtualNetworks/subnets/join/action")
	case "ip":
		var a ipArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Group), network+"publicIPAddresses")
		r.need(s, r.at("", a.Group), network+"publicIPAddresses/join/action")
	case "nic":
		var a nicArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Group), network+"networkInterfaces")
		r.need(s, r.at("", a.Group), network+"networkInterfaces/join/action")
	case "vm":
		var a vmArgs
		r.decode(s, &a)
		at := r.at("", a.VM.Group)
		r.own(s, at, compute+"virtualMachines")
		r.need(s, at, compute+"disks/read", compute+"disks/delete")
		for _, id := range a.VM.Identities {
			r.need(s, id, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action")
		}
		if a.VM.Windows {
			var v vaultArgs
			if step, ok := p.Find("vault"); ok {
				r.decode(step, &v)
				r.need(s, r.at("", v.Vault.Group), keyVault+"vaults/deploy/action")
			}
		}
	case "image-from-blob":
		var a blobImageArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Image.Group), compute+"images")
	case "extension":
		var a extensionArgs
		r.decode(s, &a)
		r.need(s, r.at("", a.Script.Group), compute+"virtualMachines/extensions/read", compute+"virtualMachines/extensions/write")
	case "openssh":
		var a openSSHArgs
		r.decode(s, &a)
		r.need(s, r.at("", a.Extension.Group), compute+"virtualMachines/extensions/read", compute+"virtualMachines/extensions/write")
	case "storage": // with the account come the run commands that use it
		var a storageArgs
		r.decode(s, &a)
		at := r.at("", a.Account.Group)
		r.own(s, at, "Microsoft.Storage/storageAccounts")
		r.need(s, at, "Microsoft.Storage/storageAccounts/listKeys/action")
		r.own(s, at, compute+"virtualMachines/runCommands")
	case "deallocate", "seal":
		var a machineArgs
		r.decode(s, &a)
		verb := map[string]string{"deallocate": "deallocate", "seal": "generalize"}[s.Kind]
		r.need(s, r.at("", a.Group), compute+"virtualMachines/read", compute+"virtualMachines/"+verb+"/action")
	case "managed-image":
		var a imageArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Image.Group), compute+"images")
	case "gallery":
		var a galleryArgs
		r.decode(s, &a)
		r.own(s, r.at(cmp.Or(a.Version.Subscription, ""), a.Version.Group), compute+"galleries/images/versions")
	default:
		r.target(p, s)
	}
}
