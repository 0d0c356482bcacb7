package sim

import (
	"strings"
	"time"
)

// Azure Virtual Desktop's own resources. They answer at once (azure-protocol.md 2.1: the specification has no long operation
// among them); the documents are those of the recordings.
const (
	hostPoolType    = "Microsoft.DesktopVirtualization/hostPools"
	appGroupType    = "Microsoft.DesktopVirtualization/applicationGroups"
	workspaceType   = "Microsoft.DesktopVirtualization/workspaces"
	sessionHostType = "Microsoft.DesktopVirtualization/hostPools/sessionHosts"
	scalingPlanType = "Microsoft.DesktopVirtualization/scalingPlans"
)

func desktopKinds() []kind {
	kinds := append([]kind{
		{typ: hostPoolType, check: checkHostPool, fill: fillDesktop(map[string]any{"friendlyName": nil, "description": nil, "personalDesktopAssignmentType": nil,
			"customRdpProperty": "drivestoredirect:s:*;audiomode:i:0;videoplaybackmode:i:1;redirectclipboard:i:1;redirectprinters:i:1;devicestoredirect:s:*;redirectcomports:i:1;redirectsmartcards:i:1;usbdevicestoredirect:s:*;enablecredsspsupport:i:1;redirectwebauthn:i:1;use multimon:i:1;",
			"maxSessionLimit":   999999, "validationEnvironment": false, "ring": nil, "vmTemplate": nil, "startVMOnConnect": false, "preferredAppGroupType": "Desktop",
			"applicationGroupReferences": []any{}, "ssoadfsAuthority": nil, "ssoClientId": nil, "ssoClientSecretKeyVaultPath": nil, "ssoSecretType": nil, "migrationRequest": nil, "cloudPcResource": false}), show: showHostPool, told: hostPoolWritten,
			drop: func(w *Azure, r *resource) *refusal {
				if len(children(w, r.id, sessionHostType)) > 0 {
					return refuse(409, "409", "Host pool is not empty: it has session hosts. Remove them first, or delete with force=true.")
				}
				return nil
			},
			actions: map[string]action{"retrieveRegistrationToken": {answer: func(w *Azure, r *resource) *reply {
				return &reply{status: 200, body: registrationToken(w, r)}
			}}, "listRegistrationTokens": {answer: func(w *Azure, r *resource) *reply {
				return &reply{status: 200, body: map[string]any{"value": []any{registrationToken(w, r)}}}
			}}}},
		{typ: appGroupType, check: checkAppGroup, show: withoutState, fill: fillDesktop(map[string]any{"workspaceArmPath": nil, "description": nil, "friendlyName": nil, "cloudPcResource": false, "migrationRequest": nil, "showInFeed": nil})},
		{typ: workspaceType, show: withoutState, fill: fillDesktop(map[string]any{"applicationGroupReferences": nil, "description": nil, "friendlyName": nil, "cloudPcResource": false})},
		sessionHostKind(),
		{typ: scalingPlanType, check: checkScalingPlan, show: withoutState, fill: fillDesktop(map[string]any{"description": nil, "friendlyName": nil, "exclusionTag": nil, "hostPoolType": "Pooled", "schedules": []any{}, "hostPoolReferences": []any{}})},
	}, append(scheduleKinds(), applicationKinds()...)...)
	for i := range kinds {
		kinds[i].sync, kinds[i].fresh, kinds[i].patch = true, 201, true
		kinds[i].parting = true // recorded: a deletion is answered with the document as it was
	}
	return kinds
}

// fillDesktop makes a document of what was sent and the values that the service shows for what was not.
func fillDesktop(defaults map[string]any) func(*Azure, *resource, ask) {
	return func(w *Azure, r *resource, in ask) {
		old := r.props
		r.props = copyMap(mapping(in.body, "properties"))
		if r.props == nil {
			r.props = map[string]any{}
		}
		for k, v := range defaults {
			if _, ok := r.props[k]; ok {
				continue
			}
			r.props[k] = v
			if in.old != nil && old[k] != nil {
				r.props[k] = old[k]
			}
		}
		for _, k := range []string{"objectId", "registration"} { // the service's own
			if old[k] != nil {
				r.props[k] = old[k]
			}
		}
		if r.props["objectId"] == nil {
			r.props["objectId"] = w.uuid()
		}
		kind := in.body["kind"]
		if t := text(r.props, "applicationGroupType"); t != "" {
			kind = t
		}
		r.extra = map[string]any{"kind": kind, "systemData": systemDataOf(mapping(r.extra, "systemData"), in.who, w.clock.Now())}
		if r.typ == hostPoolType {
			r.extra["identity"] = in.body["identity"]
			info := mapping(r.props, "registrationInfo")
			delete(r.props, "registrationInfo")
			if text(r.props, "hostPoolType") == "Pooled" {
				r.props["personalDesktopAssignmentType"] = nil // recorded: whatever was asked for
			}
			if kept := mapping(r.props, "registration"); kept != nil {
				kept["registrationTokenOperation"] = "None"
			}
			switch text(info, "registrationTokenOperation") {
			case "Update":
				info["token"] = "simulated." + w.uuid() + ".not-a-token-of-anything"
				r.props["registration"] = info
			case "Delete":
				delete(r.props, "registration")
			}
		}
	}
}

func withoutState(_ *Azure, _ *resource, b map[string]any) {
	delete(mapping(b, "properties"), "provisioningState")
	if b["tags"] == nil {
		b["tags"] = nil // shown as null, as recorded
	}
	// The service writes its types with small letters.
	typ := textOf(b["type"])
	for _, word := range []string{"hostPools", "applicationGroups", "sessionHosts", "scalingPlans"} {
		typ = strings.ReplaceAll(typ, word, strings.ToLower(word))
	}
	b["type"] = typ
}

// showHostPool keeps the registration token back: it is had with retrieveRegistrationToken only.
func showHostPool(w *Azure, r *resource, b map[string]any) {
	withoutState(w, r, b)
	p := mapping(b, "properties")
	delete(p, "registration")
	p["registrationInfo"] = nil
	refs := []any{}
	for _, g := range w.all(appGroupType) {
		if sameID(text(g.props, "hostPoolArmPath"), r.id) {
			refs = append(refs, g.id)
		}
	}
	p["applicationGroupReferences"] = refs
}

// hostPoolWritten: the answer to a write and to a deletion tells of the registration, without its token; that to a read does not (recorded).
func hostPoolWritten(_ *Azure, r *resource, b map[string]any) {
	if info := mapping(r.props, "registration"); info != nil {
		mapping(b, "properties")["registrationInfo"] = map[string]any{"expirationTime": info["expirationTime"], "token": nil, "registrationTokenOperation": info["registrationTokenOperation"]}
	}
}

func checkHostPool(w *Azure, in ask) *refusal {
	p := mapping(in.body, "properties")
	if t := text(p, "hostPoolType"); t != "Pooled" && t != "Personal" && t != "BYODesktop" {
		return refuse(400, "400", "HostPoolType must be Pooled, Personal or BYODesktop.")
	}
	if t := text(p, "loadBalancerType"); t != "BreadthFirst" && t != "DepthFirst" && t != "Persistent" && t != "MultiplePersistent" {
		return refuse(400, "400", "LoadBalancerType must be BreadthFirst, DepthFirst or Persistent.")
	}
	if e := text(p, "registrationInfo", "expirationTime"); e != "" && text(p, "registrationInfo", "registrationTokenOperation") == "Update" {
		t, err := time.Parse(time.RFC3339, e)
		// The service's words in Azure/AVDSessionHostReplacer#38.
		if ahead := t.Sub(w.clock.Now()); err != nil || ahead < time.Hour || ahead > 30*24*time.Hour {
			return refuse(400, "400", "ExpirationTime value must be between one hour and 30 days from now")
		}
	}
	return nil
}

func checkAppGroup(w *Azure, in ask) *refusal {
	path := text(in.body, "properties", "hostPoolArmPath")
	if in.old == nil && w.find(path) == nil {
		return refuse(400, "400", "The host pool "+path+" does not exist.")
	}
	return nil
}

func registrationToken(w *Azure, r *resource) map[string]any {
	info := mapping(r.props, "registration")
	none := map[string]any{"expirationTime": nil, "token": nil, "resetToken": false, "registrationTokenOperation": "None"}
	if info == nil {
		return none
	}
	if t, err := time.Parse(time.RFC3339, text(info, "expirationTime")); err == nil && w.clock.Now().After(t) {
		return none
	}
	return map[string]any{"expirationTime": info["expirationTime"], "token": info["token"], "resetToken": false, "registrationTokenOperation": "None"}
}
