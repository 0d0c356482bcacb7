package sim

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// What a run publishes, and what its validators say of it before.

// validate makes a machine of an image and runs the template's validators on it: a new machine, not the build's
// (azure-image-builder.md 1.2, validate).
func (x *imageRun) validate(ref map[string]any) *runFailure {
	x.stage("Validating")
	built := x.log
	x.log = &runLog{w: x.w, account: x.d.Account, name: x.d.Folder + "/validation.log", id: x.o.id}
	defer func() { x.log.flush(); x.log = built }()
	x.log.begin()
	m, bad := x.machine(ref, "pkrva"+x.mark)
	var err error
	if bad != nil {
		err = fmt.Errorf("%s: %s", bad.code, bad.message)
	}
	var g guestSteps
	if err == nil {
		g, err = x.connect(m)
	}
	if err == nil {
		err = x.steps(g, items(x.r.props, "validate", "inVMValidations"))
	}
	if err != nil {
		x.log.fail("Provisioning step had errors: Running the cleanup provisioner, if present...")
		x.kept = text(x.r.props, "errorHandling", "onValidationError") == "abort" && x.ctx.Err() == nil
		return x.packerErrored(err.Error())
	}
	x.log.succeeded(x.w.clock.Now().Sub(x.d.Began))
	if bad := x.locked(func() *refusal { x.w.drop(m.id); return nil }); bad != nil {
		return serviceFailed(bad)
	}
	return nil
}

// target is one distribution under way.
type target struct {
	doc      map[string]any
	artifact map[string]any
	until    time.Duration // that it takes
	version  *operation    // of a gallery: its replication
	finish   func() *refusal
	bad      *refusal
}

// distributeAll publishes to all targets at the same time. Those that went well stay when others did not.
func (x *imageRun) distributeAll() *runFailure {
	var all []*target
	for _, d := range items(x.r.props, "distribute") {
		t := &target{doc: d.(map[string]any)}
		t.bad = x.locked(func() *refusal { return x.begin(t) })
		all = append(all, t)
	}
	began := x.w.clock.Now()
	for _, t := range all {
		if t.bad != nil {
			continue
		}
		if !x.pause(began.Add(t.until).Sub(x.w.clock.Now())) {
			return &runFailure{code: "Canceled"}
		}
		if t.bad = x.arrive(t); x.ctx.Err() != nil {
			return &runFailure{code: "Canceled"}
		}
		if t.bad == nil {
			t.bad = x.locked(func() *refusal {
				o := x.w.place(x.r.id+"/runOutputs/"+text(t.doc, "runOutputName"), outputType, "")
				o.props = t.artifact
				return nil
			})
		}
	}
	failures, why := 0, ""
	for _, t := range all {
		if t.bad != nil {
			failures++
			why += " " + t.bad.code + ": " + t.bad.message
		}
	}
	if failures == 0 {
		return nil
	}
	// The first sentence is the service's (danielsollondon/azvmimagebuilder#50); what follows there is mostly "Internal error occurred".
	message := fmt.Sprintf("Failed in distributing %d images out of total %d: Some error happened, please check the error details.%s", failures, len(all), why)
	if failures < len(all) {
		return &runFailure{code: "PartiallySucceeded", message: message, status: message}
	}
	return &runFailure{code: "InternalOperationError", message: message}
}

// begin starts one target. The lock is held.
func (x *imageRun) begin(t *target) *refusal {
	w := x.w
	who := w.templateIdentity(x.r)
	if who == nil {
		return refuse(400, "Unauthorized", "The assigned managed identity cannot be used. Please remove the existing one and re-assign a new identity. For more troubleshooting steps go to https://aka.ms/azvmimagebuilderts.")
	}
	switch kind := text(t.doc, "type"); kind {
	case "SharedImage":
		if bad := w.targetAllowed(t.doc, who, x.gen, ""); bad != nil {
			return bad
		}
		v, bad := w.publishVersion(x.r, t.doc, x.content)
		if bad != nil {
			return bad
		}
		v.state = "Creating"
		t.until = takesVersion(w, v, true)
		t.version = w.beginVerb(v, "capsOperations", t.until, "put")
		t.artifact = map[string]any{"artifactId": v.id}
	case "ManagedImage":
		if bad := w.targetAllowed(t.doc, who, x.gen, ""); bad != nil {
			return bad
		}
		id, location := text(t.doc, "imageId"), regionKey(text(t.doc, "location"))
		if w.find("/subscriptions/"+idPart(id, "subscriptions")+"/resourceGroups/"+idPart(id, "resourceGroups")) == nil {
			return refuse(404, "ResourceGroupNotFound", "Resource group '"+idPart(id, "resourceGroups")+"' could not be found.")
		}
		t.until = w.duration("image", id)
		if !sameRegion(location, x.r.location) {
			t.until += w.duration("aib-image-copy", id)
		}
		t.artifact = map[string]any{"artifactId": id}
		t.finish = func() *refusal {
			w.placeImage(id, location, x.content, x.gen).tags = copyMap(mapping(t.doc, "artifactTags"))
			return nil
		}
	case "VHD":
		account, box, name, bad := x.vhdPlace(t.doc, who)
		if bad != nil {
			return bad
		}
		t.until = w.duration("aib-vhd", x.r.id)
		t.artifact = map[string]any{"artifactUri": w.blobURL(account, box, name)}
		t.finish = func() *refusal { return x.writeVHD(account, box, name) }
	default:
		return invalidTemplate("the distribute type '" + kind + "' is not valid.")
	}
	return nil
}

// arrive waits until a target is there.
func (x *imageRun) arrive(t *target) *refusal {
	pause := 20 * time.Millisecond
	for ; t.version != nil; pause = min(2*pause, 5*time.Second) {
		done := false
		bad := x.locked(func() *refusal { done = t.version.status != "InProgress"; return t.version.err })
		if bad != nil || done {
			return bad
		}
		if !x.pause(pause) { // it goes on without us, and may still appear: azure-image-builder.md 4.1, row 14
			return refuse(400, "InternalOperationError", "Error publishing MDI to Azure Compute Gallery: context deadline exceeded")
		}
	}
	if t.finish == nil {
		return nil
	}
	return x.whole(x.locked(t.finish))
}

// placeImage puts a managed image where it is to be, in the place of one of its name.
func (w *Azure) placeImage(id, location string, c content, generation string) *resource {
	if w.find(id) != nil {
		w.drop(id)
	}
	if c.disk != nil {
		c.disk = c.disk.Clone()
	}
	i := w.place(id, imageType, location)
	i.aux = c
	i.props = map[string]any{"hyperVGeneration": or(generation, "V1"), "storageProfile": map[string]any{"dataDisks": imageDataDisks(c), "zoneResilient": false,
		"osDisk": map[string]any{"osType": osType(c.windows), "osState": "Generalized", "caching": "ReadWrite", "storageAccountType": "Standard_LRS", "diskSizeGB": c.sizeGB()}}}
	return i
}

// publishVersion makes the document of a gallery image version, whose replication begins now.
func (w *Azure) publishVersion(r *resource, t map[string]any, c content) (*resource, *refusal) {
	def := w.find(galleryImage(text(t, "galleryImageId")))
	if def == nil {
		return nil, invalidTemplate("The gallery image " + galleryImage(text(t, "galleryImageId")) + " does not exist.")
	}
	version := idPart(text(t, "galleryImageId"), "versions")
	if version == "" {
		var bad *refusal
		if version, bad = w.nextVersion(def, t, templateOf(r).Exact); bad != nil {
			return nil, bad
		}
	}
	id := def.id + "/versions/" + version
	if w.find(id) != nil {
		return nil, refuse(409, "Conflict", "The gallery image version "+id+" exists already.")
	}
	if !versionName.MatchString(version) {
		return nil, refuse(400, "InvalidParameter", "The resource name '"+version+"' is invalid. The image version name should follow Major(int32).Minor(int32).Patch(int32), for example: 1.0.0, 2018.12.1.")
	}
	var regions []any
	home := false
	for _, x := range items(t, "targetRegions") {
		regions = append(regions, map[string]any{"name": text(x, "name"), "regionalReplicaCount": or2(field(x, "replicaCount"), 1), "storageAccountType": or(text(x, "storageAccountType"), "Standard_LRS")})
	}
	for _, x := range texts(t, "replicationRegions") {
		regions = append(regions, map[string]any{"name": x, "storageAccountType": or(text(t, "storageAccountType"), "Standard_LRS")})
	}
	for _, x := range regions {
		reg, ok := findRegion(text(x, "name"))
		if !ok {
			return nil, refuse(400, "InvalidParameter", "Region "+text(x, "name")+" is not valid or not supported.")
		}
		home = home || sameRegion(reg.name, def.location)
	}
	if len(regions) > 0 && !home { // azure-image-builder.md 1.2, distribute: one of them must be the gallery's
		return nil, refuse(400, "InvalidParameter", "The publishing profile location '"+def.location+"' must be in the list of target regions.")
	}
	profile := map[string]any{"targetRegions": regions, "excludeFromLatest": truth(t, "excludeFromLatest")}
	if len(regions) == 0 {
		delete(profile, "targetRegions")
	}
	if m := text(t, "replicationMode"); m != "" {
		profile["replicationMode"] = m
	}
	if c.disk != nil {
		c.disk = c.disk.Clone()
	}
	v := w.place(id, versionType, def.location)
	v.aux, v.tags = &versionData{content: c, regions: map[string]replica{}}, copyMap(mapping(t, "artifactTags"))
	fillVersion(w, v, ask{id: id, name: version, location: def.location, body: map[string]any{"properties": map[string]any{
		"publishingProfile": profile, "storageProfile": map[string]any{"source": map[string]any{"id": r.id}}}}})
	return v, nil
}

// nextVersion is the number of a version that a template leaves to the service. Latest: of the highest major and minor (of the major
// that is asked for) the patch one higher (azure-image-builder.md 1.2, distribute); the first one is 1.0.0 (recorded). Source: the
// source's own number, of which a gallery takes three parts; how the service makes three of four is not documented.
func (w *Azure) nextVersion(def *resource, t map[string]any, exact string) (string, *refusal) {
	v := mapping(t, "versioning")
	if text(v, "scheme") == "Source" {
		parts := strings.Split(exact, ".")
		if len(parts) < 3 {
			return "", refuse(400, "InternalOperationError", "The version '"+exact+"' of the source image cannot be the number of an image version.")
		}
		if n := strings.Join(parts[:3], "."); versionName.MatchString(n) {
			return n, nil
		}
		return "", refuse(400, "InternalOperationError", "The version '"+exact+"' of the source image cannot be the number of an image version.")
	}
	major := -1
	if v["major"] != nil {
		major = number(v, "major")
	}
	best := ""
	for _, x := range children(w, def.id, versionType) {
		of, _, _ := strings.Cut(x.name, ".")
		if major >= 0 && of != itoa(major) || best != "" && !versionLess(best, x.name) {
			continue
		}
		best = x.name
	}
	if best == "" {
		return itoa(max(major, 0)+map[bool]int{true: 1}[major < 0]) + ".0.0", nil
	}
	p := strings.Split(best, ".")
	n, err := strconv.Atoi(p[len(p)-1])
	if err != nil || len(p) != 3 {
		return "", refuse(400, "InternalOperationError", "The version '"+best+"' is no number that another could follow.")
	}
	return p[0] + "." + p[1] + "." + strconv.Itoa(n+1), nil
}

func or2(v any, n int) any {
	if v == nil {
		return n
	}
	return v
}

// vhdPlace is where a VHD goes: the container vhds of the staging account, or a container or blob of one's own, which the identity must be
// allowed to write (azure-image-builder.md 1.2, distribute).
func (x *imageRun) vhdPlace(t map[string]any, who *principal) (account, box, name string, bad *refusal) {
	w := x.w
	uri := text(t, "uri")
	if uri == "" {
		return x.d.Account, "vhds", text(t, "runOutputName") + "_" + x.mark + ".vhd", nil
	}
	invalid := refuse(400, "BadDistributeType", "The uri '"+strings.SplitN(uri, "?", 2)[0]+"' of the VHD target is not a container or blob of a storage account that exists.")
	a, path, refused := w.blobOf(uri)
	if refused != nil { // a container alone
		a, path, refused = w.blobOf(strings.TrimRight(uri, "/") + "/x")
		if refused != nil || len(path) != 2 || strings.Contains(path[1], "/") {
			return "", "", "", invalid
		}
		path[1] = text(t, "runOutputName") + "_" + x.mark + ".vhd"
	}
	if !w.mayData(who, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", a.id) {
		return "", "", "", notAuthorized(a.id)
	}
	if s, bad := w.plane(); bad != nil {
		return "", "", "", bad
	} else if !s.Holds(a.name, path[0]) {
		return "", "", "", invalid
	}
	return a.name, path[0], path[1], nil
}

// writeVHD lays the disk down as a page blob: a real one as it is, a model as a disk that has it at its beginning.
func (x *imageRun) writeVHD(account, box, name string) *refusal {
	w := x.w
	s, bad := w.plane()
	if bad != nil {
		return bad
	}
	c := x.content
	return &refusal{later: &later{work: func() *refusal {
		file, made := c.image, false
		if scripted(c) {
			w.mu.Lock()
			d := &resource{id: "/disks/" + name, props: map[string]any{"diskSizeGB": c.sizeGB()}}
			f, err := w.modelDisk(d, c)
			w.mu.Unlock()
			if err != nil {
				return refuse(500, "InternalOperationError", err.Error())
			}
			file, made = f, true
		}
		err := s.Disk(account, box, name, file)
		if made {
			os.Remove(file) //nolint:errcheck // in the simulation's own folder
		}
		if err != nil {
			return refuse(500, "InternalOperationError", err.Error())
		}
		return nil
	}}}
}

// endRun is the end of a run's operation. Without guests it publishes the source, as it is: nothing has run on it.
func endRun(w *Azure, r *resource) *refusal {
	d := templateOf(r)
	if !w.cfg.NoGuests {
		return nil // what the run had to say is in its operation
	}
	if d.Canceled {
		return refuse(409, "Canceled", "The run was canceled.")
	}
	if n := number(r.props, "buildTimeoutInMinutes"); n > 0 && d.Late {
		return refuse(400, "PackerBuildTimeout", "Failed in building/customizing image: Failed while waiting for packerizer: Timeout waiting for microservice to complete: 'context deadline exceeded'")
	}
	c, generation, _, _, _, bad := w.source(templateSource(mapping(r.props, "source")), r.location)
	if bad != nil {
		return refuse(400, "PackerBuildFailed", bad.message)
	}
	c.generalized = true
	for _, x := range items(r.props, "distribute") {
		t := x.(map[string]any)
		artifact := map[string]any{}
		switch text(t, "type") {
		case "SharedImage":
			v, bad := w.publishVersion(r, t, c)
			if bad != nil {
				return bad
			}
			data := v.aux.(*versionData)
			for name, x := range data.regions { // the run lasted until every region had it
				data.regions[name] = replica{x.start, w.now()}
			}
			v.state = "Succeeded"
			artifact["artifactId"] = v.id
		case "ManagedImage":
			artifact["artifactId"] = text(t, "imageId")
			w.placeImage(text(t, "imageId"), regionKey(text(t, "location")), c, generation).tags = copyMap(mapping(t, "artifactTags"))
		case "VHD":
			artifact["artifactUri"] = or(text(t, "uri"), w.blobURL(d.Account, "vhds", text(t, "runOutputName")+".vhd"))
		}
		w.place(r.id+"/runOutputs/"+text(t, "runOutputName"), outputType, "").props = artifact
	}
	return nil
}
