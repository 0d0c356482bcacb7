package sim

import (
	"net/http"
	"slices"
	"strings"
)

// Galleries as those see them whom they are shared with: community galleries by their public names, directly shared ones by their unique names
// (rest/api/compute: community-gallery-images, community-gallery-image-versions, shared-gallery-images, shared-gallery-image-versions).

// sharedGallery finds the gallery behind a public or a unique name, if it is shared in that way.
func (w *Azure) sharedGallery(community bool, name string) *resource {
	for _, g := range w.all(galleryType) {
		permissions := text(g.props, "sharingProfile", "permissions")
		if !community {
			if permissions == "Groups" && w.sharedWithUs(g) && strings.EqualFold(text(g.props, "identifier", "uniqueName"), name) {
				return g
			}
			continue
		}
		if permissions != "Community" || !truth(g.props, "sharingProfile", "communityGalleryInfo", "communityGalleryEnabled") {
			continue
		}
		for _, public := range texts(g.props, "sharingProfile", "communityGalleryInfo", "publicNames") {
			if strings.EqualFold(public, name) {
				return g
			}
		}
	}
	return nil
}

// sharedImage finds what an id like /CommunityGalleries/G/Images/I/Versions/V names: a version, or without one the definition.
func (w *Azure) sharedImage(community bool, id string) *resource {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	want := "sharedgalleries"
	if community {
		want = "communitygalleries"
	}
	if len(parts) < 4 || !strings.EqualFold(parts[0], want) || !strings.EqualFold(parts[2], "images") {
		return nil
	}
	g := w.sharedGallery(community, parts[1])
	if g == nil {
		return nil
	}
	at := g.id + "/images/" + parts[3]
	if len(parts) >= 6 && !strings.EqualFold(parts[5], "latest") {
		at += "/versions/" + parts[5]
	}
	return w.find(at)
}

// referenced turns the id of a shared image in an image reference into that of the image itself.
func (w *Azure) referenced(ref map[string]any) (id string, shared bool) {
	for _, kind := range []string{"communityGalleryImageId", "sharedGalleryImageId"} {
		if s := text(ref, kind); s != "" {
			if r := w.sharedImage(kind == "communityGalleryImageId", s); r != nil {
				return r.id, true
			}
			return s, true
		}
	}
	return text(ref, "id"), false
}

// sharedGalleries answers for …/locations/L/communityGalleries/G/images/I[/versions[/V]] and the same of sharedGalleries. nil: not that.
func (w *Azure) sharedGalleries(q *request, parts, low []string) *reply {
	if len(low) == 5 && low[1] == "microsoft.compute" && low[2] == "locations" && low[4] == "sharedgalleries" && q.method == http.MethodGet {
		return w.listSharedGalleries(q, parts[3])
	}
	if len(low) < 6 || low[1] != "microsoft.compute" || low[2] != "locations" || low[4] != "communitygalleries" && low[4] != "sharedgalleries" {
		return nil
	}
	community := low[4] == "communitygalleries"
	if q.method != http.MethodGet || len(low) > 6 && low[6] != "images" || len(low) > 8 && low[8] != "versions" {
		return w.unknown(q)
	}
	if bad := w.authorize(q.who, "Microsoft.Compute/locations/"+parts[4]+"/read", "/subscriptions/"+w.cfg.Subscription); bad != nil {
		return failed(bad)
	}
	root := "/SharedGalleries/"
	if community {
		root = "/CommunityGalleries/"
	}
	missing := failed(refuse(404, "GalleryNotFound", "Gallery "+parts[5]+" is not found in "+parts[3]+", or it is not shared with this subscription."))
	g := w.sharedGallery(community, parts[5])
	if g == nil {
		return missing
	}
	// As recorded: the place as it was asked for, no type, and with everything of the community its disclaimer.
	show := func(name, id string, props map[string]any) map[string]any {
		if community {
			props["disclaimer"] = "https://aka.ms/community-gallery-disclaimer"
		}
		return map[string]any{"name": name, "location": parts[3], "identifier": map[string]any{"uniqueId": root + id}, "properties": props}
	}
	if len(low) == 6 {
		body := show(parts[5], parts[5], map[string]any{})
		if info := mapping(g.props, "sharingProfile", "communityGalleryInfo"); community {
			about := map[string]any{}
			for _, key := range []string{"publisherUri", "publisherContact", "eula", "publicNames"} {
				about[key] = info[key]
			}
			body["communityMetadata"], mapping(body, "properties")["communityMetadata"] = about, about
		}
		return &reply{status: 200, body: body}
	}
	image := func(d *resource) map[string]any {
		props := map[string]any{"recommended": map[string]any{}}
		for _, key := range []string{"osType", "osState", "hyperVGeneration", "architecture", "features", "purchasePlan", "recommended", "identifier"} {
			if v := d.props[key]; v != nil {
				props[key] = deepCopy(v)
			}
		}
		if community { // the publisher stays unnamed
			props["identifier"] = map[string]any{"publisher": "", "offer": "", "sku": ""}
		}
		return show(d.name, parts[5]+"/Images/"+d.name, props)
	}
	if len(low) == 7 {
		var list []any
		for _, d := range children(w, g.id, definitionType) {
			list = append(list, image(d))
		}
		return w.page(q, list)
	}
	d := w.find(g.id + "/images/" + parts[7])
	if d == nil {
		return failed(refuse(404, "ImageNotFound", "Image "+parts[7]+" is not found in gallery "+parts[5]+"."))
	}
	if len(low) == 8 {
		return &reply{status: 200, body: image(d)}
	}
	var list []any
	for _, v := range children(w, d.id, versionType) {
		in := false
		for _, s := range items(w.replication(v), "summary") {
			in = in || sameRegion(text(s, "region"), parts[3]) && text(s, "state") == "Completed"
		}
		if !in || v.state != "Succeeded" {
			continue
		}
		props := map[string]any{"excludeFromLatest": truth(v.props, "publishingProfile", "excludeFromLatest"), "publishedDate": text(v.props, "publishingProfile", "publishedDate"),
			"storageProfile": map[string]any{"osDiskImage": map[string]any{"diskSizeGB": number(v.props, "storageProfile", "osDiskImage", "sizeInGB"), "hostCaching": "ReadWrite"}}}
		var data []any
		for _, x := range items(v.props, "storageProfile", "dataDiskImages") {
			data = append(data, map[string]any{"lun": number(x, "lun"), "diskSizeGB": number(x, "sizeInGB"), "hostCaching": text(x, "hostCaching")})
		}
		if data != nil {
			mapping(props, "storageProfile")["dataDiskImages"] = data
		}
		body := show(v.name, parts[5]+"/Images/"+d.name+"/Versions/"+v.name, props)
		if len(low) == 10 && strings.EqualFold(v.name, parts[9]) {
			return &reply{status: 200, body: body}
		}
		list = append(list, body)
	}
	if len(low) == 10 {
		return failed(refuse(404, "ImageVersionNotFound", "Image version "+parts[9]+" is not found in "+parts[3]+"."))
	}
	return w.page(q, list)
}

// sharedWithUs tells whether a gallery is shared with this subscription or its tenant.
func (w *Azure) sharedWithUs(g *resource) bool {
	for _, group := range items(g.props, "sharingProfile", "groups") {
		for _, id := range texts(group, "ids") {
			if strings.EqualFold(id, w.cfg.Subscription) || strings.EqualFold(id, w.cfg.Tenant) {
				return true
			}
		}
	}
	return false
}

func (w *Azure) listSharedGalleries(q *request, location string) *reply {
	if bad := w.authorize(q.who, "Microsoft.Compute/locations/sharedGalleries/read", "/subscriptions/"+w.cfg.Subscription); bad != nil {
		return failed(bad)
	}
	var list []any
	for _, g := range w.all(galleryType) {
		if text(g.props, "sharingProfile", "permissions") == "Groups" && w.sharedWithUs(g) {
			name := text(g.props, "identifier", "uniqueName")
			list = append(list, map[string]any{"location": location, "name": name, "identifier": map[string]any{"uniqueId": "/SharedGalleries/" + name}})
		}
	}
	return w.page(q, list)
}

// mayShare holds a change of what a gallery is shared with against its kind (rest/api/compute/gallery-sharing-profile/update).
func mayShare(_ *Azure, r *resource, body map[string]any) *refusal {
	how, permissions := text(body, "operationType"), text(r.props, "sharingProfile", "permissions")
	switch {
	case how == "EnableCommunity" && permissions != "Community", (how == "Add" || how == "Remove") && permissions != "Groups":
		return refuse(400, "BadRequest", "The gallery "+r.name+" has the sharing permissions '"+or(permissions, "Private")+"', which do not allow the operation "+how+".")
	case how == "Add", how == "Remove", how == "EnableCommunity", how == "Reset":
		return nil
	}
	return refuse(400, "InvalidParameter", "The value '"+how+"' of parameter operationType is invalid.")
}

// shareGallery changes it. Removing the last group and Reset leave nothing of it.
func shareGallery(w *Azure, r *resource, body map[string]any) (any, *refusal) {
	profile := copyMap(mapping(r.props, "sharingProfile"))
	switch text(body, "operationType") {
	case "EnableCommunity":
		mapping(profile, "communityGalleryInfo")["communityGalleryEnabled"] = true
	case "Reset":
		profile = map[string]any{"permissions": "Private"}
	default:
		add := text(body, "operationType") == "Add"
		for _, x := range items(body, "groups") {
			kept := []any{}
			rest := []any{}
			for _, g := range items(profile, "groups") {
				if text(g, "type") != text(x, "type") {
					rest = append(rest, g)
					continue
				}
				for _, id := range texts(g, "ids") {
					if !slices.ContainsFunc(texts(x, "ids"), func(s string) bool { return strings.EqualFold(s, id) }) {
						kept = append(kept, id)
					}
				}
			}
			if add {
				for _, id := range texts(x, "ids") {
					kept = append(kept, id)
				}
			}
			if len(kept) > 0 {
				rest = append(rest, map[string]any{"type": text(x, "type"), "ids": kept})
			}
			if profile["groups"] = rest; len(rest) == 0 {
				delete(profile, "groups")
			}
		}
	}
	r.props["sharingProfile"] = profile
	w.touch("resource", r.low)
	return nil, nil
}
