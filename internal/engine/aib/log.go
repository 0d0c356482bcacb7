package aib

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"ingot/internal/azure"
	"ingot/internal/plan"
)

// look is how often the log and the run's state are looked at.
const look = 10 * time.Second

// follower shows the log of a run while it grows: the guest's output, and which customizer runs.
type follower struct {
	b    *build
	t    *plan.Task
	a    runArgs
	stop context.CancelFunc
	done chan struct{}
	last chan struct{} // closed to ask for a last look

	mu      sync.Mutex
	name    string
	logs    map[string]*logReader // by name in the container
	sub     string                // the run's sub-state
	told    bool                  // why there is no log
	current *logReader            // the one that spoke last
}

// logReader is one file: customization.log or validation.log.
type logReader struct {
	steps   []mark
	offset  int64
	rest    []byte
	at      int      // customizer that runs or ran last, from 0; -1 before the first; len(steps) the service's own
	running bool     // it has not ended
	lines   []string // the end of what it said
	errored bool     // Packer says that the build failed
	reason  string   // why, in Packer's words
	said    string   // the last line
}

// mostLines is how much of a customizer's output its error shows.
const mostLines = 12

// follow begins to follow; finish ends it.
func (b *build) follow(ctx context.Context, t *plan.Task, a runArgs) *follower {
	ctx, stop := context.WithCancel(ctx)
	f := &follower{b: b, t: t, a: a, stop: stop, done: make(chan struct{}), last: make(chan struct{}), logs: map[string]*logReader{}}
	go func() {
		defer close(f.done)
		wait, cut := context.WithCancel(ctx)
		go func() {
			select {
			case <-f.last:
			case <-ctx.Done():
			}
			cut()
		}()
		for {
			f.see(ctx)
			if ctx.Err() != nil || wait.Err() != nil {
				return
			}
			if t.Clock().Sleep(wait, look) != nil {
				if ctx.Err() == nil {
					f.see(ctx)
				}
				return
			}
		}
	}()
	return f
}

// finish ends the following; all reads what has been written since the last look first.
func (f *follower) finish(all bool) {
	if all {
		close(f.last)
		<-f.done
	}
	f.stop()
	<-f.done
}

// see looks once.
func (f *follower) see(ctx context.Context) {
	i, err := f.b.env.Cloud.GetTemplate(ctx, f.a.Group, f.a.Name)
	if err != nil {
		return // whoever waits for the run's end says so
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := i.Run.SubState; s != f.sub && s != "" {
		f.sub = s
		if f.current == nil || !f.current.running || s != "Customizing" {
			f.t.Progress(-1, "%s", strings.ToLower(s))
		}
	}
	if i.Staging == "" || f.told {
		return
	}
	if err := f.read(ctx, i); err != nil && !azure.IsNotFound(err) && ctx.Err() == nil {
		f.cannot(err)
	}
}

// cannot says once why the log is not shown. The build goes on all the same.
func (f *follower) cannot(err error) {
	if !azure.Answered(err) && !azure.IsForbidden(err) && !azure.IsAuth(err) {
		return // the next look may have more luck
	}
	f.told = true
	why := ""
	switch {
	case azure.IsClosedStorage(err):
		why = "; the staging group's storage account does not answer on its public address: run Ingot inside the network that reaches it (a private endpoint for blobs), or read the log in the portal"
	case azure.IsForbidden(err):
		why = "; give who builds the role Storage Blob Data Reader on the subscription, or on the staging group (stagingResourceGroup) if the template names one"
	}
	f.t.Output("stderr", fmt.Sprintf("the build's log cannot be shown, and the build goes on without it: %v%s", err, why))
}

func (f *follower) read(ctx context.Context, i azure.ImageTemplate) error {
	log, err := f.b.env.Cloud.OpenBuildLog(ctx, i.Staging)
	if err != nil {
		return err
	}
	files, err := log.Files(ctx)
	if err != nil {
		return err
	}
	// A folder for each run; of a template that stays there are older ones.
	newest := azure.LogFile{}
	for _, x := range files {
		if (strings.HasSuffix(x.Name, "customization.log") || strings.HasSuffix(x.Name, "validation.log")) && !x.Modified.Before(newest.Modified) && x.Modified.After(i.Run.Start.Add(-skew)) {
			newest = x
		}
	}
	folder, _, ok := strings.Cut(newest.Name, "/")
	if !ok {
		return nil
	}
	for _, kind := range []string{"customization.log", "validation.log"} {
		for _, x := range files {
			if x.Name == folder+"/"+kind {
				if err := f.readOn(ctx, log, x.Name, kind); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *follower) readOn(ctx context.Context, log *azure.BuildLog, name, kind string) error {
	r := f.logs[name]
	if r == nil {
		r = &logReader{steps: f.a.Customizers, at: -1}
		if kind == "validation.log" {
			r.steps = f.a.Validators
		} else {
			f.name = name
		}
		f.logs[name] = r
	}
	for {
		data, err := log.ReadFrom(ctx, name, r.offset)
		if err != nil || len(data) == 0 {
			return err
		}
		r.offset += int64(len(data))
		all := append(r.rest, data...)
		end := bytes.LastIndexByte(all, '\n') + 1
		for line := range strings.Lines(string(all[:end])) {
			f.line(r, strings.TrimRight(line, "\r\n"))
		}
		r.rest = bytes.Clone(all[end:])
	}
}

var (
	// Both forms of the log: "[guid] PACKER OUT …" and "[guid] PACKER ERR 2023/… …", and since 2023 one stream,
	// "[guid] PACKER 2023/09/14 19:01:18 ui: …" (reference azure-protocol.md section 6 d).
	prefix = regexp.MustCompile(`^\[[0-9A-Fa-f-]+\] PACKER (?:(OUT|ERR) )?(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?(.*)$`)
	starts = regexp.MustCompile(`\(telemetry\) Starting provisioner (\S+)`)
	ends   = regexp.MustCompile(`\(telemetry\) ending (\S+)`)
	shown  = regexp.MustCompile(`^(ui|ui error): ?(.*)$`)
	from   = regexp.MustCompile(`^(==>|   ) (?:azure-arm(?:\.[\w-]+)?): ?(.*)$`)
	over   = regexp.MustCompile(`^Build '.*' errored after [^:]*: (.*)|^Provisioning step had errors|^--> azure-arm|^==> Some builds didn't complete`)
	// noise is what Packer says of a script before the script says anything.
	noise = regexp.MustCompile(`^Provisioning with (Powershell\.\.\.|powershell script:|shell script:)`)
)

// line reads one line of the log.
func (f *follower) line(r *logReader, text string) {
	m := prefix.FindStringSubmatch(text)
	if m == nil {
		return
	}
	f.current = r
	kind, text := m[1], m[2]
	if s := starts.FindStringSubmatch(text); s != nil {
		r.next(s[1])
		f.t.Progress(r.fraction(), "%s", r.where())
		return
	}
	if ends.MatchString(text) {
		r.running = false
		return
	}
	stream := "stdout"
	switch u := shown.FindStringSubmatch(text); {
	case u != nil:
		if text = u[2]; u[1] == "ui error" {
			stream = "stderr"
		}
	case kind != "OUT":
		return // Packer's own log
	}
	if p := from.FindStringSubmatch(text); p != nil {
		text = p[2]
	}
	if o := over.FindStringSubmatch(text); o != nil {
		r.errored, r.running = true, false
		if r.reason == "" {
			r.reason = o[1]
		}
	}
	if text == "" {
		return
	}
	if text != r.said { // the wait for sysprep says the same for minutes
		f.t.Output(stream, text)
	}
	r.said = text
	if r.running && !noise.MatchString(text) {
		r.lines = append(r.lines, text)
		r.lines = r.lines[max(0, len(r.lines)-mostLines):]
	}
}

// next goes to the customizer that a mark is of: the next one of its type, since the service has steps of its own among them. After the last
// there is only its own.
func (r *logReader) next(kind string) {
	r.lines, r.running = nil, true
	same := func(a, b string) bool {
		flat := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }
		return flat(a) == flat(b)
	}
	for i := max(r.at+1, 0); i < len(r.steps); i++ {
		if same(r.steps[i].Type, kind) {
			r.at = i
			return
		}
	}
	r.at = len(r.steps)
}

func (r *logReader) fraction() float64 {
	if len(r.steps) == 0 || r.at < 0 {
		return -1
	}
	return float64(r.at) / float64(len(r.steps)+1)
}

// where says which customizer runs.
func (r *logReader) where() string {
	if r.at >= len(r.steps) {
		return "the service's own last step: generalising"
	}
	return fmt.Sprintf("customizer %d of %d: %s", r.at+1, len(r.steps), r.steps[r.at])
}

// failed names the customizer that a run failed in, with the end of what it said; "" when it was none.
func (f *follower) failed(text string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.current
	if r == nil || r.at < 0 || !r.running && !r.errored || strings.Contains(strings.ToLower(text), "distribut") {
		return ""
	}
	what := "customizer"
	if len(f.a.Validators) > 0 && len(r.steps) == len(f.a.Validators) && f.logs[f.name] != r {
		what = "validator"
	}
	out := strings.Replace(r.where(), "customizer", what, 1) + " failed"
	if r.at < len(r.steps) {
		out = fmt.Sprintf("%s %d of %d failed: %s", what, r.at+1, len(r.steps), r.steps[r.at])
	}
	if r.reason != "" {
		out += ": " + r.reason
	}
	if len(r.lines) > 0 {
		out += "\nthe end of its output:\n  " + strings.Join(r.lines, "\n  ")
	}
	return out
}
