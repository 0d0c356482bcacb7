package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinuxAnsible boots a real machine, and has the real ansible-playbook of this computer provision it over SSH with the build's own
// key, as the account and as root; a second playbook fails, and the build with it.
func TestLinuxAnsible(t *testing.T) {
	t.Parallel() // most of it is waiting
	realGuests(t)
	for _, program := range []string{"ansible-playbook", "ssh"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (Debian: ansible-core, openssh-client)", program)
		}
	}
	a := serveScenario(t, linuxSeeds, "--guests", "qemu")
	dir := linux(t, fromMarketplace, "builder", "1.0.0", `"cat /etc/made-by-ansible", "stat -c '%U %a' /etc/made-by-ansible"`)
	name := filepath.Join(dir, "linux.pkr.hcl")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), `  provisioner "shell" {`, `  provisioner "ansible" {
    playbook_file = "site.yml"
    groups        = ["hosts"]
  }
  provisioner "shell" {`, 1)
	book := `- hosts: hosts
  gather_facts: true
  tasks:
    - debug: {msg: "{{ ansible_distribution }} {{ ansible_distribution_major_version }} as {{ ansible_user_id }}"}
    - copy: {content: "made for {{ packer_build_name }}\n", dest: /etc/made-by-ansible, mode: "0640"}
      become: true
`
	for file, text := range map[string]string{"linux.pkr.hcl": text, "site.yml": book} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := a.ingot(t, t.TempDir(), nil, "build", dir)
	for _, want := range []string{"Debian 12 as builder", "failed=0"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the build does not show %q", want)
		}
	}
	// The file is root's, and closed to the account: the shell provisioner cannot read it, which ends the build.
	if r.code != 1 || !strings.Contains(r.out, "/etc/made-by-ansible: Permission denied") {
		t.Errorf("the build ends with %d", r.code)
	}
	if t.Failed() {
		t.Fatalf("%s\n%s", r.out, a.log)
	}
	if _, left := a.made(t); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
