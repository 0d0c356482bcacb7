// Package blob is the data plane of storage accounts: containers, block, append and page blobs, over HTTP as Azure's Blob
// service speaks it. It must not know Resource Manager: who has which keys and rights is asked of functions given to it.
//
// What blobs hold is in sparse files, one a blob; in memory there are names, properties and the ranges of page blobs.
package blob

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Account is what the data plane must know of a storage account.
type Account struct {
	Name string
	Keys [][]byte
}

// Config is what a Service is made of. Dir must exist; Now and Account are required.
type Config struct {
	Dir     string
	Now     func() time.Time
	Account func(name string) (Account, bool)
	// Index is a folder to keep the blobs' names and settings in, for a later Service with the same Dir; "" keeps nothing.
	Index string
	// Authorize decides on a bearer token: known tells whether the token is one at all, allowed whether its owner has the
	// data action, such as "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read". nil: no tokens.
	Authorize func(token, account, action string) (known, allowed bool)
	// Owner is the object and tenant id behind a token, for user delegation keys.
	Owner func(token string) (object, tenant string)
	// CopyTakes is how long a copy of that many bytes from another account lasts; nil: it is done when it answers.
	CopyTakes func(bytes int64) time.Duration
}

// Service answers for all storage accounts. It is safe for concurrent use.
type Service struct {
	cfg    Config
	secret []byte // user delegation keys are derived from it

	mu       sync.Mutex
	seq      int
	accounts map[string]*store
}

type store struct {
	name       string
	keys       [][]byte // of managed disks; an ordinary account's are asked for
	containers map[string]*container
}

type container struct {
	name     string
	etag     string
	modified time.Time
	meta     map[string]string
	access   string
	lease    lease
	policies map[string]policy
	blobs    map[string]*item
}

// policy is a stored access policy.
type policy struct {
	start, expiry time.Time
	permissions   string
}

// item is one blob. file may be replaced, never changed in length while somebody reads, except for append and page blobs.
type item struct {
	name, kind        string // BlockBlob, AppendBlob, PageBlob
	file              string
	borrowed          bool // the file belongs to somebody else
	size              int64
	etag              string
	created, modified time.Time
	meta              map[string]string
	props             map[string]string // Content-Type and its kin
	pages             ranges
	sequence          int64
	committed         []block
	staged            map[string]block
	uncommitted       bool // only staged blocks so far
	lease             lease
	copyID, copyFrom  string
	copied            time.Time // when the copy is done: a later one is pending until then
	copyAborted       bool
	appends           int
	writes            int
}

type block struct {
	id   string
	file string // of a staged one
	at   int64  // of a committed one
	size int64
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Dir == "" || c.Now == nil || c.Account == nil {
		return nil, errors.New("cannot make a blob service without a folder, a clock and accounts")
	}
	s := &Service{cfg: c, secret: make([]byte, 32), accounts: map[string]*store{}}
	if _, err := rand.Read(s.secret); err != nil {
		return nil, fmt.Errorf("cannot make a blob service: %w", err)
	}
	if c.Index != "" {
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Drop forgets an account and removes what it held.
func (s *Service) Drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[name]; a != nil {
		for _, c := range a.containers {
			for _, b := range c.blobs {
				b.remove()
			}
		}
		delete(s.accounts, name)
	}
	if s.cfg.Index != "" {
		os.Remove(filepath.Join(s.cfg.Index, name+".json")) //nolint:errcheck // it may have held nothing
	}
}

// failure is an error as the Blob service words it
// (https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes).
type failure struct {
	status        int
	code, message string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func fail(status int, code, message string) *failure { return &failure{status, code, message} }

// call is a request, taken apart.
type call struct {
	s               *Service
	w               http.ResponseWriter
	r               *http.Request
	q               url.Values
	account         *store
	container, blob string
	now             time.Time
	onlyCreate      bool // the SAS grants creating, not overwriting
}

const hostSuffix = ".blob.storage.localhost"

// Route tells which account a request is for: by its host, or by the first segment of its path.
func (s *Service) Route(host, path string) (name, rest string, ok bool) {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	if n, found := strings.CutSuffix(host, hostSuffix); found {
		n, _, _ = strings.Cut(n, ".") // managed disks have a zone: md-x.z50.blob
		return n, path, true
	}
	// The public cloud's own addresses stand in templates. They are accounts of the simulation for whoever asks it.
	if n, found := strings.CutSuffix(host, ".blob.core.windows.net"); found && s.known(n) {
		return n, path, true
	}
	n, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if n == "" || n == "subscriptions" || n == "providers" {
		return "", "", false
	}
	if s.known(n) {
		return n, "/" + rest, true
	}
	return "", "", false
}

func (s *Service) known(name string) bool {
	s.mu.Lock()
	a := s.accounts[name]
	s.mu.Unlock()
	if a != nil && a.keys != nil {
		return true
	}
	_, ok := s.cfg.Account(name)
	return ok
}

// open is the account of that name, or nil.
func (s *Service) open(name string) *store {
	s.mu.Lock()
	a := s.accounts[name]
	s.mu.Unlock()
	if a != nil && a.keys != nil {
		return a
	}
	if _, ok := s.cfg.Account(name); !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[name] == nil {
		s.accounts[name] = &store{name: name, containers: map[string]*container{}}
	}
	return s.accounts[name]
}

// ServeHTTP answers a request that Route knows.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0")
	h.Set("x-ms-request-id", s.token(16))
	h.Set("x-ms-version", r.Header.Get("x-ms-version"))
	h.Set("Date", s.cfg.Now().UTC().Format(http.TimeFormat))
	if id := r.Header.Get("x-ms-client-request-id"); id != "" {
		h.Set("x-ms-client-request-id", id)
	}
	err := s.answer(w, r)
	if err == nil {
		return
	}
	var f *failure
	if !errors.As(err, &f) {
		f = fail(500, "InternalError", "The server encountered an internal error: "+err.Error())
	}
	h.Set("x-ms-error-code", f.code)
	if r.Method == http.MethodHead || f.status == http.StatusNotModified {
		w.WriteHeader(f.status)
		return
	}
	h.Set("Content-Type", "application/xml")
	body := struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: f.code, Message: f.message + "\nRequestId:" + h.Get("x-ms-request-id") + "\nTime:" + s.cfg.Now().UTC().Format(time.RFC3339Nano)}
	writeXML(w, f.status, body)
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request) error {
	name, rest, ok := s.Route(r.Host, r.URL.Path)
	a := s.open(name)
	if !ok || a == nil {
		return fail(404, "ResourceNotFound", "The specified resource does not exist.")
	}
	c := &call{s: s, w: w, r: r, q: r.URL.Query(), account: a, now: s.cfg.Now()}
	c.container, c.blob, _ = strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	op, err := c.operation()
	if err != nil {
		return err
	}
	if err := c.authorize(op); err != nil {
		return err
	}
	return c.kept(op.do)
}

// operation is what a request asks for, and the right it takes: of a SAS one letter of need, of an account SAS the resource
// type too, of a bearer token the data action.
type operation struct {
	do       func(*call) error
	need     string // any of these letters will do
	resource string // s, c, o
	action   string
}

func (c *call) operation() (operation, error) {
	const containers = "Microsoft.Storage/storageAccounts/blobServices/containers/"
	const blobs = containers + "blobs/"
	comp, m := c.q.Get("comp"), c.r.Method
	head := m == http.MethodGet || m == http.MethodHead
	type o = operation
	if c.container == "" {
		switch {
		case m == http.MethodGet && comp == "list":
			return o{listContainers, "l", "s", containers + "read"}, nil
		case m == http.MethodPost && c.q.Get("restype") == "service" && comp == "userdelegationkey":
			return o{delegationKey, "", "", "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"}, nil
		case head && comp == "properties" && c.q.Get("restype") == "account":
			return o{accountInfo, "r", "s", containers + "read"}, nil
		case m == http.MethodGet && comp == "properties":
			return o{serviceProperties, "r", "s", "Microsoft.Storage/storageAccounts/blobServices/read"}, nil
		}
	} else if c.blob == "" {
		switch {
		case m == http.MethodPut && comp == "":
			return o{createContainer, "cw", "c", containers + "write"}, nil
		case m == http.MethodDelete && comp == "":
			return o{deleteContainer, "d", "c", containers + "delete"}, nil
		case m == http.MethodGet && comp == "list":
			return o{listBlobs, "l", "c", blobs + "read"}, nil
		case head && (comp == "" || comp == "metadata"):
			return o{getContainer, "r", "c", containers + "read"}, nil
		case m == http.MethodPut && comp == "metadata":
			return o{setContainerMetadata, "w", "c", containers + "write"}, nil
		case m == http.MethodGet && comp == "acl":
			return o{getACL, "", "", ""}, nil
		case m == http.MethodPut && comp == "acl":
			return o{setACL, "", "", ""}, nil
		case m == http.MethodPut && comp == "lease":
			return o{leaseContainer, "wd", "c", containers + "write"}, nil
		}
	} else {
		switch {
		case m == http.MethodGet && comp == "":
			return o{getBlob, "r", "o", blobs + "read"}, nil
		case m == http.MethodHead && (comp == "" || comp == "metadata"), m == http.MethodGet && comp == "metadata":
			return o{headBlob, "r", "o", blobs + "read"}, nil
		case m == http.MethodGet && comp == "blocklist":
			return o{getBlockList, "r", "o", blobs + "read"}, nil
		case m == http.MethodGet && comp == "pagelist":
			return o{getPageRanges, "r", "o", blobs + "read"}, nil
		case m == http.MethodDelete && comp == "":
			return o{deleteBlob, "d", "o", blobs + "delete"}, nil
		case m == http.MethodPut:
			if do := map[string]func(*call) error{"": putBlob, "block": putBlock, "blocklist": putBlockList, "page": putPage, "appendblock": appendBlock,
				"metadata": setMetadata, "properties": setProperties, "lease": leaseBlob, "copy": abortCopy}[comp]; do != nil {
				need := "w"
				switch comp {
				case "", "block", "blocklist":
					need = "cw" // create alone may not overwrite: replace looks
				case "appendblock":
					need = "aw"
				case "lease":
					need = "wd"
				}
				return o{do, need, "o", blobs + "write"}, nil
			}
		}
	}
	return operation{}, fail(501, "SimulatorNotImplemented", "The simulated Blob service does not know this operation: "+m+" "+c.r.URL.Path+" comp="+comp)
}

func (s *Service) token(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return strconv.FormatInt(time.Now().UnixNano(), 16)
	}
	return hex.EncodeToString(b)
}

// etag is a new one; the caller holds mu.
func (s *Service) etag() string { s.seq++; return fmt.Sprintf(`"0x8D%013X"`, s.seq) }

// fresh makes an empty file for a blob.
func (s *Service) fresh() (*os.File, error) {
	return os.OpenFile(filepath.Join(s.cfg.Dir, s.token(12)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// store copies a body into a file of its own.
func (s *Service) store(r io.Reader) (file string, size int64, err error) {
	f, err := s.fresh()
	if err != nil {
		return "", 0, err
	}
	size, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), size, nil
}

func (b *item) remove() {
	if !b.borrowed && b.file != "" {
		os.Remove(b.file) //nolint:errcheck // it is in a folder of the simulation's own
	}
	for _, x := range b.staged {
		os.Remove(x.file) //nolint:errcheck // as above
	}
}

func writeXML(w http.ResponseWriter, status int, body any) {
	raw, err := xml.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	raw = append([]byte(`<?xml version="1.0" encoding="utf-8"?>`), raw...)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	w.Write(raw) //nolint:errcheck // the caller may have gone
}
