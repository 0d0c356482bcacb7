package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"ingot/internal/communicator"
)

// The defaults of the community's provisioner (https://github.com/rgl/packer-plugin-windows-update).
const (
	updateCriteria   = "BrowseOnly=0 and IsInstalled=0"
	updateFilter     = "include:$true"
	updateLimit      = 1000
	updateMaxRetries = 5
	updateRestart    = 4 * time.Hour
	updateUser       = "SYSTEM"
)

const (
	// updateSilence is how long one search, download or installation may go on without a word: feature updates on slow disks take
	// more than an hour, nothing takes three.
	updateSilence = 3 * time.Hour
	// updateIdle is how many rounds in a row may bring nothing new before they count as endless.
	updateIdle = 3
)

// The exit codes of the guest program.
const (
	updateDone    = 0
	updateReboot  = 101
	updateAgain   = 102
	updateStopped = 1
)

// updateState is what is known between rounds; it changes only when a round or a restart has ended, so that a round cut short is followed
// or run again from the same point. What is installed, downloaded and pending is the guest's own knowledge.
type updateState struct {
	Round     int             `json:"round"`
	Restart   bool            `json:"restart,omitempty"` // the guest is to be restarted before the next round
	Before    time.Time       `json:"before,omitzero"`   // when it had started before that
	Installed map[string]int  `json:"installed,omitempty"`
	Failed    map[string]int  `json:"failed,omitempty"` // in a row, by update
	Idle      int             `json:"idle,omitempty"`   // rounds in a row that brought nothing new
	Skipped   map[string]bool `json:"skipped,omitempty"`
}

// guestUpdate is what the guest program prints.
type guestUpdate struct {
	Event   string `json:"event"`
	ID      string `json:"id"`
	KB      string `json:"kb"`
	Title   string `json:"title"`
	Bytes   int64  `json:"bytes"`
	Phase   string `json:"phase"`
	Code    string `json:"code"`
	Why     string `json:"why"`
	Text    string `json:"text"`
	Restart bool   `json:"restart"`
	Input   bool   `json:"input"`
	Try     int    `json:"try"`
}

func (u guestUpdate) String() string {
	if u.KB == "" || strings.Contains(u.Title, u.KB) {
		return u.Title
	}
	return u.Title + " (" + u.KB + ")"
}

// name is how an error calls it.
func (u guestUpdate) name() string {
	if u.KB == "" {
		return strconv.Quote(u.Title)
	}
	return u.KB + " (" + u.Title + ")"
}

func (u guestUpdate) size() string {
	switch {
	case u.Bytes <= 0:
		return "size unknown"
	case u.Bytes < 1<<20:
		return fmt.Sprintf("%d KiB", (u.Bytes+1023)/1024)
	}
	return fmt.Sprintf("%d MiB", (u.Bytes+1<<19)>>20)
}

// leaveOut is the filter that leaves the update out.
func (u guestUpdate) leaveOut() string {
	if u.KB == "" {
		return fmt.Sprintf(`filters = ["exclude:$_.Title -eq '%s'", "include:$true"]`, strings.ReplaceAll(u.Title, "'", "''"))
	}
	return fmt.Sprintf(`filters = ["exclude:$_.KBArticleIDs -contains '%s'", "include:$true"]`, strings.TrimPrefix(u.KB, "KB"))
}

var _ Runner = (*WindowsUpdate)(nil)

// Run installs updates in rounds, each a detached script with a name of its own, until none is left. A step that begins again follows
// the round or restart it was in.
func (p *WindowsUpdate) Run(ctx context.Context, e *Env) error {
	st := updateState{}
	if e.Load != nil {
		if _, err := e.Load(&st); err != nil {
			return fmt.Errorf("cannot install updates: %w", err)
		}
	}
	for {
		if st.Restart {
			if err := p.reboot(ctx, e, &st); err != nil {
				return err
			}
		}
		done, err := p.round(ctx, e, &st)
		if err != nil || done {
			return err
		}
		st.Round++
		if err := st.save(e); err != nil {
			return err
		}
	}
}

func (st *updateState) save(e *Env) error {
	if e.Save == nil {
		return nil
	}
	if err := e.Save(st); err != nil {
		return fmt.Errorf("cannot install updates: %w", err)
	}
	return nil
}

// reboot restarts the guest once, however often it is called.
func (p *WindowsUpdate) reboot(ctx context.Context, e *Env, st *updateState) error {
	limit := cmp.Or(p.RestartTimeout, updateRestart)
	late := fmt.Sprintf("the guest was not back after %s; raise restart_timeout if it is still at work on its updates", limit)
	if err := restartGuest(ctx, e, limit, late, &st.Before, func() error { return st.save(e) }); err != nil {
		return err
	}
	st.Restart, st.Before = false, time.Time{}
	return st.save(e)
}

// round searches, downloads and installs once; done says that nothing is left.
func (p *WindowsUpdate) round(ctx context.Context, e *Env, st *updateState) (done bool, err error) {
	filters := p.Filters
	if len(filters) == 0 {
		filters = []string{updateFilter}
	}
	text, err := guestProgram("windows-update", struct {
		Criteria string   `json:"criteria"`
		Filters  []string `json:"filters"`
		Limit    int      `json:"limit"`
	}{cmp.Or(p.SearchCriteria, updateCriteria), filters, cmp.Or(p.UpdateLimit, updateLimit)})
	if err != nil {
		return false, err
	}
	now := newUpdateRound(st)
	id := fmt.Sprintf("%s-update%d", e.StepID, st.Round+1)
	var heard atomic.Int64
	heard.Store(e.Clock.Now().UnixNano())
	quiet, stop := context.WithCancelCause(ctx)
	defer stop(context.Canceled)
	go watchSilence(quiet, e.Clock, &heard, func() { stop(fmt.Errorf("%s has said nothing for %s", now.doing(), updateSilence)) })
	code, err := e.Comm.Run(quiet, communicator.Script{ID: id, Shell: "powershell", Text: text, User: cmp.Or(p.Username, updateUser), Secret: p.Password.Reveal()}, func(stream, line string) {
		heard.Store(e.Clock.Now().UnixNano())
		var u guestUpdate
		if stream == "stdout" && event("update", line, &u) {
			now.hear(e, u)
			return
		}
		now.complain(stream, line)
		if e.Output != nil {
			e.Output(stream, line)
		}
	})
	switch {
	case errors.Is(err, communicator.ErrLost):
		// Something restarted the guest while it worked; what it had done is done.
		e.progress("the guest restarted by itself; looking again")
		if _, err := e.Comm.Ready(ctx); err != nil {
			return false, fmt.Errorf("cannot install updates: %w", err)
		}
		return false, now.end(st, p, false)
	case err != nil && ctx.Err() == nil && quiet.Err() != nil:
		return false, fmt.Errorf("cannot install updates: %w; leave that update out with a filter, or give the machine a larger vm_size", context.Cause(quiet))
	case err != nil:
		return false, fmt.Errorf("cannot install updates: %w", err)
	}
	switch code {
	case updateDone:
		return true, nil
	case updateReboot, updateAgain:
		// After a failure the guest is restarted before the next try, as that is what helps most often.
		return false, now.end(st, p, code == updateReboot || len(now.failed) > 0)
	case updateStopped:
		return false, now.stopped(p)
	}
	return false, fmt.Errorf("cannot install updates: the guest program exited with code %d: %s", code, strings.Join(now.last, "\n"))
}

// watchSilence calls over when nothing was heard for too long.
func watchSilence(ctx context.Context, clock communicator.Clock, heard *atomic.Int64, over func()) {
	for {
		left := updateSilence - clock.Now().Sub(time.Unix(0, heard.Load()))
		if left <= 0 {
			over()
			return
		}
		if clock.Sleep(ctx, left) != nil {
			return
		}
	}
}

// updateRound is what one round tells.
type updateRound struct {
	first   map[string]bool // updates that had been installed or had failed before
	current atomic.Pointer[guestUpdate]
	wanted  int
	tried   int
	fresh   bool // something was installed, or failed, that had not before
	got     []guestUpdate
	failed  []guestUpdate
	why     string
	trouble *guestUpdate
	last    []string
	skipped map[string]bool
}

func newUpdateRound(st *updateState) *updateRound {
	r := &updateRound{first: map[string]bool{}, skipped: map[string]bool{}}
	for id := range st.Installed {
		r.first[id] = true
	}
	for id := range st.Skipped {
		r.skipped[id] = true
	}
	return r
}

// doing says what the guest is at, for an error.
func (r *updateRound) doing() string {
	u := r.current.Load()
	switch {
	case u == nil || u.Event == "search":
		return "the search for updates"
	case u.Event == "downloading":
		return "the download of " + u.name()
	case u.Event == "installing":
		return "the installation of " + u.name()
	}
	return "Windows Update"
}

// hear takes in one event and tells it on.
func (r *updateRound) hear(e *Env, u guestUpdate) {
	r.current.Store(&u)
	say := func(format string, args ...any) {
		if e.Output != nil {
			e.Output("stdout", fmt.Sprintf(format, args...))
		}
	}
	switch u.Event {
	case "search":
		e.progress("searching for updates")
		r.wanted, r.tried = 0, 0
	case "found":
		r.wanted++
		say("found %s, %s", u, u.size())
		if u.Input {
			say("%s may ask somebody something; if it never ends, leave it out: %s", cmp.Or(u.KB, "it"), u.leaveOut())
		}
	case "skipped":
		if !r.skipped[u.ID] {
			say("left out by the filters: %s", u)
		}
		r.skipped[u.ID] = true
	case "downloading":
		r.tried++
		e.progress("downloading %s (%d of %d), %s", cmp.Or(u.KB, u.Title), r.tried, r.wanted, u.size())
	case "downloaded":
		e.progress("downloaded %s", cmp.Or(u.KB, u.Title))
	case "installing":
		e.progress("installing %s (%d of %d)", cmp.Or(u.KB, u.Title), max(r.tried, 1), r.wanted)
	case "installed":
		r.got = append(r.got, u)
		if !r.first[u.ID] {
			r.fresh = true
		}
		after := ""
		if u.Restart {
			after = "; it wants a restart"
		}
		say("installed %s%s", u, after)
	case "failed":
		r.failed = append(r.failed, u)
		text, _ := codeText(u.Code)
		say("%s of %s failed: %s", u.Phase, u.name(), text)
	case "restart":
		r.why = u.Why
		say("a restart is needed: %s", u.Why)
	case "error":
		r.trouble = &u
	}
}

func (r *updateRound) complain(stream, line string) {
	if stream != "stderr" || strings.TrimSpace(line) == "" {
		return
	}
	if r.last = append(r.last, line); len(r.last) > tail {
		r.last = r.last[1:]
	}
}

// end counts what a round brought, and refuses to go on when it leads nowhere.
func (r *updateRound) end(st *updateState, p *WindowsUpdate, restart bool) error {
	if st.Installed == nil {
		st.Installed, st.Failed = map[string]int{}, map[string]int{}
	}
	if len(r.skipped) > 0 {
		st.Skipped = maps.Clone(r.skipped)
	}
	for _, u := range r.got {
		st.Installed[u.ID]++
		delete(st.Failed, u.ID)
	}
	var hopeless []error
	for _, u := range r.failed {
		st.Failed[u.ID]++
		if n := st.Failed[u.ID]; n > cmp.Or(p.UpdateMaxRetries, updateMaxRetries) {
			text, remedy := codeText(u.Code)
			hopeless = append(hopeless, fmt.Errorf("cannot %s %s: %s; it was tried %d times; %s; to leave it out: %s", u.Phase, u.name(), text, n, remedy, u.leaveOut()))
		}
	}
	if len(hopeless) > 0 {
		return errors.Join(hopeless...)
	}
	st.Idle++
	if r.fresh || len(r.failed) > 0 {
		st.Idle = 0
	}
	if st.Idle >= updateIdle {
		if i := slices.IndexFunc(r.got, func(u guestUpdate) bool { return st.Installed[u.ID] > updateIdle }); i >= 0 {
			u := r.got[i]
			return fmt.Errorf("cannot install %s: it is offered again each time it has been installed; leave it out: %s", u.name(), u.leaveOut())
		}
		return fmt.Errorf("cannot install updates: after %d restarts in a row the guest still wants one (%s) and installs nothing more; look at HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing and C:\\Windows\\Logs\\CBS\\CBS.log for what does not come to an end",
			st.Idle, cmp.Or(r.why, "no reason given"))
	}
	st.Restart = restart
	return nil
}

// stopped is the error of a round that could not even try.
func (r *updateRound) stopped(p *WindowsUpdate) error {
	u := r.trouble
	switch {
	case u == nil:
		return fmt.Errorf("cannot install updates: the guest program failed: %s", cmp.Or(strings.Join(r.last, "\n"), "it gave no reason"))
	case u.Phase == "filter":
		return fmt.Errorf("cannot filter updates: %s; a filter is a PowerShell expression over an IUpdate, such as \"exclude:$_.Title -like '*Preview*'\"", u.Text)
	case u.Phase == "read":
		return fmt.Errorf("cannot install updates: %s: a known fault of Windows 11 with the optional update of June 2024; build from a newer version of the source image", u.Text)
	}
	text, remedy := codeText(u.Code)
	if normalCode(u.Code) == "0x80240032" {
		text += ": " + strconv.Quote(p.SearchCriteria)
	}
	return fmt.Errorf("cannot search for updates: %s; %s", text, remedy)
}
