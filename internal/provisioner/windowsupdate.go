package provisioner

import (
	"strings"
	"time"

	"ingot/internal/image"
)

// WindowsUpdate installs updates, restarting as often as they need it. Its options are those of the community's provisioner and of
// Image Builder's customizer.
type WindowsUpdate struct {
	// SearchCriteria is what the Windows Update Agent looks for; "BrowseOnly=0 and IsInstalled=0" if not set.
	SearchCriteria string `hcl:"search_criteria"`
	// Filters take each update in or out, the first that matches counts: "include:" or "exclude:" and a PowerShell expression over $_.
	Filters []string `hcl:"filters"`
	// UpdateLimit is how many updates are installed at once; 1000 if not set.
	UpdateLimit int `hcl:"update_limit"`
	// UpdateMaxRetries is how often a failed update is tried again; 5 if not set.
	UpdateMaxRetries int `hcl:"update_max_retries"`
	// RestartTimeout bounds each restart; 4h if not set.
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
}

// Summary is a phrase for a step's title.
func (p *WindowsUpdate) Summary() string { return "windows-update" }

// Estimate is a guess for a month's updates.
func (p *WindowsUpdate) Estimate() time.Duration { return 20 * time.Minute }
