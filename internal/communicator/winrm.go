package communicator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// WinRMConfig is how to reach a Windows guest over WinRM.
type WinRMConfig struct {
	Address        string // host:port
	User, Password string
	NTLM           bool
	Fingerprint    [32]byte // SHA-256 of the certificate the guest must show; zero with Insecure accepts any
	Insecure       bool
	// Pinned is told the certificate that the guest shows first, where Fingerprint is not known: it must stay that one. An error of its own ends
	// the connection. May be nil.
	Pinned func(sum [32]byte) error
	Dial   Dialer
	Clock  Clock
	Dir    string // the guest's folder for this build
	// AuthPatience is how long a refused password is tried again: Azure sets the account a while after the port answers.
	// Default two minutes.
	AuthPatience time.Duration
}

// winrm is a Windows guest. It keeps one shell and its connections open for everything, and opens them anew after a reboot.
type winrm struct {
	c    WinRMConfig
	wire *wire
	over *SSH // instead of wire: the same programs over another protocol

	mu     sync.Mutex // one program at a time: the steps of a build come one after the other anyway
	shell  string     // "" when there is none
	second sync.Mutex
	other  *winrm

	stale string // given up after an error: what still runs in it must end before its work is begun again
}

// NewWinRM makes a communicator; nothing is sent yet.
func NewWinRM(c WinRMConfig) (Windows, error) {
	if c.Fingerprint == [32]byte{} && !c.Insecure {
		return nil, errors.New("cannot reach a guest over WinRM without knowing its certificate")
	}
	if c.Dial == nil || c.Clock == nil || c.Dir == "" {
		return nil, errors.New("cannot reach a guest over WinRM without a dialer, a clock and a folder")
	}
	if c.AuthPatience == 0 {
		c.AuthPatience = 2 * time.Minute
	}
	return &winrm{c: c, wire: newWire(c)}, nil
}

// Calls counts the HTTP calls made so far.
func (w *winrm) Calls() int { return int(w.wire.calls.Load()) }

// Close forgets the shell and hangs up.
func (w *winrm) Close() error {
	if w.over != nil {
		return w.over.Close()
	}
	w.leave()
	w.second.Lock()
	if w.other != nil {
		w.other.leave()
	}
	w.second.Unlock()
	return nil
}

// another is a second way to the same guest, with a shell of its own: what is lost in one is not lost in the other. Windows allows 30
// shells a user (winrm/config/winrs MaxShellsPerUser).
func (w *winrm) another() *winrm {
	if w.over != nil {
		return &winrm{c: w.c, over: w.over}
	}
	return &winrm{c: w.c, wire: wireWith(w.c, w.wire.tally)}
}

// aside is the other way that is used while this one is busy.
func (w *winrm) aside() *winrm {
	w.second.Lock()
	defer w.second.Unlock()
	if w.other == nil {
		w.other = w.another()
	}
	return w.other
}

// leave gives up the shell and the connection.
func (w *winrm) leave() {
	if w.over != nil {
		return // the connection belongs to all
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range []string{w.shell, w.stale} {
		if id != "" {
			ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
			w.wire.deleteShell(ctx, id) //nolint:errcheck // an idle shell ends by itself
			stop()
		}
	}
	w.shell, w.stale = "", ""
	w.wire.transport.CloseIdleConnections()
}

// Ready waits until the guest answers: often at first, then every five seconds.
func (w *winrm) Ready(ctx context.Context) (Facts, error) {
	var refused time.Time
	for wait := 200 * time.Millisecond; ; wait = min(wait*2, 5*time.Second) {
		f, err := w.facts(ctx)
		if err == nil {
			return f, nil
		}
		if ctx.Err() != nil {
			return Facts{}, last(ctx, err)
		}
		switch {
		case errors.Is(err, ErrCertificate):
			return Facts{}, err
		case errors.Is(err, ErrAuth):
			wait = min(20*time.Second, w.c.AuthPatience+time.Millisecond) // Windows locks an account after ten refusals in ten minutes
			now := w.c.Clock.Now()
			if refused.IsZero() {
				refused = now
			} else if now.Sub(refused) > w.c.AuthPatience {
				return Facts{}, err
			}
		default:
			refused = time.Time{}
		}
		if w.c.Clock.Sleep(ctx, wait) != nil {
			return Facts{}, last(ctx, err)
		}
	}
}

// last tells why time was up, and what the guest's last answer had been.
func last(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w; last: %w", cause, err)
	}
	return err
}

// facts does not wait for a script that is followed: it asks by a way of its own then.
func (w *winrm) facts(ctx context.Context) (Facts, error) {
	if w.mu.TryLock() {
		w.mu.Unlock()
	} else {
		w = w.aside()
	}
	var f Facts
	found := false
	_, err := w.program(ctx, "facts", "facts", struct{}{}, nil, func(stream, line string, _ int) {
		if text, ok := strings.CutPrefix(line, "#ingot:facts "); ok && stream == "stdout" {
			found = json.Unmarshal([]byte(text), &f) == nil
		}
	})
	if err == nil && !found {
		err = errors.New("the guest did not say what it is")
	}
	return f, err
}

// program runs one of the guest programs. size is the line's length as the guest sent it.
func (w *winrm) program(ctx context.Context, verb, file string, args any, stdin io.Reader, out func(stream, line string, size int)) (int, error) {
	line, err := programLine(verb, file, args)
	if err != nil {
		return 0, err
	}
	return w.run(ctx, line, stdin, out)
}

// run runs a command line in the shell.
func (w *winrm) run(ctx context.Context, line string, stdin io.Reader, out func(stream, line string, size int)) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over != nil {
		return w.over.line(ctx, line, stdin, out)
	}
	fresh := w.shell == ""
	for {
		if w.shell == "" {
			if w.stale != "" {
				w.wire.deleteShell(ctx, w.stale) //nolint:errcheck // it may be gone with a reboot
				w.stale = ""
			}
			id, err := w.wire.createShell(ctx)
			if err != nil {
				return 0, err
			}
			w.shell, fresh = id, true
		}
		command, err := w.wire.execute(ctx, w.shell, line, stdin == nil)
		if err != nil {
			w.shell = ""
			// A shell of before a reboot is gone; the command has not begun, so it may be given to a new one.
			if errors.Is(err, errShellGone) && !fresh && ctx.Err() == nil {
				continue
			}
			return 0, err
		}
		code, err := w.wire.converse(ctx, w.shell, command, stdin, out)
		if err != nil {
			w.stale, w.shell = w.shell, ""
		}
		return code, err
	}
}

// Command runs a line attached; when the connection is lost nobody knows how it ended.
func (w *winrm) Command(ctx context.Context, line string, out Output) (int, error) {
	return w.run(ctx, line, nil, func(stream, text string, _ int) {
		if out != nil {
			out(stream, text)
		}
	})
}

// payload is what start reads from standard input; it may hold secrets.
type payload struct {
	Text   string            `json:"text,omitempty"`
	Path   string            `json:"path,omitempty"`
	Shell  string            `json:"shell"`
	Env    map[string]string `json:"env"`
	User   string            `json:"user,omitempty"`
	Secret string            `json:"secret,omitempty"`
	Policy string            `json:"policy,omitempty"`
}

// slice is how long one follow goes on; output comes as it is written all the same.
const slice = 600

type followArgs struct {
	ID     string `json:"id"`
	Dir    string `json:"dir"`
	Offset int64  `json:"offset"`
	Slice  int    `json:"slice"`
}

// Run starts the script detached, or finds it running, and follows its log to the end. A lost connection costs a poll.
func (w *winrm) Run(ctx context.Context, s Script, out Output) (int, error) {
	env := s.Env
	if env == nil {
		env = map[string]string{}
	}
	raw, err := json.Marshal(payload{s.Text, s.Path, s.Shell, env, s.User, s.Secret, s.Policy})
	if err != nil {
		return 0, err
	}
	stdin, err := startLines(raw)
	if err != nil {
		return 0, err
	}
	a := followArgs{ID: s.ID, Dir: w.c.Dir, Slice: slice}
	verb, file := "start", "bootstrap"
	complaints := ""
	for {
		var end string
		at := a.Offset
		var in io.Reader
		if stdin != nil {
			in = bytes.NewReader(stdin)
		}
		code, err := w.program(ctx, verb, file, a, in, func(stream, line string, size int) {
			switch {
			case stream == "stderr":
				complaints = line
			case strings.HasPrefix(line, "#ingot:"):
				end = line
			default:
				at += int64(size)
				number, text, _ := strings.Cut(line, " ")
				if out != nil {
					out(map[string]string{"1": "stdout", "2": "stderr"}[number], text)
				}
			}
		})
		a.Offset = at
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, ErrAuth) || errors.Is(err, ErrCertificate) {
				return 0, last(ctx, err)
			}
			if _, err := w.Ready(ctx); err != nil {
				return 0, err
			}
			if a.Offset > 0 {
				verb, file, stdin = "follow", "follow", nil
			}
			continue
		}
		var exit int
		var offset int64
		switch {
		case scan(end, "#ingot:exit %d %d", &exit, &offset):
			return exit, nil
		case scan(end, "#ingot:more %d", &offset):
			a.Offset = offset
			verb, file, stdin = "follow", "follow", nil
		case strings.HasPrefix(end, "#ingot:lost"):
			return 0, ErrLost
		default:
			return 0, fmt.Errorf("cannot run the script in the guest: its starter exited with code %d: %s", code, complaints)
		}
	}
}

func scan(line, format string, into ...any) bool {
	n, err := fmt.Sscanf(line, format, into...)
	return err == nil && n == len(into)
}

// Sysprep starts sysprep unless it runs.
func (w *winrm) Sysprep(ctx context.Context, modeVM bool) error {
	return w.ok(ctx, "sysprep", map[string]bool{"modeVM": modeVM})
}

// Discard removes this build's folder in the guest.
func (w *winrm) Discard(ctx context.Context) error {
	return w.ok(ctx, "discard", map[string]string{"dir": w.c.Dir})
}

// ok runs a program that may be run again, through lost connections.
func (w *winrm) ok(ctx context.Context, verb string, args any) error {
	for {
		done, complaints := false, ""
		code, err := w.program(ctx, verb, verb, args, nil, func(stream, line string, _ int) {
			done = done || line == "#ingot:ok"
			if stream == "stderr" {
				complaints = line
			}
		})
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			return fmt.Errorf("guest program %s exited with code %d: %s", verb, code, complaints)
		case ctx.Err() != nil || errors.Is(err, ErrAuth) || errors.Is(err, ErrCertificate):
			return last(ctx, err)
		}
		if _, err := w.Ready(ctx); err != nil {
			return err
		}
	}
}

// Panther returns the ends of sysprep's logs.
func (w *winrm) Panther(ctx context.Context) (string, error) {
	var b strings.Builder
	_, err := w.program(ctx, "panther", "panther", struct{}{}, nil, func(_, line string, _ int) { b.WriteString(line + "\n") })
	return b.String(), err
}
