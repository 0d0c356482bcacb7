package engine

import (
	"strings"
	"sync"
)

// Asked remembers Azure's answers while many images are looked at side by side: most of them ask the same, and Azure counts calls
// (azure.Client waits out what it refuses). It is for the moments before a build, not for the build. nil remembers nothing.
type Asked struct {
	mu      sync.Mutex
	answers map[string]*answer
}

type answer struct {
	once  sync.Once
	value any
	err   error
}

// ask asks once for each key; who asks the same meanwhile waits for the answer. What is answered is shared: nobody may change it.
func ask[T any](a *Asked, f func() (T, error), key ...string) (T, error) {
	if a == nil {
		return f()
	}
	k := strings.ToLower(strings.Join(key, "\x00"))
	a.mu.Lock()
	if a.answers == nil {
		a.answers = map[string]*answer{}
	}
	x := a.answers[k]
	if x == nil {
		x = &answer{}
		a.answers[k] = x
	}
	a.mu.Unlock()
	x.once.Do(func() { x.value, x.err = f() })
	v, _ := x.value.(T) // nil for an interface's zero value
	return v, x.err
}
