package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/image"
	"ingot/internal/sim/guest"
)

var dialer = (&net.Dialer{}).DialContext

// installed is how often each update was installed in the guest.
func (g *windowsGuest) installed() map[string]int {
	g.t.Helper()
	states := map[string]struct {
		Installed bool
		Times     int
	}{}
	if data, ok := g.disk.File(`C:\Windows\SoftwareDistribution\DataStore\simulated.json`); ok {
		if err := json.Unmarshal(data, &states); err != nil {
			g.t.Fatal(err)
		}
	}
	out := map[string]int{}
	for kb, s := range states {
		if s.Installed {
			out[kb] = s.Times
		}
	}
	return out
}

const restartCall = "shutdown /r"

func TestWindowsUpdate(t *testing.T) {
	plain := guest.Update{KB: "KB1", Title: "Definitions (KB1)", Bytes: 5 << 20}
	big := guest.Update{KB: "KB2", Title: "Cumulative (KB2)", Bytes: 900 << 20, Restart: true}
	next := guest.Update{KB: "KB3", Title: "After the cumulative", Restart: true, After: []string{"KB2"}}
	preview := guest.Update{KB: "KB4", Title: "Cumulative Preview", Optional: true}
	for name, c := range map[string]struct {
		p         WindowsUpdate
		updates   []guest.Update
		installed string // in the order of the list
		restarts  int
		want      []string // of the output
		fail      string
	}{
		"two by default":          {WindowsUpdate{}, nil, "KB2267602 KB5070311", 1, []string{"found 2026-11 Cumulative Update for Windows 11 Version 25H2 for x64-based Systems (KB5070311), 812 MiB", "a restart is needed: Windows Update"}, ""},
		"none":                    {WindowsUpdate{}, []guest.Update{}, "", 0, nil, ""},
		"no restart where none":   {WindowsUpdate{}, []guest.Update{plain}, "KB1", 0, []string{"installed Definitions (KB1)"}, ""},
		"several restarts":        {WindowsUpdate{}, []guest.Update{plain, big, next}, "KB1 KB2 KB3", 2, []string{"installed After the cumulative (KB3); it wants a restart"}, ""},
		"optional ones are not":   {WindowsUpdate{}, []guest.Update{preview}, "", 0, nil, ""},
		"criteria":                {WindowsUpdate{SearchCriteria: "IsInstalled=0"}, []guest.Update{preview}, "KB4", 0, nil, ""},
		"criteria with or":        {WindowsUpdate{SearchCriteria: "BrowseOnly=0 and IsInstalled=0 or BrowseOnly=1 and IsInstalled=0"}, []guest.Update{plain, preview}, "KB1 KB4", 0, nil, ""},
		"bad criteria":            {WindowsUpdate{SearchCriteria: "Title=x"}, nil, "", 0, nil, `0x80240032 (WU_E_INVALID_CRITERIA): search_criteria is not understood: "Title=x"`},
		"exclude":                 {WindowsUpdate{Filters: []string{"exclude:$_.Title -like '*Cumul*'", "include:$true"}}, []guest.Update{plain, big}, "KB1", 0, []string{"left out by the filters: Cumulative (KB2)"}, ""},
		"exclude by number":       {WindowsUpdate{Filters: []string{"exclude:$_.KBArticleIDs -contains '2'", "include:$true"}}, []guest.Update{plain, big}, "KB1", 0, nil, ""},
		"the first filter counts": {WindowsUpdate{Filters: []string{"include:$_.Title -match 'KB2'", "exclude:$true"}}, []guest.Update{plain, big}, "KB2", 1, nil, ""},
		"what none matches":       {WindowsUpdate{Filters: []string{"include:$_.Title -match 'KB1'"}}, []guest.Update{plain, big}, "KB1", 0, nil, ""},
		"a filter nobody knows":   {WindowsUpdate{Filters: []string{"include:Get-It $_"}}, []guest.Update{plain}, "", 0, nil, "cannot filter updates"},
		"limit":                   {WindowsUpdate{UpdateLimit: 1}, []guest.Update{plain, {KB: "KB7", Title: "x"}, big}, "KB1 KB7 KB2", 1, nil, ""},
		"fails a while":           {WindowsUpdate{}, []guest.Update{{KB: "KB5", Title: "x", InstallError: "0x80240022", Fails: 2}}, "KB5", 2, []string{"install of KB5 (x) failed: 0x80240022 (WU_E_ALL_UPDATES_FAILED)"}, ""},
		"fails for good": {WindowsUpdate{UpdateMaxRetries: 2}, []guest.Update{plain, {KB: "KB5", Title: "x", InstallError: "0x80240022"}}, "KB1", 2, nil,
			`cannot install KB5 (x): 0x80240022 (WU_E_ALL_UPDATES_FAILED): the operation failed for every update; it was tried 3 times; C:\Windows\Logs\CBS\CBS.log and Get-WindowsUpdateLog have the cause; or leave the update out with a filter; to leave it out: filters = ["exclude:$_.KBArticleIDs -contains '5'", "include:$true"]`},
		"download fails":    {WindowsUpdate{UpdateMaxRetries: 1}, []guest.Update{{KB: "KB5", Title: "x", DownloadError: "0x80072ee2"}}, "", 1, nil, "cannot download KB5 (x): 0x80072EE2 (WININET_E_TIMEOUT)"},
		"an unknown code":   {WindowsUpdate{UpdateMaxRetries: 1}, []guest.Update{{KB: "KB5", Title: "x", InstallError: "0x8024ABCD"}}, "", 1, nil, "0x8024ABCD; it was tried 2 times; look the code up"},
		"offered again":     {WindowsUpdate{}, []guest.Update{{KB: "KB6", Title: "Again", Reoffered: true}}, "KB6", 0, nil, "cannot install KB6 (Again): it is offered again each time"},
		"restarts for ever": {WindowsUpdate{}, []guest.Update{{KB: "KB6", Title: "Loop", Restart: true, RestartLoop: true}}, "KB6", 3, nil, "after 3 restarts in a row the guest still wants one (Windows Update)"},
		"never ends":        {WindowsUpdate{}, []guest.Update{{KB: "KB6", Title: "Stuck", Hangs: true}}, "", 0, nil, "the installation of KB6 (Stuck) has said nothing for 3h0m0s; leave that update out with a filter"},
		"asks":              {WindowsUpdate{}, []guest.Update{{KB: "KB8", Title: "Asks", Input: true}}, "KB8", 0, []string{"KB8 may ask somebody something; if it never ends, leave it out"}, ""},
		"reboots by itself": {WindowsUpdate{}, []guest.Update{{KB: "KB6", Title: "Rude", Effect: "reboot"}, plain}, "KB6 KB1", 0, nil, ""},
		"drops":             {WindowsUpdate{}, []guest.Update{{KB: "KB6", Title: "x", Effect: "drop", Restart: true}}, "KB6", 1, nil, ""},
		"as another user":   {WindowsUpdate{Username: "packer", Password: image.Plain(guestPassword)}, []guest.Update{plain}, "KB1", 0, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newWindowsGuest(t, func(x *guest.Config) {
				x.Updates = c.updates
				if name == "never ends" {
					x.Clock, x.Duration = hasty{time.Now(), 10000}, nil // three hours pass in a second
				}
			})
			out, err := g.run("update", &c.p)
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Fatalf("%v\n%s", err, g)
			}
			got := g.installed()
			var want []string
			for _, kb := range strings.Fields(c.installed) {
				if got[kb] == 0 {
					t.Errorf("%s is not installed\n%s", kb, g)
				}
				want = append(want, kb)
			}
			if len(got) != len(want) || g.count(restartCall) != c.restarts {
				t.Errorf("installed %v, %d restarts; want %v, %d\n%s", got, g.count(restartCall), want, c.restarts, g)
			}
			for _, w := range c.want {
				if !strings.Contains(out, "stdout:"+w) {
					t.Errorf("no %q\n%s", w, g)
				}
			}
			for _, s := range g.scripts {
				if user := c.p.Username; user == "" && s.User != "SYSTEM" || user != "" && (s.User != user || s.Secret != guestPassword) || s.Shell != "powershell" {
					t.Errorf("it runs as %q", s.User)
				}
			}
		})
	}
}

// TestWindowsUpdateProgress: each update is named while it is at work.
func TestWindowsUpdateProgress(t *testing.T) {
	t.Parallel()
	g := newWindowsGuest(t, nil)
	if _, err := g.run("update", &WindowsUpdate{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"searching for updates", "downloading KB2267602 (1 of 2), 118 MiB", "downloaded KB2267602", "installing KB2267602 (1 of 2)", "installing KB5070311 (2 of 2)", "restarting the guest"} {
		if !strings.Contains(g.String(), want) {
			t.Errorf("no %q\n%s", want, g)
		}
	}
}

// TestWindowsUpdateResumed: a process that dies at any point goes on in another where it was; each update is installed once, and the
// guest restarts no oftener than it must.
func TestWindowsUpdateResumed(t *testing.T) {
	for _, at := range []string{"searching for updates", "downloading KB2267602", "installing KB2267602", "installed Security", "installing KB5070311", "a restart is needed", "restarting the guest", "waiting for the guest to restart"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			g := newWindowsGuest(t, nil)
			ctx, die := context.WithCancelCause(t.Context())
			g.hear = func(line string) {
				if strings.HasPrefix(line, at) {
					die(errors.New("killed"))
				}
			}
			if _, err := g.runIn(ctx, "update", &WindowsUpdate{}); err == nil {
				t.Fatalf("it was not killed\n%s", g)
			}
			g.mu.Lock()
			g.hear = nil
			g.mu.Unlock()
			if _, err := g.run("update", &WindowsUpdate{}); err != nil {
				t.Fatalf("%v\n%s", err, g)
			}
			got := g.installed()
			if got["KB2267602"] != 1 || got["KB5070311"] != 1 || g.count(restartCall) > 2 {
				t.Errorf("%v, %d restarts\n%s", got, g.count(restartCall), g)
			}
			ids := map[string]bool{}
			for _, s := range g.scripts {
				ids[s.ID] = true
			}
			if len(ids) != 2 {
				t.Errorf("%d rounds, want 2: %v", len(ids), ids)
			}
		})
	}
}

// TestWindowsUpdateFailing: a communicator that fails is an error of the step, whichever call it is.
func TestWindowsUpdateFailing(t *testing.T) {
	for _, call := range []string{"run", "ready"} {
		g := newWindowsGuest(t, nil)
		g.fail = func(name string) error {
			if name == call {
				return communicator.ErrAuth
			}
			return nil
		}
		if _, err := g.run("update", &WindowsUpdate{}); !errors.Is(err, communicator.ErrAuth) {
			t.Errorf("%s: %v", call, err)
		}
	}
	// The command's reply is lost: it may be sent again, and a guest that never comes back is said so.
	g := newWindowsGuest(t, func(c *guest.Config) {
		c.Duration = func(kind string) time.Duration {
			return map[string]time.Duration{"reboot": 48 * time.Hour}[kind]
		}
	})
	if _, err := g.run("update", &WindowsUpdate{RestartTimeout: 5 * time.Minute}); err == nil || !strings.Contains(err.Error(), "not back after 5m0s; raise restart_timeout") {
		t.Errorf("%v\n%s", err, g)
	}
}
