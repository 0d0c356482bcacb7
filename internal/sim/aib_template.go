package sim

import (
	"encoding/json"
	"strings"
	"time"
)

const (
	templateType = "Microsoft.VirtualMachineImages/imageTemplates"
	outputType   = "Microsoft.VirtualMachineImages/imageTemplates/runOutputs"
	triggerType  = "Microsoft.VirtualMachineImages/imageTemplates/triggers"
)

// templateData is what stands behind an image template: what its submission made, and its last run.
type templateData struct {
	Run                 string    // the run's operation
	Began, Ended        time.Time // zero: it never ran, it goes on
	Canceled            bool
	Late                bool   // without guests: the run does not fit into the template's time
	State, Sub, Message string // of the last run; without guests "", and the time tells
	Folder              string // of the last run in the container packerlogs
	Exact               string // version of the source at submission
	Staging, Account    string // id of the staging group, and the storage account in it
	Made                bool   // the service made the group
	Scripts             map[string]fetchedScript
	Failures            int // runs in a row that a trigger began and that failed

	run *imageRun // under way
}

func templateOf(r *resource) *templateData {
	d, ok := r.aux.(*templateData)
	if !ok {
		d = &templateData{}
		r.aux = d
	}
	return d
}

// MarshalJSON writes it for the folder that keeps it.
func (d *templateData) MarshalJSON() ([]byte, error) {
	type plain templateData
	return json.Marshal((*plain)(d))
}

// imageBuilderKinds is Azure Image Builder as its service behaves (azure-image-builder.md 1.4 and 2; documents and states as recorded).
func imageBuilderKinds(takes func(string) takesTime) []kind {
	return []kind{
		{typ: templateType, check: checkTemplate, fill: fillTemplate, done: doneTemplate, show: showTemplate, drop: mayDropTemplate, gone: goneTemplate, update: patchTemplate,
			takes: takes("aib-template"), takesAway: "aib-template-delete", actions: map[string]action{
				"run":    {check: mayRun, now: beginRun, done: endRun, takes: "aib-run"},
				"cancel": {check: mayCancel, answer: cancelRun},
			}},
		{typ: outputType, show: func(*Azure, *resource, map[string]any) {}, fill: func(_ *Azure, r *resource, in ask) { r.props = copyMap(mapping(in.body, "properties")) },
			check: func(*Azure, ask) *refusal {
				return refuse(405, "MethodNotAllowed", "Run outputs are made by runs.")
			}, takesAway: "nic"},
		triggerKind(takes("aib-trigger")),
		containerGroupKind(),
	}
}

// templateSource is a source as an image reference.
func templateSource(s map[string]any) map[string]any {
	switch text(s, "type") {
	case "ManagedImage":
		return map[string]any{"id": text(s, "imageId")}
	case "SharedImageVersion":
		return map[string]any{"id": strings.TrimSuffix(text(s, "imageVersionId"), "/versions/latest")}
	}
	return map[string]any{"publisher": text(s, "publisher"), "offer": text(s, "offer"), "sku": text(s, "sku"), "version": text(s, "version")}
}

// galleryImage cuts an explicit version off a target's id.
func galleryImage(id string) string {
	if i := strings.Index(strings.ToLower(id), "/versions/"); i >= 0 {
		return id[:i]
	}
	return id
}
