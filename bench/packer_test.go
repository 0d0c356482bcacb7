package bench

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ingot/internal/plan"
)

// both is a template that Packer and Ingot read alike: a small and a large file, PowerShell, a restart, an elevated script, and the sysprep
// loop of Packer's documentation.
const both = `source "azure-arm" "it" {
  subscription_id = "00000000-0000-4000-8000-00000000a001"
  tenant_id       = "00000000-0000-4000-8000-00000000b001"
  client_id       = "00000000-0000-4000-8000-00000000c001"
  client_secret   = "simulated-secret-not-real"
  location        = "westeurope"
  vm_size         = "Standard_D4s_v5"
  os_type         = "Windows"
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  communicator    = "winrm"
  winrm_use_ssl   = true
  winrm_insecure  = true
  winrm_username  = "packer"
  shared_image_gallery_destination {
    resource_group      = "rg-images"
    gallery_name        = "galAvd"
    image_name          = "windows-11-avd"
    image_version       = "1.0.0"
    replication_regions = ["westeurope"]
  }
}
build {
  sources = ["source.azure-arm.it"]
  provisioner "powershell" {
    inline = ["Write-Host one"]
  }
  provisioner "file" {
    source      = "large.bin"
    destination = "C:/large.bin"
  }
  provisioner "windows-restart" {}
  provisioner "powershell" {
    elevated_user     = "SYSTEM"
    elevated_password = ""
    inline            = ["Write-Host two"]
  }
  provisioner "powershell" {
    inline = [
      "& $env:SystemRoot\\System32\\Sysprep\\Sysprep.exe /oobe /generalize /quiet /quit /mode:vm",
      "while($true) { $imageState = Get-ItemProperty HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Setup\\State | Select ImageState; if($imageState.ImageState -ne 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE') { Write-Output $imageState.ImageState; Start-Sleep -s 10  } else { break } }"
    ]
  }
}
`

// takes is how long Azure takes for what it does: the recorded medians (azure-protocol.md section 5), without their spread, so that the
// critical path is known beforehand.
func takes() map[string]time.Duration {
	out := map[string]time.Duration{}
	for kind, seconds := range map[string]float64{"group-delete": 139, "vnet": 4, "subnet": 1, "ip": 1, "nsg": 4, "nic": 0.5, "network-delete": 10, "vault": 30, "vault-purge": 11, "vm": 85, "vm-update": 7.3,
		"vm-delete": 27.8, "deallocate": 45, "disk-delete": 1, "version": 428, "guest-boot": 60, "guest-reboot": 75, "guest-shutdown": 5, "guest-powershell-start": 0.4, "guest-command": 0.05, "guest-script": 5, "guest-sysprep": 148} {
		out[kind] = time.Duration(seconds * float64(time.Second))
	}
	return out
}

// simulated is a simulated Azure in a process of its own.
type simulated struct {
	url, ca string
	client  *http.Client
}

// simulate starts one; with a clock it has the durations of takes and runs that many times as fast, without it answers at once.
func simulate(b *testing.B, path string, clock float64) *simulated {
	b.Helper()
	dir := b.TempDir()
	s := &simulated{ca: filepath.Join(dir, "ca.pem")}
	scenario, ready := filepath.Join(dir, "scenario.json"), filepath.Join(dir, "ready")
	text := map[string]any{"resources": []any{
		seed("", map[string]any{"location": "westeurope"}),
		seed("/providers/Microsoft.Compute/galleries/galAvd", map[string]any{"location": "westeurope", "properties": map[string]any{}}),
		seed("/providers/Microsoft.Compute/galleries/galAvd/images/windows-11-avd", map[string]any{"location": "westeurope", "properties": map[string]any{
			"osType": "Windows", "osState": "Generalized", "hyperVGeneration": "V2", "identifier": map[string]any{"publisher": "p", "offer": "o", "sku": "s"},
			"features": []any{map[string]any{"name": "SecurityType", "value": "TrustedLaunchSupported"}}}})}}
	args := []string{"sim", "serve", "--scenario", scenario, "--ca", s.ca, "--ready-file", ready}
	if clock == 0 {
		args = append(args, "--latency", "none")
	} else {
		latency := map[string]string{}
		for k, d := range takes() {
			latency[k] = d.String()
		}
		text["latency"] = latency
		args = append(args, "--clock", fmt.Sprintf("%gx", clock))
	}
	raw, err := json.Marshal(text)
	if err == nil {
		err = os.WriteFile(scenario, raw, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
	for range 1000 {
		if raw, err := os.ReadFile(ready); err == nil && strings.HasSuffix(string(raw), "\n") {
			s.url = strings.TrimSpace(string(raw))
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	pem, err := os.ReadFile(s.ca)
	if s.url == "" || err != nil {
		b.Fatalf("the simulated Azure did not start: %v\n%s", err, said.String())
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	return s
}

func seed(below string, body map[string]any) map[string]any {
	return map[string]any{"id": "/subscriptions/00000000-0000-4000-8000-00000000a001/resourceGroups/rg-images" + below, "body": body}
}

// counts are the calls that it has answered so far.
func (s *simulated) counts(b *testing.B) (calls, winrm int) {
	b.Helper()
	resp, err := s.client.Get(s.url + "/sim/counts")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	var n struct{ Calls, WinRM int }
	if err := json.NewDecoder(resp.Body).Decode(&n); err != nil {
		b.Fatal(err)
	}
	return n.Calls, n.WinRM
}

// figures are of one build.
type figures struct {
	wall         time.Duration
	calls, winrm int
	mb           float64 // the peak of the memory of all its processes together (PSS), in MB
}

// measure runs a program that builds.
func (s *simulated) measure(b *testing.B, dir string, env []string, program string, args ...string) figures {
	b.Helper()
	calls, winrm := s.counts(b)
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	over := make(chan struct{})
	var peak float64
	var watched sync.WaitGroup
	watched.Go(func() {
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			peak = max(peak, memory(cmd.Process.Pid))
			select {
			case <-over:
				return
			case <-t.C:
			}
		}
	})
	err := cmd.Wait()
	took := time.Since(begun)
	close(over)
	watched.Wait()
	if err != nil {
		b.Fatalf("%s: %v\n%s", program, err, out.String())
	}
	c, w := s.counts(b)
	return figures{took, c - calls - 1, w - winrm, peak} // one of the calls asked for the counts
}

// memory is what the processes of a group have in memory together, shared pages counted once, in MB; 0 where there is no /proc.
func memory(group int) (mb float64) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0
	}
	for _, p := range procs {
		stat, err := os.ReadFile(p + "/stat")
		if err != nil {
			continue // it has ended
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(f) < 3 || f[2] != strconv.Itoa(group) {
			continue
		}
		rollup, err := os.ReadFile(p + "/smaps_rollup")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(rollup)) {
			if kb, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, err := strconv.Atoi(strings.Fields(kb)[0])
				if err == nil {
					mb += float64(n) / 1024
				}
			}
		}
	}
	return mb
}

// critical is the longest way through a plan that was carried out: Azure's steps by what Azure takes, the guest's steps by what they took,
// and the removal of the group at the end. In real time, at the clock's pace.
func critical(b *testing.B, state, path, run string, clock float64) time.Duration {
	b.Helper()
	cmd := exec.Command(path, "status", "--json", run)
	cmd.Env = []string{"INGOT_STATE=" + state}
	raw, err := cmd.Output()
	if err != nil {
		b.Fatalf("status of %s: %v", run, err)
	}
	var st plan.Status
	if err := json.Unmarshal(raw, &st); err != nil {
		b.Fatal(err)
	}
	service := takes()
	kinds := map[string]string{"vault": "vault", "nsg": "nsg", "network": "vnet", "ip": "ip", "nic": "nic", "vm": "vm", "deallocate": "deallocate", "gallery": "version"}
	none := map[string]bool{"group": true, "certificate": true, "caller": true, "seal": true, "manifest": true}
	at := map[string]time.Duration{}
	last := time.Duration(0)
	for _, s := range st.Steps { // a step stands after those it waits for
		begin := time.Duration(0)
		for _, a := range s.Step.After {
			begin = max(begin, at[a])
		}
		d := s.Took
		switch {
		case none[s.Step.Kind]:
			d = 0
		case kinds[s.Step.Kind] != "":
			d = time.Duration(float64(service[kinds[s.Step.Kind]]) / clock)
		}
		at[s.Step.ID] = begin + d
		last = max(last, begin+d)
	}
	return last + time.Duration(float64(service["group-delete"])/clock)
}

// BenchmarkSideBySide has Packer, where it is on PATH with its azure plugin, and Ingot build the same template in turn in the same
// simulated Azure: one that answers at once, and one that takes what real Azure takes, at INGOT_BENCH_CLOCK times its pace (default 10;
// 1 is fair to Packer's fixed waits of ten seconds and takes an hour). Packer is measured as it is, and without its fixed polling delays.
//
//	go test -run '^$' -bench SideBySide -benchtime 1x -timeout 3h ./bench
func BenchmarkSideBySide(b *testing.B) {
	path := binary(b)
	dir := b.TempDir()
	template := filepath.Join(dir, "both.pkr.hcl")
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := os.WriteFile(filepath.Join(dir, "large.bin"), large, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(template, []byte(both), 0o600); err != nil {
		b.Fatal(err)
	}
	packer, err := exec.LookPath("packer")
	if err == nil {
		if out, err := exec.Command(packer, "plugins", "installed").CombinedOutput(); err != nil || !strings.Contains(string(out), "packer-plugin-azure") {
			packer = ""
		}
	}
	if packer == "" {
		b.Log("no packer on PATH (or none with its azure plugin): Ingot alone")
	}
	pace := 10.0
	if s := os.Getenv("INGOT_BENCH_CLOCK"); s != "" {
		if pace, err = strconv.ParseFloat(s, 64); err != nil || pace <= 0 {
			b.Fatalf("INGOT_BENCH_CLOCK is a factor such as 10, not %q", s)
		}
	}
	for _, clock := range []float64{0, pace} {
		name := "an Azure that answers at once"
		if clock > 0 {
			name = fmt.Sprintf("an Azure that takes what the real one takes, at %g times its pace", clock)
		}
		b.Run(fmt.Sprintf("clock=%g", clock), func(b *testing.B) {
			row := func(who string, f figures) {
				b.Logf("%-32s %8.1f s  %5d calls  %5d WinRM calls  %6.0f MB", who, f.wall.Seconds(), f.calls, f.winrm, f.mb)
			}
			for b.Loop() {
				b.Log(name)
				s := simulate(b, path, clock)
				state := b.TempDir()
				home := "HOME=" + b.TempDir()
				f := s.measure(b, dir, []string{home, "INGOT_STATE=" + state, "INGOT_SIM=" + s.url, "INGOT_SIM_CA=" + s.ca}, path, "build", template)
				row("ingot", f)
				b.ReportMetric(f.wall.Seconds(), "s-ingot")
				if clock > 0 {
					runs, err := os.ReadDir(filepath.Join(state, "runs"))
					if err != nil || len(runs) != 1 {
						b.Fatalf("%d runs: %v", len(runs), err)
					}
					way := critical(b, state, path, runs[0].Name(), clock)
					b.Logf("%-32s %8.1f s: ingot takes %+.1f %%", "critical path", way.Seconds(), 100*(f.wall.Seconds()/way.Seconds()-1))
					b.ReportMetric(100*(f.wall.Seconds()/way.Seconds()-1), "%-over-path")
				}
				if packer == "" {
					continue
				}
				env := []string{"HOME=" + os.Getenv("HOME"), "PACKER_CONFIG_DIR=" + os.Getenv("PACKER_CONFIG_DIR"), "PACKER_PLUGIN_PATH=" + os.Getenv("PACKER_PLUGIN_PATH"),
					"CHECKPOINT_DISABLE=1", "SSL_CERT_FILE=" + s.ca, "ARM_METADATA_URL=" + s.url}
				for who, more := range map[string][]string{"packer": nil, "packer without its fixed delays": {"GO_AZURE_SDK_SKIP_POLLING_DELAY=true"}} {
					s := simulate(b, path, clock)
					env[4], env[5] = "SSL_CERT_FILE="+s.ca, "ARM_METADATA_URL="+s.url
					f := s.measure(b, dir, append(more, env...), packer, "build", "-color=false", template)
					row(who, f)
				}
			}
		})
	}
}
