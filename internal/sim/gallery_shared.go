package sim

import (
	"net/http"
	"strings"
)

// Galleries as those see them whom they are shared with: community galleries by their public names, directly shared ones by their unique names
// (rest/api/compute: community-gallery-images, community-gallery-image-versions, shared-gallery-images, shared-gallery-image-versions).

// sharedGallery finds the gallery behind a public or a unique name, if it is shared in that way.
func (w *Azure) sharedGallery(community bool, name string) *resource {
	for _, g := range w.all(galleryType) {
		permissions := text(g.props, "sharingProfile", "permissions")
		if !community {
			if permissions == "Groups" && strings.EqualFold(text(g.props, "identifier", "uniqueName"), name) {
				return g
			}
			continue
		}
		if permissions != "Community" {
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
	kind, root := "Microsoft.Compute/Locations/SharedGallery", "/SharedGalleries/"
	if community {
		kind, root = "Microsoft.Compute/Locations/CommunityGallery", "/CommunityGalleries/"
	}
	missing := failed(refuse(404, "GalleryNotFound", "Gallery "+parts[5]+" is not found in "+parts[3]+", or it is not shared with this subscription."))
	g := w.sharedGallery(community, parts[5])
	if g == nil {
		return missing
	}
	show := func(r *resource, typ, id string, props map[string]any) map[string]any {
		return map[string]any{"name": r.name, "location": regionKey(parts[3]), "type": kind + typ, "identifier": map[string]any{"uniqueId": root + id}, "properties": props}
	}
	if len(low) == 6 {
		return &reply{status: 200, body: show(g, "", parts[5], map[string]any{})}
	}
	if len(low) == 7 {
		return w.unknown(q)
	}
	d := w.find(g.id + "/images/" + parts[7])
	if d == nil {
		return failed(refuse(404, "ImageNotFound", "Image "+parts[7]+" is not found in gallery "+parts[5]+"."))
	}
	if len(low) == 8 {
		props := map[string]any{}
		for _, key := range []string{"osType", "osState", "hyperVGeneration", "architecture", "features", "purchasePlan", "recommended", "identifier"} {
			if v := d.props[key]; v != nil {
				props[key] = deepCopy(v)
			}
		}
		return &reply{status: 200, body: show(d, "Image", parts[5]+"/Images/"+d.name, props)}
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
		body := show(v, "ImageVersion", parts[5]+"/Images/"+d.name+"/Versions/"+v.name, props)
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
