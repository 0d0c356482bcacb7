package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

// What services of the simulation do with accounts of their own, as if they called: no request, no rights. None of this asks the
// Config's functions but Now, so that a caller may hold what those want to hold.

// house finds an account and its container, and makes what is missing. The caller holds mu.
func (s *Service) house(account, box string) (*store, *container) {
	a := s.accounts[account]
	if a == nil {
		a = &store{name: account, containers: map[string]*container{}}
		s.accounts[account] = a
	}
	k := a.containers[box]
	if k == nil {
		k = &container{name: box, etag: s.etag(), modified: s.cfg.Now(), meta: map[string]string{}, blobs: map[string]*item{}, policies: map[string]policy{}}
		a.containers[box] = k
	}
	return a, k
}

// settle keeps an account as it is now. The caller holds mu.
func (s *Service) settle(a *store) error {
	if s.cfg.Index == "" {
		return nil
	}
	return s.save(a)
}

// Box makes a container of an account, unless it is there.
func (s *Service) Box(account, box string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, _ := s.house(account, box)
	return s.settle(a)
}

// Put writes a block blob, in the place of one that may be there.
func (s *Service) Put(account, box, name, contentType string, data []byte) error {
	file, size, err := s.store(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("cannot write blob %s/%s: %w", box, name, err)
	}
	sum, err := digest(file)
	if err != nil {
		return fmt.Errorf("cannot write blob %s/%s: %w", box, name, err)
	}
	return s.enter(account, box, &item{name: name, kind: "BlockBlob", file: file, size: size, meta: map[string]string{}, props: map[string]string{"Content-Type": contentType, "Content-MD5": sum}})
}

func (s *Service) enter(account, box string, b *item) error {
	b.created, b.modified = s.cfg.Now(), s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a, k := s.house(account, box)
	b.etag = s.etag()
	if old := k.blobs[b.name]; old != nil {
		old.remove()
	}
	k.blobs[b.name] = b
	return s.settle(a)
}

// Append adds to an append blob, which it makes when it is not there.
func (s *Service) Append(account, box, name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, k := s.house(account, box)
	b := k.blobs[name]
	if b == nil {
		f, err := s.fresh()
		if err != nil {
			return fmt.Errorf("cannot append to blob %s/%s: %w", box, name, err)
		}
		b = &item{name: name, kind: "AppendBlob", file: f.Name(), meta: map[string]string{}, props: map[string]string{"Content-Type": "text/plain"}, created: s.cfg.Now()}
		if err := f.Close(); err != nil {
			return err
		}
		k.blobs[name] = b
	}
	if b.kind != "AppendBlob" {
		return fmt.Errorf("cannot append to blob %s/%s: it is a %s", box, name, b.kind)
	}
	f, err := os.OpenFile(b.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, b.size)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot append to blob %s/%s: %w", box, name, err)
	}
	b.size += int64(len(data))
	b.appends++
	b.etag, b.modified = s.etag(), s.cfg.Now()
	return s.settle(a)
}

// Disk copies a file, holes and all, into a page blob.
func (s *Service) Disk(account, box, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("cannot write blob %s/%s: %w", box, name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot write blob %s/%s: %w", box, name, err)
	}
	copied, err := s.clone(f, info.Size())
	if err != nil {
		return fmt.Errorf("cannot write blob %s/%s: %w", box, name, err)
	}
	return s.enter(account, box, &item{name: name, kind: "PageBlob", file: copied, size: info.Size(), pages: written(f, info.Size()), meta: map[string]string{}, props: map[string]string{"Content-Type": "application/octet-stream"}})
}

// Holds reports whether an account has a container.
func (s *Service) Holds(account, box string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[account]
	return a != nil && a.containers[box] != nil
}

// Read returns what a blob holds; false when it is not there.
func (s *Service) Read(account, box, name string) ([]byte, bool) {
	s.mu.Lock()
	var b *item
	if a := s.accounts[account]; a != nil && a.containers[box] != nil {
		b = a.containers[box].blobs[name]
	}
	if b == nil || b.uncommitted {
		s.mu.Unlock()
		return nil, false
	}
	f, err := os.Open(b.file)
	size := b.size
	s.mu.Unlock()
	if err != nil {
		return nil, false
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, size))
	return data, err == nil
}

// Signed reads a blob by an address with a SAS, or anonymously, for whoever knows the account's keys. The status and code are the
// service's own when it refuses.
func (s *Service) Signed(account string, keys [][]byte, box, name string, u *url.URL) (data []byte, status int, code string) {
	s.mu.Lock()
	a := s.accounts[account]
	s.mu.Unlock()
	if a == nil {
		return nil, http.StatusNotFound, "ContainerNotFound"
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}, RemoteAddr: "10.0.0.4:49152"}
	out := &heldBack{ResponseWriter: headersOnly{}}
	c := &call{s: s, w: out, r: r, q: u.Query(), account: &store{name: account, keys: keys, containers: a.containers}, container: box, blob: name, now: s.cfg.Now()}
	op, err := c.operation()
	if err == nil {
		err = c.authorize(op)
	}
	if err == nil {
		err = op.do(c)
	}
	var f *failure
	switch {
	case errors.As(err, &f):
		return nil, f.status, f.code
	case err != nil:
		return nil, http.StatusInternalServerError, "InternalError"
	}
	return out.body.Bytes(), http.StatusOK, ""
}

// headersOnly takes the headers of an answer that nobody is sent.
type headersOnly http.Header

func (h headersOnly) Header() http.Header       { return http.Header(h) }
func (headersOnly) WriteHeader(int)             {}
func (headersOnly) Write(b []byte) (int, error) { return len(b), nil }
