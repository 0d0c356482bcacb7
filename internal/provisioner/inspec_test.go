package provisioner

import (
	"context"
	"crypto/sha256"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ingot/internal/image"
)

// fakeInSpec is a program in InSpec's place: it shows what it was given, and signs in to the port as its configuration says.
const fakeInSpec = `#!/bin/sh
echo "args: $*"
echo "env: $TOKEN"
while [ $# -gt 0 ]; do
  case $1 in
  --config) config=$2; stat -c 'mode: %a' "$config"; tr ',' '\n' <"$config" | sed 's/.*"\(host\|port\|user\|ssl\|password\|winrm_basic_auth_only\)":/\1: /'; echo ;;
  --input-file) shift; while [ $# -gt 0 ] && [ -e "$1" ]; do echo "input $(basename "$1"): $(head -n1 "$1")"; last=$1; shift; done; continue ;;
  esac
  shift
done
if [ -n "$config" ] && command -v curl >/dev/null && grep -q winrm "$config"; then
  port=$(sed 's/.*"port":\([0-9]*\).*/\1/' "$config"); ca=$(sed 's/.*"ca_trust_file":"\([^"]*\)".*/\1/' "$config")
  curl -sS -o /dev/null -w 'answer: %{http_code}\n' --noproxy '*' --cacert "$ca" "https://127.0.0.1:$port/wsman"
fi
if [ -n "$config" ] && grep -q '"ssh"' "$config"; then
  key=$(sed 's/.*"key_files":\["\([^"]*\)".*/\1/' "$config"); port=$(sed 's/.*"port":\([0-9]*\).*/\1/' "$config"); user=$(sed 's/.*"user":"\([^"]*\)".*/\1/' "$config")
  ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes -i "$key" -p "$port" "$user@127.0.0.1" 'echo in the guest'
fi
echo "  × SSH is open: expected it not to be"
exit ${CODE:-0}
`

// TestInSpec runs a program in InSpec's place, with each option acting; the way to the guest is the real one.
func TestInSpec(t *testing.T) {
	needs(t, "sh", "curl")
	dir := t.TempDir()
	command := write(t, dir+"/inspec", fakeInSpec, 0o755)
	profile := write(t, dir+"/profile/inspec.yml", "name: x\n", 0o600)
	_ = profile
	a := write(t, dir+"/a.yml", "one: 1\n", 0o600)
	write(t, dir+"/more/b.json", "{}\n", 0o600)
	write(t, dir+"/more/note.txt", "no\n", 0o600)
	g := newWindowsGuest(t, nil)
	host, port, err := net.SplitHostPort(g.addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	cert := guestCertificate()
	for name, c := range map[string]struct {
		p    InSpec
		want string
		not  string
		fail string
	}{
		"winrm":           {InSpec{}, `(?s)args: exec .*/profile --target winrm://ingot --config .*mode: 600\n.*answer: 405`, "args:.*" + guestPassword, ""},
		"another user":    {InSpec{User: "somebody"}, `stdout:user: "somebody"`, "", ""},
		"attributes":      {InSpec{Attributes: []string{a}, AttributesDirectory: dir + "/more"}, "(?s)input a.yml: one: 1\n.*input b.json: {}\n.*input packer.yml: packer_build_name: \"b\"", "note.txt", ""},
		"extra_arguments": {InSpec{ExtraArguments: []image.Text{image.Plain("--controls"), image.Plain("one two")}}, "--controls one two", "", ""},
		"environment":     {InSpec{InSpecEnvVars: text("TOKEN=x")}, "env: x", "", ""},
		"skipped":         {InSpec{InSpecEnvVars: text("CODE=101")}, "args", "", ""},
		"failed":          {InSpec{InSpecEnvVars: text("CODE=100")}, "args", "", "inspec, profile: it exited with code 100 (at least one control failed): × SSH is open"},
		"failed, allowed": {InSpec{InSpecEnvVars: text("CODE=100"), ValidExitCodes: []int{0, 100}}, "args", "", ""},
		"no licence":      {InSpec{InSpecEnvVars: text("CODE=172")}, "args", "", "CHEF_LICENSE=accept-silent"},
		"local":           {InSpec{Backend: "local"}, "--backend local", "--config", ""},
		"docker":          {InSpec{Backend: "docker", Host: "box"}, "--backend docker --host box", "--config", ""},
		"wrong backend":   {InSpec{Backend: "ssh"}, "^$", "", "its backend is ssh and the build's communicator is winrm"},
		"no program":      {InSpec{Command: "/nowhere/inspec"}, "^$", "", "cannot run inspec"},
	} {
		t.Run(name, func(t *testing.T) {
			g.mu.Lock()
			g.lines = nil
			g.mu.Unlock()
			e := g.env("inspec")
			e.Connection = func(context.Context) (Connection, error) {
				return Connection{Kind: "winrm", Windows: true, Host: host, Port: n, User: "packer", Password: guestPassword, Fingerprint: sha256.Sum256(cert.Certificate[0]),
					Dial: func(ctx context.Context) (net.Conn, error) { return dialer(ctx, "tcp", g.addr) }}, nil
			}
			c.p.Profile = dir + "/profile/"
			if c.p.Command == "" {
				c.p.Command = command
			}
			t.Setenv("TMPDIR", t.TempDir())
			err := c.p.Run(t.Context(), e)
			out := strings.Join(g.lines, "\n")
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) || !regexp.MustCompile(c.want).MatchString(out) || c.not != "" && regexp.MustCompile(c.not).MatchString(out) {
				t.Errorf("%v\n%s", err, out)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("left over: %v %v", left, err)
			}
		})
	}
}

// TestInSpecOverSSH signs in with the build's key, and is given no password.
func TestInSpecOverSSH(t *testing.T) {
	needs(t, "sh", "ssh")
	server := startSSHD(t)
	dir, said := t.TempDir(), &lines{}
	p := &InSpec{Profile: dir, Command: write(t, dir+"/inspec", fakeInSpec, 0o755)}
	err := p.Run(limited(t), server.env(t, "inspec", said.add))
	out := said.String()
	if err != nil || !strings.Contains(out, "in the guest") || !strings.Contains(out, "--target ssh://ingot") || strings.Contains(out, "password") {
		t.Errorf("%v\n%s", err, out)
	}
}
