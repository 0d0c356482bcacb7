package communicator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// runCommandLinux is a Linux guest that is reached through run commands. They run the same programs of sh as SSH does, as root; a script
// runs detached from them.
type runCommandLinux struct{ *runCommand }

var _ Linux = (*runCommandLinux)(nil)

// NewRunCommandLinux makes a communicator; nothing is sent yet.
func NewRunCommandLinux(c RunCommandConfig) (Linux, error) {
	if strings.ContainsAny(c.Dir, "'\n") {
		return nil, fmt.Errorf("cannot use %q as the folder for scripts in the guest", c.Dir)
	}
	r, err := newRunCommand(c)
	if err != nil {
		return nil, err
	}
	return &runCommandLinux{r}, nil
}

// linuxFetch begins every run command: fetch NAME makes a file of what was left for the guest. Protected parameters are variables of the
// environment ("Named Parameters and its values are set to environment config": run-command-managed for Linux). The machine's agent is
// written in Python and calls openssl for its own secrets, so that both are there wherever run commands are.
const linuxFetch = `#!/bin/sh
url=$ingot_url; key=$ingot_key
unset ingot_url ingot_key
umask 077
d=$(mktemp -d /run/ingot.XXXXXX 2>/dev/null || mktemp -d) || exit 80
trap 'rm -rf "$d"' EXIT
fetch() {
	for try in 1 2 3 4 5; do
		if command -v python3 >/dev/null; then
			url=$url python3 -c 'import os, shutil, sys, urllib.request
with urllib.request.urlopen(os.environ["url"], timeout=300) as a, open(sys.argv[1], "wb") as f: shutil.copyfileobj(a, f)' "$d/in"
		elif command -v curl >/dev/null; then printf 'url = "%s"\n' "$url" | curl -fsS -o "$d/in" -K -
		else printf '%s\n' "$url" | wget -q -O "$d/in" -i -
		fi && break
		[ $try = 5 ] && { echo "cannot fetch from the storage account" >&2; return 81; }
		sleep $((try * 2))
	done
	iv=$(head -c 16 "$d/in" | od -An -v -tx1 | tr -d ' \n')
	tail -c +17 "$d/in" | openssl enc -d -aes-256-cbc -K "$key" -iv "$iv" >"$1" || { echo "cannot decrypt what was fetched" >&2; return 82; }
	rm -f "$d/in"
}
`

// linuxRun runs a program that was left for the guest. Its output is this one's.
const linuxRun = linuxFetch + `fetch "$d/program" || exit
umask 022
cd /
sh "$d/program" </dev/null
`

// linuxGet, after linuxFetch, makes a file of what was left for the guest, checks it and gives it its name.
const linuxGet = `p=%[1]s; n=%[2]s; want=%[3]s
if [ -d "$n" ]; then echo "it is a folder in the guest; end the destination with / to put the file into it" >&2; exit 1; fi
umask 022; mkdir -p -- "$(dirname -- "$n")" || exit; umask 077
fetch "$p" || exit
set -- $(sha256sum <"$p")
if [ "$1" != "$want" ]; then rm -f -- "$p"; echo "#ingot:mismatch"; exit 1; fi
chmod %[4]s -- "$p" && mv -f -- "$p" "$n" && echo "#ingot:received"
`

// linuxPut leaves a file in the store.
const linuxPut = `#!/bin/sh
url=$ingot_url; n=%s
unset ingot_url ingot_key
[ -f "$n" ] || { echo "#ingot:missing"; exit 1; }
for try in 1 2 3 4 5; do
	if command -v python3 >/dev/null; then
		url=$url python3 -c 'import os, sys, urllib.request
with open(sys.argv[1], "rb") as f:
    q = urllib.request.Request(os.environ["url"], data=f, method="PUT", headers={"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream", "Content-Length": str(os.fstat(f.fileno()).st_size)})
    urllib.request.urlopen(q, timeout=3600).close()' "$n"
	else printf 'url = "%%s"\n' "$url" | curl -fsS -X PUT -H 'x-ms-blob-type: BlockBlob' -T "$n" -K -
	fi && break
	[ $try = 5 ] && { echo "cannot leave it in the storage account" >&2; exit 83; }
	sleep $((try * 2))
done
set -- $(sha256sum <"$n")
echo "#ingot:sent $(stat -c %%s "$n") $1"
`

// linuxJob is what protected parameters hold for sh.
func linuxJob(protected map[string]string) (map[string]string, error) {
	url, key, err := readJob(protected)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	return map[string]string{"ingot_url": url, "ingot_key": hex.EncodeToString(raw)}, err
}

// send leaves a program for the guest and begins a run command that runs it.
func (l *runCommandLinux) send(ctx context.Context, name, program string) error {
	given, err := l.give(ctx, name+".in", strings.NewReader(program), payloadLife)
	if err != nil {
		return err
	}
	protected, err := linuxJob(given)
	if err != nil {
		return err
	}
	return l.begin(ctx, name, linuxRun, protected)
}

// Ready waits until the guest's agent runs commands.
func (l *runCommandLinux) Ready(ctx context.Context) (f Facts, err error) {
	err = l.again(ctx, func() error {
		f, err = l.facts(ctx)
		return err
	})
	return f, err
}

func (l *runCommandLinux) facts(ctx context.Context) (Facts, error) {
	out, complaints, s, err := l.ask(ctx, "facts", "#!/bin/sh\n"+factsProgram, nil, false)
	if err != nil {
		return Facts{}, err
	}
	said := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if len(said) != 4 {
		return Facts{}, fmt.Errorf("the guest did not say what it is: exit code %d: %s", s.ExitCode, complaints)
	}
	seconds, err := strconv.ParseInt(said[2], 10, 64)
	if err != nil {
		return Facts{}, fmt.Errorf("cannot read when the guest started: %w", err)
	}
	return Facts{Computer: said[0], OS: said[1], Boot: time.Unix(seconds, 0), Deprovisioned: said[3] == "gone"}, nil
}

// Run starts the script detached, or finds it running, and follows what it prints to the end.
func (l *runCommandLinux) Run(ctx context.Context, x Script, out Output) (int, error) {
	name, folder := "ingot-"+x.ID, l.c.Dir+"/"+x.ID
	names := []string{name}
	streams := map[byte]*printed{'O': {name: "stdout", out: out}, 'E': {name: "stderr", out: out}}
	process := ""
	follow := func() string {
		return fmt.Sprintf(followProgram, quote(folder), streams['O'].at, streams['E'].at, quote(process))
	}
	begin := func() error {
		state, found, err := l.c.Commands.State(ctx, name)
		if err != nil || found && !state.Failed {
			return err
		}
		// What a script needs to start is the same over any way; only the account is another.
		start, err := (&SSH{c: SSHConfig{User: "root", Dir: l.c.Dir}}).startOf(x)
		if err != nil {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		return l.send(ctx, name, "(\n"+start+") || exit\n"+follow())
	}
	if err := l.again(ctx, begin); err != nil {
		return 0, fmt.Errorf("cannot run a script in the guest: %w", err)
	}
	defer func() {
		for _, n := range names {
			l.done(ctx, n)
		}
	}()
	limit, silent, failures := commandQuiet, 0, 0
	for {
		p := &pieces{streams: streams}
		if streams['O'].at+streams['E'].at == 0 || len(names) > 1 {
			p.process = &process
		}
		var complaints bytes.Buffer
		before := streams['O'].at + streams['E'].at
		state, err := l.follow(ctx, names[len(names)-1], p.write, func(b []byte) { complaints.Write(b) }, func(s RunState, silence time.Duration) error {
			if p.end != "" || s.Execution == "Running" && silence > limit {
				return errQuiet
			}
			return nil
		})
		if p.end != "" {
			err = nil
		}
		word, value, _ := strings.Cut(p.end, " ")
		if word != "" {
			streams['O'].end()
			streams['E'].end()
		}
		switch {
		case err != nil && !errors.Is(err, errQuiet):
			return 0, fmt.Errorf("cannot follow a script in the guest: %w", err)
		case word == "X":
			code, err := strconv.Atoi(value)
			if err != nil {
				return 0, fmt.Errorf("cannot read a script's exit code: %q", value)
			}
			return code, nil
		case word == "L" || word == "N":
			return 0, ErrLost
		case word != "":
			return 0, fmt.Errorf("cannot follow a script: the guest answers %q", p.end)
		case errors.Is(err, errQuiet):
			limit = min(limit*2, commandQuietMax)
		case state.Failed && len(names) == 1 && failures < 3:
			// The platform could not carry it. The guest starts nothing twice, so it may be asked again.
			failures++
			if err := l.again(ctx, begin); err != nil {
				return 0, fmt.Errorf("cannot run a script in the guest: %w", err)
			}
			continue
		case len(names) == 1 && state.Execution == "Failed" && before == streams['O'].at+streams['E'].at:
			return 0, fmt.Errorf("cannot start a script in the guest: exit code %d: %s", state.ExitCode, strings.TrimSpace(complaints.String()+state.Message))
		default:
			if silent++; silent > 3 {
				return 0, fmt.Errorf("cannot follow a script in the guest: run commands end as %s: %s", state.Execution, strings.TrimSpace(complaints.String()+state.Message))
			}
		}
		next := name + "-" + nonce()
		if err := l.again(ctx, func() error { return l.send(ctx, next, follow()) }); err != nil {
			return 0, fmt.Errorf("cannot follow a script in the guest: %w", err)
		}
		names = append(names, next)
	}
}

// pieces reads what followProgram prints: pieces of the two streams, each with its length before it, and the end.
type pieces struct {
	streams map[byte]*printed
	process *string
	head    []byte
	left    int64
	to      *printed
	end     string
}

func (p *pieces) write(b []byte) {
	for len(b) > 0 && p.end == "" {
		if p.left > 0 {
			n := min(p.left, int64(len(b)))
			p.to.write(b[:n])
			b, p.left = b[n:], p.left-n
			continue
		}
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			p.head = append(p.head, b...)
			return
		}
		head := string(append(p.head, b[:i]...))
		b, p.head = b[i+1:], nil
		word, value, _ := strings.Cut(strings.TrimSpace(head), " ")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case (word == "O" || word == "E") && err == nil:
			p.to, p.left = p.streams[word[0]], n
		case word == "P":
			if p.process != nil {
				*p.process = value
			}
		default:
			p.end = strings.TrimSpace(head)
		}
	}
}

// Command runs one command line of sh, as root. When the guest restarts under it nobody knows how it ended.
func (l *runCommandLinux) Command(ctx context.Context, line string, out Output) (int, error) {
	name := "ingot-command-" + nonce()
	if err := l.again(ctx, func() error { return l.send(ctx, name, line+"\n") }); err != nil {
		return 0, err
	}
	defer l.done(ctx, name)
	o, e := &printed{name: "stdout", out: out}, &printed{name: "stderr", out: out}
	next := 20 * time.Second
	s, err := l.follow(ctx, name, o.write, e.write, func(s RunState, silence time.Duration) error {
		if s.Execution != "Running" || s.Start.IsZero() || silence < next {
			return nil
		}
		next *= 2
		f, err := l.Ready(ctx)
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

// Upload leaves the file in the store, from where the guest fetches it and checks it. A file of this computer keeps its permissions.
func (l *runCommandLinux) Upload(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	if name == "" || strings.HasSuffix(name, "/") {
		return fmt.Errorf("cannot upload to %q: it names a folder, not a file", name)
	}
	name = rootHome(name)
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return fmt.Errorf("cannot read what is to be uploaded: %w", err)
	}
	mode := fs.FileMode(0o644)
	if f, ok := r.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if info, err := f.Stat(); err == nil {
			mode = info.Mode().Perm()
		}
	}
	mark := sha256.Sum256([]byte(name))
	part := path.Join(path.Dir(name), ".ingot-part-"+hex.EncodeToString(mark[:8]))
	text := linuxFetch + fmt.Sprintf(linuxGet, quote(part), quote(name), hex.EncodeToString(h.Sum(nil)), fmt.Sprintf("%04o", mode))
	blob := "file-" + nonce()
	defer l.c.Store.Delete(ctx, blob) //nolint:errcheck // it goes with the account
	mismatches := 0
	err := l.again(ctx, func() error {
		given, err := l.give(ctx, blob, io.NewSectionReader(r, 0, size), fileLife)
		if err != nil {
			return err
		}
		protected, err := linuxJob(given)
		if err != nil {
			return err
		}
		out, complaints, s, err := l.ask(ctx, "get", text, protected, true)
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(out, "#ingot:received"):
			return nil
		case strings.HasPrefix(out, "#ingot:mismatch") && mismatches < 2:
			mismatches++
			return errors.New("it arrives damaged")
		}
		return fmt.Errorf("%w: exit code %d: %s", errRefused, s.ExitCode, complaints)
	})
	if err != nil {
		return fmt.Errorf("cannot upload %s: %w", name, err)
	}
	return nil
}

// rootHome is what a path that begins with ~/ means to root.
func rootHome(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		return "/root/" + rest
	}
	if !strings.HasPrefix(p, "/") {
		return "/root/" + p // where SSH would begin
	}
	return p
}

// Download lets the guest leave the file in the store.
func (l *runCommandLinux) Download(ctx context.Context, name string, to io.Writer) error {
	blob := "file-" + nonce()
	defer l.c.Store.Delete(ctx, blob) //nolint:errcheck // it goes with the account
	url, err := l.c.Store.Link(blob, true, fileLife)
	if err != nil {
		return err
	}
	var size int64
	var sum string
	err = l.again(ctx, func() error {
		out, complaints, s, err := l.ask(ctx, "put", fmt.Sprintf(linuxPut, quote(rootHome(name))), map[string]string{"ingot_url": url}, true)
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
		err = l.take(ctx, blob, size, sum, to)
	}
	if err != nil {
		return fmt.Errorf("cannot download %s: %w", name, err)
	}
	return nil
}

// Discard removes the folder that Run used for this build.
func (l *runCommandLinux) Discard(ctx context.Context) error {
	code, err := l.Command(ctx, "rm -rf "+quote(l.c.Dir), nil)
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot remove %s in the guest: exit code %d", l.c.Dir, code)
	}
	return err
}

// Deprovision makes the guest an image's. It runs from memory, so that it leaves nothing of itself.
func (l *runCommandLinux) Deprovision(ctx context.Context, out Output) error {
	c := l.c
	c.Dir = "/dev/shm/" + path.Base(c.Dir)
	memory, err := NewRunCommandLinux(c)
	if err != nil {
		return err
	}
	var last string
	code, err := memory.Run(ctx, Script{ID: "deprovision", Shell: "sh", User: "root", Text: fmt.Sprintf(deprovision, quote(l.c.Dir))}, func(stream, line string) {
		if strings.TrimSpace(line) != "" {
			last = line
		}
		out(stream, line)
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot deprovision: exit code %d: %s", code, last)
	}
	return err
}
