package provisioner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

// TestWindowsRestart has each option acting.
func TestWindowsRestart(t *testing.T) {
	const servicing = `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\`
	for name, c := range map[string]struct {
		p        WindowsRestart
		rules    []guest.Rule
		commands []string // in this order, others may be between
		fail     string
	}{
		"by default":             {WindowsRestart{}, nil, []string{`shutdown /r /f /t 0 /c "ingot restart"`}, ""},
		"restart_command":        {WindowsRestart{RestartCommand: "powershell Restart-Computer -Force"}, nil, []string{"powershell Restart-Computer -Force"}, ""},
		"a shutdown is on":       {WindowsRestart{RestartCommand: "shutdown /r /t 5 & shutdown /r /t 0"}, nil, []string{"shutdown /r /t 5 &"}, ""},
		"the command fails":      {WindowsRestart{RestartCommand: "nonsense"}, nil, []string{"nonsense"}, "the restart command exited with code 1"},
		"restart_check_command":  {WindowsRestart{RestartCheckCommand: "look"}, []guest.Rule{{Match: "^look$", ExitCode: 1, Times: 3}, {Match: "^look$"}}, []string{"shutdown", "look", "look", "look", "look"}, ""},
		"the check never passes": {WindowsRestart{RestartCheckCommand: "look", RestartTimeout: 4 * time.Minute}, []guest.Rule{{Match: "^look$", ExitCode: 1}}, []string{"look", "look"}, "not back after 4m0s; raise restart_timeout"},
		"check_registry": {WindowsRestart{CheckRegistry: true}, []guest.Rule{{Match: "RebootPending", Times: 2}, {Match: "^reg query", ExitCode: 1}},
			[]string{"shutdown", `reg query "` + servicing + `RebootPending"`, "RebootPending", "RebootPending", `reg query "` + servicing + `PackagesPending"`, `RebootInProgress`}, ""},
		"registry_keys":         {WindowsRestart{CheckRegistry: true, RegistryKeys: []string{`HKLM:SOFTWARE\One`, `HKLM:\SOFTWARE\Two`, `HKCU\Three`}}, []guest.Rule{{Match: "^reg query", ExitCode: 1}}, []string{`"HKLM\SOFTWARE\One"`, `"HKLM\SOFTWARE\Two"`, `"HKCU\Three"`}, ""},
		"the registry is never": {WindowsRestart{CheckRegistry: true, RestartTimeout: 4 * time.Minute}, []guest.Rule{{Match: "^reg query"}}, []string{"RebootPending"}, "not back after 4m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newWindowsGuest(t, func(c2 *guest.Config) { c2.Rules = c.rules })
			_, err := g.run("restart", &c.p)
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%v\n%s", err, g)
			}
			at := 0
			for _, want := range c.commands {
				for at < len(g.commands) && !strings.Contains(g.commands[at], want) {
					at++
				}
				if at == len(g.commands) {
					t.Errorf("no %s in its place\n%s", want, g)
				}
				at++
			}
			if g.count("shutdown") > 1 && c.p.RestartCommand == "" {
				t.Errorf("restarted more than once\n%s", g)
			}
		})
	}
}

// TestWindowsRestartTimeout: a guest that does not come back is an error in time.
func TestWindowsRestartTimeout(t *testing.T) {
	g := newWindowsGuest(t, func(c *guest.Config) {
		c.Duration = func(kind string) time.Duration { return map[string]time.Duration{"reboot": 48 * time.Hour}[kind] }
	})
	before := g.clock.Now()
	_, err := g.run("restart", &WindowsRestart{RestartTimeout: 10 * time.Minute})
	if err == nil || !strings.Contains(err.Error(), "not back after 10m0s; raise restart_timeout") || g.clock.Now().Sub(before) < 10*time.Minute {
		t.Errorf("%v after %s", err, g.clock.Now().Sub(before))
	}
}

// TestWindowsRestartAgain: a process that dies after the command restarts the guest no second time.
func TestWindowsRestartAgain(t *testing.T) {
	g := newWindowsGuest(t, nil)
	ctx, die := context.WithCancelCause(t.Context())
	g.hear = func(line string) {
		if strings.HasPrefix(line, "waiting") {
			die(errors.New("killed"))
		}
	}
	if _, err := g.runIn(ctx, "restart", &WindowsRestart{}); err == nil {
		t.Error("it was not killed")
	}
	g.hear = nil
	env := g.env("look")
	// Until the first restart is over; the second process comes later.
	for first, err := env.Comm.Ready(t.Context()); ; {
		f, err2 := env.Comm.Ready(t.Context())
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if f.Boot.After(first.Boot) || f.Boot.Sub(g.clock.begun) > 30*time.Second {
			break
		}
	}
	if _, err := g.run("restart", &WindowsRestart{}); err != nil || g.count("shutdown") != 1 {
		t.Errorf("%v\n%s", err, g)
	}
}
