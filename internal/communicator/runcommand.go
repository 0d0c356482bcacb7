package communicator

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// RunScript is what a run command runs. Its text is shown to everybody who may read the machine; Protected to nobody.
type RunScript struct {
	Name      string
	Text      string
	Protected map[string]string
	OutputURL string // append blobs that what it prints goes to
	ErrorURL  string
	Timeout   time.Duration
}

// RunState is how far a run command is.
type RunState struct {
	Execution string // Pending, Running, Succeeded, Failed, TimedOut, Canceled, Unknown
	Failed    bool   // the platform could not run it
	ExitCode  int
	Output    string // the ends of both streams
	Error     string
	Message   string
	Start     time.Time // by the guest's clock; zero before it has begun
}

func (s RunState) over() bool {
	switch s.Execution {
	case "Succeeded", "Failed", "TimedOut", "Canceled":
		return true
	}
	return s.Failed
}

// Commands runs scripts in the one machine without a way into it: managed run commands.
type Commands interface {
	// Begin asks for a run command and does not wait for it. Errors that will not pass are ErrNoCommands.
	Begin(ctx context.Context, s RunScript) error
	// State looks one up; false: there is none of that name.
	State(ctx context.Context, name string) (RunState, bool, error)
	// End deletes one, and does not wait for it.
	End(ctx context.Context, name string) error
}

// Store is a place that the guest reaches too, for files and for what scripts print.
type Store interface {
	Put(ctx context.Context, name string, r io.Reader) error
	// ReadFrom reads on from an offset; nothing: there is nothing more yet.
	ReadFrom(ctx context.Context, name string, offset int64) ([]byte, error)
	Delete(ctx context.Context, name string) error
	// Link is an address for the guest, a secret, good for d: to read one thing, or to write it.
	Link(name string, write bool, d time.Duration) (string, error)
}

// ErrNoCommands: the machine cannot be told to run commands, and that will not pass.
var ErrNoCommands = errors.New("cannot run commands in the machine")

// RunCommandConfig is how to reach a guest through run commands.
type RunCommandConfig struct {
	Commands Commands
	Store    Store
	Clock    Clock
	Dir      string // the guest's folder for this build
}

const (
	// commandLife bounds a script and the addresses that its output goes to: Microsoft suggests 24 hours for those.
	commandLife = 24 * time.Hour
	payloadLife = time.Hour     // for the guest to fetch a script
	fileLife    = 6 * time.Hour // for a file to be carried
	// commandQuiet is how long a script may say nothing until the guest is asked whether it still runs; doubled each time.
	commandQuiet    = 2 * time.Minute
	commandQuietMax = 30 * time.Minute
	// commandShort is how long a program of ours that takes seconds may run until it counts as lost: a guest that restarts takes the
	// handler with it, which never tells (github.com/Azure/run-command-handler-linux, internal/cmds/cmds.go: "will not run again").
	commandShort = time.Minute
	commandFirst = 100 * time.Millisecond
	commandLong  = 5 * time.Second
	// keptCommands is how many run commands that are over stay: each deletion is work for the machine's agent.
	keptCommands = 10
)

// runCommand is what guests of both systems have in common.
type runCommand struct {
	c RunCommandConfig

	mu   sync.Mutex
	over []string
}

func newRunCommand(c RunCommandConfig) (*runCommand, error) {
	if c.Commands == nil || c.Store == nil || c.Clock == nil || c.Dir == "" {
		return nil, errors.New("cannot use run commands without a machine, a store, a clock and a folder")
	}
	return &runCommand{c: c}, nil
}

// Close does nothing: there is no connection.
func (r *runCommand) Close() error { return nil }

func nonce() string {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // never fails: crypto/rand
	return hex.EncodeToString(b[:])
}

// job is the protected parameter: one word without a character that any shell would read.
func job(url, key string) (map[string]string, error) {
	raw, err := json.Marshal(map[string]string{"url": url, "key": key})
	if err != nil {
		return nil, err
	}
	return map[string]string{"ingot": base64.RawURLEncoding.EncodeToString(raw)}, nil
}

// readJob undoes job.
func readJob(protected map[string]string) (url, key string, err error) {
	var j struct{ URL, Key string }
	raw, err := base64.RawURLEncoding.DecodeString(protected["ingot"])
	if err == nil {
		err = json.Unmarshal(raw, &j)
	}
	return j.URL, j.Key, err
}

// give leaves something for the guest, encrypted with a key that only the protected parameter holds.
func (r *runCommand) give(ctx context.Context, name string, from io.Reader, life time.Duration) (map[string]string, error) {
	var key [32]byte
	var iv [16]byte
	rand.Read(key[:]) //nolint:errcheck // never fails: crypto/rand
	rand.Read(iv[:])  //nolint:errcheck // as above
	c, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	if err := r.c.Store.Put(ctx, name, io.MultiReader(bytes.NewReader(iv[:]), &encrypting{from: from, mode: cipher.NewCBCEncrypter(c, iv[:])})); err != nil {
		return nil, err
	}
	url, err := r.c.Store.Link(name, false, life)
	if err != nil {
		return nil, err
	}
	return job(url, base64.StdEncoding.EncodeToString(key[:]))
}

// encrypting is a reader of what another reader gives, in CBC with the padding of PKCS #7, which every Windows and openssl can undo.
type encrypting struct {
	from io.Reader
	mode cipher.BlockMode
	out  []byte
	end  bool
}

func (e *encrypting) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		if e.end {
			return 0, io.EOF
		}
		buf := make([]byte, 1<<20)
		n, err := io.ReadFull(e.from, buf)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			pad := 16 - n%16
			buf = append(buf[:n], bytes.Repeat([]byte{byte(pad)}, pad)...)
			e.end = true
		case err != nil:
			return 0, err
		}
		e.mode.CryptBlocks(buf, buf)
		e.out = buf
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

// begin starts a run command that prints to blobs of its own.
func (r *runCommand) begin(ctx context.Context, name, text string, protected map[string]string) error {
	s := RunScript{Name: name, Text: text, Protected: protected, Timeout: commandLife}
	var err error
	if s.OutputURL, err = r.c.Store.Link(name+".out", true, commandLife); err != nil {
		return err
	}
	if s.ErrorURL, err = r.c.Store.Link(name+".err", true, commandLife); err != nil {
		return err
	}
	return r.c.Commands.Begin(ctx, s)
}

// permanent reports an error that does not pass.
func permanent(err error) bool {
	return errors.Is(err, ErrNoCommands) || errors.Is(err, errRefused)
}

// reader reads a blob as it grows.
type reader struct {
	store Store
	name  string
	at    int64
}

// next passes on what is new; it reports whether anything was.
func (b *reader) next(ctx context.Context, to func([]byte)) (some bool, err error) {
	for {
		raw, err := b.store.ReadFrom(ctx, b.name, b.at)
		if err != nil || len(raw) == 0 {
			return some, err
		}
		b.at += int64(len(raw))
		some = true
		to(raw)
	}
}

var (
	errQuiet = errors.New("the run command has said nothing for a while")
	errStuck = errors.New("the guest does not tell how the run command ended")
)

// follow passes on what a run command prints until it is over. quiet may end it earlier; it is asked between two looks, with how long
// nothing has been said.
func (r *runCommand) follow(ctx context.Context, name string, out, errs func([]byte), quiet func(s RunState, silence time.Duration) error) (RunState, error) {
	streams := []*reader{{store: r.c.Store, name: name + ".out"}, {store: r.c.Store, name: name + ".err"}}
	to := []func([]byte){out, errs}
	last, lost := r.c.Clock.Now(), 0
	for wait := commandFirst; ; wait = min(wait*3/2, commandLong) {
		s, found, err := r.c.Commands.State(ctx, name)
		if err == nil && !found {
			return s, fmt.Errorf("run command %s is gone: somebody deleted it", name)
		}
		// The state is read before the streams, so that nothing printed in between is missed: the handler writes its last output to
		// the blobs before it reports the end.
		for i, b := range streams {
			if err != nil {
				break
			}
			var some bool
			if some, err = b.next(ctx, to[i]); some {
				last, wait = r.c.Clock.Now(), commandFirst
			}
		}
		switch {
		case ctx.Err() != nil:
			return s, context.Cause(ctx)
		case err != nil && (permanent(err) || lost >= 20):
			return s, err
		case err != nil:
			lost++
		case s.over():
			// Blobs that could not be written leave the ends.
			if streams[0].at == 0 {
				out([]byte(s.Output))
			}
			if streams[1].at == 0 {
				errs([]byte(s.Error))
			}
			return s, nil
		default:
			lost = 0
			if err := quiet(s, r.c.Clock.Now().Sub(last)); err != nil {
				return s, err
			}
		}
		if err := r.c.Clock.Sleep(ctx, wait); err != nil {
			return s, err
		}
	}
}

// ask runs a short program of ours and returns what it printed.
func (r *runCommand) ask(ctx context.Context, what, text string, protected map[string]string, long bool) (out, complaints string, s RunState, err error) {
	name := "ingot-" + what + "-" + nonce()
	if err := r.begin(ctx, name, text, protected); err != nil {
		return "", "", s, err
	}
	var o, e bytes.Buffer
	var began time.Time
	s, err = r.follow(ctx, name, func(b []byte) { o.Write(b) }, func(b []byte) { e.Write(b) }, func(s RunState, _ time.Duration) error {
		now := r.c.Clock.Now()
		if s.Execution != "Running" || long {
			began = now
		} else if began.IsZero() {
			began = now
		}
		if now.Sub(began) > commandShort {
			return errStuck
		}
		return nil
	})
	r.done(ctx, name)
	if err == nil && s.Failed {
		err = fmt.Errorf("Azure could not run a command in the guest: %s", s.Message) //nolint:revive,staticcheck // Azure is a name
	}
	return o.String(), strings.TrimSpace(e.String() + s.Message), s, err
}

// done removes what a run command that is over leaves; failing to is harmless, since all of it goes with the machine.
func (r *runCommand) done(ctx context.Context, name string) {
	for _, suffix := range []string{".in", ".out", ".err"} {
		r.c.Store.Delete(ctx, name+suffix) //nolint:errcheck // see above
	}
	r.mu.Lock()
	r.over = append(r.over, name)
	var old string
	if len(r.over) > keptCommands {
		old, r.over = r.over[0], r.over[1:]
	}
	r.mu.Unlock()
	if old != "" {
		r.c.Commands.End(ctx, old) //nolint:errcheck // see above
	}
}

// again repeats f until it works, or cannot.
func (r *runCommand) again(ctx context.Context, f func() error) error {
	for wait := time.Second; ; wait = min(wait*2, 15*time.Second) {
		err := f()
		if err == nil || permanent(err) {
			return err
		}
		if ctx.Err() != nil || r.c.Clock.Sleep(ctx, wait) != nil {
			return last(ctx, err)
		}
	}
}

// printedLines cuts a stream into lines.
type printedLines struct {
	rest []byte
	each func(line string)
}

func (l *printedLines) write(b []byte) {
	l.rest = append(l.rest, b...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return
		}
		l.each(strings.TrimSuffix(strings.ToValidUTF8(string(l.rest[:i]), "\ufffd"), "\r"))
		l.rest = l.rest[i+1:]
	}
}

func (l *printedLines) end() {
	if len(l.rest) > 0 {
		l.each(strings.TrimSuffix(strings.ToValidUTF8(string(l.rest), "\ufffd"), "\r"))
		l.rest = nil
	}
}
