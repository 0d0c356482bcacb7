package blob

import (
	"errors"
	"slices"
	"strings"
)

// Entry is a blob of an ordinary account, as the simulation's own books have it.
type Entry struct{ Account, Container, Name, Copy string }

// Blobs lists what has been put into the accounts; what is lent of managed disks is not among it.
func (s *Service) Blobs() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Entry
	for name, a := range s.accounts {
		if a.keys != nil {
			continue
		}
		for box, c := range a.containers {
			for at, b := range c.blobs {
				if b.borrowed { // it was there from the start
					continue
				}
				e := Entry{Account: name, Container: box, Name: at}
				if b.copyID != "" {
					e.Copy = b.copyStatus(s.cfg.Now())
				}
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return strings.Compare(a.Account+"/"+a.Container+"/"+a.Name, b.Account+"/"+b.Container+"/"+b.Name)
	})
	return out
}

// Make makes a container that is there before anybody calls.
func (s *Service) Make(account, name string) error {
	if !containerName.MatchString(name) {
		return errors.New("cannot make container " + name + ": that is no name of one")
	}
	a := s.open(account)
	if a == nil {
		return errors.New("cannot make container " + name + ": there is no storage account " + account)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.containers[name] == nil {
		a.containers[name] = &container{name: name, etag: s.etag(), modified: s.cfg.Now(), meta: map[string]string{}, blobs: map[string]*item{}, policies: map[string]policy{}}
		if s.cfg.Index != "" {
			return s.save(a)
		}
	}
	return nil
}
