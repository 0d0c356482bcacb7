package blob

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

var containerName = regexp.MustCompile(`^(\$root|\$web|\$logs|[a-z0-9](-?[a-z0-9]){2,62})$`)

func containerMissing() *failure {
	return fail(404, "ContainerNotFound", "The specified container does not exist.")
}

// held finds the container; the caller holds mu.
func (c *call) held() (*container, error) {
	if k := c.account.containers[c.container]; k != nil {
		return k, nil
	}
	return nil, containerMissing()
}

func stamped(w http.ResponseWriter, etag string, modified time.Time) {
	w.Header().Set("ETag", etag)
	w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
}

func metaOf(h http.Header) map[string]string {
	out := map[string]string{}
	for k, v := range h {
		if n, ok := strings.CutPrefix(strings.ToLower(k), "x-ms-meta-"); ok {
			out[n] = strings.Join(v, ",")
		}
	}
	return out
}

func showMeta(w http.ResponseWriter, m map[string]string) {
	for k, v := range m {
		w.Header()["x-ms-meta-"+k] = []string{v}
	}
}

func createContainer(c *call) error {
	if !containerName.MatchString(c.container) {
		return fail(400, "InvalidResourceName", "The specifed resource name contains invalid characters.")
	}
	if c.r.Header.Get("x-ms-blob-public-access") != "" {
		// Accounts made today refuse it (allowBlobPublicAccess is false by default).
		return fail(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.account.containers[c.container] != nil {
		return fail(409, "ContainerAlreadyExists", "The specified container already exists.")
	}
	k := &container{name: c.container, etag: c.s.etag(), modified: c.now, meta: metaOf(c.r.Header), blobs: map[string]*item{}, policies: map[string]policy{}}
	c.account.containers[c.container] = k
	stamped(c.w, k.etag, k.modified)
	c.w.WriteHeader(201)
	return nil
}

func deleteContainer(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	if err := k.lease.check(c, "Container", true); err != nil {
		return err
	}
	if err := conditions(c.r.Header, k.etag, k.modified, true); err != nil {
		return err
	}
	for _, b := range k.blobs {
		b.remove()
	}
	delete(c.account.containers, c.container)
	c.w.WriteHeader(202)
	return nil
}

func getContainer(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	stamped(c.w, k.etag, k.modified)
	showMeta(c.w, k.meta)
	k.lease.show(c.w.Header(), c.now)
	c.w.Header().Set("x-ms-has-immutability-policy", "false")
	c.w.Header().Set("x-ms-has-legal-hold", "false")
	c.w.WriteHeader(200)
	return nil
}

func setContainerMetadata(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	k.meta, k.etag, k.modified = metaOf(c.r.Header), c.s.etag(), c.now
	stamped(c.w, k.etag, k.modified)
	c.w.WriteHeader(200)
	return nil
}

type identifiers struct {
	XMLName xml.Name `xml:"SignedIdentifiers"`
	List    []signedIdentifier
}

type signedIdentifier struct {
	XMLName      xml.Name `xml:"SignedIdentifier"`
	ID           string   `xml:"Id"`
	AccessPolicy struct{ Start, Expiry, Permission string }
}

func getACL(c *call) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	var out identifiers
	for id, p := range k.policies {
		x := signedIdentifier{ID: id}
		x.AccessPolicy.Start, x.AccessPolicy.Expiry, x.AccessPolicy.Permission = p.start.UTC().Format(time.RFC3339), p.expiry.UTC().Format(time.RFC3339), p.permissions
		out.List = append(out.List, x)
	}
	sort.Slice(out.List, func(i, j int) bool { return out.List[i].ID < out.List[j].ID })
	stamped(c.w, k.etag, k.modified)
	writeXML(c.w, 200, out)
	return nil
}

func setACL(c *call) error {
	if c.r.Header.Get("x-ms-blob-public-access") != "" {
		return fail(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
	}
	var in identifiers
	raw, err := io.ReadAll(io.LimitReader(c.r.Body, 1<<16))
	if err != nil {
		return err
	}
	if len(raw) > 0 {
		var list struct {
			SignedIdentifier []signedIdentifier
		}
		if err := xml.Unmarshal(raw, &list); err != nil || len(list.SignedIdentifier) > 5 { // five policies at most: rest/api/storageservices/set-container-acl
			return fail(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
		}
		in.List = list.SignedIdentifier
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	k.policies = map[string]policy{}
	for _, x := range in.List {
		p := policy{permissions: x.AccessPolicy.Permission}
		p.start, _ = sasTime(x.AccessPolicy.Start)
		p.expiry, _ = sasTime(x.AccessPolicy.Expiry)
		k.policies[x.ID] = p
	}
	k.etag, k.modified = c.s.etag(), c.now
	stamped(c.w, k.etag, k.modified)
	c.w.WriteHeader(200)
	return nil
}

func accountInfo(c *call) error {
	c.w.Header().Set("x-ms-sku-name", "Standard_LRS")
	c.w.Header().Set("x-ms-account-kind", "StorageV2")
	c.w.Header().Set("x-ms-is-hns-enabled", "false")
	c.w.WriteHeader(200)
	return nil
}

func serviceProperties(c *call) error {
	writeXML(c.w, 200, struct {
		XMLName               xml.Name `xml:"StorageServiceProperties"`
		DefaultServiceVersion string
	}{DefaultServiceVersion: "2020-06-12"})
	return nil
}

// listed is one answer of a list (rest/api/storageservices/list-blobs).
type listed struct {
	XMLName         xml.Name    `xml:"EnumerationResults"`
	ServiceEndpoint string      `xml:",attr"`
	ContainerName   string      `xml:",attr,omitempty"`
	Prefix          string      `xml:",omitempty"`
	Marker          string      `xml:",omitempty"`
	MaxResults      int         `xml:",omitempty"`
	Delimiter       string      `xml:",omitempty"`
	Containers      *[]listItem `xml:"Containers>Container"`
	Blobs           *blobItems  `xml:"Blobs"`
	NextMarker      string
}

type blobItems struct {
	Blob       []listItem
	BlobPrefix []struct{ Name string }
}

type listItem struct {
	Name       string
	Properties []element `xml:"Properties>x"`
	Metadata   *elements
}

type element struct {
	XMLName xml.Name
	Value   string `xml:",chardata"`
}

type elements struct{ List []element }

func elementsOf(m map[string]string) *elements {
	out := &elements{}
	for k, v := range m {
		out.List = append(out.List, element{XMLName: xml.Name{Local: k}, Value: v})
	}
	sort.Slice(out.List, func(i, j int) bool { return out.List[i].XMLName.Local < out.List[j].XMLName.Local })
	return out
}

func el(name, value string) element { return element{XMLName: xml.Name{Local: name}, Value: value} }

// paging reads marker and maxresults.
func (c *call) paging() (marker string, limit int, err error) {
	limit = 5000
	if t := c.q.Get("maxresults"); t != "" {
		n, err := strconv.Atoi(t)
		if err != nil || n < 1 {
			return "", 0, fail(400, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range.")
		}
		limit = min(n, limit)
	}
	return c.q.Get("marker"), limit, nil
}

func (c *call) endpoint() string {
	u := url.URL{Scheme: "https", Host: c.r.Host}
	return u.String() + "/"
}

func listContainers(c *call) error {
	marker, limit, err := c.paging()
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	out := listed{ServiceEndpoint: c.endpoint(), Prefix: c.q.Get("prefix"), Marker: marker, Containers: &[]listItem{}}
	var names []string
	for n := range c.account.containers {
		if strings.HasPrefix(n, out.Prefix) && n >= marker {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	for i, n := range names {
		if i == limit {
			out.NextMarker = n
			break
		}
		k := c.account.containers[n]
		x := listItem{Name: n, Properties: append([]element{el("Last-Modified", k.modified.UTC().Format(http.TimeFormat)), el("Etag", k.etag)}, k.lease.elements(c.now)...)}
		if strings.Contains(c.q.Get("include"), "metadata") {
			x.Metadata = elementsOf(k.meta)
		}
		*out.Containers = append(*out.Containers, x)
	}
	writeXML(c.w, 200, out)
	return nil
}

func listBlobs(c *call) error {
	marker, limit, err := c.paging()
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	k, err := c.held()
	if err != nil {
		return err
	}
	out := listed{ServiceEndpoint: c.endpoint(), ContainerName: k.name, Prefix: c.q.Get("prefix"), Marker: marker, Delimiter: c.q.Get("delimiter"), Blobs: &blobItems{}}
	include := c.q.Get("include")
	var names []string
	for n, b := range k.blobs {
		if strings.HasPrefix(n, out.Prefix) && (!b.uncommitted || strings.Contains(include, "uncommittedblobs")) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	count, last := 0, ""
	for _, n := range names {
		show := n
		if d := out.Delimiter; d != "" {
			if head, _, cut := strings.Cut(n[len(out.Prefix):], d); cut {
				show = out.Prefix + head + d
			}
		}
		if show < marker || show == last {
			continue
		}
		if count == limit {
			out.NextMarker = show
			break
		}
		count++
		if last = show; show != n {
			out.Blobs.BlobPrefix = append(out.Blobs.BlobPrefix, struct{ Name string }{show})
			continue
		}
		b := k.blobs[n]
		x := listItem{Name: n, Properties: b.elements(c.now, strings.Contains(include, "copy"))}
		if strings.Contains(include, "metadata") {
			x.Metadata = elementsOf(b.meta)
		}
		out.Blobs.Blob = append(out.Blobs.Blob, x)
	}
	writeXML(c.w, 200, out)
	return nil
}

// elements are a blob's properties as a list shows them.
func (b *item) elements(now time.Time, copies bool) []element {
	out := []element{el("Creation-Time", b.created.UTC().Format(http.TimeFormat)), el("Last-Modified", b.modified.UTC().Format(http.TimeFormat)), el("Etag", strings.Trim(b.etag, `"`)),
		el("Content-Length", strconv.FormatInt(b.size, 10))}
	for _, n := range contentHeaders() {
		out = append(out, el(n, b.props[n]))
	}
	if b.kind == "PageBlob" {
		out = append(out, el("x-ms-blob-sequence-number", strconv.FormatInt(b.sequence, 10)))
	}
	out = append(append(out, el("BlobType", b.kind)), b.lease.elements(now)...)
	if copies && b.copyID != "" {
		out = append(out, el("CopyId", b.copyID), el("CopyStatus", b.copyStatus(now)), el("CopySource", b.copyFrom), el("CopyProgress", b.progress(now)), el("CopyCompletionTime", b.copied.UTC().Format(http.TimeFormat)))
	}
	return append(out, el("ServerEncrypted", "true"))
}

func contentHeaders() []string {
	return []string{"Content-Type", "Content-Encoding", "Content-Language", "Content-MD5", "Cache-Control", "Content-Disposition"}
}
