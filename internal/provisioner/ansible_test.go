package provisioner

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

// needs skips where a program is missing.
func needs(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("%s is not installed (Debian: ansible-core, puppet-agent, openssh-client)", n)
		}
	}
}

// lines collects what a step prints.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(_, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// limited is a context of two minutes: a program that hangs is ended, and the test says so.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeoutCause(t.Context(), 2*time.Minute, errors.New("the test's time is up"))
	t.Cleanup(stop)
	return ctx
}

// TestAnsible runs the real ansible-playbook over the real ssh against a guest.
func TestAnsible(t *testing.T) {
	needs(t, "ansible-playbook", "python3")
	g := startSSHD(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	local := t.TempDir()
	no := false
	const playbook = `
- hosts: all
  gather_facts: false
  tasks:
    - copy: {content: "{{ greeting | default('none') }} {{ word | default('') }} {{ packer_build_name }}\n", dest: "%HOME%/out"}
    - command: cat %HOME%/out
      register: said
    - debug: {msg: "{{ inventory_hostname }} in {{ group_names | join('+') }} says {{ said.stdout }} {{ lookup('env', 'GIVEN') }}"}
`
	good := write(t, local+"/site.yml", strings.ReplaceAll(playbook, "%HOME%", g.home), 0o644)
	bad := write(t, local+"/bad.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: sh -c 'echo why >&2; exit 7'\n", 0o644)
	role := write(t, local+"/roles/hello/tasks/main.yml", "- debug: {msg: role ran}\n", 0o644)
	roles := write(t, local+"/role.yml", "- hosts: web\n  gather_facts: false\n  roles: [hello]\n", 0o644)
	_ = role
	if err := os.MkdirAll(local+"/inv/group_vars", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, local+"/inv/group_vars/web.yml", "greeting: from the group\n", 0o644)
	own := write(t, local+"/own.ini", "[web]\nguest\n", 0o644)
	for name, c := range map[string]struct {
		p    Ansible
		want string
		fail string
	}{
		"plain":            {Ansible{PlaybookFile: good}, `default in (ungrouped)? says none  b`, ""},
		"groups and alias": {Ansible{PlaybookFile: good, HostAlias: "vm1", Groups: []string{"web", "db"}, EmptyGroups: []string{"none"}}, `vm1 in db\+web says`, ""},
		"arguments": {Ansible{PlaybookFile: good, ExtraArguments: []image.Text{image.Plain("-e"), image.Plain("greeting=hello"), image.Plain("--extra-vars"), image.Hidden("x", "word='test-secret not-real'")},
			AnsibleEnvVars: []image.Text{image.Plain("GIVEN=env")}}, `says hello test-secret not-real b env`, ""},
		"group variables beside the inventory": {Ansible{PlaybookFile: good, Groups: []string{"web"}, InventoryDirectory: local + "/inv"}, `says from the group`, ""},
		"template of the line":                 {Ansible{PlaybookFile: good, InventoryFileTemplate: "{{.HostAlias}} ansible_host={{.Host}} ansible_port={{.Port}} ansible_user={{.User}} greeting=line"}, `says line`, ""},
		"own inventory":                        {Ansible{PlaybookFile: good, InventoryFile: own, HostAlias: "guest"}, `guest in web says none`, ""},
		"ssh arguments":                        {Ansible{PlaybookFile: good, AnsibleSSHExtraArgs: []string{"-o Compression=yes", "-o LogLevel=ERROR"}, UseSFTP: true, UseProxy: &no, User: g.user}, `says none`, ""},
		"a role":                               {Ansible{PlaybookFile: roles, Groups: []string{"web"}}, `role ran`, ""},
		"failing":                              {Ansible{PlaybookFile: bad}, "", `bad.yml: it exited with code 2 \(a task failed\): .*why`},
		"wrong option":                         {Ansible{PlaybookFile: good, ExtraArguments: text("--no-such-option")}, "", `it exited with code 2|wrong options`},
		"no such program":                      {Ansible{PlaybookFile: good, Command: "no-ansible"}, "", "no program no-ansible on this machine"},
		"other user":                           {Ansible{PlaybookFile: good, User: "nobody", UseProxy: &no}, "", `UNREACHABLE`},
	} {
		t.Run(name, func(t *testing.T) {
			var said lines
			e := g.env(t, "ansible", said.add)
			os.Remove(g.home + "/out") //nolint:errcheck // it may not be there
			err := c.p.Run(limited(t), e)
			out := said.String()
			if (err == nil) != (c.fail == "") || err != nil && !regexp.MustCompile("(?s)"+c.fail).MatchString(err.Error()) {
				t.Errorf("%v, want %q\n%s", err, c.fail, out)
			}
			if !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("no %q in\n%s", c.want, out)
			}
		})
	}
	for _, left := range []string{os.Getenv("TMPDIR") + "/ingot-*", local + "/inv/ingot-*"} {
		if l, _ := filepath.Glob(left); len(l) > 0 {
			t.Errorf("left over: %v", l)
		}
	}

	// What is kept holds no secret.
	e := g.env(t, "kept", nil)
	if err := (&Ansible{PlaybookFile: good, KeepInventoryFile: true}).Run(limited(t), e); err != nil {
		t.Error(err)
	}
	kept, _ := filepath.Glob(os.Getenv("TMPDIR") + "/ingot-*")
	if len(kept) != 1 {
		t.Fatalf("kept: %v", kept)
	}
	if raw, err := os.ReadFile(kept[0]); err != nil || strings.Contains(string(raw), "key") || !strings.Contains(string(raw), "default ansible_host=127.0.0.1") {
		t.Errorf("the kept inventory: %q %v", raw, err)
	}
}

// TestAnsibleHostKey: a guest with another host key is not let in, even where a template made for Packer's proxy switches the check off.
func TestAnsibleHostKey(t *testing.T) {
	needs(t, "ansible-playbook", "python3")
	g := startSSHD(t)
	t.Setenv("HOME", t.TempDir())
	good := write(t, t.TempDir()+"/site.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - raw: 'true'\n", 0o644)
	e := g.env(t, "stranger", nil)
	_, other, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	e.Connection = func(context.Context) (Connection, error) {
		c := g.connection()
		c.HostKey = other
		return c, nil
	}
	if err := (&Ansible{PlaybookFile: good, AnsibleEnvVars: text("ANSIBLE_HOST_KEY_CHECKING=False")}).Run(limited(t), e); err == nil || !strings.Contains(err.Error(), "HOST IDENTIFICATION HAS CHANGED") && !strings.Contains(err.Error(), "Host key verification failed") {
		t.Errorf("a stranger's host key: %v", err)
	}
}
