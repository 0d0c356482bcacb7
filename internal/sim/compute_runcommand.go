package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"ingot/internal/sim/guest"
)

const runCommandType = vmType + "/runCommands"

// A managed run command: a child of its machine, whose script the VM agent runs
// (learn.microsoft.com/azure/virtual-machines/windows/run-command-managed). What is not said there is taken from the handler
// that runs it on Linux, which is public: github.com/Azure/run-command-handler-linux, internal/cmds/cmds.go.
func runCommandKind(takes takesTime) kind {
	return kind{typ: runCommandType, check: checkRunCommand, fill: fillRunCommand, done: doneRunCommand, takes: takes, takesAway: "run-command-delete", show: showRunCommand, gone: goneRunCommand}
}

// commandTail is how much of each stream an instance view has: "Output and error fields in instanceView is limited to last 4KB".
const commandTail = 4096

// commandData is what stands behind a run command.
type commandData struct {
	State, Message string // Pending, Running, Succeeded, Failed, TimedOut
	ExitCode       int
	Out, Err       string
	Start, End     time.Time
	Again          int // counts what was asked for under this name: what an earlier script still says is nobody's any more

	// What only the handler is told, and nobody is shown.
	OutputURI, ErrorURI, Password string
	Params                        map[string]string

	launched bool // somebody waits for the guest to begin
}

func (d *commandData) over() bool { return d.State != "Pending" && d.State != "Running" }

func checkRunCommand(w *Azure, in ask) *refusal {
	vm := w.find(parentID(in.id))
	if vm == nil {
		return parentMissing(in.id)
	}
	if !sameRegion(in.location, vm.location) {
		return refuse(400, "InvalidParameter", "The value of parameter location is invalid: a run command is in the region of its virtual machine.")
	}
	// The words are those for extensions, which run commands are (seen in Azure/azure-cli#20165 and its neighbours).
	if machineOf(vm).power != "running" {
		return refuse(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
	}
	p := mapping(in.body, "properties")
	sources := 0
	for _, key := range []string{"script", "scriptUri", "commandId", "galleryScriptReferenceId"} {
		if text(p, "source", key) != "" {
			sources++
			if key != "script" {
				return refuse(501, "SimulatorNotImplemented", "The simulated Azure runs commands of source.script only, not of "+key+".")
			}
		}
	}
	if sources > 1 {
		return refuse(400, "InvalidParameter", "Only one type of source input is supported for one command execution.")
	}
	if sources == 0 && in.old == nil {
		return refuse(400, "InvalidParameter", "Required parameter 'source' is missing (null).")
	}
	for _, key := range []string{"treatFailureAsDeploymentFailure", "outputBlobManagedIdentity", "errorBlobManagedIdentity"} {
		if p[key] != nil && p[key] != false {
			return refuse(501, "SimulatorNotImplemented", "The simulated Azure does not know "+key+" of run commands.")
		}
	}
	if w.commandGuest(machineOf(vm)) == nil && !w.cfg.NoGuests {
		return refuse(501, "SimulatorNotImplemented", "The simulated Azure runs commands in its scripted Windows guests and in real Linux guests (--guests qemu) only.")
	}
	return nil
}

func fillRunCommand(w *Azure, r *resource, in ask) {
	p := copyMap(mapping(in.body, "properties"))
	d, ok := r.aux.(*commandData)
	if !ok {
		d = &commandData{}
		r.aux = d
	}
	*d = commandData{State: "Pending", Again: d.Again + 1, OutputURI: text(p, "outputBlobUri"), ErrorURI: text(p, "errorBlobUri"), Password: text(p, "runAsPassword"), Params: map[string]string{}}
	for _, key := range []string{"parameters", "protectedParameters"} {
		for _, x := range items(p, key) {
			d.Params[text(x, "name")] = text(x, "value")
		}
	}
	// Neither secret is ever answered, nor the signature of an address: that is a protected setting of the handler
	// (handlersettings: OutputBlobSASToken).
	delete(p, "protectedParameters")
	delete(p, "runAsPassword")
	for _, key := range []string{"outputBlobUri", "errorBlobUri"} {
		if s := text(p, key); s != "" {
			p[key], _, _ = strings.Cut(s, "?")
		}
	}
	fill(p, map[string]any{"asyncExecution": false, "timeoutInSeconds": 0, "treatFailureAsDeploymentFailure": false})
	r.props = p
}

func showRunCommand(_ *Azure, _ *resource, b map[string]any) { delete(b, "etag") }

// goneRunCommand: "If the script execution is still in progress, execution is terminated." What Ingot and others start beside it
// goes on; the model's scripts themselves cannot be ended half way, so they go on unheard.
func goneRunCommand(_ *Azure, r *resource) {
	if d, ok := r.aux.(*commandData); ok {
		d.Again++
	}
}

// commandView is the instance view.
func commandView(r *resource) map[string]any {
	d, ok := r.aux.(*commandData)
	if !ok {
		return map[string]any{"executionState": "Unknown"}
	}
	out := map[string]any{"executionState": d.State, "executionMessage": d.Message, "exitCode": d.ExitCode, "output": d.Out, "error": d.Err, "statuses": []any{}}
	if !d.Start.IsZero() {
		out["startTime"] = stamp(d.Start)
	}
	if !d.End.IsZero() {
		out["endTime"] = stamp(d.End)
	}
	return out
}

// doneRunCommand is called when the agent has the command: the script begins as soon as Windows is up. With asyncExecution the
// operation ends then, else with the script.
func doneRunCommand(w *Azure, r *resource) *refusal {
	d := r.aux.(*commandData)
	vm := w.find(parentID(r.id))
	pause := w.duration("run-command-poll", r.id)
	if pause <= 0 {
		pause = 20 * time.Millisecond
	}
	if vm == nil || machineOf(vm).power != "running" && machineOf(vm).power != "starting" {
		return refuse(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
	}
	if d.State == "Pending" {
		g := w.commandGuest(machineOf(vm))
		switch {
		case w.cfg.NoGuests:
			d.State, d.Start, d.End = "Succeeded", w.clock.Now(), w.clock.Now()
		case g != nil && g.Up() && !d.launched:
			d.launched = true
			w.execute(r, d, g)
			return &refusal{again: pause}
		default:
			return &refusal{again: pause}
		}
	}
	if !d.over() && !truth(r.props, "asyncExecution") {
		return &refusal{again: pause}
	}
	return nil
}

// execute runs a command in the guest, reports its tails and appends to its blobs as it goes on.
func (w *Azure) execute(r *resource, d *commandData, g commandGuest) {
	turn := d.Again
	every := max(w.duration("run-command-report", r.id), 20*time.Millisecond)
	limit := time.Duration(number(r.props, "timeoutInSeconds")) * time.Second
	if limit == 0 {
		limit = 90 * time.Minute // "default timeout of 90 minutes"
	}
	x := guest.AgentScript{Text: text(r.props, "source", "script"), Params: d.Params, User: text(r.props, "runAsUser"), Password: d.Password, Web: guestWeb{w}}
	x.Name = r.name
	x.Began = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.find(r.id) == r && d.Again == turn && d.State == "Pending" {
			d.State, d.Start, w.settled = "Running", w.clock.Now(), true
		}
	}
	streams := [2]*commandStream{{uri: d.OutputURI}, {uri: d.ErrorURI}}
	x.Out = func(stream int, text string) { streams[stream-1].write(text) }
	current := func() bool { return w.find(r.id) == r && d.Again == turn && !d.over() }
	report := func(change func()) {
		w.mu.Lock()
		ok := current()
		w.mu.Unlock()
		for _, s := range streams {
			if ok {
				s.send(x.Web)
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if !current() {
			return
		}
		d.Out, d.Err = streams[0].tail(), streams[1].tail()
		if change != nil {
			change()
		}
		w.settled = true
	}
	finish := func(state, message string, code int) {
		report(func() { d.State, d.Message, d.ExitCode, d.End = state, message, code, w.clock.Now() })
	}
	w.stopping.Go(func() {
		for _, s := range streams {
			if err := s.create(x.Web); err != nil {
				finish("Failed", "Error creating AppendBlob '"+s.shown()+"' using SAS token or Managed identity. Please use a valid blob SAS URI with [read, append, create, write] permissions OR managed identity. "+err.Error(), -1)
				return
			}
		}
		type end struct {
			code int
			err  error
		}
		ended := make(chan end, 1)
		w.stopping.Go(func() {
			code, err := g.Execute(x)
			ended <- end{code, err}
		})
		began := w.clock.Now()
		for {
			tick := make(chan struct{})
			ctx, stop := context.WithCancel(context.Background())
			go func() {
				defer close(tick)
				w.clock.Sleep(ctx, every) //nolint:errcheck // it ends early with the script
			}()
			select {
			case e := <-ended:
				stop()
				switch {
				case errors.Is(e.err, guest.ErrDown):
					w.mu.Lock()
					d.launched = false // asked again when the machine is up
					w.mu.Unlock()
				case e.err != nil:
					// A machine that restarts takes the handler with it, which does not run the script again: "the script
					// configuration has already been processed, will not run again". So the state stays what it was.
				case e.code != 0:
					finish("Failed", "", e.code)
				default:
					finish("Succeeded", "", 0)
				}
				return
			case <-tick:
				stop()
				if w.clock.Now().Sub(began) > limit {
					finish("TimedOut", "Script execution timed out.", -1)
					return
				}
				report(nil)
			}
		}
	})
}

// commandStream is one of a script's two, on its way to an append blob.
type commandStream struct {
	uri  string
	mu   sync.Mutex
	all  []byte // what has not been sent yet
	last []byte
}

func (s *commandStream) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text...)
	s.last = append(s.last, text...)
	if over := len(s.last) - commandTail; over > 0 {
		s.last = append([]byte(nil), s.last[over:]...)
	}
}

func (s *commandStream) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ToValidUTF8(string(s.last), "?")
}

func (s *commandStream) shown() string { at, _, _ := strings.Cut(s.uri, "?"); return at }

// create makes the blob anew: "The blob will be overwritten if it already exists."
func (s *commandStream) create(web http.RoundTripper) error {
	if s.uri == "" {
		return nil
	}
	return s.put(web, s.uri, nil)
}

func (s *commandStream) put(web http.RoundTripper, uri string, body []byte) error {
	req, err := http.NewRequest(http.MethodPut, uri, bytes.NewReader(body))
	if err != nil {
		return errors.New("The address is invalid.") //nolint:revive,staticcheck // shown as Azure's own words are
	}
	req.Header.Set("x-ms-blob-type", "AppendBlob")
	resp, err := web.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // its status is all we want
	if resp.StatusCode != http.StatusCreated {
		return errors.New(resp.Status)
	}
	return nil
}

// send appends what is new; a block takes at most 4 MiB from older clients (rest/api/storageservices/append-block).
func (s *commandStream) send(web http.RoundTripper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.uri != "" && len(s.all) > 0 {
		n := min(len(s.all), 4<<20)
		if s.put(web, s.uri+"&comp=appendblock", s.all[:n]) != nil {
			return // tried again with the next report
		}
		s.all = s.all[n:]
	}
}

// guestWeb is how a guest reaches the simulated storage: without a socket.
type guestWeb struct{ w *Azure }

// RoundTrip answers for hosts of the storage plane only.
func (t guestWeb) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Host, r.RemoteAddr = r.URL.Host, "10.0.0.4:49152"
	out := &answerBuffer{header: http.Header{}, status: 200}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if !strings.Contains(r.URL.Host, ".blob.storage.localhost") || !t.w.serveBlob(out, r) {
		return nil, errors.New("the simulated guest reaches nothing but the simulated storage: " + r.URL.Host)
	}
	return &http.Response{StatusCode: out.status, Status: itoa(out.status) + " " + out.header.Get("x-ms-error-code"), Header: out.header, Body: io.NopCloser(&out.body), Request: r}, nil
}

type answerBuffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answerBuffer) Header() http.Header         { return a.header }
func (a *answerBuffer) WriteHeader(status int)      { a.status = status }
func (a *answerBuffer) Write(b []byte) (int, error) { return a.body.Write(b) }
