package aib

import (
	"encoding/json"
	"strings"

	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// Rights lists what the calls of the plan need of whoever builds, kind by kind, as Azure's list of operations names them
// (https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations). What the service does it does as the template's
// identity: IdentityRights.
func (Engine) Rights(p *plan.Plan, f image.Facts) []engine.Right {
	r := &rights{sub: "/subscriptions/" + f.Subscription}
	for _, s := range p.Steps {
		if s.Kind == "group" {
			var a engine.GroupArgs
			r.decode(s, &a)
			r.made = a.Group.Name
		}
	}
	for _, s := range p.Steps {
		r.step(s)
	}
	return engine.Compact(r.out)
}

type rights struct {
	sub, made string // made: the group that the plan makes, on which nothing can be given yet
	out       []engine.Right
}

// decode reads a step's arguments, which were encoded by this package; what does not fit yields zero values, and Azure's own refusal later.
func (r *rights) decode(s plan.Step, into any) { json.Unmarshal(s.Args, into) } //nolint:errcheck // as said

func (r *rights) at(subscription, group string) string {
	sub := r.sub
	if subscription != "" {
		sub = "/subscriptions/" + subscription
	}
	if group == "" || group == r.made {
		return sub
	}
	return sub + "/resourceGroups/" + group
}

func (r *rights) need(s plan.Step, scope string, actions ...string) {
	for _, a := range actions {
		r.out = append(r.out, engine.Right{Action: a, Scope: scope, For: s.Title})
	}
}

func (r *rights) own(s plan.Step, scope, typ string) {
	r.need(s, scope, typ+"/read", typ+"/write", typ+"/delete")
}

func (r *rights) step(s plan.Step) {
	const (
		compute    = "Microsoft.Compute/"
		storage    = "Microsoft.Storage/storageAccounts"
		templates  = "Microsoft.VirtualMachineImages/imageTemplates"
		identities = "Microsoft.ManagedIdentity/userAssignedIdentities"
	)
	switch s.Kind {
	case "group":
		r.own(s, r.sub, "Microsoft.Resources/subscriptions/resourceGroups")
	case "gallery-new":
		var a engine.NewGalleryArgs
		r.decode(s, &a)
		r.own(s, r.at(a.Subscription, a.Group), compute+"galleries")
	case "definition":
		var a engine.DefinitionArgs
		r.decode(s, &a)
		r.own(s, r.at(a.Definition.Subscription, a.Definition.Group), compute+"galleries/images")
	case "identity":
		var a identityArgs
		r.decode(s, &a)
		r.own(s, r.at("", groupOf(a.ID)), identities)
	case "roles":
		var a rolesArgs
		r.decode(s, &a)
		for _, x := range a.Roles {
			r.need(s, x.Scope, "Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete")
		}
	case "files-account":
		var a accountArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Account.Group), storage)
	case "upload":
		var a uploadArgs
		r.decode(s, &a)
		r.need(s, r.at("", a.Group), storage+"/read", storage+"/listKeys/action")
	case "image-template":
		var a templateArgs
		r.decode(s, &a)
		at := r.at("", a.Group)
		r.own(s, at, templates)
		id, _ := a.Body["identity"].(map[string]any)
		list, _ := id["userAssignedIdentities"].(map[string]any)
		for x := range list {
			if scope := x; groupOf(x) != r.made {
				r.need(s, scope, identities+"/assign/action")
			} else {
				r.need(s, r.sub, identities+"/assign/action")
			}
		}
	case "image-run":
		var a runArgs
		r.decode(s, &a)
		at := r.at("", a.Group)
		r.need(s, at, templates+"/read", templates+"/run/action", templates+"/cancel/action", templates+"/runOutputs/read")
		// The log is in a group that the service makes.
		r.need(s, r.sub, "Microsoft.Resources/subscriptions/resourceGroups/resources/read", storage+"/read", storage+"/listKeys/action")
		for _, x := range a.Targets {
			switch {
			case x.Gallery != "":
				r.need(s, r.at(x.Subscription, x.Group), compute+"galleries/images/versions/read", compute+"galleries/images/versions/delete")
			case x.Name != "":
				r.need(s, r.at(x.Subscription, x.Group), compute+"images/read", compute+"images/delete")
			}
		}
	case "image-trigger":
		var a triggerArgs
		r.decode(s, &a)
		r.own(s, r.at("", a.Group), templates+"/triggers")
	}
}

// groupOf is the resource group in an id.
func groupOf(id string) string {
	p := strings.Split(id, "/")
	if len(p) > 4 {
		return p[4]
	}
	return ""
}
