package sim

import (
	"strings"
)

// Triggers run a template by themselves when its source has a newer version (azure-image-builder.md 1.3, triggers; documents as recorded).

func triggerKind(takes takesTime) kind {
	return kind{typ: triggerType, check: checkTrigger, takes: takes, takesAway: "aib-trigger", fill: func(_ *Azure, r *resource, in ask) {
		if in.old == nil {
			r.props = copyMap(mapping(in.body, "properties"))
		}
	}, show: func(w *Azure, r *resource, b map[string]any) {
		if r.state != "Succeeded" {
			return
		}
		code, message := "Healthy", "Trigger is active"
		if t := w.find(parentID(r.id)); t != nil && templateOf(t).Failures >= triggerPatience {
			code, message = "Unhealthy", "Trigger is deactivated: the last "+itoa(triggerPatience)+" builds that it began failed. Run the image template once with success to activate it again."
		}
		mapping(b, "properties")["status"] = map[string]any{"code": code, "message": message, "time": stamp(r.created)}
	}}
}

// triggerPatience is how many builds in a row may fail before a trigger is deactivated: "several" (azure-image-builder.md 1.3).
const triggerPatience = 3

const triggersPerRegion = 100

func checkTrigger(w *Azure, in ask) *refusal {
	t := w.find(parentID(in.id))
	if t == nil {
		return parentMissing(in.id)
	}
	if bad := templateAPI(triggerType, t.location, in.api); bad != nil {
		return bad
	}
	if in.api != "" && in.api < aib2022b {
		return refuse(404, "InvalidResourceType", "The resource type 'imageTemplates/triggers' could not be found in the namespace 'Microsoft.VirtualMachineImages' for api version '"+in.api+"'.")
	}
	kind := text(in.body, "properties", "kind")
	if kind != "SourceImage" {
		return invalidTemplate("the trigger kind '" + kind + "' is not valid.")
	}
	if in.old != nil {
		if text(in.old.props, "kind") != kind {
			return invalidTemplate("the kind of a trigger cannot be updated.")
		}
		return nil
	}
	if len(children(w, t.id, triggerType)) > 0 {
		return invalidTemplate("an image template can have one trigger of kind SourceImage only.")
	}
	if t.state != "Succeeded" {
		return refuse(409, "OperationNotAllowed", "Operation Microsoft.VirtualMachineImages/imageTemplates/triggers/write is not allowed in provisioning state: "+strings.ToLower(t.state)+".")
	}
	count := 0
	for _, x := range w.all(triggerType) {
		if owner := w.find(parentID(x.id)); owner != nil && sameRegion(owner.location, t.location) {
			count++
		}
	}
	if count >= triggersPerRegion {
		return refuse(409, "QuotaExceeded", "The limit of "+itoa(triggersPerRegion)+" triggers in region '"+t.location+"' is reached.")
	}
	return triggerFits(t)
}

// triggerFits holds a template against what a trigger of kind SourceImage asks of it.
func triggerFits(t *resource) *refusal {
	s := mapping(t.props, "source")
	definition := ""
	switch {
	case text(s, "type") == "PlatformImage" && strings.EqualFold(text(s, "version"), "latest"):
	case text(s, "type") == "SharedImageVersion" && strings.EqualFold(lastPart(text(s, "imageVersionId")), "latest"):
		definition = galleryImage(text(s, "imageVersionId"))
	default:
		return invalidTemplate("a trigger of kind SourceImage needs a source whose version is 'latest'.")
	}
	for _, d := range items(t.props, "distribute") {
		id := text(d, "galleryImageId")
		switch {
		case id != "" && galleryImage(id) != id:
			return invalidTemplate("a template with a trigger must not distribute to an explicit version.")
		case id != "" && sameID(id, definition):
			return invalidTemplate("the source and a target of a template with a trigger must be different image definitions.")
		}
	}
	return nil
}

// sourceAppeared runs the templates that wait for a newer version of an image definition.
func (w *Azure) sourceAppeared(version *resource) {
	for _, x := range w.all(triggerType) {
		t := w.find(parentID(x.id))
		if t == nil || x.state != "Succeeded" || templateOf(t).Failures >= triggerPatience {
			continue
		}
		s := mapping(t.props, "source")
		if text(s, "type") != "SharedImageVersion" || !sameID(galleryImage(text(s, "imageVersionId")), parentID(version.id)) {
			continue
		}
		if exact := templateOf(t).Exact; exact != "" && !versionLess(exact, version.name) || truth(version.props, "publishingProfile", "excludeFromLatest") {
			continue
		}
		w.runAlone(t)
		if run := templateOf(t).run; run != nil {
			run.triggered = true
		}
	}
}
