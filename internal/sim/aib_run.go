package sim

import (
	"container/heap"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// endRun publishes what a run has made.
func endRun(w *Azure, r *resource) *refusal {
	d := templateOf(r)
	if d.Canceled {
		return refuse(409, "Canceled", "The run was canceled.")
	}
	if n := number(r.props, "buildTimeoutInMinutes"); n > 0 && d.Late {
		return refuse(400, "PackerBuildTimeout", "The build exceeded its time limit of "+strconv.Itoa(n)+" minutes (context deadline exceeded).")
	}
	c, generation, _, _, _, bad := w.source(templateSource(mapping(r.props, "source")), r.location)
	if bad != nil {
		return refuse(400, "PackerBuildFailed", bad.message)
	}
	if c.disk != nil {
		c.disk = c.disk.Clone()
		if c.windows {
			c.disk.Generalize()
		}
	}
	c.generalized = true
	d.Log = runLog(r)
	for _, t := range items(r.props, "distribute") {
		artifact, bad := w.distribute(r, t.(map[string]any), c, generation)
		if bad != nil {
			return bad
		}
		o := w.place(r.id+"/runOutputs/"+text(t, "runOutputName"), outputType, "")
		o.props = artifact
	}
	return nil
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

// distribute makes one target, and says what its run output shows.
func (w *Azure) distribute(r *resource, t map[string]any, c content, generation string) (map[string]any, *refusal) {
	tags := copyMap(mapping(t, "artifactTags"))
	if c.disk != nil {
		c.disk = c.disk.Clone()
	}
	switch kind := text(t, "type"); kind {
	case "SharedImage":
		image := galleryImage(text(t, "galleryImageId"))
		def := w.find(image)
		if def == nil {
			return nil, refuse(400, "ValidationFailed", "The gallery image "+image+" does not exist.")
		}
		version := strings.TrimPrefix(text(t, "galleryImageId")[len(image):], "/versions/")
		if version == "" {
			version = w.nextVersion(def)
		}
		id := def.id + "/versions/" + version
		if w.find(id) != nil {
			return nil, refuse(409, "Conflict", "The gallery image version "+id+" exists already.")
		}
		var regions []any
		for _, x := range items(t, "targetRegions") {
			regions = append(regions, map[string]any{"name": text(x, "name"), "regionalReplicaCount": or2(field(x, "replicaCount"), 1), "storageAccountType": or(text(x, "storageAccountType"), "Standard_LRS")})
		}
		for _, x := range texts(t, "replicationRegions") {
			regions = append(regions, map[string]any{"name": x})
		}
		v := w.place(id, versionType, def.location)
		data := &versionData{content: c, regions: map[string]replica{}}
		v.aux, v.tags = data, tags
		fillVersion(w, v, ask{id: id, name: version, location: def.location, body: map[string]any{"properties": map[string]any{
			"publishingProfile": map[string]any{"targetRegions": regions, "excludeFromLatest": truth(t, "excludeFromLatest")},
			"storageProfile":    map[string]any{"source": map[string]any{"id": r.id}}}}})
		now := w.clock.Now()
		for name, x := range data.regions { // the run lasted until every region had it
			data.regions[name] = replica{x.start, now}
		}
		if bad := doneVersion(w, v); bad != nil && bad.later == nil {
			return nil, bad
		}
		v.state = "Succeeded"
		return map[string]any{"artifactId": id}, nil
	case "ManagedImage":
		id := text(t, "imageId")
		if w.find(id) != nil {
			w.drop(id)
		}
		i := w.place(id, imageType, regionKey(text(t, "location")))
		i.aux, i.tags = c, tags
		i.props = map[string]any{"hyperVGeneration": or(generation, "V1"), "storageProfile": map[string]any{"dataDisks": []any{}, "zoneResilient": false,
			"osDisk": map[string]any{"osType": osType(c.windows), "osState": "Generalized", "caching": "ReadWrite", "storageAccountType": "Standard_LRS", "diskSizeGB": c.sizeGB()}}}
		return map[string]any{"artifactId": id}, nil
	case "VHD":
		uri := text(t, "uri")
		if uri == "" {
			uri = "https://" + strings.ToLower(lastPart(templateOf(r).Staging)[:2]) + ".blob.storage.localhost" + w.port() + "/vhds/" + w.uuid() + ".vhd"
		}
		return map[string]any{"artifactUri": uri}, nil
	default:
		return nil, refuse(400, "ValidationFailed", "Validation failed: the distribute type '"+kind+"' is not valid.")
	}
}

func or2(v any, n int) any {
	if v == nil {
		return n
	}
	return v
}

// nextVersion is the newest version's with its patch one higher; the first is 0.0.1. The legacy scheme of the service is not
// documented (azure-image-builder.md 9).
func (w *Azure) nextVersion(def *resource) string {
	best := "0.0.0"
	for _, v := range children(w, def.id, versionType) {
		if versionLess(best, v.name) {
			best = v.name
		}
	}
	p := strings.Split(best, ".")
	n, err := strconv.Atoi(p[len(p)-1])
	if err != nil || len(p) != 3 {
		return "0.0.1"
	}
	return p[0] + "." + p[1] + "." + strconv.Itoa(n+1)
}

// runLog is customization.log, in the form it has since 2023 (azure-protocol.md section 6 d).
func runLog(r *resource) string {
	id := strings.ToLower(templateOf(r).Run)
	var b strings.Builder
	say := func(format string, args ...any) {
		fmt.Fprintf(&b, "[%s] PACKER %s\n", id, fmt.Sprintf(format, args...))
	}
	say("ui: ==> azure-arm: The simulated Azure's Image Builder carries no customizer out: what it publishes is the source, generalised.")
	for _, c := range items(r.props, "customize") {
		say("(telemetry) Starting provisioner %s", strings.ToLower(text(c, "type")))
		say("ui: ==> azure-arm: (simulated) %s", text(c, "name"))
		say("(telemetry) ending %s", strings.ToLower(text(c, "type")))
	}
	say("(telemetry) Finalizing.")
	say("Done exporting Packer logs to Azure Storage.")
	return b.String()
}
