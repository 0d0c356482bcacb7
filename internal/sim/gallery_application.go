package sim

import "strings"

// Applications of a gallery and their versions (rest/api/compute/gallery-applications and -versions; documents as recorded). They are kept and
// copied to their regions; nothing installs them.
const (
	applicationType        = galleryType + "/applications"
	applicationVersionType = applicationType + "/versions"
)

// dropGallery refuses to delete a gallery that still holds something.
func dropGallery(w *Azure, r *resource) *refusal {
	if bad := dropWithChildren(definitionType)(w, r); bad != nil {
		return bad
	}
	return dropWithChildren(applicationType)(w, r)
}

func checkApplication(w *Azure, in ask) *refusal {
	if w.find(parentID(in.id)) == nil {
		return parentMissing(in.id)
	}
	if t := text(in.body, "properties", "supportedOSType"); t != "Windows" && t != "Linux" {
		return refuse(400, "InvalidParameter", "Required parameter 'galleryApplication.properties.supportedOSType' is missing (null).")
	}
	return nil
}

func checkApplicationVersion(w *Azure, in ask) *refusal {
	if w.find(parentID(in.id)) == nil {
		return parentMissing(in.id)
	}
	p := mapping(in.body, "properties", "publishingProfile")
	for _, need := range [][]string{{"source", "mediaLink"}, {"manageActions", "install"}, {"manageActions", "remove"}} {
		if in.old == nil && text(p, need...) == "" {
			return refuse(400, "InvalidParameter", "Required parameter 'galleryApplicationVersion.properties.publishingProfile."+strings.Join(need, ".")+"' is missing (null).")
		}
	}
	return nil
}

func fillApplicationVersion(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	profile := mapping(p, "publishingProfile")
	if profile == nil {
		profile = map[string]any{}
		p["publishingProfile"] = profile
	}
	fill(profile, map[string]any{"enableHealthCheck": false, "replicaCount": 1, "excludeFromLatest": false, "storageAccountType": "Standard_LRS", "publishedDate": keepOr(mapping(r.props, "publishingProfile"), "publishedDate", func() string { return stamp(w.clock.Now()) }),
		"targetRegions": []any{map[string]any{"name": r.location}}})
	for _, x := range items(profile, "targetRegions") {
		t, ok := x.(map[string]any)
		if !ok {
			continue
		}
		if known, ok := findRegion(text(t, "name")); ok {
			t["name"] = known.display
		}
		fill(t, map[string]any{"regionalReplicaCount": profile["replicaCount"], "storageAccountType": profile["storageAccountType"]})
	}
	r.props = p
}
