package blob

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// Grant opens a file as the page blob of a managed disk until a time, for reading or for writing too. The address it
// returns is of the form of Azure's own: path and query behind a host md-….z1.blob.storage.localhost. The file is not
// the Service's: nobody deletes it or changes its length.
func (s *Service) Grant(file string, write bool, until time.Time) (account, host, pathAndQuery string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", "", fmt.Errorf("cannot grant access to a disk: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return "", "", "", errors.Join(fmt.Errorf("cannot grant access to a disk: %w", err), f.Close())
	}
	b := &item{name: "abcd", kind: "PageBlob", file: file, borrowed: true, size: info.Size(), pages: written(f, info.Size()), meta: map[string]string{},
		props: map[string]string{"Content-Type": "application/octet-stream"}, created: s.cfg.Now(), modified: s.cfg.Now()}
	if err := f.Close(); err != nil {
		return "", "", "", fmt.Errorf("cannot grant access to a disk: %w", err)
	}
	account, box, id := "md-"+s.token(6), s.token(6), s.token(16)
	p := policy{expiry: until, permissions: "r"}
	if write {
		p.permissions = "rw"
	}
	key := []byte(s.token(32))
	s.mu.Lock()
	b.etag = s.etag()
	s.accounts[account] = &store{name: account, keys: [][]byte{key}, containers: map[string]*container{box: {name: box, policies: map[string]policy{id: p}, blobs: map[string]*item{"abcd": b}}}}
	s.mu.Unlock()
	// A service SAS of version 2018-03-28 with a stored policy, as recorded of beginGetAccess.
	const version = "2018-03-28"
	text := strings.Join([]string{"", "", "", "/blob/" + account + "/" + box + "/abcd", id, "", "", version, "", "", "", "", ""}, "\n")
	q := "sv=" + version + "&sr=b&si=" + id + "&sig=" + url.QueryEscape(sign(key, text))
	return account, account + ".z1" + hostSuffix, "/" + box + "/abcd?" + q, nil
}

// Writes counts the writes to a granted disk.
func (s *Service) Writes(account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if a := s.accounts[account]; a != nil {
		for _, c := range a.containers {
			for _, b := range c.blobs {
				n += b.writes
			}
		}
	}
	return n
}

// Extract copies a page blob of an account, which may be held as a disk's content then.
func (s *Service) Extract(account, container, name string) (file string, err error) {
	s.mu.Lock()
	var b *item
	if a := s.accounts[account]; a != nil && a.containers[container] != nil {
		b = a.containers[container].blobs[name]
	}
	if b == nil || b.kind != "PageBlob" {
		s.mu.Unlock()
		return "", fmt.Errorf("cannot import %s/%s/%s: there is no such page blob", account, container, name)
	}
	f, err := os.Open(b.file)
	size := b.size
	s.mu.Unlock()
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	return s.clone(f, size)
}
