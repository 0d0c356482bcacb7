// Package bench measures the program as a user meets it: whole processes. `go test -run '^$' -bench . ./bench`.
package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary builds the program once for a benchmark.
func binary(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "ingot")
	if out, err := exec.Command("go", "build", "-o", path, "ingot/cmd/ingot").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// run runs the program and reports its peak memory in MB.
func run(b *testing.B, want int, env []string, path string, args ...string) (time.Duration, float64) {
	b.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir(), "INGOT_STATE=" + b.TempDir()}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begun := time.Now()
	err := cmd.Run()
	took := time.Since(begun)
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.Fatalf("exit code %d, want %d: %v\n%s", code, want, err, out.String())
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return took, 0
	}
	return took, float64(usage.Maxrss) / 1024
}

const example = "../examples/windows-11-avd"

// BenchmarkValidate is `ingot validate` of the example (Packer: 500 ms, 156 MB over its processes).
func BenchmarkValidate(b *testing.B) {
	path := binary(b)
	peak := 0.0
	for b.Loop() {
		_, mb := run(b, 0, nil, path, "validate", example)
		peak = max(peak, mb)
	}
	b.ReportMetric(peak, "MB-peak")
}

// BenchmarkValidateScripts is the same with and without parsing its PowerShell: what the parser costs.
func BenchmarkValidateScripts(b *testing.B) {
	path := binary(b)
	for name, args := range map[string][]string{"parsed": {"validate", example}, "unparsed": {"validate", "--no-script-check", example}} {
		b.Run(name, func(b *testing.B) {
			peak := 0.0
			for b.Loop() {
				_, mb := run(b, 0, nil, path, args...)
				peak = max(peak, mb)
			}
			b.ReportMetric(peak, "MB-peak")
		})
	}
}

// fiveSources is a template of five sources with two provisioners (Packer: 2.65 s, 17 processes, 376 MB).
func fiveSources() string {
	var b strings.Builder
	b.WriteString("variable \"location\" {\n  default = \"westeurope\"\n}\nlocals {\n  name = \"img-${var.location}\"\n}\n")
	names := ""
	for i := range 5 {
		fmt.Fprintf(&b, `source "azure-arm" "s%d" {
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  os_type         = "Windows"
  location        = var.location
  vm_size         = "Standard_D4ds_v5"
  communicator    = "winrm"
  winrm_use_ssl   = true
  winrm_insecure  = true
  azure_tags      = { image = upper(local.name) }
  shared_image_gallery_destination {
    resource_group = "rg"
    gallery_name   = "g"
    image_name     = "i%d"
    image_version  = "1.0.%d"
    target_region {
      name = var.location
    }
  }
}
`, i, i, i)
		names += fmt.Sprintf("\"source.azure-arm.s%d\", ", i)
	}
	fmt.Fprintf(&b, "build {\n  sources = [%s]\n  provisioner \"powershell\" {\n    inline = [\"Write-Output ${source.name}\"]\n  }\n  provisioner \"windows-restart\" {}\n}\n", names)
	return b.String()
}

// BenchmarkValidateFiveSources is `ingot validate` of them, the process's start included.
func BenchmarkValidateFiveSources(b *testing.B) {
	path := binary(b)
	name := filepath.Join(b.TempDir(), "five.pkr.hcl")
	if err := os.WriteFile(name, []byte(fiveSources()), 0o600); err != nil {
		b.Fatal(err)
	}
	peak := 0.0
	for b.Loop() {
		_, mb := run(b, 0, nil, path, "validate", name)
		peak = max(peak, mb)
	}
	b.ReportMetric(peak, "MB-peak")
}

// BenchmarkValidateMany is one call with many templates: the cost of one must not depend on their number.
func BenchmarkValidateMany(b *testing.B) {
	path := binary(b)
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			args := []string{"validate"}
			for i := range n {
				name := filepath.Join(dir, fmt.Sprintf("t%d.pkr.hcl", i))
				if err := os.WriteFile(name, []byte(fiveSources()), 0o600); err != nil {
					b.Fatal(err)
				}
				args = append(args, name)
			}
			peak := 0.0
			for b.Loop() {
				_, mb := run(b, 0, nil, path, args...)
				peak = max(peak, mb)
			}
			b.ReportMetric(peak, "MB-peak")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "us/template")
		})
	}
}

// BenchmarkRehearsal is the README's first command.
func BenchmarkRehearsal(b *testing.B) {
	path := binary(b)
	peak := 0.0
	for b.Loop() {
		_, mb := run(b, 0, nil, path, "build", "--cloud", "sim", example)
		peak = max(peak, mb)
	}
	b.ReportMetric(peak, "MB-peak")
}

// served starts a simulated Azure without latencies in a process of its own.
func served(b *testing.B, path string) []string {
	b.Helper()
	dir := b.TempDir()
	scenario, ready, ca := filepath.Join(dir, "scenario.json"), filepath.Join(dir, "ready"), filepath.Join(dir, "ca.pem")
	const group = "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images"
	text := fmt.Sprintf(`{"resources": [{"id": %q, "body": {"location": "westeurope"}},
 {"id": %q, "body": {"location": "westeurope", "properties": {}}},
 {"id": %q, "body": {"location": "westeurope", "properties": {"osType": "Windows", "osState": "Generalized", "hyperVGeneration": "V2", "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}]}}}]}`,
		group, group+"/providers/Microsoft.Compute/galleries/galAvd", group+"/providers/Microsoft.Compute/galleries/galAvd/images/windows-11-avd")
	if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(path, "sim", "serve", "--latency", "none", "--scenario", scenario, "--ca", ca, "--ready-file", ready)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
	for range 1000 {
		if raw, err := os.ReadFile(ready); err == nil && strings.HasSuffix(string(raw), "\n") {
			return []string{"INGOT_SIM=" + strings.TrimSpace(string(raw)), "INGOT_SIM_CA=" + ca}
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("the simulated Azure did not start")
	return nil
}

// reboot is how long the simulated guest takes to restart without latencies.
const reboot = 2200 * time.Millisecond

// BenchmarkBuildZeroLatency is a whole Windows build against an Azure that answers at once; beyond-reboot is what Ingot adds
// to the guest's own reboot (Packer: 127.6 s, of which 10 s are a reboot).
func BenchmarkBuildZeroLatency(b *testing.B) {
	path := binary(b)
	env := served(b, path)
	var sum time.Duration
	n := 0
	for b.Loop() {
		took, _ := run(b, 0, env, path, "build", "-force", example)
		sum += took - reboot
		n++
	}
	b.ReportMetric((sum / time.Duration(n)).Seconds(), "s-beyond-reboot")
}

// BenchmarkInterrupt is Ctrl-C in the middle of provisioning, to the end of the process with everything removed (Packer:
// 60.4 s).
func BenchmarkInterrupt(b *testing.B) {
	path := binary(b)
	env := served(b, path)
	var sum time.Duration
	n := 0
	for b.Loop() {
		cmd := exec.Command(path, "build", "-force", example)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir(), "INGOT_STATE=" + b.TempDir()}, env...)
		seen := &until{text: "waiting for the guest to restart", found: make(chan struct{})}
		cmd.Stdout, cmd.Stderr = seen, seen
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		<-seen.found
		begun := time.Now()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			b.Fatal(err)
		}
		cmd.Wait() //nolint:errcheck // its exit code is looked at
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			b.Fatalf("exit code %d\n%s", code, seen.all.String())
		}
		sum += time.Since(begun)
		n++
	}
	b.ReportMetric((sum / time.Duration(n)).Seconds(), "s-to-exit")
}

// until is a writer that tells when a text has come by.
type until struct {
	text  string
	found chan struct{}
	all   bytes.Buffer
	done  bool
}

func (u *until) Write(p []byte) (int, error) {
	u.all.Write(p)
	if !u.done && strings.Contains(u.all.String(), u.text) {
		u.done = true
		close(u.found)
	}
	return len(p), nil
}
