package sim

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// runLog is customization.log or validation.log: an append blob in the staging account that grows while the run goes on. (The real
// service shows a run's log as it grows in its container, and puts it into the account when the run is over.) Its lines are of the form
// that they have since 2023 (azure-protocol.md section 6 d): the run's id, PACKER, the time, and what Packer writes, of which "ui:" is what
// it shows to people.
type runLog struct {
	w                 *Azure
	account, name, id string

	mu      sync.Mutex
	pending []byte
	part    [3]string // unfinished lines of the guest, by stream
}

func (l *runLog) line(text string) {
	now := l.w.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := range strings.Lines(text + "\n") {
		l.pending = fmt.Appendf(l.pending, "[%s] PACKER %s %s\n", l.id, now.UTC().Format("2006/01/02 15:04:05"), strings.TrimRight(one, "\r\n"))
	}
	l.send()
}

// send appends what there is; what could not be written waits for the next line. The caller holds mu.
func (l *runLog) send() {
	if len(l.pending) == 0 {
		return
	}
	if s := l.w.storage.blobs; s != nil && s.Append(l.account, "packerlogs", l.name, l.pending) == nil {
		l.pending = nil
	}
}

func (l *runLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.send()
}

// ui is a line of Packer's own output.
func (l *runLog) ui(text string) { l.line("ui: " + text) }

// say is a heading, msg what belongs to it, fail a heading of something that went wrong.
func (l *runLog) say(format string, a ...any) {
	l.line("ui: ==> azure-arm: " + fmt.Sprintf(format, a...))
}

func (l *runLog) msg(format string, a ...any) {
	l.line("ui:     azure-arm: " + fmt.Sprintf(format, a...))
}

func (l *runLog) fail(format string, a ...any) {
	l.line("ui error: ==> azure-arm: " + fmt.Sprintf(format, a...))
}

// info is a line of the log proper.
func (l *runLog) info(format string, a ...any) { l.line("[INFO] " + fmt.Sprintf(format, a...)) }

// hear takes a guest's output; what it complains of is shown as a heading, as Packer does.
func (l *runLog) hear(stream int, text string) {
	l.mu.Lock()
	all := l.part[stream] + text
	end := strings.LastIndexByte(all, '\n') + 1
	l.part[stream] = all[end:]
	l.mu.Unlock()
	l.heard(stream, all[:end])
}

func (l *runLog) heard(stream int, text string) {
	for one := range strings.Lines(text) {
		one = strings.TrimRight(one, "\r\n")
		if stream == 2 {
			l.fail("%s", one)
		} else {
			l.msg("%s", one)
		}
	}
}

// silent ends what a guest left unfinished.
func (l *runLog) silent() {
	l.mu.Lock()
	parts := l.part
	l.part = [3]string{}
	l.mu.Unlock()
	for stream, text := range parts {
		if text != "" {
			l.heard(stream, text+"\n")
		}
	}
}

func (l *runLog) begin() {
	l.say("Running builder ...")
	l.msg("Creating Azure Resource Manager (ARM) client ...")
}

// succeeded and errored are the last lines (azure-image-builder.md 2: "Builds finished but no artifacts were created." is normal).
func (l *runLog) succeeded(took time.Duration) {
	l.ui("Build 'azure-arm' finished after " + spell(took) + ".")
	l.ui("==> Builds finished but no artifacts were created.")
	l.end()
}

func (l *runLog) errored(took time.Duration, text string) {
	l.line("ui error: Build 'azure-arm' errored after " + spell(took) + ": " + text)
	l.line("ui error: ==> Some builds didn't complete successfully and had errors:")
	l.line("ui error: --> azure-arm: " + text)
	l.ui("==> Builds finished but no artifacts were created.")
	l.end()
}

func (l *runLog) end() {
	l.info("(telemetry) Finalizing.")
	l.mu.Lock()
	l.pending = fmt.Appendf(l.pending, "[%s] PACKER Done exporting Packer logs to Azure Storage.\n", l.id)
	l.mu.Unlock()
	l.flush()
}

// spell writes a duration as Packer does: "3 minutes 4 seconds".
func spell(d time.Duration) string {
	var out []string
	for _, u := range []struct {
		name string
		n    int
	}{{"hour", int(d.Hours())}, {"minute", int(d.Minutes()) % 60}, {"second", int(d.Seconds()) % 60}} {
		switch {
		case u.n == 1:
			out = append(out, "1 "+u.name)
		case u.n > 1:
			out = append(out, itoa(u.n)+" "+u.name+"s")
		}
	}
	if out == nil {
		return "less than a second"
	}
	return strings.Join(out, " ")
}
