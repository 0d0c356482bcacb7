package test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
)

// windowsSSH is the test's template over SSH: files, scripts as two accounts, a restart.
func windowsSSH(t *testing.T, more string) string {
	t.Helper()
	dir := template(t)
	text := strings.Replace(source, `  communicator    = "winrm"
  winrm_use_ssl   = true
  winrm_password `, `  communicator    = "ssh"
`+more+`  ssh_password `, 1)
	if text == source {
		t.Fatal("the test's template has changed")
	}
	if err := os.WriteFile(filepath.Join(dir, "build.pkr.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestWindowsOverSSH builds Windows over SSH, and once more for some entries of the journal, after each of which the program is killed and
// resumed: each time there is one more version and nothing else.
func TestWindowsOverSSH(t *testing.T) {
	t.Parallel() // most of it is waiting
	a := serve(t)
	dir := windowsSSH(t, "")
	secret := "PKR_VAR_token=" + markInline
	state := t.TempDir()
	r := a.ingot(t, state, []string{secret}, "build", dir)
	for _, want := range []string{"Install and start OpenSSH Server", "Wait for SSH on port 22", "port 22 only", "connected to"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the build does not show %q", want)
		}
	}
	if r.code != 0 || t.Failed() || strings.Contains(r.out, "WinRM") {
		t.Fatalf("the build ends with %d:\n%s", r.code, r.out)
	}
	noSecrets(t, "the build", state, r.out)
	_, entries, _ := journal(t, state)
	t.Logf("a build has %d journal entries", entries)
	made := 1
	for n := 3; n < entries; n += 6 {
		killOnce(t, a, dir, secret, n, made)
		made++
		if t.Failed() {
			return
		}
	}
}

// TestWindowsWithItsOwnSSH: a script of the template's own opens SSH, as Packer's users do it; Ingot adds no extension of its own to it.
func TestWindowsWithItsOwnSSH(t *testing.T) {
	t.Parallel() // most of it is waiting
	a := serve(t)
	dir := windowsSSH(t, `  custom_script   = "powershell -Command Start-Service sshd"
`)
	r := a.ingot(t, t.TempDir(), []string{"PKR_VAR_token=" + markInline}, "build", dir)
	if r.code != 0 || strings.Contains(r.out, "Install and start OpenSSH Server") || !strings.Contains(r.out, "Run custom_script") {
		t.Errorf("the build ends with %d:\n%s", r.code, r.out)
	}
}

// TestLinuxThroughBastion builds over SSH through a bastion, both in this process: the simulated Azure has the machine's document, this
// computer's own sh is its guest. The program is killed in the middle of a script, and resumed: the script ran once, and its output is whole.
func TestLinuxThroughBastion(t *testing.T) {
	t.Parallel() // most of it is waiting
	a := serveScenario(t, strings.Replace(linuxSeeds, `"osState": "Generalized"`, `"osState": "Specialized"`, 1))
	gate, guest := sshtest.New(t), sshtest.New(t)
	guest.SetOptions(func(o *sshtest.Options) { o.NoPassword = true })
	gate.SetOptions(func(o *sshtest.Options) {
		o.Forward = func(addr string) (net.Conn, error) {
			if addr != "127.0.0.9:2222" { // where only the bastion can go
				return nil, fmt.Errorf("the bastion does not know %s", addr)
			}
			return net.Dial("tcp", guest.Addr())
		}
	})
	private, public, err := communicator.NewSSHKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	guest.SetOptions(func(o *sshtest.Options) { o.Key = sshtest.PublicKey(t, public) })
	dir := linux(t, fromMarketplace, sshtest.User, "1.0.0", fmt.Sprintf(`"echo ran >>%s/trace", "echo one", "sleep 2", "echo two"`, guest.Home))
	_, port, err := net.SplitHostPort(gate.Addr())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "linux.pkr.hcl")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "    replication_regions =", "    specialized         = true\n    replication_regions =", 1)
	text = strings.Replace(text, "  communicator = \"ssh\"\n", fmt.Sprintf(`  communicator = "ssh"
  ssh_host                     = "127.0.0.9"
  ssh_port                     = 2222
  ssh_private_key_file         = "key"
  ssh_clear_authorized_keys    = true
  ssh_bastion_host             = "127.0.0.1"
  ssh_bastion_port             = %s
  ssh_bastion_username         = %q
  ssh_bastion_password         = var.gate
`, port, sshtest.User), 1) + "variable \"gate\" {\n  sensitive = true\n}\n"
	text = strings.Replace(text, "  ssh_clear_authorized_keys    = true\n", "", 1) // this computer's root is not the test's
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), private, 0o600); err != nil {
		t.Fatal(err)
	}
	state, secret := t.TempDir(), "PKR_VAR_gate="+sshtest.Password

	cmd := exec.Command(os.Args[0], "build", dir)
	cmd.Env = []string{"INGOT_TEST_MAIN=1", "INGOT_STATE=" + state, "INGOT_SIM=" + a.url, "INGOT_SIM_CA=" + a.ca, "HOME=" + state, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), secret}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close() //nolint:errcheck // the program has it
	var first bytes.Buffer
	for s := bufio.NewScanner(r); s.Scan(); {
		first.WriteString(s.Text() + "\n")
		if strings.HasSuffix(s.Text(), "one") {
			cmd.Process.Kill() //nolint:errcheck // it shows
		}
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() >= 0 { //nolint:errcheck // it was killed
		t.Fatalf("the build was to be killed in its script:\n%s", first.String())
	}
	run, _, _ := journal(t, state)
	second := a.ingot(t, state, []string{secret}, "resume", run)
	if second.code != 0 || !strings.Contains(second.out, "two") {
		t.Fatalf("resume ends with %d:\n%s", second.code, second.out)
	}
	if raw, err := os.ReadFile(filepath.Join(guest.Home, "trace")); err != nil || string(raw) != "ran\n" {
		t.Errorf("the script ran: %q %v", raw, err)
	}
	if gate.Forwards() < 2 || gate.Commands() != 0 {
		t.Errorf("%d connections through the bastion, %d commands on it", gate.Forwards(), gate.Commands())
	}
	if _, _, raw := journal(t, state); !bytes.Contains(raw, []byte("ssh-ed25519")) {
		t.Error("no host key in the journal")
	}
	if versions, left := a.made(t); len(versions) != 1 || len(left) > 0 {
		t.Errorf("it leaves versions %v and %v", versions, left)
	}
	all := first.String() + second.out
	noSecrets(t, "the build", state, all)
	if strings.Contains(all, sshtest.Password) {
		t.Error("the bastion's password shows")
	}
}
