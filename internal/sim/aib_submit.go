package sim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The submission of a template: what is refused at once, and what the service finds out afterwards with the template's identity.

var (
	templateName = regexp.MustCompile(`^[A-Za-z0-9-_.]{1,64}$`) // and of run outputs: azure-image-builder.md 1.2
	lowerHex     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func invalidTemplate(text string) *refusal {
	return refuse(400, "ValidationFailed", "Validation failed: "+text)
}

// fieldRules is where the service's own texts send the reader (azure-image-builder.md 4.1, rows 28 and 29).
const fieldRules = ". Please review http://aka.ms/azvmimagebuildertmplref for details on fields required in the Image Builder Template."

func missingField(where, name string) *refusal {
	return invalidTemplate("'ImageTemplate.properties." + where + "': Missing field '" + name + "'" + fieldRules)
}

func badField(where, name, value string) *refusal {
	return invalidTemplate("'ImageTemplate.properties." + where + "': Field '" + name + "' has a bad value: '" + value + "'. Please review  http://aka.ms/azvmimagebuildertmplref  for details on fields requirements in the Image Builder Template.")
}

// checkTemplate judges a template at its door; what needs a look at other resources fails the operation later.
func checkTemplate(w *Azure, in ask) *refusal {
	if bad := templateAPI(templateType, in.location, in.api); bad != nil {
		return bad
	}
	if in.old != nil {
		// Even the same document again: "The template already exists" is the cause that the service's documentation names
		// (azure-image-builder.md 4.1, row 1), and no recording shows a second PUT that went well.
		return refuse(409, "Conflict", "Update/Upgrade of image templates is currently not supported")
	}
	if _, ok := findRegion(in.location); !ok || !slices.Contains(templateRegions(), in.location) {
		return refuse(400, "LocationNotAvailableForResourceType", "The provided location '"+in.location+"' is not available for resource type 'Microsoft.VirtualMachineImages/imageTemplates'. List of available regions for the resource type is '"+strings.Join(templateRegions(), ",")+"'.")
	}
	if !templateName.MatchString(in.name) {
		return refuse(400, "InvalidResourceName", "Resource name '"+in.name+"' is invalid. The name can be up to 64 letters, digits, '-', '_' and '.'.")
	}
	if bad := strictly(in.api, in.body); bad != nil {
		return bad
	}
	if bad := checkTemplateIdentity(mapping(in.body, "identity")); bad != nil {
		return bad
	}
	p := mapping(in.body, "properties")
	for _, f := range []func(map[string]any) *refusal{checkTemplateSource, checkSteps, checkTargets, checkBuild} {
		if bad := f(p); bad != nil {
			return bad
		}
	}
	return nil
}

// checkTemplateIdentity: exactly one (azure-image-builder.md 1.2).
func checkTemplateIdentity(identity map[string]any) *refusal {
	if ids := mapping(identity, "userAssignedIdentities"); text(identity, "type") != "UserAssigned" || len(ids) == 0 {
		return refuse(400, "InvalidParameter", "The identity of the image template must be a user assigned identity.")
	} else if len(ids) > 1 {
		return refuse(400, "InvalidParameter", "The image template supports exactly one user assigned identity.")
	}
	return nil
}

func checkTemplateSource(p map[string]any) *refusal {
	s := mapping(p, "source")
	need := map[string][]string{"PlatformImage": {"publisher", "offer", "sku", "version"}, "ManagedImage": {"imageId"}, "SharedImageVersion": {"imageVersionId"}}[text(s, "type")]
	if need == nil {
		return invalidTemplate("The source type '" + text(s, "type") + "' is not valid.")
	}
	for _, n := range need {
		if text(s, n) == "" {
			return missingField("source", n)
		}
	}
	for n, part := range map[string]string{"imageId": "images", "imageVersionId": "versions"} {
		if id := text(s, n); id != "" && idPart(id, part) == "" {
			return badField("source", n, id)
		}
	}
	return nil
}

// checkSteps looks at customizers and validators.
func checkSteps(p map[string]any) *refusal {
	for _, list := range []struct {
		name  string
		items []any
		kinds string
	}{{"customize", items(p, "customize"), "Shell PowerShell File WindowsRestart WindowsUpdate"}, {"validate.inVMValidations", items(p, "validate", "inVMValidations"), "Shell PowerShell File"}} {
		for i, c := range list.items {
			where := fmt.Sprintf("%s[%d]", list.name, i)
			typ := text(c, "type")
			if !slices.Contains(strings.Fields(list.kinds), typ) {
				return invalidTemplate("'ImageTemplate.properties." + where + "': the type '" + typ + "' is not supported" + fieldRules)
			}
			switch typ {
			case "Shell", "PowerShell":
				if (text(c, "scriptUri") == "") == (len(items(c, "inline")) == 0) {
					return invalidTemplate("'ImageTemplate.properties." + where + "': exactly one of 'scriptUri' and 'inline' must be set" + fieldRules)
				}
				if truth(c, "runAsSystem") && !truth(c, "runElevated") {
					return invalidTemplate("'ImageTemplate.properties." + where + "': 'runAsSystem' can be set only with 'runElevated'" + fieldRules)
				}
			case "File":
				for _, n := range []string{"sourceUri", "destination"} {
					if text(c, n) == "" {
						return missingField(where, n)
					}
				}
			case "WindowsRestart":
				if t := text(c, "restartTimeout"); t != "" {
					if d, err := time.ParseDuration(t); err != nil || d <= 0 {
						return badField(where, "restartTimeout", t)
					}
				}
			}
			if sum := text(c, "sha256Checksum"); sum != "" && !lowerHex.MatchString(sum) {
				return badField(where, "sha256Checksum", sum)
			}
		}
	}
	return nil
}

func checkTargets(p map[string]any) *refusal {
	if len(items(p, "distribute")) == 0 && !truth(p, "validate", "sourceValidationOnly") {
		return invalidTemplate("at least one distribute target is required.")
	}
	seen := map[string]bool{}
	for i, d := range items(p, "distribute") {
		where := fmt.Sprintf("distribute[%d]", i)
		n := text(d, "runOutputName")
		switch {
		case n == "":
			return missingField(where, "runOutputName")
		case !templateName.MatchString(n):
			return badField(where, "runOutputName", n)
		case seen[n]:
			return invalidTemplate("runOutputName '" + n + "' must be set and unique.")
		}
		seen[n] = true
		need := map[string][]string{"ManagedImage": {"imageId", "location"}, "SharedImage": {"galleryImageId"}, "VHD": {}}[text(d, "type")]
		if need == nil {
			return invalidTemplate("The distribute type '" + text(d, "type") + "' is not valid.")
		}
		for _, field := range need {
			if text(d, field) == "" {
				return missingField(where, field)
			}
		}
		if text(d, "type") == "SharedImage" {
			id := text(d, "galleryImageId")
			if idPart(id, "galleries") == "" || idPart(id, "images") == "" {
				return badField(where, "galleryImageId", id)
			}
			if len(items(d, "targetRegions")) > 0 && len(items(d, "replicationRegions")) > 0 {
				return invalidTemplate("'ImageTemplate.properties." + where + "': 'targetRegions' and 'replicationRegions' exclude each other" + fieldRules)
			}
			if v := mapping(d, "versioning"); v != nil && text(v, "scheme") != "Latest" && text(v, "scheme") != "Source" {
				return badField(where, "versioning.scheme", text(v, "scheme"))
			} else if v != nil && idPart(id, "versions") != "" {
				return invalidTemplate("'ImageTemplate.properties." + where + "': 'versioning' cannot be set with an explicit version in 'galleryImageId'" + fieldRules)
			}
		} else if id := text(d, "imageId"); id != "" && idPart(id, "images") == "" {
			return badField(where, "imageId", id)
		}
	}
	return nil
}

// checkBuild looks at the time limit and the machine's profile (azure-image-builder.md 1.2, vmProfile).
func checkBuild(p map[string]any) *refusal {
	if n := number(p, "buildTimeoutInMinutes"); n < 0 || n > 960 {
		return invalidTemplate("buildTimeoutInMinutes must be between 0 and 960.")
	}
	for _, n := range []string{"onCustomizerError", "onValidationError"} {
		if v := text(p, "errorHandling", n); v != "" && v != "cleanup" && v != "abort" {
			return badField("errorHandling", n, v)
		}
	}
	return checkProfile(mapping(p, "vmProfile"))
}

func checkProfile(vm map[string]any) *refusal {
	if n := number(vm, "osDiskSizeGB"); n < 0 {
		return badField("vmProfile", "osDiskSizeGB", itoa(n))
	}
	net := mapping(vm, "vnetConfig")
	build, container := text(net, "subnetId"), text(net, "containerInstanceSubnetId")
	switch {
	case container == "":
		return nil
	case build == "":
		return invalidTemplate("'ImageTemplate.properties.vmProfile.vnetConfig': 'containerInstanceSubnetId' can be set only with 'subnetId'" + fieldRules)
	case sameID(build, container):
		return invalidTemplate("'ImageTemplate.properties.vmProfile.vnetConfig': 'containerInstanceSubnetId' and 'subnetId' must be different subnets" + fieldRules)
	case !sameID(parentID(build), parentID(container)):
		return invalidTemplate("'ImageTemplate.properties.vmProfile.vnetConfig': 'containerInstanceSubnetId' and 'subnetId' must be in the same virtual network" + fieldRules)
	case text(net, "proxyVmSize") != "":
		return invalidTemplate("'ImageTemplate.properties.vmProfile.vnetConfig': 'proxyVmSize' must not be set with 'containerInstanceSubnetId'" + fieldRules)
	}
	return nil
}

func fillTemplate(_ *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	fill(p, map[string]any{"buildTimeoutInMinutes": 0, "stagingResourceGroup": "", "vmProfile": map[string]any{}})
	fill(mapping(p, "vmProfile"), map[string]any{"vmSize": "", "osDiskSizeGB": 0})
	if s := mapping(p, "source"); text(s, "type") == "PlatformImage" {
		fill(s, map[string]any{"exactVersion": s["version"]})
	} else if text(s, "type") == "SharedImageVersion" { // recorded: the whole id
		fill(s, map[string]any{"exactVersion": s["imageVersionId"]})
	}
	for _, c := range items(p, "customize") {
		if m, ok := c.(map[string]any); ok && text(m, "type") == "WindowsRestart" { // recorded
			fill(m, map[string]any{"restartCommand": ""})
		}
	}
	for _, c := range append(items(p, "customize"), items(p, "validate", "inVMValidations")...) {
		if m, ok := c.(map[string]any); ok && text(m, "sha256Checksum") == "" {
			delete(m, "sha256Checksum")
		}
	}
	fillTargets(p)
	for _, key := range []string{"provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup"} {
		delete(p, key)
	}
	r.props = p
	r.extra = map[string]any{"identity": deepCopy(in.body["identity"])}
	if r.tags == nil {
		r.tags = map[string]any{}
	}
}

func fillTargets(p map[string]any) {
	for _, d := range items(p, "distribute") {
		m, ok := d.(map[string]any)
		if !ok {
			continue
		}
		fill(m, map[string]any{"artifactTags": map[string]any{}})
		if text(m, "type") == "SharedImage" {
			fill(m, map[string]any{"excludeFromLatest": false})
			if _, ok := m["versioning"]; !ok {
				m["versioning"] = nil
			}
		}
	}
}

func notAuthorized(id string) *refusal {
	return refuse(400, "Unauthorized", "Not authorized to access the resource: "+id+". Please check the user assigned identity has the correct permissions. For more details, go to https://aka.ms/azvmimagebuilderts.")
}

// doneTemplate is the submission's end: rights and source are looked at with the template's identity, the staging group is made, and
// scripts and files are copied into it. What fails is shown in the template as well, which stays.
func doneTemplate(w *Azure, r *resource) *refusal {
	bad := w.submitted(r)
	if bad != nil {
		r.props["provisioningError"] = map[string]any{"provisioningErrorCode": bad.code, "message": bad.message}
		return bad
	}
	delete(r.props, "provisioningError")
	if text(r.props, "autoRun", "state") == "Enabled" { // "runs once on creation" (azure-image-builder.md 1.2)
		r.state = "Succeeded"
		w.runAlone(r)
	}
	return nil
}

func (w *Azure) submitted(r *resource) *refusal {
	d := templateOf(r)
	who := w.templateIdentity(r)
	if who == nil {
		return refuse(400, "Unauthorized", "The assigned managed identity cannot be used. Please remove the existing one and re-assign a new identity. For more troubleshooting steps go to https://aka.ms/azvmimagebuilderts.")
	}
	// Needed beside its own (azure-image-builder.md 2, Providers). That of container instances is asked for by runs.
	for _, ns := range []string{"Microsoft.KeyVault", "Microsoft.Compute", "Microsoft.Storage", "Microsoft.Network"} {
		if w.registration(ns) != "Registered" {
			return refuse(409, "MissingSubscriptionRegistration", "The subscription is not registered to use namespace '"+ns+"'. See https://aka.ms/rps-not-found for how to register subscriptions.")
		}
	}
	generation, security, bad := w.templateOrigin(r, who)
	if bad != nil {
		return bad
	}
	for _, t := range items(r.props, "distribute") {
		if bad := w.targetAllowed(t, who, generation, security); bad != nil {
			return bad
		}
	}
	if bad := w.profileAllowed(mapping(r.props, "vmProfile"), r.location, who); bad != nil {
		return bad
	}
	if bad := w.stage(r, who); bad != nil {
		return bad
	}
	if bad := w.download(r, who); bad != nil {
		w.unstage(d)
		return bad
	}
	return nil
}

// templateOrigin looks at the source.
func (w *Azure) templateOrigin(r *resource, who *principal) (generation, security string, bad *refusal) {
	d := templateOf(r)
	s := mapping(r.props, "source")
	ref := templateSource(s)
	if id := text(ref, "id"); id != "" && !w.may(who, "Microsoft.Compute/galleries/images/versions/read", id) && !w.may(who, "Microsoft.Compute/images/read", id) {
		return "", "", notAuthorized(id)
	}
	c, generation, security, _, exact, refused := w.source(ref, r.location)
	switch {
	case refused != nil && text(s, "type") == "SharedImageVersion":
		// azure-image-builder.md 4.1, row 6
		id := text(s, "imageVersionId")
		return "", "", refuse(400, "BadSharedImageVersionSource", "Build (Shared Image Version) step failed for Image Version '"+id+"': Error getting Image Version '"+id+"': "+refused.message)
	case refused != nil && text(s, "type") == "ManagedImage":
		return "", "", refuse(400, "BadManagedImageSource", "Build (Managed Image) step failed: Error getting Managed Image '"+text(s, "imageId")+"': "+refused.message)
	case refused != nil:
		return "", "", refuse(400, "BadPIRSource", "Validation failed: "+refused.message)
	case !c.generalized:
		return "", "", refuse(400, "BadSourceType", "Validation failed: the source image is specialized. Only generalized images are supported as a source.")
	case security == "TrustedLaunch" || security == "ConfidentialVM":
		return "", "", refuse(400, "BadSourceType", "Validation failed: images of security type '"+security+"' are not supported as a source.")
	}
	d.Exact = exact
	showExact(s, exact)
	return generation, security, nil
}

// showExact writes which version a source is at this moment.
func showExact(s map[string]any, exact string) {
	if exact == "" || s["exactVersion"] == nil {
		return
	}
	s["exactVersion"] = exact
	if id := text(s, "imageVersionId"); id != "" {
		s["exactVersion"] = galleryImage(id) + "/versions/" + exact
	}
}

// targetAllowed looks at one target with the identity's rights.
func (w *Azure) targetAllowed(t any, who *principal, generation, security string) *refusal {
	switch text(t, "type") {
	case "SharedImage":
		id := galleryImage(text(t, "galleryImageId"))
		def := w.find(id)
		if !w.may(who, "Microsoft.Compute/galleries/images/versions/write", id) {
			return notAuthorized(id)
		}
		if def == nil {
			return invalidTemplate("The gallery image " + id + " does not exist.")
		}
		if g := text(def.props, "hyperVGeneration"); generation != "" && g != generation {
			return invalidTemplate("Error with Hyper-V Version validation (cross-generation for multiple Hyper-V Versions is not supported). The provided SIG: " + id + ", has a different Hyper-V Generation: " + g + ", than source image: " + generation + ".")
		}
		if have := feature(def.props); have == "TrustedLaunch" || have == "ConfidentialVM" {
			return invalidTemplate("The provided SIG: " + id + ", has the security type '" + have + "', which is not supported as a target of source images of security type '" + or(security, "Standard") + "'.")
		}
		if text(def.props, "osState") == "Specialized" {
			return invalidTemplate("The provided SIG: " + id + ", is for specialized images. Only generalized images are distributed.")
		}
	case "ManagedImage":
		if id := text(t, "imageId"); !w.may(who, "Microsoft.Compute/images/write", id) {
			return notAuthorized(id)
		}
	}
	return nil
}

// profileAllowed looks at what the build machine is given: identities (Managed Identity Operator) and subnets.
func (w *Azure) profileAllowed(vm map[string]any, location string, who *principal) *refusal {
	for _, id := range texts(vm, "userAssignedIdentities") {
		if w.find(id) == nil || !w.may(who, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", id) && !w.may(who, "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action", id) {
			return notAuthorized(id)
		}
	}
	if size := text(vm, "vmSize"); size != "" {
		if _, ok := findSize(size); !ok {
			return invalidTemplate("The VM size '" + size + "' is not available in location '" + location + "'.")
		}
	}
	for _, key := range []string{"subnetId", "containerInstanceSubnetId"} {
		id := text(vm, "vnetConfig", key)
		if id == "" {
			continue
		}
		subnet, net := w.find(id), w.find(parentID(id))
		switch {
		case !w.may(who, "Microsoft.Network/virtualNetworks/read", parentID(id)) || !w.may(who, "Microsoft.Network/virtualNetworks/subnets/join/action", id):
			return notAuthorized(id)
		case subnet == nil || net == nil:
			return invalidTemplate("The subnet '" + id + "' does not exist.")
		case !sameRegion(net.location, location):
			return invalidTemplate("The virtual network '" + net.id + "' is in " + net.location + ", the image template in " + location + ": they must be in the same region.")
		case key == "containerInstanceSubnetId" && !delegatedTo(subnet, containerGroupType):
			return invalidTemplate("The subnet '" + id + "' must be delegated to '" + containerGroupType + "'.")
		}
	}
	return nil
}

func delegatedTo(subnet *resource, service string) bool {
	for _, x := range items(subnet.props, "delegations") {
		if strings.EqualFold(text(x, "properties", "serviceName"), service) {
			return true
		}
	}
	return false
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
