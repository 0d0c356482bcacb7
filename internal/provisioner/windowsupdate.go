package provisioner

import (
	"slices"
	"strings"
	"time"

	"ingot/internal/image"
)

// WindowsUpdate installs updates, restarting as often as they need it. Its options are those of the community's provisioner and of
// Image Builder's customizer.
type WindowsUpdate struct {
	// SearchCriteria is what the Windows Update Agent looks for; "BrowseOnly=0 and IsInstalled=0" if not set.
	SearchCriteria string `hcl:"search_criteria"`
	// Filters take each update in or out, the first that matches counts: "include:" or "exclude:" and a PowerShell expression over $_,
	// an IUpdate of the Windows Update Agent. An update that none matches is left out; without filters every update is taken.
	Filters []string `hcl:"filters"`
	// UpdateLimit is how many updates are installed before the guest is searched again; 1000 if not set.
	UpdateLimit int `hcl:"update_limit"`
	// UpdateMaxRetries is how often a failed update is tried again, each time after a restart; 5 if not set.
	UpdateMaxRetries int `hcl:"update_max_retries"`
	// RestartTimeout bounds each restart; 4h if not set. The guest restarts only when an update wants it or one has failed.
	RestartTimeout time.Duration `hcl:"restart_timeout"`
	// Username runs the updates as this user; SYSTEM if not set.
	Username string `hcl:"username"`
	// Password is that user's password.
	Password image.Text `hcl:"password,secret"`
}

var _ Settings = (*WindowsUpdate)(nil)

// Check reports what is wrong.
func (p *WindowsUpdate) Check(c *Check) {
	for i, f := range p.Filters {
		word, rest, ok := strings.Cut(f, ":")
		if !ok || word != "include" && word != "exclude" || strings.TrimSpace(rest) == "" {
			c.fail("filters", `write "exclude:$_.Title -like '*Preview*'" or "include:$true"`, "filters[%d] begins with neither include: nor exclude:", i)
		}
	}
	if p.UpdateLimit < 0 {
		c.fail("update_limit", "leave it out for 1000", "update_limit is negative")
	}
	if p.UpdateMaxRetries < 0 {
		c.fail("update_max_retries", "leave it out for 5", "update_max_retries is negative")
	}
	if p.RestartTimeout < 0 {
		c.fail("restart_timeout", "use a time like 2h", "restart_timeout is negative")
	}
	if !p.Password.IsZero() && (p.Username == "" || strings.EqualFold(p.Username, updateUser)) {
		c.fail("password", "set username, or leave password out", "password is set without a username: SYSTEM has none")
	}
	if p.Username != "" && !strings.EqualFold(p.Username, updateUser) && p.Password.IsZero() {
		c.fail("username", "set password, or leave username out for SYSTEM", "username %q is set without its password", p.Username)
	}
	if n := len(p.Filters); n > 0 && !slices.ContainsFunc(p.Filters, func(f string) bool { return strings.HasPrefix(f, "include:") }) {
		c.warn("filters", `end the list with "include:$true"`, "no filter takes anything in: an update that none matches is left out")
	}
}

// Summary is a phrase for a step's title.
func (p *WindowsUpdate) Summary() string { return "windows-update" }

// Estimate is a guess for a month's updates.
func (p *WindowsUpdate) Estimate() time.Duration { return 20 * time.Minute }
