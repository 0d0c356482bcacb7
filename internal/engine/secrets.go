package engine

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
)

// Secrets holds the values that plans only name, and takes every one of them out of what is shown or written. It lives in
// memory; what a resumed run needs again comes from the template's variables and from the run's key vault.
type Secrets struct {
	mu     sync.RWMutex
	values map[string]string
	hide   []string // longest first, so that a secret that contains another is hidden whole
}

// minimum is the shortest value that is masked: hiding "a" or "12" would garble every line and protect nothing.
const minimum = 4

// Put remembers a secret under its name; it will be hidden from now on.
func (s *Secrets) Put(name, value string) {
	s.mu.Lock()
	if s.values == nil {
		s.values = map[string]string{}
	}
	s.values[name] = value
	s.mu.Unlock()
	s.Hide(value)
}

// Hide masks a value that has no name: a sensitive variable's. A value of several lines is hidden line by line too, since
// output comes by lines, and so is its base64 form.
func (s *Secrets) Hide(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forms := append(strings.Split(value, "\n"), value, base64.StdEncoding.EncodeToString([]byte(value)))
	for _, f := range forms {
		f = strings.TrimSpace(f)
		if len(f) >= minimum && !slices.Contains(s.hide, f) {
			s.hide = append(s.hide, f)
		}
	}
	slices.SortFunc(s.hide, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
}

// Lookup finds a secret by name.
func (s *Secrets) Lookup(name string) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.values[name]
	return v, ok
}

// Redact replaces every secret in text.
func (s *Secrets) Redact(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, h := range s.hide {
		if strings.Contains(text, h) {
			text = strings.ReplaceAll(text, h, "(secret)")
		}
	}
	return text
}
