package sim

import (
	"strings"
	"time"
)

// Session hosts: what an agent that has registered itself with a token makes, and how it is with them
// (learn.microsoft.com/azure/virtual-desktop/session-host-statuses-health-checks; reference avd-rollout.md 1.4).

func sessionHostKind() kind {
	return kind{typ: sessionHostType, check: checkSessionHost, show: showSessionHost,
		fill: fillDesktop(map[string]any{"allowNewSession": true, "sessions": 0, "status": "Available", "statusTimestamp": nil, "updateState": "Succeeded", "updateErrorMessage": nil, "assignedUser": nil, "friendlyName": nil,
			"osVersion": nil, "sxSStackVersion": nil, "agentVersion": nil, "lastHeartBeat": nil, "lastUpdateTime": nil, "resourceId": nil, "virtualMachineId": nil, "sessionHostHealthCheckResults": nil})}
}

func checkSessionHost(w *Azure, in ask) *refusal {
	if w.find(parentID(in.id)) == nil {
		return parentMissing(in.id)
	}
	return nil
}

// registerHost is what the agent does at its first start: with a token of a pool that is still good it becomes a host of that pool. The host's
// name is the computer's, with its domain where it has one. A registered agent does nothing further. "" is success.
func (w *Azure) registerHost(vm *resource, token string) (complaint string) {
	for _, pool := range w.all(hostPoolType) {
		if token == "" || text(registrationToken(w, pool), "token") != token {
			continue
		}
		m := machineOf(vm)
		computer := or(text(vm.props, "osProfile", "computerName"), vm.name)
		if m.domain != "" {
			computer += "." + m.domain
		}
		id := pool.id + "/sessionHosts/" + computer
		r := w.find(id)
		if r == nil {
			r = w.place(id, sessionHostType, "")
		}
		_, version := systemName(vm.props)
		now := w.now().UTC().Format(time.RFC3339)
		fillDesktop(nil)(w, r, ask{old: r, body: map[string]any{"properties": map[string]any{"allowNewSession": true, "sessions": 0, "status": "Available", "statusTimestamp": now, "updateState": "Succeeded", "updateErrorMessage": "",
			"assignedUser": nil, "friendlyName": nil, "osVersion": version, "sxSStackVersion": "rdp-sxs240705700", "agentVersion": "1.0.9103.3700", "lastHeartBeat": now, "lastUpdateTime": now,
			"resourceId": vm.id, "virtualMachineId": text(vm.props, "vmId"), "sessionHostHealthCheckResults": healthy(now)}}})
		return ""
	}
	return "INVALID_REGISTRATION_TOKEN"
}

// healthy are the checks that are made of every host, all passed.
func healthy(at string) []any {
	var out []any
	for _, name := range []string{"DomainJoinedCheck", "DomainTrustCheck", "SxSStackListenerCheck", "MonitoringAgentCheck", "MetaDataServiceCheck", "AppAttachHealthCheck"} {
		out = append(out, map[string]any{"healthCheckName": name, "healthCheckResult": "HealthCheckSucceeded", "additionalFailureDetails": map[string]any{"message": "", "errorCode": 0, "lastHealthCheckDateTime": at}})
	}
	return out
}

// showSessionHost: a host whose machine is off or gone has sent nothing for a while.
func showSessionHost(w *Azure, r *resource, b map[string]any) {
	withoutState(w, r, b)
	b["name"] = lastPart(parentID(r.id)) + "/" + r.name // rest/api/desktopvirtualization/session-hosts/get: "hostPool1/sessionHost1.microsoft.com"
	p := mapping(b, "properties")
	id := text(p, "resourceId")
	if id == "" {
		return
	}
	vm := w.find(id)
	switch {
	case vm == nil || machineOf(vm).power == "deallocated" || machineOf(vm).power == "stopped":
		p["status"] = "Unavailable"
	case machineOf(vm).power == "running":
		p["lastHeartBeat"] = w.clock.Now().UTC().Format(time.RFC3339)
	}
}

// checkScalingPlan holds a plan's references against what is there: a pool may have one plan.
func checkScalingPlan(w *Azure, in ask) *refusal {
	for _, ref := range items(in.body, "properties", "hostPoolReferences") {
		path := text(ref, "hostPoolArmPath")
		if w.find(path) == nil {
			return refuse(400, "400", "The host pool "+path+" does not exist.")
		}
		for _, other := range w.all(scalingPlanType) {
			for _, x := range items(other.props, "hostPoolReferences") {
				if !sameID(other.id, in.id) && sameID(text(x, "hostPoolArmPath"), path) {
					return refuse(400, "400", "The host pool "+path+" already has the scaling plan "+other.id+".")
				}
			}
		}
	}
	return nil
}

// scheduleKinds are the schedules of scaling plans (rest/api/desktopvirtualization/scaling-plan-pooled-schedules). Nothing acts on them.
func scheduleKinds() []kind {
	var out []kind
	for _, name := range []string{"pooledSchedules", "personalSchedules"} {
		out = append(out, kind{typ: scalingPlanType + "/" + name, check: checkSessionHost, show: withoutState, fill: fillDesktop(nil)})
	}
	return out
}

// applicationKinds are what an application group offers (rest/api/desktopvirtualization/applications and /desktops).
func applicationKinds() []kind {
	return []kind{
		{typ: appGroupType + "/applications", check: checkSessionHost, show: withoutState, fill: fillDesktop(map[string]any{"description": nil, "friendlyName": nil, "msixPackageFamilyName": nil, "msixPackageApplicationId": nil,
			"applicationType": "InBuilt", "filePath": nil, "commandLineSetting": "DoNotAllow", "commandLineArguments": nil, "showInPortal": true, "iconPath": nil, "iconIndex": 0, "iconHash": nil, "iconContent": nil})},
		{typ: appGroupType + "/desktops", show: withoutState, fill: fillDesktop(map[string]any{"description": nil, "friendlyName": nil, "iconHash": nil, "iconContent": nil}), check: func(w *Azure, in ask) *refusal {
			if !strings.EqualFold(text(w.find(parentID(in.id)).properties(), "applicationGroupType"), "Desktop") {
				return parentMissing(in.id)
			}
			return nil
		}},
	}
}

// properties of a resource, or of none.
func (r *resource) properties() map[string]any {
	if r == nil {
		return nil
	}
	return r.props
}
