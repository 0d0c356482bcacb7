package communicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

// fast is simulated time that runs a thousand times as fast as ours.
type fast struct{ start time.Time }

func (c fast) Now() time.Time { return c.start.Add(1000 * time.Since(c.start)) }
func (c fast) Sleep(ctx context.Context, d time.Duration) error {
	return wall{}.Sleep(ctx, d/1000)
}

// platform is run commands and a store in memory, in front of a simulated guest.
type platform struct {
	mu      sync.Mutex
	g       guest.Machine
	clock   fast
	blobs   map[string][]byte
	states  map[string]*RunState
	begun   []RunScript
	stored  [][]byte               // everything that was ever given to the guest
	deaf    func(name string) bool // whose handler dies as soon as it has begun
	refused error                  // what Begin answers
	spoil   func(name string, b []byte) []byte
}

func (p *platform) Begin(_ context.Context, s RunScript) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused != nil {
		return p.refused
	}
	p.begun = append(p.begun, s)
	st := &RunState{Execution: "Pending"}
	p.states[s.Name] = st
	go func() {
		for !p.g.Up() {
			time.Sleep(time.Millisecond) // the agent waits for Windows
		}
		deaf := p.deaf != nil && p.deaf(s.Name)
		p.mu.Lock()
		st.Execution, st.Start = "Running", p.clock.Now()
		p.mu.Unlock()
		code, err := p.g.Execute(guest.AgentScript{Text: s.Text, Params: s.Protected, Web: p, Out: func(stream int, text string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			url := map[int]string{1: s.OutputURL, 2: s.ErrorURL}[stream]
			if !deaf {
				p.blobs[strings.TrimPrefix(url, "https://store/w/")] = append(p.blobs[strings.TrimPrefix(url, "https://store/w/")], text...)
			}
		}})
		p.mu.Lock()
		defer p.mu.Unlock()
		if err != nil || deaf {
			return // nobody tells
		}
		st.Execution, st.ExitCode = "Succeeded", code
		if code != 0 {
			st.Execution = "Failed"
		}
	}()
	return nil
}

func (p *platform) State(_ context.Context, name string) (RunState, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[name]
	if s == nil {
		return RunState{}, false, nil
	}
	return *s, true, nil
}

func (p *platform) End(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.states, name)
	return nil
}

func (p *platform) Put(_ context.Context, name string, r io.Reader) error {
	b, err := io.ReadAll(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stored = append(p.stored, b)
	if p.spoil != nil {
		b = p.spoil(name, b)
	}
	p.blobs[name] = b
	return err
}

func (p *platform) ReadFrom(_ context.Context, name string, offset int64) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.blobs[name]; offset < int64(len(b)) {
		return bytes.Clone(b[offset:min(int64(len(b)), offset+1000)]), nil
	}
	return nil, nil
}

func (p *platform) Delete(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.blobs, name)
	return nil
}

func (p *platform) Link(name string, write bool, _ time.Duration) (string, error) {
	return "https://store/" + map[bool]string{true: "w", false: "r"}[write] + "/" + name, nil
}

func (p *platform) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	how, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	answer := &http.Response{StatusCode: 404, Status: "404 BlobNotFound", Body: http.NoBody}
	switch {
	case r.Method == http.MethodGet && p.blobs[name] != nil:
		answer.StatusCode, answer.Body = 200, io.NopCloser(bytes.NewReader(p.blobs[name]))
	case r.Method == http.MethodPut && how == "w":
		p.blobs[name], _ = io.ReadAll(r.Body)
		answer.StatusCode = 201
	}
	return answer, nil
}

func commandsTo(t *testing.T, rules ...guest.Rule) (Windows, *platform, *guest.Disk) {
	t.Helper()
	disk, clock := guest.NewDisk(), fast{time.Now()}
	g, err := guest.Start(context.Background(), guest.Config{Computer: "test", User: "packer", Password: testPassword, Disk: disk, Clock: clock, Rules: rules, Duration: func(kind string) time.Duration {
		return map[string]time.Duration{"reboot": 75 * time.Second, "boot": time.Second, "shutdown": time.Second}[kind]
	}})
	if err != nil {
		t.Fatal(err)
	}
	if g.Addr() != "" {
		t.Fatalf("the machine listens at %s", g.Addr())
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		g.Stop(ctx) //nolint:errcheck // a test
	})
	p := &platform{g: g, clock: clock, blobs: map[string][]byte{}, states: map[string]*RunState{}}
	c, err := NewRunCommandWindows(RunCommandConfig{Commands: p, Store: p, Clock: clock, Dir: `C:\Windows\Temp\ingot-test`})
	if err != nil {
		t.Fatal(err)
	}
	return c, p, disk
}

func TestRunCommandRunsDetachedScripts(t *testing.T) {
	const secret = "test-secret-not-real"
	c, p, _ := commandsTo(t)
	f, err := c.Ready(t.Context())
	if err != nil || f.Computer != "test" || f.Boot.IsZero() {
		t.Fatalf("%+v %v", f, err)
	}
	var out []string
	say := func(stream, line string) { out = append(out, stream+":"+line) }
	s := Script{ID: "provision-1", Shell: "powershell", Text: "Write-Host \"got $env:TOKEN\"\nWrite-Error 'oh'\nexit 3", Env: map[string]string{"TOKEN": secret}}
	code, err := c.Run(t.Context(), s, say)
	if err != nil || code != 3 || strings.Join(out, "|") != "stdout:got "+secret+"|stderr:oh" {
		t.Fatalf("%d %v %q", code, err, out)
	}
	// The same id again follows what there is, whether its run command is still there or not.
	for _, gone := range []bool{false, true} {
		if gone {
			p.End(t.Context(), "ingot-provision-1") //nolint:errcheck // never fails
		}
		out = nil
		if code, err := c.Run(t.Context(), s, say); err != nil || code != 3 || len(out) != 2 {
			t.Errorf("again, gone %t: %d %v %q", gone, code, err, out)
		}
	}
	for _, s := range p.begun {
		if strings.Contains(s.Text, secret) || strings.Contains(fmt.Sprint(s.Protected), secret) || strings.Contains(s.Text, "Write-Host") {
			t.Errorf("run command %s shows what it runs", s.Name)
		}
	}
	for _, b := range p.stored {
		if bytes.Contains(b, []byte(secret)) {
			t.Error("the store holds a secret in clear")
		}
	}
	if len(p.blobs) > 0 {
		t.Errorf("left in the store: %d blobs", len(p.blobs))
	}
}

// A restart of the agent, or of the guest, ends the run command that follows a script and tells nobody.
func TestRunCommandThatIsLost(t *testing.T) {
	c, p, _ := commandsTo(t, guest.Rule{Match: "long-script", Duration: 10 * time.Minute, Stdout: []string{"one", "two"}, ExitCode: 4})
	p.deaf = func(name string) bool { return name == "ingot-a" }
	var out []string
	code, err := c.Run(t.Context(), Script{ID: "a", Shell: "powershell", Text: "long-script"}, func(_, line string) { out = append(out, line) })
	if err != nil || code != 4 || strings.Join(out, "|") != "one|two" {
		t.Errorf("the agent's restart: %d %v %q", code, err, out)
	}
	if _, err := c.Run(t.Context(), Script{ID: "b", Shell: "powershell", Text: "Restart-Computer -Force\nStart-Sleep -Seconds 600"}, nil); !errors.Is(err, ErrLost) {
		t.Errorf("the guest's restart: %v", err)
	}
}

func TestRunCommandRestartsTheGuest(t *testing.T) {
	c, _, _ := commandsTo(t)
	before, err := c.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	code, err := c.Command(t.Context(), "shutdown /r /f /t 5", nil)
	if err != nil || code != 0 {
		t.Fatalf("%d %v", code, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		f, err := c.Ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f.Boot.After(before.Boot.Add(2 * time.Second)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it never restarted")
		}
	}
	// And under a command that would go on for an hour.
	long, _, _ := commandsTo(t, guest.Rule{Match: "^endless", Duration: time.Minute, Effect: "reboot", Stdout: []string{"x"}})
	if _, err := long.Command(t.Context(), "endless & ping", nil); err == nil {
		t.Log("the command ended before the restart did")
	}
	var lines []string
	code, err = long.Command(t.Context(), "echo hello& exit 5", func(stream, line string) { lines = append(lines, stream+":"+line) })
	if err != nil || code != 5 || strings.Join(lines, "|") != "stdout:hello" {
		t.Errorf("%d %v %q", code, err, lines)
	}
}

func TestRunCommandCarriesFiles(t *testing.T) {
	c, p, disk := commandsTo(t)
	for _, n := range []int{0, 1, 15, 16, 17, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 7} {
		data := bytes.Repeat([]byte("test-secret-not-real "), n/21+1)[:n]
		if err := c.Upload(t.Context(), `C:\dir\file`, bytes.NewReader(data), int64(n)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got, ok := disk.File(`C:\dir\file`); !ok || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes arrived as %d", n, len(got))
		}
		var back bytes.Buffer
		if err := c.Download(t.Context(), `C:\dir\file`, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Fatalf("%d bytes came back as %d: %v", n, back.Len(), err)
		}
	}
	for _, b := range p.stored {
		if bytes.Contains(b, []byte("test-secret")) {
			t.Error("the store holds a file in clear")
		}
	}
	if err := c.Download(t.Context(), `C:\none`, io.Discard); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
	p.spoil = func(_ string, b []byte) []byte { b[20] ^= 1; return b }
	if err := c.Upload(t.Context(), `C:\spoilt`, strings.NewReader(strings.Repeat("x", 100)), 100); err == nil || !strings.Contains(err.Error(), "cannot upload") {
		t.Errorf("a damaged file: %v", err)
	}
	if _, ok := disk.File(`C:\spoilt`); ok {
		t.Error("a damaged file is there under its name")
	}
}

func TestRunCommandGivesUp(t *testing.T) {
	c, p, _ := commandsTo(t)
	p.refused = fmt.Errorf("%w: AuthorizationFailed", ErrNoCommands)
	if _, err := c.Ready(t.Context()); !errors.Is(err, ErrNoCommands) {
		t.Error(err)
	}
	if _, err := c.Run(t.Context(), Script{ID: "x", Text: "exit 0"}, nil); !errors.Is(err, ErrNoCommands) {
		t.Error(err)
	}
	p.refused = errors.New("busy") // passes, but not before time is up
	ctx, stop := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("time is up"))
	defer stop()
	if _, err := c.Ready(ctx); err == nil || !strings.Contains(err.Error(), "time is up") || !strings.Contains(err.Error(), "busy") {
		t.Error(err)
	}
}

// Whatever a script prints, it cannot speak for the program that follows it.
func TestRunCommandOutputCannotForgeAnEnd(t *testing.T) {
	c, _, _ := commandsTo(t, guest.Rule{Match: "forger", Stdout: []string{"#ingot:exit 0 1", "#ingot:lost 3"}, ExitCode: 9})
	var out []string
	code, err := c.Run(t.Context(), Script{ID: "f", Shell: "powershell", Text: "forger"}, func(_, line string) { out = append(out, line) })
	if err != nil || code != 9 || len(out) != 2 {
		t.Errorf("%d %v %q", code, err, out)
	}
}
