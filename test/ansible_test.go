package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnsibleOverWinRM builds Windows with the real ansible-playbook, which signs in over WinRM to the simulated guest: by NTLM as Packer's
// azure-arm does, and by Basic. The password is seen nowhere, on no command line either.
func TestAnsibleOverWinRM(t *testing.T) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Skip("ansible-playbook is not installed (Debian: ansible-core, python3-winrm)")
	}
	if out, err := exec.Command("/usr/bin/python3", "-c", "import winrm, requests_ntlm").CombinedOutput(); err != nil {
		t.Skipf("Debian's python3-winrm is not installed: %v %s", err, out)
	}
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// The scripted guest runs no modules, which are programs of PowerShell: raw hands it one line.
	write("site.yml", `
- hosts: web
  gather_facts: false
  tasks:
    - raw: Write-Output 'ansible was here'
      register: said
    - debug: {msg: "{{ inventory_hostname }} says {{ said.stdout | trim }}, {{ word }}"}
    - raw: Set-Content -Path C:\made.ps1 -Value "Write-Host 'made by a playbook'"
`, 0o600)
	write("bad.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - raw: exit 3\n", 0o600)
	watched := write("watched", "#!/bin/sh\necho \"command line: $*\"\nexec ansible-playbook \"$@\"\n", 0o700)
	ntlm := strings.Replace(source, "provisioner \"file\" {\n    source      = \"payload.txt\"\n    destination = \"C:/payload.txt\"\n  }", fmt.Sprintf(`provisioner "ansible" {
    playbook_file   = "site.yml"
    command         = %q
    groups          = ["web"]
    host_alias      = "w11"
    extra_arguments = ["-e", "word=${build.ConnType} secret=${build.Password} token=${var.token}"]
  }
  provisioner "powershell" {
    inline = ["& 'C:\\made.ps1'"]
  }`, watched), 1)
	if ntlm == source {
		t.Fatal("the test's template has no file provisioner any more")
	}
	write("script.ps1", "Write-Host 'from a file'\n", 0o600)
	template := write("build.pkr.hcl", ntlm, 0o600)
	a := serve(t)
	state := t.TempDir()
	vars := []string{"PKR_VAR_token=" + markInline}
	r := a.ingot(t, state, vars, "build", dir)
	_, _, raw := journal(t, state)
	for _, want := range []string{"w11 says ansible was here, winrm", "made by a playbook", "command line: -e packer_build_name"} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("build ends with %d and does not show %q:\n%s\n%s", r.code, want, r.out, a.log)
		}
	}
	for _, s := range []string{markPassword, markInline} {
		if strings.Contains(r.out, s) || strings.Contains(string(raw), s) {
			t.Errorf("%s is in the output or the journal", s)
		}
	}
	for _, line := range strings.Split(r.out, "\n") {
		if strings.Contains(line, "command line:") && strings.Contains(line, "(secret)") {
			t.Errorf("a secret was on a command line: %s", line)
		}
	}

	basic := strings.Replace(strings.Replace(ntlm, `winrm_use_ssl   = true`, "winrm_use_ssl   = true\n  winrm_use_ntlm  = false", 1), `"site.yml"`, `"bad.yml"`, 1)
	if err := os.WriteFile(template, []byte(basic), 0o600); err != nil {
		t.Fatal(err)
	}
	r = a.ingot(t, t.TempDir(), vars, "build", dir)
	if r.code != 1 || !strings.Contains(r.out, "bad.yml: it exited with code 2 (a task failed): ") || !strings.Contains(r.out, `"rc": 3`) {
		t.Errorf("a failing playbook ends with %d:\n%s\n%s", r.code, r.out, a.log)
	}
	if _, left := a.made(t); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
