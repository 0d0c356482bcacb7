package sim

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/internal/sim/guest"
)

// Customizers and validators, each as the Packer provisioner that the service makes of it (azure-image-builder.md 1.2, customize).

// guestSteps is a build machine that lets Packer in.
type guestSteps interface {
	script(c any, text string) error
	file(c any, data []byte) error
	restart(c any) error
	update(c any) error
	// ready writes the deprovisioning script, deprovision runs it (azure-image-builder.md 2, Generalize).
	ready() error
	deprovision() error
}

// provisioner is what Packer calls a customizer.
func provisioner(typ string) string {
	return map[string]string{"Shell": "shell", "PowerShell": "powershell", "File": "file", "WindowsRestart": "windows-restart", "WindowsUpdate": "windows-update"}[typ]
}

func (x *imageRun) prepare(g guestSteps) error { return g.ready() }

// steps runs customizers in their order; the first that fails ends the build.
func (x *imageRun) steps(g guestSteps, list []any) error {
	for _, c := range list {
		typ := text(c, "type")
		err := x.telemetry(provisioner(typ), func() error {
			if n := text(c, "name"); n != "" {
				x.log.info("customizer %q", n)
			}
			data, known := x.fetched(c)
			switch {
			case typ == "File" && !known:
				return g.file(c, []byte(StandIn))
			case typ == "File":
				return g.file(c, data)
			case !known:
				return nil
			case typ == "WindowsRestart":
				return g.restart(c)
			case typ == "WindowsUpdate":
				return g.update(c)
			}
			return g.script(c, string(data))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// telemetry puts the service's marks around a provisioner; one that fails has no end.
func (x *imageRun) telemetry(name string, f func() error) error {
	x.log.info("(telemetry) Starting provisioner %s", name)
	err := f()
	x.log.silent()
	if err == nil {
		if err = context.Cause(x.ctx); err == nil {
			x.log.info("(telemetry) ending %s", name)
		}
	}
	x.log.flush()
	return err
}

// fetched is what a customizer works with: its lines, or what submission downloaded. Of an address that nobody knows the log says so: a
// script does nothing, a file is StandIn.
func (x *imageRun) fetched(c any) (data []byte, known bool) {
	at := addressOf(c)
	if at == "" {
		return []byte(strings.Join(texts(c, "inline"), "\n")), true
	}
	if data, known = x.w.script(x.d, c); known {
		return data, true
	}
	shown, _, _ := strings.Cut(at, "?")
	x.log.fail("[simulated Azure] %s could not be fetched: the simulated Azure sends nothing out. Nothing is known of its effect; \"addresses\" in a scenario can say what it holds.", shown)
	if sum := text(c, "sha256Checksum"); sum != "" {
		x.log.fail("[simulated Azure] its sha256Checksum %s could not be checked.", sum)
	}
	return nil, false
}

// generalise is the hidden last provisioner.
func (x *imageRun) generalise(g guestSteps) error {
	return x.telemetry(map[bool]string{true: "powershell", false: "shell"}[x.onWindows(g)], g.deprovision)
}

func (x *imageRun) onWindows(g guestSteps) bool { _, ok := g.(*windowsSteps); return ok }

// disconnected is the code with which Packer's communicators end when the other side is gone (azure-image-builder.md 4.1, row 23).
const disconnected = 2300218

func scriptFailed(code int, valid []int) error {
	if len(valid) == 0 {
		valid = []int{0}
	}
	if slices.Contains(valid, code) {
		return nil
	}
	return fmt.Errorf("Script exited with non-zero exit status: %d. Allowed exit codes are: %v", code, valid) //nolint:revive,staticcheck // Packer's own words
}

func validCodes(c any) []int {
	var out []int
	for _, v := range items(c, "validExitCodes") {
		if f, ok := v.(float64); ok {
			out = append(out, int(f))
		} else if n, ok := v.(int); ok {
			out = append(out, n)
		}
	}
	return out
}

// windowsSteps runs them in a scripted Windows.
type windowsSteps struct {
	x *imageRun
	b guest.Builder
}

const deprovisionWindows = `C:\DeprovisioningScript.ps1`

// defaultSysprep is what the service writes there: it waits for the agents, removes an answer file, runs sysprep with these arguments and
// waits for the state, without another way out (azure-image-builder.md 2, Generalize).
func defaultSysprep() string {
	lines := []string{}
	for _, service := range []string{"RdAgent", "WindowsAzureTelemetryService", "WindowsAzureGuestAgent"} {
		lines = append(lines, "Write-Output '>>> Waiting for GA Service ("+service+") to start ...'")
	}
	return strings.Join(append(lines,
		"if (Test-Path $Env:SystemRoot\\System32\\Sysprep\\unattend.xml) { Remove-Item $Env:SystemRoot\\System32\\Sysprep\\unattend.xml }",
		"if (Test-Path $Env:SystemRoot\\Panther\\unattend.xml) { Remove-Item $Env:SystemRoot\\Panther\\unattend.xml }",
		"Write-Output '>>> Sysprepping VM ...'",
		"& $Env:SystemRoot\\System32\\Sysprep\\Sysprep.exe /oobe /generalize /quiet /quit",
		"while($true) {",
		"  $imageState = (Get-ItemProperty HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Setup\\State).ImageState",
		"  Write-Output $imageState",
		"  if ($imageState -eq 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE') { break }",
		"  Start-Sleep -s 5",
		"}",
		"Write-Output '>>> Sysprep complete ...'", ""), "\r\n")
}

// framed is inline PowerShell as Packer's provisioner runs it: an uncaught error is 1, the last program's code is the script's.
func framed(text string) string {
	return "$ProgressPreference = 'SilentlyContinue'\r\n$exitCode = 0\r\ntry {\r\n" + text + "\r\n$exitCode = 0\r\n} catch {\r\nWrite-Error \"An error occurred: $_\"\r\n$exitCode = 1\r\n}\r\n" +
		"if ((Test-Path variable:global:LASTEXITCODE)) { $exitCode = $LASTEXITCODE }\r\nexit $exitCode\r\n"
}

func (s *windowsSteps) script(c any, body string) error {
	x := s.x
	name := text(c, "name")
	if at := addressOf(c); at != "" {
		name = lastPart(strings.SplitN(at, "?", 2)[0])
	} else {
		body = framed(strings.ReplaceAll(body, "\n", "\r\n"))
	}
	x.log.say("Provisioning with Powershell...")
	x.log.say("Provisioning with powershell script: /aib/packerInput/%s", or(name, "inline"))
	return scriptFailed(s.work(guest.Work{Text: body, Elevated: truth(c, "runElevated"), System: truth(c, "runAsSystem")}), validCodes(c))
}

// work runs a script; a machine that went away under it is a code of its own.
func (s *windowsSteps) work(w guest.Work) int {
	w.Out = s.x.log.hear
	code, err := s.b.Work(s.x.ctx, w)
	if err != nil {
		code = disconnected
	}
	s.x.log.info("RPC client: Communicator ended with: %d", code)
	return code
}

func (s *windowsSteps) file(c any, data []byte) error {
	s.x.log.say("Uploading %s => %s", lastPart(strings.SplitN(text(c, "sourceUri"), "?", 2)[0]), text(c, "destination"))
	if err := s.b.Put(text(c, "destination"), data); err != nil {
		return fmt.Errorf("Upload failed: %w", err) //nolint:revive,staticcheck // Packer's own words
	}
	return nil
}

// restart is Packer's windows-restart: shutdown's codes 1115 and 1190 say that a restart is under way already.
func (s *windowsSteps) restart(c any) error {
	x := s.x
	limit, err := time.ParseDuration(or(text(c, "restartTimeout"), "5m"))
	if err != nil {
		return err
	}
	end := x.w.clock.Now().Add(limit)
	before, _ := s.b.Boots()
	x.log.say("Restarting Machine")
	code, err := s.b.Line(x.ctx, or(text(c, "restartCommand"), `shutdown /r /f /t 0 /c "packer restart"`), x.log.hear)
	if err != nil && !errors.Is(err, guest.ErrWentDown) {
		return err
	}
	if err == nil && code != 0 && code != 1115 && code != 1190 {
		return fmt.Errorf("Restart script exited with non-zero exit status: %d", code) //nolint:revive,staticcheck // Packer's own words
	}
	x.log.say("Waiting for machine to restart...")
	late := errors.New("Timeout waiting for machine to restart.") //nolint:revive,staticcheck // Packer's own words
	if !guest.Patient(x.ctx, x.w.clock, s.b, before, limit) {
		return late
	}
	check := text(c, "restartCheckCommand")
	for check != "" {
		code, err := s.b.Line(x.ctx, check, x.log.hear)
		if err == nil && code == 0 {
			break
		}
		if x.w.clock.Now().After(end) || !x.pause(5*time.Second) {
			return late
		}
	}
	x.log.say("Machine successfully restarted, moving on")
	return nil
}

// update is the community's windows-update provisioner: rounds until nothing is left, a restart after those that want one
// (https://github.com/rgl/packer-plugin-windows-update; its defaults, azure-image-builder.md 1.2).
func (s *windowsSteps) update(c any) error {
	x := s.x
	filters := texts(c, "filters")
	if len(filters) == 0 {
		filters = []string{"include:$true"}
	}
	limit := number(c, "updateLimit")
	if limit == 0 {
		limit = 1000
	}
	x.log.say("Running Windows update...")
	for {
		installed, failures := 0, 0
		before, _ := s.b.Boots()
		code, err := s.b.Update(x.ctx, or(text(c, "searchCriteria"), "BrowseOnly=0 and IsInstalled=0"), filters, limit, func(stream int, line string) {
			done, bad := x.updateLine(stream, line)
			installed += done
			failures += bad
		})
		switch {
		case x.ctx.Err() != nil:
			return context.Cause(x.ctx)
		case errors.Is(err, guest.ErrWentDown): // something restarted it: what was done is done
			if !guest.Patient(x.ctx, x.w.clock, s.b, before, 4*time.Hour) {
				return errors.New("Timeout waiting for machine to restart.") //nolint:revive,staticcheck // Packer's own words
			}
		case err != nil:
			return err
		case failures > 0 && installed == 0, code != 0 && code != 101 && code != 102:
			return fmt.Errorf("Windows update script exited with non-zero exit status: %d", max(code, 1)) //nolint:revive,staticcheck // the provisioner's own words
		case code == 101:
			x.log.say("Restarting the machine...")
			if _, err := s.b.Line(x.ctx, `shutdown /r /f /t 0`, nil); err != nil && !errors.Is(err, guest.ErrWentDown) {
				return err
			}
			x.log.say("Waiting for machine to become available...")
			if !guest.Patient(x.ctx, x.w.clock, s.b, before, 4*time.Hour) {
				return errors.New("Timeout waiting for machine to restart.") //nolint:revive,staticcheck // Packer's own words
			}
		case code == 0:
			return nil
		}
	}
}

// updateLine writes an event of the guest's update program in the provisioner's words, and counts.
func (x *imageRun) updateLine(stream int, line string) (installed, failed int) {
	raw, ok := strings.CutPrefix(strings.TrimSpace(line), "#ingot:update ")
	var u struct {
		Event, Title, Phase, Code, Text string
		Bytes                           int64
	}
	if !ok || json.Unmarshal([]byte(raw), &u) != nil {
		x.log.hear(stream, line)
		return 0, 0
	}
	size := fmt.Sprintf("%.2f MB", float64(u.Bytes)/(1<<20))
	switch u.Event {
	case "search":
		x.log.msg("Searching for Windows updates...")
	case "found":
		x.log.msg("Found Windows update (%s): %s", size, u.Title)
	case "skipped":
		x.log.msg("Skipped (filter) Windows update (%s): %s", size, u.Title)
	case "downloading":
		x.log.msg("Downloading Windows updates (1 updates; %s)...", size)
	case "installing":
		x.log.msg("Installing Windows updates...")
	case "installed":
		return 1, 0
	case "failed", "error":
		x.log.fail("Windows update %s failed with %s %s %s", u.Phase, u.Code, u.Title, u.Text)
		return 0, 1
	}
	return 0, 0
}

func (s *windowsSteps) ready() error { return s.b.Put(deprovisionWindows, []byte(defaultSysprep())) }

// deprovision shows the script and runs it (azure-image-builder.md 2; the words when it is missing are the service's, in the same place of
// its documentation).
func (s *windowsSteps) deprovision() error {
	x := s.x
	x.log.say("Provisioning with Powershell...")
	show := "type " + deprovisionWindows
	body := "& '" + deprovisionWindows + "'\r\nexit $LASTEXITCODE"
	if code, err := s.b.Line(x.ctx, show, x.log.hear); err == nil && code != 0 {
		x.log.msg("Deprovisioning script [c:\\DeprovisioningScript.ps1] could not be found. Image build may fail or the VM created from the Image may not boot. Please make sure the deprovisioning script is not accidentally deleted by a Customizer in the Template.")
		return nil
	}
	return scriptFailed(s.work(guest.Work{Text: body, Elevated: true}), nil)
}

// linuxSteps runs them in a real Linux, as the account that the machine was made with: not as root (azure-image-builder.md 7.1, Shell).
type linuxSteps struct {
	x    *imageRun
	g    commandGuest
	user string
}

const deprovisionLinux = "/tmp/DeprovisioningScript.sh"

// run has root's shell run a program. Simulated time stands still meanwhile: a real machine works in real time.
func (s *linuxSteps) run(program string) int {
	defer s.x.hold()()
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	s.x.w.stopping.Go(func() {
		code, err := s.g.Execute(guest.AgentScript{Name: "image-builder-" + s.x.mark, Text: program, Out: s.x.log.hear})
		ended <- end{code, err}
	})
	select {
	case e := <-ended:
		if e.err != nil {
			return disconnected
		}
		return e.code
	case <-s.x.ctx.Done():
		return disconnected
	}
}

// asUser is a program that runs a file with that content as the build account.
func (s *linuxSteps) asUser(file, content string) string {
	return "base64 -d >" + file + " <<'X'\n" + base64.StdEncoding.EncodeToString([]byte(content)) + "\nX\nchown " + s.user + " " + file + "\nchmod 0755 " + file + "\ncd /home/" + s.user + "\nexec sudo -n -H -u " + s.user + " -- " + file + "\n"
}

func (s *linuxSteps) script(c any, body string) error {
	x := s.x
	name := text(c, "name")
	if at := addressOf(c); at != "" {
		name = lastPart(strings.SplitN(at, "?", 2)[0])
	} else {
		body = "#!/bin/sh -e\n" + body + "\n" // Packer's default for inline
	}
	if !strings.HasPrefix(body, "#!") {
		body = "#!/bin/sh\n" + body
	}
	x.log.say("Provisioning with shell script: /aib/packerInput/%s", or(name, "inline"))
	code := s.run(s.asUser("/tmp/script_"+x.mark+".sh", body))
	s.run("rm -f /tmp/script_" + x.mark + ".sh")
	if code != 0 {
		return fmt.Errorf("Script exited with non-zero exit status: %d. Allowed exit codes are: [0]", code) //nolint:revive,staticcheck // Packer's own words
	}
	return nil
}

func (s *linuxSteps) file(c any, data []byte) error {
	to := text(c, "destination")
	s.x.log.say("Uploading %s => %s", lastPart(strings.SplitN(text(c, "sourceUri"), "?", 2)[0]), to)
	quoted := "'" + strings.ReplaceAll(to, "'", `'\''`) + "'"
	if code := s.run("base64 -d <<'X' | sudo -n -u " + s.user + " tee -- " + quoted + " >/dev/null\n" + base64.StdEncoding.EncodeToString(data) + "\nX\nexit ${PIPESTATUS[1]}\n"); code != 0 {
		return fmt.Errorf("Upload failed: the file %s could not be written", to) //nolint:revive,staticcheck // Packer's own words
	}
	return nil
}

func (s *linuxSteps) restart(any) error {
	return errors.New("Unsupported: windows-restart on a machine without Windows") //nolint:revive,staticcheck // as Packer begins
}

func (s *linuxSteps) update(any) error {
	return errors.New("Unsupported: windows-update on a machine without Windows") //nolint:revive,staticcheck // as Packer begins
}

func (s *linuxSteps) ready() error {
	const command = "sudo /usr/sbin/waagent -force -deprovision+user && export HISTSIZE=0 && sync" // azure-image-builder.md 2, Generalize
	if code := s.run("printf '%s\\n' '" + command + "' >" + deprovisionLinux + "\nchown " + s.user + " " + deprovisionLinux + "\n"); code != 0 {
		return errors.New("Timeout waiting for SSH.") //nolint:revive,staticcheck // Packer's own words
	}
	return nil
}

func (s *linuxSteps) deprovision() error {
	s.x.log.say("Provisioning with shell script: %s", deprovisionLinux)
	if code := s.run("cat " + deprovisionLinux + "\nexec sh " + deprovisionLinux + "\n"); code != 0 {
		return scriptFailed(code, nil)
	}
	return nil
}
