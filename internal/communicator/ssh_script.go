package communicator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// What runs in the guest lies in a folder of its own: the script, what it printed, its process and in the end its exit code. A wrapper
// in a session of its own runs it, so that neither the end of the connection nor of this process ends it.
const startProgram = `mask=$(umask)
umask 077
d=%[1]s
if [ -e "$d/started" ]; then exit 0; fi
mkdir -p "$d" || exit 90
b64() { base64 -d >"$d/$1" || exit 91; }
b64 script <<'INGOT'
%[2]s
INGOT
b64 env <<'INGOT'
%[3]s
INGOT
b64 word <<'INGOT'
%[4]s
INGOT
cat >"$d/wrap" <<'INGOT'
d=$1
echo $$ >"$d/pid"
set -a
. "$d/env"
set +a
. "$d/mask"
rm -f "$d/env" "$d/word"
cd "${HOME:-/}" 2>/dev/null || cd /
%[5]s </dev/null >>"$d/out" 2>>"$d/err"
echo $? >"$d/code.part" && mv "$d/code.part" "$d/code"
INGOT
chmod 700 "$d/script"
echo "umask $mask" >"$d/mask"
: >"$d/out"; : >"$d/err"; : >"$d/pid"; : >"$d/code.part"
cat /proc/sys/kernel/random/boot_id >"$d/boot"
%[6]s
: >"$d/started"; setsid sh -c %[7]s "$d" >/dev/null 2>&1 &
`

// followProgram prints what a script has printed from given positions on, each piece after a line that says how long it is and of which
// stream, and at the end the exit code. It looks often at first, then less often.
const followProgram = `d=%[1]s; o=%[2]d; e=%[3]d
[ -e "$d/started" ] || { echo N; exit; }
[ "$(cat "$d/boot")" = "$(cat /proc/sys/kernel/random/boot_id)" ] || [ -e "$d/code" ] || { echo L; exit; }
w=0
while :; do
	end=; [ -e "$d/code" ] && end=1
	set -- $(stat -c %%s "$d/out" "$d/err")
	n=$(($1 - o)); if [ $n -gt 0 ]; then echo "O $n"; tail -c +$((o + 1)) "$d/out" | head -c $n; o=$1; w=0; fi
	n=$(($2 - e)); if [ $n -gt 0 ]; then echo "E $n"; tail -c +$((e + 1)) "$d/err" | head -c $n; e=$2; w=0; fi
	if [ "$end" ]; then echo "X $(cat "$d/code")"; exit; fi
	if [ -s "$d/pid" ]; then
		[ -e "/proc/$(cat "$d/pid")" ] || [ -e "$d/code" ] || { echo L; exit; }
	elif [ $w -ge 40 ]; then echo L; exit
	fi
	case $w in 0|1|2|3) sleep 0.05 ;; 4|5|6|7) sleep 0.1 ;; *) sleep 0.3 ;; esac
	w=$((w + 1))
done
`

// Run runs s to its end and returns its exit code.
func (s *SSH) Run(ctx context.Context, x Script, out Output) (int, error) {
	program, err := s.startOf(x)
	if err != nil {
		return 0, err
	}
	if said, code, err := s.ask(ctx, program); err != nil {
		return 0, err
	} else if code != 0 {
		return 0, fmt.Errorf("cannot start a script in the guest: exit code %d: %s", code, said)
	}
	return s.follow(ctx, x, out)
}

func (s *SSH) folder(id string) string { return s.c.Dir + "/" + id }

func (s *SSH) startOf(x Script) (string, error) {
	wrap := func(b string) string { return base64.StdEncoding.EncodeToString([]byte(b)) }
	text, command := x.Text, `"$d/script"`
	switch {
	case x.Path != "":
		command = quote(x.Path)
	case !strings.HasPrefix(text, "#!"):
		command = `sh "$d/script"`
	}
	var env strings.Builder
	for _, name := range slices.Sorted(maps.Keys(x.Env)) {
		if !shellName(name) {
			return "", fmt.Errorf("cannot set %q in the guest: it is no name of a variable", name)
		}
		fmt.Fprintf(&env, "%s=%s\n", name, quote(x.Env[name]))
	}
	// The files are the connected user's, so that he can follow what root writes to them.
	before, launch, word := ":", `exec sh "$0/wrap" "$0"`, ""
	switch strings.ToLower(x.User) {
	case "", strings.ToLower(s.c.User):
	default:
		user := x.User
		if strings.EqualFold(user, "system") {
			user = "root"
		}
		to := "-u " + quote(user) + " -H"
		if user == "root" {
			to = "-H"
		}
		if s.c.Password == "" {
			before = `sudo -n true 2>"$d/err" || { cat "$d/err" >&2; echo "(give the account sudo without a password, or a password)" >&2; rm -rf "$d"; exit 92; }`
			launch = "exec sudo -n " + to + ` sh "$0/wrap" "$0"`
		} else {
			word = s.c.Password + "\n"
			launch = "exec sudo -S -p '' " + to + ` sh "$0/wrap" "$0" <"$0/word"`
		}
		if user != "root" { // neither root nor the owner: he must get at the folder
			before += ` && chmod 711 ` + quote(s.c.Dir) + ` "$d" && chmod 666 "$d/out" "$d/err" "$d/pid" "$d/code.part" && chmod 755 "$d/script" && chmod 777 "$d"`
		}
	}
	return fmt.Sprintf(startProgram, quote(s.folder(x.ID)), wrap(text), wrap(env.String()), wrap(word), command, before, quote(launch)), nil
}

func shellName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// follow passes on what a script prints until it ends, over as many connections as it takes.
func (s *SSH) follow(ctx context.Context, x Script, out Output) (int, error) {
	streams := map[byte]*printed{'O': {name: "stdout", out: out}, 'E': {name: "stderr", out: out}}
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		before := streams['O'].at + streams['E'].at
		code, err := s.followOnce(ctx, x, streams)
		switch {
		case err == nil:
			streams['O'].end()
			streams['E'].end()
			return code, nil
		case errors.Is(err, ErrLost):
			streams['O'].end()
			streams['E'].end()
			return 0, err
		case !errors.Is(err, errLine):
			return 0, err
		}
		if streams['O'].at+streams['E'].at > before {
			wait = sshFirstWait
		}
		if err := s.c.Clock.Sleep(ctx, wait); err != nil {
			return 0, err
		}
	}
}

// printed cuts one stream into lines and counts how far it has come.
type printed struct {
	name string
	out  Output
	at   int64
	rest []byte
}

const longestLine = 64 << 10

func (l *printed) write(b []byte) {
	l.at += int64(len(b))
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			l.rest = append(l.rest, b...)
			if len(l.rest) > longestLine {
				l.end()
			}
			return
		}
		l.rest = append(l.rest, b[:i]...)
		l.say()
		b = b[i+1:]
	}
}

func (l *printed) say() {
	if l.out != nil {
		l.out(l.name, strings.TrimSuffix(strings.ToValidUTF8(string(l.rest), "\ufffd"), "\r"))
	}
	l.rest = l.rest[:0]
}

// end passes on a last line that has no end.
func (l *printed) end() {
	if len(l.rest) > 0 {
		l.say()
	}
}

func (s *SSH) followOnce(ctx context.Context, x Script, streams map[byte]*printed) (int, error) {
	program := fmt.Sprintf(followProgram, quote(s.folder(x.ID)), streams['O'].at, streams['E'].at)
	r, w := io.Pipe()
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := s.exec(ctx, program, w, io.Discard)
		w.CloseWithError(io.EOF) //nolint:errcheck // always nil
		ended <- end{code, err}
	}()
	code, result := 0, fmt.Errorf("%w while a script ran", errLine)
	b := bufio.NewReaderSize(r, 64<<10)
read:
	for {
		head, err := b.ReadString('\n')
		if err != nil {
			break
		}
		word, value, _ := strings.Cut(strings.TrimSpace(head), " ")
		switch word {
		case "O", "E":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				result = fmt.Errorf("cannot follow a script: the guest answers %q", head)
				break read
			}
			buf := make([]byte, 32<<10)
			for n > 0 {
				got, err := b.Read(buf[:min(n, int64(len(buf)))])
				streams[word[0]].write(buf[:got])
				n -= int64(got)
				if err != nil {
					break read
				}
			}
		case "X":
			if code, err = strconv.Atoi(value); err != nil {
				result = fmt.Errorf("cannot read a script's exit code: %q", value)
			} else {
				result = nil
			}
			break read
		case "L":
			result = ErrLost
			break read
		case "N":
			result = fmt.Errorf("cannot follow script %s: it was never started", x.ID)
			break read
		default:
			result = fmt.Errorf("cannot follow a script: the guest answers %q", head)
			break read
		}
	}
	r.CloseWithError(io.ErrClosedPipe) //nolint:errcheck // always nil
	e := <-ended
	if result != nil && errors.Is(result, errLine) && e.err != nil && !errors.Is(e.err, errLine) {
		return 0, e.err // time is up, or the guest is another
	}
	return code, result
}

// Command runs one command line of sh, attached, and returns its exit code.
func (s *SSH) Command(ctx context.Context, line string, out Output) (int, error) {
	stdout, stderr := &printed{name: "stdout", out: out}, &printed{name: "stderr", out: out}
	code, err := s.exec(ctx, line+"\n", sink{stdout}, sink{stderr})
	stdout.end()
	stderr.end()
	return code, err
}

type sink struct{ l *printed }

func (s sink) Write(b []byte) (int, error) {
	s.l.write(b)
	return len(b), nil
}

// Discard removes the folder that Run used for this build.
func (s *SSH) Discard(ctx context.Context) error {
	said, code, err := s.ask(ctx, "d="+quote(s.c.Dir)+"\nrm -rf \"$d\" 2>/dev/null || sudo -n rm -rf \"$d\"\n")
	if err == nil && code != 0 {
		err = fmt.Errorf("cannot remove %s in the guest: %s", s.c.Dir, said)
	}
	return err
}

// deprovision is what makes an image of a Linux machine that others can be made of
// (https://learn.microsoft.com/azure/virtual-machines/generalize). It runs from memory, so that it leaves nothing of itself.
const deprovision = `command -v waagent >/dev/null || { echo "there is no waagent in this image: install the package waagent or walinuxagent, or generalise in a provisioner of your own" >&2; exit 95; }
rm -rf %s
waagent -force -deprovision+user || exit 96
rm -f /root/.bash_history
sync
`

// Deprovision makes the guest an image's: host keys, leases, the account and what waagent keeps are removed. Nobody can log in
// afterwards.
func (s *SSH) Deprovision(ctx context.Context, out Output) error {
	memory := &SSH{c: s.c, auth: s.auth}
	memory.c.Dir = "/dev/shm/" + s.c.Dir[strings.LastIndex(s.c.Dir, "/")+1:]
	s.mu.Lock()
	memory.conn, memory.pinned = s.conn, s.pinned
	s.mu.Unlock()
	var last string
	code, err := memory.Run(ctx, Script{ID: "deprovision", Shell: "sh", User: "root", Text: fmt.Sprintf(deprovision, quote(s.c.Dir))}, func(stream, line string) {
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
