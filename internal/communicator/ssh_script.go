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
// in a session of its own runs it, so that neither the end of the connection nor of this process ends it. The folder is made beside its
// place and renamed: of two starts, the second after a connection that was lost too late, only one finds the place free. The environment
// is read and removed before the script begins, and cannot change the wrapper (a PATH without mv, a variable named as one of its own).
// A script that empties /var/tmp takes the folder with it: then the wrapper puts it back at the end.
const startProgram = `mask=$(umask)
umask 077
f=%[1]s
if [ -e "$f/started" ]; then exit 0; fi
d=$f.$$
rm -rf "$d"
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
exec </dev/null >>"$1/out" 2>>"$1/err" 8<"$1/out" 9<"$1/err"
echo $$ >"$1/pid"
boot=$(cat "$1/boot")
env=$(cat "$1/env")
own=$(stat -c %%u:%%g "$1")
rm -f "$1/env" "$1/word"
(
	set -a
	eval "$env"
	set +a
	umask "$2"
	cd "${HOME:-/}" 2>/dev/null || cd /
	exec 8<&- 9<&- %[5]s
)
code=$?
if ! [ -e "$1/started" ] || ! [ -e "$1/out" ] || ! [ -e "$1/err" ] || ! [ -e "$1/boot" ]; then
	umask 077
	mkdir -p "$1"
	cat <&8 >"$1/o" && mv "$1/o" "$1/out"
	cat <&9 >"$1/e" && mv "$1/e" "$1/err"
	echo "$boot" >"$1/boot"
	echo "$code" >"$1/code"
	: >"$1/started"
	if [ "$(id -u)" = 0 ]; then chown -R "$own" "${1%%/*}"; fi
	exit
fi
echo "$code" >"$1/code.part" && mv "$1/code.part" "$1/code"
INGOT
chmod 700 "$d/script"
: >"$d/out"; : >"$d/err"; : >"$d/pid"; : >"$d/code.part"; : >"$d/started"
cat /proc/sys/kernel/random/boot_id >"$d/boot"
%[6]s
if ! mv -T "$d" "$f" 2>"$d/said"; then
	[ -e "$f/started" ] || { cat "$d/said" >&2; rm -rf "$d"; exit 93; }
	rm -rf "$d"
	exit 0
fi
setsid sh -c %[7]s "$f" "$mask" >/dev/null 2>&1 &
`

// followProgram prints what a script has printed from given positions on, each piece after a line that says how long it is and of which
// stream, and at the end the exit code. It looks often at first, then less often. Whose process it is it says once: while that lives, a
// folder that is gone comes back.
const followProgram = `d=%[1]s; o=%[2]d; e=%[3]d; p=%[4]s
now=$(cat /proc/sys/kernel/random/boot_id)
[ "$p" ] && [ "${p#* }" = "$now" ] && p=${p%%%% *} || p=
w=0; gone=0
while :; do
	if ! [ -e "$d/started" ]; then
		[ "$p" ] && [ -e "/proc/$p" ] || [ -e "$d/started" ] || { echo N; exit; }
		sleep 0.3
		continue
	fi
	end=; [ -e "$d/code" ] && end=1
	[ "$end" ] || [ "$(cat "$d/boot" 2>/dev/null)" = "$now" ] || ! [ -e "$d/boot" ] || { echo L; exit; }
	set -- $(stat -c %%s "$d/out" "$d/err" 2>/dev/null)
	if [ $# != 2 ]; then
		gone=$((gone + 1)); [ $gone -lt 100 ] || { echo L; exit; }
		sleep 0.1
		continue
	fi
	n=$(($1 - o)); if [ $n -gt 0 ]; then { echo "O $n"; tail -c +$((o + 1)) | head -c $n; } <"$d/out" && o=$1; w=0; fi
	n=$(($2 - e)); if [ $n -gt 0 ]; then { echo "E $n"; tail -c +$((e + 1)) | head -c $n; } <"$d/err" && e=$2; w=0; fi
	if [ "$end" ]; then
		code=$(cat "$d/code" 2>/dev/null)
		[ "$code" ] && [ $o -ge $1 ] && [ $e -ge $2 ] || continue
		echo "X $code"; exit
	fi
	if [ -s "$d/pid" ]; then
		[ "$p" ] || { p=$(cat "$d/pid"); echo "P $p $now"; }
		[ -e "/proc/$p" ] || [ -e "$d/code" ] || ! [ -e "$d/started" ] || { echo L; exit; }
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
	text, command := x.Text, `"$1/script"`
	switch {
	case x.Path != "":
		command = quote(x.Path)
	case !strings.HasPrefix(text, "#!"):
		command = `sh "$1/script"`
	}
	var env strings.Builder
	if s.c.ForwardAgent && s.c.Agent != "" && x.Env["SSH_AUTH_SOCK"] == "" {
		fmt.Fprintf(&env, "SSH_AUTH_SOCK=%s\n", quote(s.agentLink()))
	}
	for _, name := range slices.Sorted(maps.Keys(x.Env)) {
		if !shellName(name) {
			return "", fmt.Errorf("cannot set %q in the guest: it is no name of a variable", name)
		}
		fmt.Fprintf(&env, "%s=%s\n", name, quote(x.Env[name]))
	}
	// The files are the connected user's, so that he can follow what root writes to them.
	before, launch, word := ":", `exec sh "$0/wrap" "$0" "$1"`, ""
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
		sudo, in, remedy := "sudo -n", "", "give the account sudo without a password, or a password"
		if s.c.Password != "" {
			// Not before sudo has taken it: a wrapper that never begins would look as if the guest had restarted.
			word, sudo, in, remedy = s.c.Password+"\n", "sudo -S -p ''", "/word\"", "sudo does not take the account's password"
		}
		if s.c.Password != "" && s.c.Terminal {
			sudo, in = "sudo -A", "" // sudo must not read the password from a terminal, which would show it
		}
		from := func(d string) string {
			if in == "" {
				return ""
			}
			return " <\"" + d + in
		}
		check := sudo + " true" + from("$d")
		if user != "root" { // neither root nor the owner: he must get at the folder, and he alone at the environment
			check += " && " + sudo + " chown " + quote(user) + ` "$d/env" "$d/wrap" "$d/script"` + from("$d") +
				" && chmod 711 " + quote(s.c.Dir) + ` && chmod 666 "$d/out" "$d/err" "$d/pid" "$d/code.part" && chmod 644 "$d/boot" "$d/started" && chmod 777 "$d"`
		}
		if s.c.Terminal {
			check = s.onTerminal(check, `INGOT_D="$d"`)
		}
		before = "{ " + check + `; } >"$d/said" 2>&1 || { cat "$d/said" >&2; echo ` + quote("("+remedy+")") + ` >&2; rm -rf "$d"; exit 92; }; rm -f "$d/said"`
		launch = "exec " + sudo + " " + to + ` sh "$0/wrap" "$0" "$1"` + from("$0")
		if s.c.Password != "" && s.c.Terminal {
			before = askpass + "\n" + before
			launch = `SUDO_ASKPASS="$0/ask"; export SUDO_ASKPASS; ` + launch
		}
	}
	if s.c.Terminal {
		launch = "exec " + s.onTerminal(strings.NewReplacer(`"$0`, `"$d`, `"$1"`, `"$m"`).Replace(launch), `INGOT_D="$0" INGOT_M="$1"`)
	}
	return fmt.Sprintf(startProgram, quote(s.folder(x.ID)), wrap(text), wrap(env.String()), wrap(word), command, before, quote(launch)), nil
}

// askpass hands sudo the account's password without a terminal (sudo(8), -A).
const askpass = `printf '#!/bin/sh\ncat "${0%%/*}/word"\n' >"$d/ask"; chmod 700 "$d/ask"; SUDO_ASKPASS="$d/ask"; export SUDO_ASKPASS`

// onTerminal has a shell's program run with a terminal of its own, by script(1) of util-linux; without it, it runs as it is.
func (s *SSH) onTerminal(program, env string) string {
	program = `d=$INGOT_D m=$INGOT_M SHELL=$INGOT_SHELL; unset INGOT_D INGOT_M INGOT_SHELL; ` + program
	return "env " + env + ` INGOT_SHELL="$SHELL" SHELL=/bin/sh sh -c 'if command -v script >/dev/null 2>&1; then exec script -qefc "$0" /dev/null </dev/null; fi; exec sh -c "$0"' ` + quote(program)
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
	process := ""
	for wait := sshFirstWait; ; wait = min(wait*3/2, sshLongWait) {
		before := streams['O'].at + streams['E'].at
		code, err := s.followOnce(ctx, x, streams, &process)
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

// followOnce follows over one connection. process is the script's process and its guest's boot, once they are known.
func (s *SSH) followOnce(ctx context.Context, x Script, streams map[byte]*printed, process *string) (int, error) {
	program := fmt.Sprintf(followProgram, quote(s.folder(x.ID)), streams['O'].at, streams['E'].at, quote(*process))
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
		case "P":
			*process = value
		case "L", "N": // it was started: a folder that is not there was removed, or a restart has taken it
			result = ErrLost
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
	said, code, err := s.ask(ctx, "rm -f "+quote(s.agentLink())+"\nd="+quote(s.c.Dir)+"\nrm -rf \"$d\" 2>/dev/null || sudo -n rm -rf \"$d\"\n")
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
	memory := &SSH{c: s.c, login: s.login, dialing: make(chan struct{}, 1)}
	memory.c.ForwardAgent = false // its socket lies where nothing may be left
	memory.c.Dir = "/dev/shm/" + s.c.Dir[strings.LastIndex(s.c.Dir, "/")+1:]
	s.mu.Lock()
	memory.conn, memory.pinned = s.conn, s.pinned
	s.mu.Unlock()
	defer func() {
		if c := memory.current(); c != nil && c != s.current() {
			memory.Close() //nolint:errcheck // it was made in between, for this only
		}
	}()
	var last string
	code, err := memory.Run(ctx, Script{ID: "deprovision", Shell: "sh", User: "root", Text: fmt.Sprintf(deprovision, quote(s.c.Dir)+" "+quote(s.agentLink()))}, func(stream, line string) {
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
