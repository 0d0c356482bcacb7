package sim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// Scripts and files at addresses. The service downloads them when a template is submitted (azure-image-builder.md 1.2, sha256; 2,
// Submission) and keeps copies in its staging account. The simulated Azure sends nothing out: what lies in its own storage it reads,
// of any other address it knows what its scenario says, and of the rest nothing.

// fetchedScript is what submission brought from one address.
type fetchedScript struct {
	Blob   string `json:",omitempty"` // its name in the container shell; "": nobody knows what it holds
	SHA256 string `json:",omitempty"`
}

// fetchAddress reads an address with the template's identity. known is false for one that is not in the simulation: then nothing can
// be said of it.
func (w *Azure) fetchAddress(who *principal, at string) (data []byte, known bool, bad *refusal) {
	shown, _, _ := strings.Cut(at, "?") // a SAS is not repeated
	failed := func(why string) *refusal {
		// azure-image-builder.md 4.1, row 7; what follows the text there is the server's answer.
		name := strings.ToLower(w.draw("download", len(at)))[:5]
		return refuse(400, "ValidationFailed", "Downloading external file ("+shown+") to local file ("+name+".0.customizer.fp) [attempt 1 of 10] failed: Error downloading '"+shown+"' to '"+name+".0.customizer.fp': "+why+".")
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, true, failed("the address is not one of http or https")
	}
	if a, ok := w.Outside(at); ok {
		if a.Status >= 300 {
			return nil, true, failed(fmt.Sprintf("unexpected status code %d", a.Status))
		}
		raw, err := a.Bytes()
		if err != nil {
			return nil, true, failed("the scenario's base64 is none")
		}
		return raw, true, nil
	}
	host := strings.ToLower(u.Hostname())
	own := strings.HasSuffix(host, ".blob.storage.localhost") || host == "localhost" || host == "127.0.0.1"
	if !own && !strings.HasSuffix(host, ".blob.core.windows.net") {
		return nil, false, nil
	}
	account, path, bad := w.blobOf(at)
	switch {
	case bad != nil && !own: // an account of somebody else
		return nil, false, nil
	case bad != nil:
		return nil, true, failed("no such host")
	}
	blobs, bad := w.plane()
	if bad != nil {
		return nil, true, bad
	}
	if u.Query().Get("sig") != "" {
		var keys [][]byte
		for _, k := range account.aux.(*accountData).keys {
			if raw, err := base64.StdEncoding.DecodeString(k); err == nil {
				keys = append(keys, raw)
			}
		}
		data, status, code := blobs.Signed(account.name, keys, path[0], path[1], u)
		if status != 200 {
			return nil, true, failed(fmt.Sprintf("unexpected status code %d: %s", status, code))
		}
		return data, true, nil
	}
	// The role is needed even where a blob is public (azure-image-builder.md 2, RBAC).
	if !w.mayData(who, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", account.id) {
		return nil, true, refuse(403, "Unauthorized", "Not authorized to access the resource: "+shown+". Please check the user assigned identity has the correct permissions. For more details, go to https://aka.ms/azvmimagebuilderts.")
	}
	data, ok := blobs.Read(account.name, path[0], path[1])
	if !ok {
		return nil, true, failed("unexpected status code 404: BlobNotFound")
	}
	return data, true, nil
}

// addressOf is where a customizer or validator has its script or file; "": nowhere.
func addressOf(c any) string { return or(text(c, "scriptUri"), text(c, "sourceUri")) }

// download brings everything that a template names into its staging account, and checks it.
func (w *Azure) download(r *resource, who *principal) *refusal {
	d := templateOf(r)
	d.Scripts = map[string]fetchedScript{}
	for _, list := range [][]any{items(r.props, "customize"), items(r.props, "validate", "inVMValidations")} {
		for _, c := range list {
			at := addressOf(c)
			if at == "" {
				continue
			}
			data, known, bad := w.fetchAddress(who, at)
			if bad != nil {
				return bad
			}
			if !known {
				d.Scripts[at] = fetchedScript{}
				continue
			}
			sum := sha256.Sum256(data)
			is, want := hex.EncodeToString(sum[:]), text(c, "sha256Checksum")
			if want != "" && want != is {
				shown, _, _ := strings.Cut(at, "?")
				return refuse(400, "ValidationFailed", "Validation failed: the SHA256 checksum of '"+shown+"' is "+is+", and sha256Checksum says "+want+".")
			}
			name := is + "-" + lastPart(strings.SplitN(at, "?", 2)[0])
			if s, bad := w.plane(); bad != nil {
				return bad
			} else if err := s.Put(d.Account, "shell", name, "application/octet-stream", data); err != nil {
				return refuse(500, "InternalOperationError", err.Error())
			}
			d.Scripts[at] = fetchedScript{Blob: name, SHA256: is}
			if m, ok := c.(map[string]any); ok { // recorded: the document has the checksum afterwards
				m["sha256Checksum"] = is
			}
		}
	}
	return nil
}

// script is what a customizer runs or copies; known is false when nobody knows.
func (w *Azure) script(d *templateData, c any) (data []byte, known bool) {
	f := d.Scripts[addressOf(c)]
	if f.Blob == "" || w.storage.blobs == nil {
		return nil, false
	}
	return w.storage.blobs.Read(d.Account, "shell", f.Blob)
}
