package sim

import (
	"container/heap"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	templateType = "Microsoft.VirtualMachineImages/imageTemplates"
	outputType   = "Microsoft.VirtualMachineImages/imageTemplates/runOutputs"
	triggerType  = "Microsoft.VirtualMachineImages/imageTemplates/triggers"
)

// templateData is what stands behind an image template: its last run.
type templateData struct {
	Run      string    // the run's operation
	Began    time.Time // zero: it never ran
	Canceled bool
	Late     bool   // the run does not fit into the template's time
	Log      string // customization.log of the last run
	Exact    string // version of the source at submission
	Staging  string // id of the staging group
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

// imageBuilderKinds is Azure Image Builder as its service behaves (azure-image-builder.md 1.4 and 2; documents and states as recorded). Customizers
// are not carried out: what a run publishes is its source, generalised, and its log says so.
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
		{typ: triggerType, check: checkTrigger, takes: takes("aib-trigger"), takesAway: "aib-trigger", fill: func(_ *Azure, r *resource, in ask) { r.props = copyMap(mapping(in.body, "properties")) },
			show: func(w *Azure, r *resource, b map[string]any) {
				if r.state == "Succeeded" {
					mapping(b, "properties")["status"] = map[string]any{"code": "Healthy", "message": "Trigger is active", "time": stamp(r.created)}
				}
			}},
	}
}

// checkTemplate judges a template at its door; what needs a look at other resources fails the operation later.
func checkTemplate(w *Azure, in ask) *refusal {
	p := mapping(in.body, "properties")
	bad := func(text string) *refusal { return refuse(400, "ValidationFailed", "Validation failed: "+text) }
	if in.old != nil {
		return refuse(409, "Conflict", "Update/Upgrade of image templates is currently not supported")
	}
	if _, ok := findRegion(in.location); !ok {
		return refuse(400, "LocationNotAvailableForResourceType", "The provided location '"+in.location+"' is not available for resource type 'Microsoft.VirtualMachineImages/imageTemplates'.")
	}
	ids := mapping(in.body, "identity", "userAssignedIdentities")
	if text(in.body, "identity", "type") != "UserAssigned" || len(ids) == 0 {
		return refuse(400, "InvalidParameter", "The identity of the image template must be a user assigned identity.")
	}
	switch t := text(p, "source", "type"); t {
	case "PlatformImage", "ManagedImage", "SharedImageVersion":
	default:
		return bad("The source type '" + t + "' is not valid.")
	}
	if len(items(p, "distribute")) == 0 {
		return bad("at least one distribute target is required.")
	}
	seen := map[string]bool{}
	for _, d := range items(p, "distribute") {
		n := text(d, "runOutputName")
		if n == "" || seen[n] {
			return bad("runOutputName '" + n + "' must be set and unique.")
		}
		seen[n] = true
	}
	if n := number(p, "buildTimeoutInMinutes"); n < 0 || n > 960 {
		return bad("buildTimeoutInMinutes must be between 0 and 960.")
	}
	return nil
}

func fillTemplate(_ *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	fill(p, map[string]any{"buildTimeoutInMinutes": 0, "stagingResourceGroup": "", "vmProfile": map[string]any{}})
	fill(mapping(p, "vmProfile"), map[string]any{"vmSize": "", "osDiskSizeGB": 0})
	if s := mapping(p, "source"); text(s, "type") == "PlatformImage" {
		fill(s, map[string]any{"exactVersion": s["version"]})
	}
	for _, c := range items(p, "customize") {
		if m, ok := c.(map[string]any); ok && text(m, "sha256Checksum") == "" {
			delete(m, "sha256Checksum")
		}
	}
	for _, d := range items(p, "distribute") {
		m := d.(map[string]any)
		fill(m, map[string]any{"artifactTags": map[string]any{}})
		if text(m, "type") == "SharedImage" {
			fill(m, map[string]any{"excludeFromLatest": false})
			if _, ok := m["versioning"]; !ok {
				m["versioning"] = nil
			}
		}
	}
	r.props = p
	r.extra = map[string]any{"identity": deepCopy(in.body["identity"])}
	if r.tags == nil {
		r.tags = map[string]any{}
	}
}

// doneTemplate is the submission's end: rights and source are looked at with the template's identity, and the staging group is made.
func doneTemplate(w *Azure, r *resource) *refusal {
	d := templateOf(r)
	who := w.templateIdentity(r)
	fail := func(code, message string) *refusal {
		r.props["provisioningError"] = map[string]any{"provisioningErrorCode": code, "message": message}
		return refuse(400, code, message)
	}
	unauthorized := func(id string) *refusal {
		return fail("Unauthorized", "Not authorized to access the resource: "+id+". Please check the user assigned identity has the correct permissions. For more details, go to https://aka.ms/azvmimagebuilderts.")
	}
	if who == nil {
		return fail("Unauthorized", "The user assigned identity of the image template does not exist.")
	}
	ref := templateSource(mapping(r.props, "source"))
	if id := text(ref, "id"); id != "" && !w.may(who, "Microsoft.Compute/galleries/images/versions/read", id) && !w.may(who, "Microsoft.Compute/images/read", id) {
		return unauthorized(id)
	}
	_, generation, _, _, exact, bad := w.source(ref, r.location)
	if bad != nil {
		return fail("ValidationFailed", "Validation failed: "+bad.message)
	}
	d.Exact = exact
	if s := mapping(r.props, "source"); s["exactVersion"] != nil {
		s["exactVersion"] = exact
	}
	for _, t := range items(r.props, "distribute") {
		switch text(t, "type") {
		case "SharedImage":
			id := galleryImage(text(t, "galleryImageId"))
			def := w.find(id)
			if !w.may(who, "Microsoft.Compute/galleries/images/versions/write", id) {
				return unauthorized(id)
			}
			if def == nil {
				return fail("ValidationFailed", "Validation failed: The gallery image "+id+" does not exist.")
			}
			if g := text(def.props, "hyperVGeneration"); generation != "" && g != generation {
				return fail("ValidationFailed", "Validation failed: Error with Hyper-V Version validation (cross-generation for multiple Hyper-V Versions is not supported). The provided SIG: "+id+", has a different Hyper-V Generation: "+g+", than source image: "+generation+".")
			}
		case "ManagedImage":
			if id := text(t, "imageId"); !w.may(who, "Microsoft.Compute/images/write", id) {
				return unauthorized(id)
			}
		}
	}
	name := "IT_" + idPart(r.id, "resourceGroups") + "_" + r.name + "_" + w.uuid()
	d.Staging = "/subscriptions/" + w.cfg.Subscription + "/resourceGroups/" + name
	g := w.place(d.Staging, groupType, r.location)
	g.tags = map[string]any{"createdBy": "AzureVMImageBuilder", "imageTemplateName": r.name, "imageTemplateResourceGroupName": idPart(r.id, "resourceGroups")}
	return nil
}

// templateIdentity is the account of the first identity that a template names.
func (w *Azure) templateIdentity(r *resource) *principal {
	for id := range mapping(r.extra, "identity", "userAssignedIdentities") {
		if i := w.find(id); i != nil {
			return w.identityPrincipal("", text(i.props, "principalId"), "")
		}
	}
	return nil
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

func showTemplate(w *Azure, r *resource, b map[string]any) {
	p := mapping(b, "properties")
	d := templateOf(r)
	p["exactStagingResourceGroup"] = d.Staging
	ids := map[string]any{}
	for id, v := range mapping(r.extra, "identity", "userAssignedIdentities") {
		if i := w.find(id); i != nil && r.state == "Succeeded" {
			v = map[string]any{"principalId": i.props["principalId"], "clientId": i.props["clientId"]}
		}
		ids[id] = v
	}
	b["identity"] = map[string]any{"type": "UserAssigned", "userAssignedIdentities": ids}
	if !d.Began.IsZero() {
		p["lastRunStatus"] = w.runStatus(d)
	}
	// The service writes its own ids with a small g.
	b["id"] = strings.Replace(r.id, "/resourceGroups/", "/resourcegroups/", 1)
}

// runStatus is lastRunStatus: while a run goes on, the part of its time that is over tells what it is doing.
func (w *Azure) runStatus(d *templateData) map[string]any {
	s := map[string]any{"startTime": stampZ(d.Began), "endTime": "0001-01-01T00:00:00Z", "runState": "Running", "message": ""}
	o := w.operations[strings.ToLower(d.Run)]
	switch {
	case o == nil:
		s["runState"], s["message"] = "Failed", "The run is not known any more."
	case o.status == "InProgress" && d.Canceled:
		s["runState"] = "Canceling"
	case o.status == "InProgress":
		part := float64(w.clock.Now().Sub(o.start)) / float64(max(o.end.Sub(o.start), 1))
		switch {
		case part < 0.05:
			s["runSubState"] = "Queued"
		case part < 0.35:
			s["runSubState"] = "Building"
		case part < 0.6:
			s["runSubState"] = "Customizing"
		default:
			s["runSubState"] = "Distributing"
		}
	default:
		s["endTime"] = stampZ(o.end)
		s["runState"] = o.status
		if o.err != nil {
			s["message"] = o.err.message
		}
	}
	return s
}

func stampZ(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999999Z") }

func (w *Azure) runsNow(r *resource) bool {
	o := w.operations[strings.ToLower(templateOf(r).Run)]
	return o != nil && o.status == "InProgress"
}

func notAllowed(what string, r *resource, run string) *refusal {
	return refuse(409, "OperationNotAllowed", "Operation Microsoft.VirtualMachineImages/imageTemplates/"+what+" is not allowed in provisioning state: "+strings.ToLower(r.state)+" or run state: "+run+".")
}

func mayDropTemplate(w *Azure, r *resource) *refusal {
	if w.runsNow(r) {
		return notAllowed("delete", r, "running")
	}
	return nil
}

func goneTemplate(w *Azure, r *resource) {
	if s := templateOf(r).Staging; s != "" && w.find(s) != nil {
		w.drop(s)
	}
}

// patchTemplate changes tags, identity and the machine's profile.
func patchTemplate(w *Azure, q *request, k *kind, r *resource) *reply {
	for key := range q.body {
		if key != "tags" && key != "identity" && key != "properties" {
			return w.unknown(q)
		}
	}
	for key := range mapping(q.body, "properties") {
		if key != "vmProfile" {
			return failed(refuse(409, "Conflict", "Update/Upgrade of image templates is currently not supported"))
		}
	}
	if q.body["tags"] != nil {
		r.tags = copyMap(mapping(q.body, "tags"))
	}
	if v := q.body["identity"]; v != nil {
		r.extra["identity"] = deepCopy(v)
	}
	if v := mapping(q.body, "properties", "vmProfile"); v != nil {
		r.props["vmProfile"] = merged(mapping(r.props, "vmProfile"), v)
	}
	o := w.begin(r, k.opPath, w.duration("aib-trigger", r.id), nil)
	return &reply{status: 202, header: w.async(q, o, true)}
}

func mayRun(w *Azure, r *resource, _ map[string]any) *refusal {
	switch {
	case w.runsNow(r):
		return refuse(409, "Conflict", "The image template is already running.")
	case r.state != "Succeeded":
		return notAllowed("run/action", r, "not running")
	}
	return nil
}

func beginRun(w *Azure, r *resource) {
	d := templateOf(r)
	d.Began, d.Canceled, d.Log = w.clock.Now(), false, ""
	d.Run = "" // post gives the operation its id right after this
	for _, o := range children(w, r.id, outputType) {
		w.drop(o.id)
	}
}

func mayCancel(w *Azure, r *resource, _ map[string]any) *refusal {
	if templateOf(r).Canceled && w.runsNow(r) {
		return notAllowed("cancel/action", r, "canceling")
	}
	return nil
}

// cancelRun answers 204 at once (recorded); the run is over a moment later.
func cancelRun(w *Azure, r *resource) *reply {
	d := templateOf(r)
	if o := w.operations[strings.ToLower(d.Run)]; o != nil && o.status == "InProgress" {
		d.Canceled = true
		o.end = w.clock.Now().Add(w.duration("aib-cancel", r.id))
		heap.Init(&w.due)
	}
	return &reply{status: http.StatusNoContent}
}

func checkTrigger(w *Azure, in ask) *refusal {
	t := w.find(parentID(in.id))
	if t == nil {
		return parentMissing(in.id)
	}
	if kind := text(in.body, "properties", "kind"); kind != "SourceImage" {
		return refuse(400, "ValidationFailed", "Validation failed: the trigger kind '"+kind+"' is not valid.")
	}
	if in.old == nil && len(children(w, t.id, triggerType)) > 0 {
		return refuse(400, "ValidationFailed", "Validation failed: an image template can have one trigger of kind SourceImage only.")
	}
	return nil
}
