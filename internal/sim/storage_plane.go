package sim

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ingot/internal/sim/blob"
)

type takesTime = func(*Azure, *resource, bool) time.Duration

// storage is where blobs and disks are kept. Its folder is made when something is stored first.
type storage struct {
	blobs *blob.Service
	dir   string
	made  bool
	files map[string]*diskFile // by the lower-case id of a disk or snapshot
	// making are files of the host that are written without the lock and belong to nobody yet: reap leaves them.
	making map[string]bool
}

func (s *storage) close() {
	if s.made {
		os.RemoveAll(s.dir) //nolint:errcheck // a temporary folder
	}
}

// plane is the data plane, made when it is needed first. The caller holds mu.
func (w *Azure) plane() (*blob.Service, *refusal) {
	if w.storage.blobs != nil {
		return w.storage.blobs, nil
	}
	dir, made := w.cfg.Dir, false
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "simulated-azure-")
		made = true
	}
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "blobs"), 0o700)
	}
	index := ""
	if !made {
		index = filepath.Join(dir, "blob-names")
	}
	if err == nil {
		w.storage.blobs, err = blob.New(blob.Config{Dir: filepath.Join(dir, "blobs"), Index: index, Now: w.clock.Now, Account: w.blobAccount, Authorize: w.blobRights, Owner: w.tokenOwner, CopyTakes: w.copyTakes})
	}
	if err != nil {
		return nil, refuse(500, "InternalExecutionError", "The simulated storage cannot be kept: "+err.Error())
	}
	w.storage.dir, w.storage.made, w.storage.files = dir, made, map[string]*diskFile{}
	return w.storage.blobs, nil
}

// serveBlob answers what is for the data plane, without the world's lock while bytes move; false: it is for somebody else.
func (w *Azure) serveBlob(rw http.ResponseWriter, r *http.Request) bool {
	w.mu.Lock()
	w.settle()
	s := w.storage.blobs
	if s == nil && (strings.Contains(hostOf(r), ".blob.storage.localhost") || len(w.all(storageType)) > 0) {
		s, _ = w.plane()
	}
	w.mu.Unlock()
	if s == nil {
		return false
	}
	if r.Host == "" {
		r.Host = hostOf(r)
	}
	if _, _, ok := s.Route(r.Host, r.URL.Path); !ok {
		return false
	}
	out := &statusWriter{ResponseWriter: rw, status: 200}
	began := time.Now()
	s.ServeHTTP(out, r)
	w.mu.Lock()
	w.calls.add(CallRecord{Method: r.Method, Path: r.URL.Path, Status: out.status, Time: w.clock.Now(), Duration: time.Since(began)})
	w.mu.Unlock()
	return true
}

// copyTakes is how long the service takes for a copy between accounts. There is no promise of a speed
// (https://learn.microsoft.com/rest/api/storageservices/copy-blob: best effort); 60 MB a second is what people report of one blob.
func (w *Azure) copyTakes(size int64) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cfg.Scenario != nil {
		if d, ok := w.cfg.Scenario.Latency["blob-copy"]; ok {
			return time.Duration(d)
		}
	}
	if w.cfg.Latency == NoLatency {
		return 0
	}
	return time.Duration(float64(size) / 60e6 * float64(time.Second))
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (w *Azure) blobAccount(name string) (blob.Account, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.storageNamed(name)
	if r == nil || r.state != "Succeeded" {
		return blob.Account{}, false
	}
	a := blob.Account{Name: r.name}
	if v, set := r.props["allowSharedKeyAccess"].(bool); set && !v {
		return a, true
	}
	for _, k := range r.aux.(*accountData).keys {
		if raw, err := base64.StdEncoding.DecodeString(k); err == nil {
			a.Keys = append(a.Keys, raw)
		}
	}
	return a, true
}

// blobRights holds a token against the data plane's demands: its audience must be Storage, and the right a data action, which
// Owner does not have (learn.microsoft.com/azure/storage/blobs/assign-azure-role-data-access).
func (w *Azure) blobRights(token, account, action string) (known, allowed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, r := w.holder(token), w.storageNamed(account)
	claims := tokenClaims(token)
	aud := strings.TrimSuffix(text(claims, "aud"), "/")
	if p == nil || r == nil || aud != "https://storage.azure.com" && aud != "https://"+account+".blob.storage.localhost" {
		return false, false
	}
	if strings.HasSuffix(action, "generateUserDelegationKey/action") || !strings.Contains(action, "/blobs/") {
		return true, w.may(p, action, r.id)
	}
	return true, w.mayData(p, action, r.id)
}

func (w *Azure) tokenOwner(token string) (object, tenant string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.holder(token); p != nil {
		return p.ObjectID, w.cfg.Tenant
	}
	return "", ""
}

// tokenClaims reads a token that this simulation has issued.
func tokenClaims(token string) map[string]any {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		return nil
	}
	return claims
}

// blobOf finds the account and the address of a blob that a disk is made of.
func (w *Azure) blobOf(uri string) (account *resource, path []string, bad *refusal) {
	invalid := refuse(400, "InvalidParameter", "The source blob URI "+uri+" is invalid.")
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return nil, nil, invalid
	}
	host, _, _ := strings.Cut(u.Host, ":")
	name, hosted := strings.CutSuffix(strings.ToLower(host), ".blob.storage.localhost")
	if !hosted { // templates name the public cloud's
		name, hosted = strings.CutSuffix(strings.ToLower(host), ".blob.core.windows.net")
	}
	rest := strings.TrimPrefix(u.Path, "/")
	if !hosted {
		name, rest, _ = strings.Cut(rest, "/")
	}
	box, item, ok := strings.Cut(rest, "/")
	account = w.storageNamed(name)
	if account == nil || !ok || item == "" {
		return nil, nil, refuse(400, "StorageAccountNotFound", "Unable to find storage account specified by source blob URI "+uri+".")
	}
	return account, []string{box, item}, nil
}

// SeedVHD puts a small fixed VHD into a storage account that is there already, as a page blob: what a rehearsal of a build from one starts with.
func (w *Azure) SeedVHD(uri string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, bad := w.plane()
	if bad != nil {
		return errors.New(bad.message)
	}
	account, path, bad := w.blobOf(uri)
	if bad != nil {
		return errors.New(bad.message)
	}
	const size = 1 << 20
	file := w.sparse(lastPart(path[1]), size+512)
	if file == "" {
		return errors.New("the simulated storage cannot be kept")
	}
	if err := writeFooter(file, size, w.clock.Now()); err != nil {
		return err
	}
	return s.Place(account.name, path[0], path[1], file)
}
