package sim

import (
	"container/heap"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What can be done with a template: shown, changed a little, run, canceled, deleted, and when not.

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
	if len(ids) == 0 {
		b["identity"] = map[string]any{"type": "None"}
	}
	if !d.Began.IsZero() {
		p["lastRunStatus"] = w.runStatus(d)
	}
	// The service writes its own ids with a small g.
	b["id"] = strings.Replace(r.id, "/resourceGroups/", "/resourcegroups/", 1)
}

// runStatus is lastRunStatus. The state is the run's own; without guests the part of its time that is over tells what it is doing.
func (w *Azure) runStatus(d *templateData) map[string]any {
	s := map[string]any{"startTime": stampZ(d.Began), "endTime": "0001-01-01T00:00:00Z", "runState": "Running", "message": ""}
	if d.State != "" {
		s["runState"], s["message"] = d.State, d.Message
		if d.Sub != "" {
			s["runSubState"] = d.Sub
		}
		if !d.Ended.IsZero() {
			s["endTime"] = stampZ(d.Ended)
		}
		return s
	}
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
	d := templateOf(r)
	if d.run != nil {
		return true
	}
	o := w.operations[strings.ToLower(d.Run)]
	return o != nil && o.status == "InProgress"
}

// runWord is a run's state as OperationNotAllowed names it.
func (w *Azure) runWord(r *resource) string {
	switch d := templateOf(r); {
	case !w.runsNow(r):
		return "not running"
	case d.Canceled:
		return "canceling"
	}
	return "running"
}

// notAllowed is the service's refusal (azure-image-builder.md 1.4): a template that is done is "provisioned" there.
func (w *Azure) notAllowed(what string, r *resource) *refusal {
	state := strings.ToLower(r.state)
	if state == "succeeded" {
		state = "provisioned"
	}
	return refuse(409, "OperationNotAllowed", "Operation Microsoft.VirtualMachineImages/imageTemplates/"+what+" is not allowed in provisioning state: "+state+" or run state: "+w.runWord(r)+".")
}

func mayDropTemplate(w *Azure, r *resource) *refusal {
	switch {
	case w.runsNow(r):
		return w.notAllowed("delete", r)
	case r.state == "Creating" || r.state == "Updating":
		return refuse(409, "OperationNotAllowed", "Operation 'DELETE' is not allowed in provisioningState: '"+strings.ToLower(r.state)+"'.")
	}
	return nil
}

func goneTemplate(w *Azure, r *resource) {
	d := templateOf(r)
	if d.run != nil {
		d.run.cancel(errRunGone)
	}
	w.unstage(d)
}

// patchTemplate changes tags, identity, targets and the machine's profile (azure-image-builder.md 1.1, 1.4).
func patchTemplate(w *Azure, q *request, k *kind, r *resource) *reply {
	api := q.query.Get("api-version")
	if bad := templateAPI(templateType, r.location, api); bad != nil {
		return failed(bad)
	}
	if r.state == "Creating" || r.state == "Deleting" {
		return failed(refuse(409, "OperationNotAllowed", "Operation 'PATCH' is not allowed in provisioningState: '"+strings.ToLower(r.state)+"'."))
	}
	if w.runsNow(r) {
		return failed(w.notAllowed("write", r))
	}
	if bad := strictly(api, q.body); bad != nil {
		return failed(bad)
	}
	p := mapping(q.body, "properties")
	for key := range p {
		since := map[string]string{"distribute": aib2023, "vmProfile": aib2024}[key]
		if since == "" || api < since {
			return failed(refuse(409, "Conflict", "Update/Upgrade of image templates is currently not supported"))
		}
	}
	identity := w.patchedIdentity(r, mapping(q.body, "identity"))
	if bad := checkTemplateIdentity(identity); bad != nil && text(identity, "type") != "None" {
		return failed(bad)
	}
	next := merged(r.props, nil)
	if p["distribute"] != nil {
		for _, old := range items(r.props, "distribute") {
			n := text(old, "runOutputName")
			if !slices.ContainsFunc(items(p, "distribute"), func(t any) bool { return text(t, "runOutputName") == n }) {
				return failed(invalidTemplate("Distribute target with Runoutput name " + n + " not found in the update request. Deleting a distribution target is not allowed."))
			}
		}
		next["distribute"] = deepCopy(p["distribute"])
	}
	if vm := mapping(p, "vmProfile"); vm != nil {
		next["vmProfile"] = merged(mapping(r.props, "vmProfile"), vm)
	}
	if bad := checkTargets(next); bad != nil {
		return failed(bad)
	}
	if bad := checkProfile(mapping(next, "vmProfile")); bad != nil {
		return failed(bad)
	}
	fillTargets(next)
	r.props = next
	r.extra["identity"] = identity
	if q.body["tags"] != nil {
		r.tags = copyMap(mapping(q.body, "tags"))
	}
	o := w.begin(r, k.opPath, w.duration("aib-patch", r.id), nil)
	return &reply{status: 202, header: w.async(q, o, true)}
}

// patchedIdentity lays a change over a template's identity: an id that is null goes away (azure-image-builder.md 4.1, row 2).
func (w *Azure) patchedIdentity(r *resource, change map[string]any) map[string]any {
	out := copyMap(mapping(r.extra, "identity"))
	if change == nil {
		return out
	}
	if t := text(change, "type"); t != "" {
		out["type"] = t
	}
	ids := copyMap(mapping(out, "userAssignedIdentities"))
	for id, v := range mapping(change, "userAssignedIdentities") {
		for old := range ids {
			if sameID(old, id) {
				delete(ids, old)
			}
		}
		if v != nil {
			ids[id] = v
		}
	}
	out["userAssignedIdentities"] = ids
	if text(out, "type") == "None" {
		out["userAssignedIdentities"] = map[string]any{}
	}
	return out
}

func mayRun(w *Azure, r *resource, _ map[string]any) *refusal {
	if w.runsNow(r) || r.state != "Succeeded" {
		return w.notAllowed("run/action", r)
	}
	if bad := w.runnable(r); bad != nil {
		return bad
	}
	return nil
}

// runnable is whether there is anything that a run could build on.
func (w *Azure) runnable(r *resource) *refusal {
	if w.cfg.NoGuests {
		return nil
	}
	c, _, _, _, _, bad := w.source(templateSource(mapping(r.props, "source")), r.location)
	if bad == nil && !c.windows && !(c.isReal() && w.cfg.Machines != nil) {
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure runs Image Builder's customizers in its scripted Windows guests and in real Linux guests (--guests qemu) only.")
	}
	return nil
}

// beginRun forgets the last run; what it published stays.
func beginRun(w *Azure, r *resource) {
	d := templateOf(r)
	d.Began, d.Ended, d.Canceled, d.State, d.Sub, d.Message, d.Folder = w.now(), time.Time{}, false, "", "", "", ""
	d.Run = "" // whoever begins the operation gives it its id right after this
	for _, o := range children(w, r.id, outputType) {
		w.drop(o.id)
	}
}

// runBegins is what happens right after a run's operation has begun: without guests it lasts as long as such runs do, else as long as it
// takes.
func (w *Azure) runBegins(r *resource, o *operation) {
	d := templateOf(r)
	d.Run = o.id
	o.resource = ""
	if w.cfg.NoGuests {
		w.limitRun(r, o)
		return
	}
	o.end = o.start.Add(runForever)
	heap.Init(&w.due)
	w.launch(r, o)
}

// runForever is later than any run ends: its end is when it ends.
const runForever = 10000 * time.Hour

// runAlone runs a template without anybody's call: by autoRun or by a trigger.
func (w *Azure) runAlone(r *resource) {
	if mayRun(w, r, nil) != nil {
		return
	}
	beginRun(w, r)
	w.runBegins(r, w.beginVerb(r, "", w.duration("aib-run", r.id), "action/run"))
}

// limitRun ends a run when its template's time is over, at the latest.
func (w *Azure) limitRun(r *resource, o *operation) {
	d := templateOf(r)
	last := o.start.Add(time.Duration(number(r.props, "buildTimeoutInMinutes")) * time.Minute)
	if d.Late = last.After(o.start) && o.end.After(last); d.Late {
		o.end = last
		heap.Init(&w.due)
	}
}

func mayCancel(w *Azure, r *resource, _ map[string]any) *refusal {
	if templateOf(r).Canceled && w.runsNow(r) {
		return w.notAllowed("cancel/action", r)
	}
	return nil
}

// cancelRun answers 204 at once (recorded); the run is over a moment later.
func cancelRun(w *Azure, r *resource) *reply {
	d := templateOf(r)
	if o := w.operations[strings.ToLower(d.Run)]; o != nil && o.status == "InProgress" {
		d.Canceled = true
		if d.run != nil {
			d.State, d.Sub = "Canceling", ""
			d.run.cancel(errRunCanceled)
		} else {
			o.end = w.clock.Now().Add(w.duration("aib-cancel", r.id))
			heap.Init(&w.due)
		}
	}
	return &reply{status: http.StatusNoContent}
}

// oldErrors: until 2020-02-14 the service's errors were not wrapped in "error" (azure-image-builder.md 1.1).
func oldErrors(path, api string, out *reply) {
	e := mapping(out.body, "error")
	if e == nil || api > "2020-02-14" || providerOf(path) != "microsoft.virtualmachineimages" || gatewayRefusal(text(e, "code")) {
		return
	}
	out.body = e
}
