package communicator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// agent runs commands with this computer's own shell, as the handler in a Linux guest does (github.com/Azure/run-command-handler-linux,
// internal/exec/exec.go: bash -c, named parameters as variables), and keeps what is stored behind a real HTTP server.
type linuxAgent struct {
	mu     sync.Mutex
	dir    string
	web    *httptest.Server
	blobs  map[string][]byte
	states map[string]*RunState
	begun  []RunScript
	stored [][]byte
	deaf   func(name string) bool
	begins func() bool // a deaf one's script is under way
}

func (a *linuxAgent) Begin(_ context.Context, s RunScript) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	file := filepath.Join(a.dir, s.Name+".sh")
	if err := os.WriteFile(file, []byte(s.Text), 0o700); err != nil {
		return err
	}
	a.begun = append(a.begun, s)
	st := &RunState{Execution: "Running", Start: time.Now()}
	a.states[s.Name] = st
	deaf := a.deaf != nil && a.deaf(s.Name)
	c := exec.Command("/bin/bash", "-c", file)
	c.Dir = a.dir
	c.Env = os.Environ()
	for k, v := range s.Protected {
		c.Env = append(c.Env, k+"="+v)
	}
	c.Stdout, c.Stderr = &blobWriter{a, a.nameOf(s.OutputURL), deaf}, &blobWriter{a, a.nameOf(s.ErrorURL), deaf}
	if err := c.Start(); err != nil {
		return err
	}
	if deaf {
		go func() {
			for !a.begins() {
				time.Sleep(5 * time.Millisecond) // another process is being waited for
			}
			c.Process.Kill() //nolint:errcheck // it may have ended
		}()
	}
	go func() {
		c.Wait() //nolint:errcheck // its exit code is looked at
		if deaf {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		st.ExitCode, st.Execution = c.ProcessState.ExitCode(), "Succeeded"
		if st.ExitCode != 0 {
			st.Execution = "Failed"
		}
	}()
	return nil
}

type blobWriter struct {
	a    *linuxAgent
	name string
	deaf bool
}

func (w *blobWriter) Write(b []byte) (int, error) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	if !w.deaf {
		w.a.blobs[w.name] = append(w.a.blobs[w.name], b...)
	}
	return len(b), nil
}

func (a *linuxAgent) nameOf(url string) string { return strings.TrimPrefix(url, a.web.URL+"/") }

func (a *linuxAgent) State(_ context.Context, name string) (RunState, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.states[name]; s != nil {
		return *s, true, nil
	}
	return RunState{}, false, nil
}

func (a *linuxAgent) End(_ context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.states, name)
	return nil
}

func (a *linuxAgent) Put(_ context.Context, name string, r io.Reader) error {
	b, err := io.ReadAll(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.blobs[name], a.stored = b, append(a.stored, b)
	return err
}

func (a *linuxAgent) ReadFrom(_ context.Context, name string, offset int64) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.blobs[name]; offset < int64(len(b)) {
		return bytes.Clone(b[offset:min(int64(len(b)), offset+777)]), nil
	}
	return nil, nil
}

func (a *linuxAgent) Delete(_ context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.blobs, name)
	return nil
}

func (a *linuxAgent) Link(name string, _ bool, _ time.Duration) (string, error) {
	return a.web.URL + "/" + name, nil
}

func (a *linuxAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if r.Method == http.MethodPut {
		if r.Header.Get("x-ms-blob-type") != "BlockBlob" || r.ContentLength < 0 {
			http.Error(w, "InvalidHeaderValue", http.StatusBadRequest)
			return
		}
		raw, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.blobs[name] = raw
		w.WriteHeader(http.StatusCreated)
		return
	}
	a.mu.Lock()
	b, ok := a.blobs[name]
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Write(b) //nolint:errcheck // the caller may have gone
}

func commandsHere(t *testing.T) (Linux, *linuxAgent) {
	t.Helper()
	for _, program := range []string{"bash", "python3", "openssl", "setsid", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("what a Linux guest with the Azure agent has is not installed here: %s", program)
		}
	}
	a := &linuxAgent{dir: t.TempDir(), blobs: map[string][]byte{}, states: map[string]*RunState{}}
	a.web = httptest.NewServer(a)
	t.Cleanup(a.web.Close)
	// A hundred times as fast: the programs themselves take real time.
	c, err := NewRunCommandLinux(RunCommandConfig{Commands: a, Store: a, Clock: hundred{time.Now()}, Dir: filepath.Join(t.TempDir(), "ingot-test")})
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

type hundred struct{ start time.Time }

func (c hundred) Now() time.Time { return c.start.Add(100 * time.Since(c.start)) }
func (c hundred) Sleep(ctx context.Context, d time.Duration) error {
	return wall{}.Sleep(ctx, d/100)
}

func TestLinuxRunCommandRunsDetachedScripts(t *testing.T) {
	const secret = "test-secret-not-real"
	c, a := commandsHere(t)
	before, _ := filepath.Glob("/run/ingot.*")
	f, err := c.Ready(t.Context())
	if err != nil || f.Computer == "" || f.Boot.IsZero() {
		t.Fatalf("%+v %v", f, err)
	}
	var out []string
	say := func(stream, line string) { out = append(out, stream+":"+line) }
	count := filepath.Join(t.TempDir(), "count")
	s := Script{ID: "provision-1", Shell: "sh", Text: "echo once >>" + count + "\necho \"got $TOKEN\"\nprintf 'X 0\\nno end' >&2\nexit 3\n", Env: map[string]string{"TOKEN": secret}}
	code, err := c.Run(t.Context(), s, say)
	if err != nil || code != 3 || len(out) != 3 || out[0] != "stdout:got "+secret || out[1] != "stderr:X 0" || out[2] != "stderr:no end" {
		t.Fatalf("%d %v %q", code, err, out)
	}
	// Again by the same id: followed, not run, whether its run command is there or not.
	for range 2 {
		out = nil
		if code, err := c.Run(t.Context(), s, say); err != nil || code != 3 || len(out) != 3 {
			t.Errorf("again: %d %v %q", code, err, out)
		}
		a.End(t.Context(), "ingot-provision-1") //nolint:errcheck // never fails
	}
	if raw, err := os.ReadFile(count); err != nil || string(raw) != "once\n" {
		t.Errorf("the script ran %q %v", raw, err)
	}
	for _, s := range a.begun {
		if strings.Contains(s.Text, secret) || strings.Contains(s.Text, "got $TOKEN") {
			t.Errorf("run command %s shows what it runs", s.Name)
		}
	}
	for _, b := range a.stored {
		if bytes.Contains(b, []byte(secret)) {
			t.Error("the store holds a secret in clear")
		}
	}
	if err := c.Discard(t.Context()); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob("/run/ingot.*"); len(left) > len(before) {
		t.Errorf("left in the guest: %v", left)
	}
}

// The agent restarts while a script runs: the script goes on, and another run command reads the rest.
func TestLinuxRunCommandThatIsLost(t *testing.T) {
	c, a := commandsHere(t)
	before, _ := filepath.Glob("/run/ingot.*")
	t.Cleanup(func() { // what a killed handler cannot clean up any more
		all, _ := filepath.Glob("/run/ingot.*")
		for _, d := range all {
			if !slices.Contains(before, d) {
				os.RemoveAll(d) //nolint:errcheck // a test
			}
		}
	})
	a.deaf = func(name string) bool { return name == "ingot-a" }
	a.begins = func() bool {
		_, err := os.Stat(filepath.Join(c.(*runCommandLinux).c.Dir, "a", "pid"))
		return err == nil
	}
	var out []string
	code, err := c.Run(t.Context(), Script{ID: "a", Shell: "sh", Text: "echo one; sleep 1; echo two; exit 4"}, func(_, line string) { out = append(out, line) })
	if err != nil || code != 4 || strings.Join(out, "|") != "one|two" {
		t.Errorf("%d %v %q", code, err, out)
	}
	if _, err := c.Run(t.Context(), Script{ID: "b", Shell: "sh", Text: "kill -9 $PPID; kill -9 $$"}, nil); !errors.Is(err, ErrLost) {
		t.Errorf("a script that takes its wrapper with it: %v", err)
	}
}

func TestLinuxRunCommandCarriesFiles(t *testing.T) {
	c, a := commandsHere(t)
	dir := t.TempDir()
	for _, n := range []int{0, 1, 15, 16, 17, 1 << 20, 1<<20 + 1, 3<<20 + 7} {
		data := bytes.Repeat([]byte("test-secret-not-real "), n/21+1)[:n]
		name := filepath.Join(dir, "new folder", "a'file")
		if err := c.Upload(t.Context(), name, bytes.NewReader(data), int64(n)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes arrived as %d: %v", n, len(got), err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("mode %v %v", info.Mode(), err)
		}
		var back bytes.Buffer
		if err := c.Download(t.Context(), name, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Fatalf("%d bytes came back as %d: %v", n, back.Len(), err)
		}
	}
	for _, b := range a.stored {
		if bytes.Contains(b, []byte("test-secret")) {
			t.Error("the store holds a file in clear")
		}
	}
	if err := c.Download(t.Context(), filepath.Join(dir, "none"), io.Discard); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	if err := c.Upload(t.Context(), dir, strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Error(err)
	}
	var lines []string
	if code, err := c.Command(t.Context(), "echo hello; exit 5", func(stream, line string) { lines = append(lines, stream+":"+line) }); err != nil || code != 5 || strings.Join(lines, "|") != "stdout:hello" {
		t.Errorf("%d %v %q", code, err, lines)
	}
}
