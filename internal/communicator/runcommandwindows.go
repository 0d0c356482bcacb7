package communicator

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// runCommandWindows is a Windows guest that is reached through run commands. They run the same programs as WinRM does, as SYSTEM; a
// script runs detached from them, so that neither a restart of the agent nor its limits end it.
type runCommandWindows struct{ *runCommand }

// NewRunCommandWindows makes a communicator; nothing is sent yet.
func NewRunCommandWindows(c RunCommandConfig) (Windows, error) {
	r, err := newRunCommand(c)
	if err != nil {
		return nil, err
	}
	return &runCommandWindows{r}, nil
}

// commandText is a guest program as a run command carries it: a script file, which no command line limits. job says that it takes the
// protected parameter.
func commandText(verb string, args any, withJob bool, files ...string) (string, error) {
	var body strings.Builder
	if withJob {
		files = append([]string{"job"}, files...)
	}
	for _, f := range files {
		text, err := programText(f)
		if err != nil {
			return "", err
		}
		body.WriteString(text)
	}
	text := body.String()
	for mark, file := range map[string]string{"{{tail}}": "tail"} {
		if strings.Contains(text, mark) {
			part, err := programText(file)
			if err != nil {
				return "", err
			}
			text = strings.Replace(text, mark, part, 1)
		}
	}
	quoted, err := programArgs(args)
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(args)
	if err != nil {
		return "", fmt.Errorf("cannot write a guest program's arguments: %w", err)
	}
	return "#ingot:" + verb + "/1 " + string(plain) + "\n" + strings.Replace(text, "{{args}}", quoted, 1), nil
}

// startText is the program that starts a script and follows it.
func startText(a followArgs) (string, error) {
	head, err := commandText("start", a, true)
	if err != nil {
		return "", err
	}
	parts := map[string]string{}
	for _, f := range []string{"start", "tail", "wrapper"} {
		if parts[f], err = programText(f); err != nil {
			return "", err
		}
	}
	return head + "$wrapper = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('" + base64.StdEncoding.EncodeToString([]byte(parts["wrapper"])) + "'))\n" +
		"$lines = @((Read-Job), '', $wrapper)\n" + parts["start"] + parts["tail"], nil
}

// Ready waits until the guest's agent runs commands.
func (w *runCommandWindows) Ready(ctx context.Context) (f Facts, err error) {
	err = w.again(ctx, func() error {
		f, err = w.facts(ctx)
		return err
	})
	return f, err
}

func (w *runCommandWindows) facts(ctx context.Context) (f Facts, err error) {
	text, err := commandText("facts", struct{}{}, false, "facts")
	if err != nil {
		return f, err
	}
	out, complaints, s, err := w.ask(ctx, "facts", text, nil, false)
	if err != nil {
		return f, err
	}
	for l := range strings.Lines(out) {
		if said, ok := strings.CutPrefix(strings.TrimSpace(l), "#ingot:facts "); ok && json.Unmarshal([]byte(said), &f) == nil {
			return f, nil
		}
	}
	return f, fmt.Errorf("the guest did not say what it is: exit code %d: %s", s.ExitCode, complaints)
}

// Run starts the script detached, or finds it running, and follows its log to the end. The run command's name is made of the
// script's id: a second process finds it by that.
func (w *runCommandWindows) Run(ctx context.Context, s Script, out Output) (int, error) {
	name, a := "ingot-"+s.ID, followArgs{ID: s.ID, Dir: w.c.Dir, Slice: int(commandLife / time.Second)}
	names := []string{name}
	start := func() error {
		state, found, err := w.c.Commands.State(ctx, name)
		if err != nil || found && !state.Failed {
			return err
		}
		env := s.Env
		if env == nil {
			env = map[string]string{}
		}
		raw, err := json.Marshal(payload{s.Text, s.Path, s.Shell, env, s.User, s.Secret, s.Policy})
		if err != nil {
			return err
		}
		text, err := startText(a)
		if err != nil {
			return err
		}
		protected, err := w.give(ctx, name+".in", strings.NewReader(string(raw)), payloadLife)
		if err != nil {
			return err
		}
		return w.begin(ctx, name, text, protected)
	}
	if err := w.again(ctx, start); err != nil {
		return 0, fmt.Errorf("cannot run a script in the guest: %w", err)
	}
	defer func() {
		for _, n := range names {
			w.done(ctx, n)
		}
	}()
	seen, limit, silent, failures := 0, commandQuiet, 0, 0
	for {
		end, complaints := "", ""
		at := 0
		o := &printedLines{each: func(line string) {
			if strings.HasPrefix(line, "#ingot:") {
				end = line
				return
			}
			if at++; at > seen {
				seen = at
				number, text, _ := strings.Cut(line, " ")
				if stream := map[string]string{"1": "stdout", "2": "stderr"}[number]; stream != "" && out != nil {
					out(stream, text)
				}
			}
		}}
		e := &printedLines{each: func(line string) { complaints = line }}
		before := seen
		state, err := w.follow(ctx, names[len(names)-1], o.write, e.write, func(s RunState, silence time.Duration) error {
			if end != "" || s.Execution == "Running" && silence > limit {
				return errQuiet
			}
			return nil
		})
		if end != "" { // the program has said all; how its run command ends is of no interest
			err = nil
		}
		var exit int
		var offset int64
		switch {
		case err != nil && !errors.Is(err, errQuiet):
			return 0, fmt.Errorf("cannot follow a script in the guest: %w", err)
		case scan(end, "#ingot:exit %d %d", &exit, &offset):
			return exit, nil
		case strings.HasPrefix(end, "#ingot:lost"):
			return 0, ErrLost
		case strings.HasPrefix(end, "#ingot:none"):
			return 0, errors.New("cannot follow a script in the guest: it was never started")
		case errors.Is(err, errQuiet):
			limit = min(limit*2, commandQuietMax)
		case state.Failed && len(names) == 1 && failures < 3:
			// The platform could not carry it. The guest starts nothing twice, so it may be asked again.
			failures++
			if err := w.again(ctx, start); err != nil {
				return 0, fmt.Errorf("cannot run a script in the guest: %w", err)
			}
			continue
		case end == "" && seen == before && len(names) == 1 && state.Execution == "Failed":
			return 0, fmt.Errorf("cannot run the script in the guest: its starter exited with code %d: %s", state.ExitCode, strings.TrimSpace(complaints+" "+state.Message))
		case end == "":
			if silent++; silent > 3 {
				return 0, fmt.Errorf("cannot follow a script in the guest: run commands end as %s: %s", state.Execution, strings.TrimSpace(complaints+" "+state.Message))
			}
		}
		// Another run command reads the log from its beginning: what was lost with the first is there.
		text, err := commandText("follow", a, false, "follow")
		if err != nil {
			return 0, err
		}
		next := name + "-" + nonce()
		if err := w.again(ctx, func() error { return w.begin(ctx, next, text, nil) }); err != nil {
			return 0, fmt.Errorf("cannot follow a script in the guest: %w", err)
		}
		names = append(names, next)
	}
}

// errRestarted: the guest restarted under a command line, so that nobody knows how it ended.
var errRestarted = errors.New("the guest restarted while a command ran")

// Command runs a line of cmd.exe. When the guest restarts under it nobody knows how it ended.
func (w *runCommandWindows) Command(ctx context.Context, line string, out Output) (int, error) {
	text, err := commandText("command", struct{}{}, true, "command")
	if err != nil {
		return 0, err
	}
	name := "ingot-command-" + nonce()
	if err := w.again(ctx, func() error {
		protected, err := w.give(ctx, name+".in", strings.NewReader(line), payloadLife)
		if err != nil {
			return err
		}
		return w.begin(ctx, name, text, protected)
	}); err != nil {
		return 0, err
	}
	defer w.done(ctx, name)
	to := func(stream string) *printedLines {
		return &printedLines{each: func(l string) {
			if out != nil {
				out(stream, l)
			}
		}}
	}
	o, e := to("stdout"), to("stderr")
	next := 20 * time.Second
	s, err := w.follow(ctx, name, o.write, e.write, func(s RunState, silence time.Duration) error {
		if s.Execution != "Running" || s.Start.IsZero() || silence < next {
			return nil
		}
		next *= 2
		f, err := w.Ready(ctx)
		if err == nil && f.Boot.After(s.Start.Add(2*time.Second)) {
			err = errRestarted
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	o.end()
	e.end()
	if s.Failed || s.Execution != "Succeeded" && s.Execution != "Failed" {
		return 0, fmt.Errorf("cannot run a command in the guest: %s: %s", s.Execution, s.Message)
	}
	return s.ExitCode, nil
}

// Upload leaves the file in the store, from where the guest fetches it and checks it.
func (w *runCommandWindows) Upload(ctx context.Context, path string, r io.ReaderAt, size int64) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return fmt.Errorf("cannot read what is to be uploaded: %w", err)
	}
	text, err := commandText("get", receiveArgs{Path: path, Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}, true, "get")
	if err != nil {
		return err
	}
	name := "file-" + nonce()
	defer w.c.Store.Delete(ctx, name) //nolint:errcheck // it goes with the account
	mismatches := 0
	err = w.again(ctx, func() error {
		protected, err := w.give(ctx, name, io.NewSectionReader(r, 0, size), fileLife)
		if err != nil {
			return err
		}
		out, complaints, s, err := w.ask(ctx, "get", text, protected, true)
		var got int64
		var sum string
		switch {
		case err != nil:
			return err
		case scan(strings.TrimSpace(out), "#ingot:received %d %s", &got, &sum):
			return nil
		case strings.HasPrefix(out, "#ingot:mismatch") && mismatches < 2:
			mismatches++
			return errors.New("it arrives damaged")
		}
		return fmt.Errorf("%w: the guest's receiver exited with code %d: %s", errRefused, s.ExitCode, complaints)
	})
	if err != nil {
		return fmt.Errorf("cannot upload %s: %w", path, err)
	}
	return nil
}

// errRefused: the guest's program said no, and would say so again.
var errRefused = errors.New("the guest cannot do it")

// Download lets the guest leave the file in the store.
func (w *runCommandWindows) Download(ctx context.Context, path string, to io.Writer) error {
	text, err := commandText("put", map[string]string{"path": path}, true, "put")
	if err != nil {
		return err
	}
	name := "file-" + nonce()
	defer w.c.Store.Delete(ctx, name) //nolint:errcheck // it goes with the account
	url, err := w.c.Store.Link(name, true, fileLife)
	if err != nil {
		return err
	}
	protected, err := job(url, "")
	if err != nil {
		return err
	}
	var size int64
	var sum string
	err = w.again(ctx, func() error {
		out, complaints, s, err := w.ask(ctx, "put", text, protected, true)
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(out, "#ingot:missing"):
			return fmt.Errorf("%w: the guest has no such file", errRefused)
		case scan(strings.TrimSpace(out), "#ingot:sent %d %s", &size, &sum):
			return nil
		}
		return fmt.Errorf("%w: exit code %d: %s", errRefused, s.ExitCode, complaints)
	})
	if err == nil {
		err = w.take(ctx, name, size, sum, to)
	}
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", path, err)
	}
	return nil
}

// take reads what the guest has left, and checks it.
func (r *runCommand) take(ctx context.Context, name string, size int64, sum string, to io.Writer) error {
	h := sha256.New()
	b := &reader{store: r.c.Store, name: name}
	var failed error
	if _, err := b.next(ctx, func(raw []byte) {
		h.Write(raw) //nolint:errcheck // a hash does not fail
		if _, err := to.Write(raw); err != nil && failed == nil {
			failed = err
		}
	}); err != nil {
		return err
	}
	switch {
	case failed != nil:
		return failed
	case b.at != size || sum != hex.EncodeToString(h.Sum(nil)):
		return errors.New("it arrived damaged")
	}
	return nil
}

// Sysprep starts sysprep unless it runs.
func (w *runCommandWindows) Sysprep(ctx context.Context, modeVM bool) error {
	return w.ok(ctx, "sysprep", map[string]bool{"modeVM": modeVM})
}

// Discard removes this build's folder in the guest.
func (w *runCommandWindows) Discard(ctx context.Context) error {
	return w.ok(ctx, "discard", map[string]string{"dir": w.c.Dir})
}

// ok runs a program that may be run again.
func (w *runCommandWindows) ok(ctx context.Context, verb string, args any) error {
	text, err := commandText(verb, args, false, verb)
	if err != nil {
		return err
	}
	return w.again(ctx, func() error {
		out, complaints, s, err := w.ask(ctx, verb, text, nil, false)
		if err == nil && !strings.Contains(out, "#ingot:ok") {
			err = fmt.Errorf("%w: guest program %s exited with code %d: %s", errRefused, verb, s.ExitCode, complaints)
		}
		return err
	})
}

// Panther returns the ends of sysprep's logs, as much of them as a run command brings.
func (w *runCommandWindows) Panther(ctx context.Context) (string, error) {
	text, err := commandText("panther", struct{}{}, false, "panther")
	if err != nil {
		return "", err
	}
	out, _, _, err := w.ask(ctx, "panther", text, nil, false)
	return out, err
}
