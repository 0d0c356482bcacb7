package test

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim"
)

const (
	subscription = "/subscriptions/" + sim.DefaultSubscription
	bookkeeper   = "66666666-6666-4666-8666-666666666666"
)

// served is a simulated Azure with a container for runs, and an account that may write to it.
func served(t *testing.T, more string) (a *azure, state string, env []string) {
	t.Helper()
	text := strings.Replace(strings.TrimSuffix(seeds, "]}"), `{"resources": [`, `{"resources": [
  {"id": "`+subscription+`/resourceGroups/rg-ci", "body": {"location": "westeurope"}},
  {"id": "`+subscription+`/resourceGroups/rg-ci/providers/Microsoft.Storage/storageAccounts/avdstate", "body": {"location": "westeurope", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}},`, 1)
	a = serveScenario(t, text+`], "principals": [{"name": "bookkeeper", "clientId": "`+bookkeeper+`", "secret": "test-secret-not-real",
  "roles": [{"role": "Owner", "scope": "`+subscription+`"}, {"role": "Storage Blob Data Contributor", "scope": "`+subscription+`/resourceGroups/rg-ci"}]}]`+more+`}`)
	resp, err := a.client.PostForm(a.url+"/"+sim.DefaultTenant+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {bookkeeper}, "client_secret": {"test-secret-not-real"}, "scope": {"https://storage.azure.com/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`"access_token":\s*"([^"]+)"`)
	raw := make([]byte, 1<<16)
	n, _ := resp.Body.Read(raw) //nolint:errcheck // looked at below
	resp.Body.Close()           //nolint:errcheck // read
	found := token.FindSubmatch(raw[:n])
	if found == nil {
		t.Fatalf("no token: %s", raw[:n])
	}
	req, err := http.NewRequest(http.MethodPut, a.url+"/runs?restype=container", nil)
	if err != nil {
		t.Fatal(err)
	}
	port := req.URL.Port()
	req.Host = "avdstate.blob.storage.localhost:" + port
	req.Header.Set("Authorization", "Bearer "+string(found[1]))
	req.Header.Set("x-ms-version", "2023-11-03")
	if resp, err = a.client.Do(req); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() //nolint:errcheck // a status
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("no container: %s", resp.Status)
	}
	state = "https://avdstate.blob.storage.localhost:" + port + "/runs/avd"
	return a, state, []string{"AZURE_CLIENT_ID=" + bookkeeper, "AZURE_CLIENT_SECRET=test-secret-not-real", "INGOT_STATE_LEASE=15s"}
}

// plain is a template without secrets in its text, with a script, a folder and a variable file.
func plain(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text := regexp.MustCompile(`(?s)variable "license" .*?\n}\n|  winrm_password[^\n]*\n|    environment_vars[^\n]*\n|    elevated_[^\n]*\n`).ReplaceAllString(source, "")
	text = strings.Replace(text, ` license $env:LICENSE`, "", 1)
	text = strings.Replace(text, "  provisioner \"windows-restart\" {}\n", "  provisioner \"windows-restart\" {}\n  provisioner \"file\" {\n    source      = \"tools\"\n    destination = \"C:/\"\n  }\n", 1)
	if err := os.Mkdir(filepath.Join(dir, "tools"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"build.pkr.hcl": text, "script.ps1": "Write-Host 'from a file that has travelled'\n", "payload.txt": "a file\n", "tools/a.txt": "a", "tools/b.txt": "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// on runs the program in a folder of its own, as another machine would.
func (a *azure) on(t *testing.T, env []string, args ...string) result {
	t.Helper()
	home := t.TempDir()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = home
	cmd.Env = append([]string{"INGOT_TEST_MAIN=1", "INGOT_SIM=" + a.url, "INGOT_SIM_CA=" + a.ca, "HOME=" + home, "PATH=" + os.Getenv("PATH")}, env...)
	out, _ := cmd.CombinedOutput() //nolint:errcheck // the exit code says it
	return result{code: cmd.ProcessState.ExitCode(), killed: cmd.ProcessState.ExitCode() < 0, out: string(out)}
}

func runIn(t *testing.T, out string) string {
	t.Helper()
	m := regexp.MustCompile(`ingot wait ([a-z][a-z0-9]{7})`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no run in\n%s", out)
	}
	return m[1]
}

// TestResumeOnAnotherMachine: the runner is killed in the middle, its machine is gone with the template and all its files; another
// machine, which has nothing but the address of the state and the sensitive variable, finishes the build.
func TestResumeOnAnotherMachine(t *testing.T) {
	t.Parallel()
	a, state, env := served(t, "")
	dir := plain(t)
	secret := "PKR_VAR_token=" + markInline
	var killed result
	// After the machine has been reached, before the scripts.
	killed = a.on(t, append(env, secret, "INGOT_TEST_KILL_AFTER=26"), "build", "--state", state, dir)
	if !killed.killed {
		t.Fatalf("not killed: %d\n%s", killed.code, killed.out)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r := a.on(t, env, "runs", "--state", state)
	run := regexp.MustCompile(`(?m)^([a-z][a-z0-9]{7})  `).FindStringSubmatch(r.out)
	if r.code != 0 || run == nil {
		t.Fatalf("%d\n%s", r.code, r.out)
	}
	begun := time.Now()
	all := killed.out + r.out
	r = a.on(t, append(env, secret), "resume", "--state", state, run[1])
	all += r.out
	if r.code != 0 || !strings.Contains(r.out, "from a file that has travelled") {
		t.Fatalf("resume: %d\n%s", r.code, r.out)
	}
	if !strings.Contains(r.out, "its lease runs out within 15s") {
		t.Errorf("resume did not say how long it waits\n%s", r.out)
	}
	t.Logf("resumed and finished in %s", time.Since(begun).Round(time.Second))
	if versions, left := a.made(t); len(versions) != 1 || len(left) != 0 {
		t.Errorf("%v %v", versions, left)
	}
	r = a.on(t, env, "status", "--state", state, run[1])
	if r.code != 0 || !strings.Contains(r.out, "succeeded") {
		t.Errorf("status: %d\n%s", r.code, r.out)
	}
	noSecrets(t, "another machine", t.TempDir(), all+r.out)
}

// TestTemplateWithSecretsStays: it does not travel, the build says so, and a resume elsewhere asks for it by name.
func TestTemplateWithSecretsStays(t *testing.T) {
	t.Parallel()
	a, state, env := served(t, "")
	dir := template(t)
	secret := "PKR_VAR_token=" + markInline
	killed := a.on(t, append(env, secret, "INGOT_TEST_KILL_AFTER=26"), "build", "--state", state, dir)
	if !killed.killed || !strings.Contains(killed.out, "build.pkr.hcl (it holds a secret)") {
		t.Fatalf("%d\n%s", killed.code, killed.out)
	}
	moved := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	r := a.on(t, env, "runs", "--state", state)
	run := regexp.MustCompile(`(?m)^([a-z][a-z0-9]{7})  `).FindStringSubmatch(r.out)
	if run == nil {
		t.Fatal(r.out)
	}
	if r = a.on(t, append(env, secret), "resume", "--state", state, run[1]); r.code != 10 || !strings.Contains(r.out, "--template PATH") {
		t.Fatalf("%d\n%s", r.code, r.out)
	}
	if r = a.on(t, append(env, secret), "resume", "--state", state, "--template", moved, run[1]); r.code != 0 {
		t.Fatalf("%d\n%s", r.code, r.out)
	}
	if versions, left := a.made(t); len(versions) != 1 || len(left) != 0 {
		t.Errorf("%v %v", versions, left)
	}
}

// TestDetachAndWait: the first job returns while the image is copied, with 5; the second one sees it to its end, and ends with 0.
// In between the run can be looked at, and a rehearsal that would die with its process cannot be detached.
func TestDetachAndWait(t *testing.T) {
	t.Parallel()
	a, state, env := served(t, `, "latency": {"version": "25s"}`)
	dir := plain(t)
	env = append(env, "PKR_VAR_token="+markInline)
	r := a.on(t, env, "plan", dir)
	if r.code != 0 || !strings.Contains(r.out, "ingot build --detach returns at gallery-1, after about") {
		t.Fatalf("%d\n%s", r.code, r.out)
	}
	r = a.on(t, env, "build", "--detach", "--state", state, dir)
	if r.code != 5 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	run := runIn(t, r.out)
	if s := a.on(t, env, "runs", "--state", state); !strings.Contains(s.out, "detached: ingot wait "+run) {
		t.Errorf("%s", s.out)
	}
	begun := time.Now()
	w := a.on(t, env, "wait", "--state", state, run)
	if w.code != 0 {
		t.Fatalf("exit code %d\n%s", w.code, w.out)
	}
	t.Logf("waited %s", time.Since(begun).Round(time.Second))
	versions, left := a.made(t)
	if len(versions) != 1 || versions[0].State != "Succeeded" || len(left) != 0 {
		t.Errorf("%v %v", versions, left)
	}
	if w = a.on(t, env, "wait", "--state", state, run); w.code != 0 || !strings.Contains(w.out, "succeeded") {
		t.Errorf("waiting for a run that is over: %d\n%s", w.code, w.out)
	}
	if r := embedded(t, t.TempDir(), "build", "--detach", "../examples/windows-11-avd"); r.code != 2 || !strings.Contains(r.out, "cannot be detached") {
		t.Errorf("%d\n%s", r.code, r.out)
	}
}

// TestCancelDetached: nobody carries the run, so cancel removes everything itself, and a wait in another job ends with 130.
func TestCancelDetached(t *testing.T) {
	t.Parallel()
	a, state, env := served(t, `, "latency": {"version": "10m"}`)
	dir := plain(t)
	env = append(env, "PKR_VAR_token="+markInline)
	r := a.on(t, env, "build", "--detach", "--state", state, dir)
	if r.code != 5 {
		t.Fatalf("exit code %d\n%s", r.code, r.out)
	}
	run := runIn(t, r.out)
	// Without the template and without its secrets: removing needs neither.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if r = a.on(t, env[:3], "cancel", "--state", state, run); r.code != 0 || !strings.Contains(r.out, "is cancelled; nothing is left of it") {
		t.Errorf("cancel: %d\n%s", r.code, r.out)
	}
	if versions, left := a.made(t); len(versions)+len(left) != 0 {
		t.Errorf("%v %v", versions, left)
	}
	if r = a.on(t, env, "wait", "--state", state, run); r.code != 130 {
		t.Errorf("wait: %d\n%s", r.code, r.out)
	}
	if r = a.on(t, env, "cancel", "--state", state, run); r.code != 0 || !strings.Contains(r.out, "is over (cancelled)") {
		t.Errorf("cancel again: %d\n%s", r.code, r.out)
	}
}

// TestTwoProcessesOneRun: while one carries it a second one is turned away, told who has it; cancel from that machine reaches it.
func TestTwoProcessesOneRun(t *testing.T) {
	t.Parallel()
	a, state, env := served(t, `, "latency": {"version": "10m"}`)
	dir := plain(t)
	env = append(env, "PKR_VAR_token="+markInline)
	cmd := exec.Command(os.Args[0], "build", "--state", state, dir)
	home := t.TempDir()
	cmd.Env = append([]string{"INGOT_TEST_MAIN=1", "INGOT_SIM=" + a.url, "INGOT_SIM_CA=" + a.ca, "HOME=" + home}, env...)
	w := &watcher{text: "Publish ", found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) //nolint:errcheck // it has ended if all went well
	<-w.found
	r := a.on(t, env, "runs", "--state", state)
	m := regexp.MustCompile(`(?m)^([a-z][a-z0-9]{7})  .*running`).FindStringSubmatch(r.out)
	if m == nil {
		t.Fatal(r.out)
	}
	if r = a.on(t, env, "resume", "--state", state, m[1]); r.code != 1 || !strings.Contains(r.out, "another process is carrying it out") {
		t.Errorf("resume of a live run: %d\n%s", r.code, r.out)
	}
	if r = a.on(t, env, "cancel", "--state", state, m[1]); r.code != 0 || !strings.Contains(r.out, "told to stop") && !strings.Contains(r.out, "is cancelled") { // it may have ended by the time it is looked for
		t.Errorf("cancel: %d\n%s", r.code, r.out)
	}
	cmd.Wait() //nolint:errcheck // the exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d\n%s", code, w)
	}
	if versions, left := a.made(t); len(versions)+len(left) != 0 {
		t.Errorf("%v %v", versions, left)
	}
}
