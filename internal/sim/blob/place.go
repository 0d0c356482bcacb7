package blob

import (
	"fmt"
	"os"
)

// Place puts a file into an account as a page blob, as if somebody had uploaded it there: what a simulation starts with. The container is made
// when it is missing. The file stays the caller's.
func (s *Service) Place(account, box, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("cannot place a blob: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot place a blob: %w", err)
	}
	now := s.cfg.Now()
	b := &item{name: name, kind: "PageBlob", file: file, borrowed: true, size: info.Size(), pages: written(f, info.Size()), meta: map[string]string{},
		props: map[string]string{"Content-Type": "application/octet-stream"}, created: now, modified: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.etag = s.etag()
	a := s.accounts[account]
	if a == nil {
		a = &store{name: account, containers: map[string]*container{}}
		s.accounts[account] = a
	}
	if a.containers[box] == nil {
		a.containers[box] = &container{name: box, etag: s.etag(), modified: now, meta: map[string]string{}, policies: map[string]policy{}, blobs: map[string]*item{}}
	}
	a.containers[box].blobs[name] = b
	return nil
}
