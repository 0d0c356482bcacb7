package guest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Update is an update that Windows Update has for the machine.
type Update struct {
	// its article, such as "KB5070311".
	KB string `json:"kb"`
	// its title, with the article or without.
	Title string `json:"title"`
	// bytes to download.
	Bytes int64 `json:"bytes,omitempty"`
	// whether the machine must restart after it.
	Restart bool `json:"restart,omitempty"`
	// whether it is optional: BrowseOnly=1 and AutoSelectOnWebSites=0.
	Optional bool `json:"optional,omitempty"`
	// whether it may ask somebody something (InstallationBehavior.CanRequestUserInput).
	Input bool `json:"input,omitempty"`
	// articles that must be installed, restart included, before it is offered.
	After []string `json:"after,omitempty"`
	// the HRESULT with which its download fails, such as "0x80072EE2".
	DownloadError string `json:"downloadError,omitempty"`
	// the HRESULT with which its installation fails, such as "0x80240022".
	InstallError string `json:"installError,omitempty"`
	// how often it fails before it does not any more; 0 is always.
	Fails int `json:"fails,omitempty"`
	// whether it is offered again after it was installed.
	Reoffered bool `json:"reoffered,omitempty"`
	// whether the machine wants another restart after each one, once it is installed.
	RestartLoop bool `json:"restartLoop,omitempty"`
	// whether its installation never ends.
	Hangs bool `json:"hangs,omitempty"`
	// what happens in the midst of its installation, the first time: "reboot" or "drop".
	Effect string `json:"effect,omitempty"`
}

// defaultUpdates are what a machine finds when a scenario says nothing: one that needs a restart and one that does not. They are
// made up in the form of Microsoft's.
func defaultUpdates() []Update {
	return []Update{
		{KB: "KB2267602", Title: "Security Intelligence Update for Microsoft Defender Antivirus - KB2267602 (Version 1.441.100.0) - Current Channel (Broad)", Bytes: 118 << 20},
		{KB: "KB5070311", Title: "2026-11 Cumulative Update for Windows 11 Version 25H2 for x64-based Systems (KB5070311)", Bytes: 812 << 20, Restart: true},
	}
}

// updatesFile holds the states of updates on the disk, so that an image made of it has them.
const updatesFile = `C:\Windows\SoftwareDistribution\DataStore\simulated.json`

// updateState is how far one update is.
type updateState struct {
	Downloaded, Pending, Installed bool
	Failed, Times                  int
}

func (m *machine) updates() []Update {
	if m.c.Updates == nil {
		return defaultUpdates()
	}
	return m.c.Updates
}

func (m *machine) updateStates() map[string]*updateState {
	states := map[string]*updateState{}
	if data, ok := m.disk.File(updatesFile); ok {
		_ = json.Unmarshal(data, &states) // our own file
	}
	return states
}

// changeUpdate changes one update's state on the disk.
func (m *machine) changeUpdate(kb string, change func(*updateState)) {
	states := m.updateStates()
	s := states[kb]
	if s == nil {
		s = &updateState{}
		states[kb] = s
	}
	change(s)
	data, err := json.Marshal(states)
	if err == nil {
		m.disk.write(updatesFile, data)
	}
}

// bootUpdates is what a restart does: what was pending is installed, and a looping one pends again.
func (m *machine) bootUpdates() (pending bool) {
	states := m.updateStates()
	for _, u := range m.updates() {
		s := states[u.KB]
		if s == nil {
			continue
		}
		if s.Pending {
			m.changeUpdate(u.KB, func(s *updateState) { s.Pending, s.Installed = false, true })
		}
		pending = pending || u.RestartLoop && (s.Pending || s.Installed)
	}
	return pending
}

// windowsUpdate plays the program that provisioner windows-update runs in a guest (docs/guest-protocol.md): the order of calls is that of
// Microsoft Learn, "Searching, Downloading, and Installing Updates".
func (p *process) windowsUpdate(a verbArgs) int {
	m := p.m
	say := func(event string, more map[string]any) {
		line := map[string]any{"event": event}
		for k, v := range more {
			line[k] = v
		}
		b, _ := json.Marshal(line) //nolint:errcheck // text and numbers
		p.print("#ingot:update " + string(b))
	}
	pending := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.pendingReboot
	}
	restart := func() int {
		say("restart", map[string]any{"why": "Windows Update"})
		return 101
	}
	if pending() {
		return restart()
	}
	say("search", map[string]any{"try": 1})
	if !m.wait(p.ctx, m.duration("update-search")) {
		return 1
	}
	states := m.updateStates()
	var wanted []Update
	for _, u := range m.updates() {
		s := states[u.KB]
		if s == nil {
			s = &updateState{}
		}
		if slices.ContainsFunc(u.After, func(kb string) bool { return states[kb] == nil || !states[kb].Installed }) {
			continue
		}
		match, err := criteria(a.Criteria, u, s.Installed && !u.Reoffered)
		if err != nil {
			say("error", map[string]any{"phase": "search", "code": "0x80240032"})
			p.complain("[simulated guest] " + err.Error())
			return 1
		}
		if !match {
			continue
		}
		take, err := filtered(a.Filters, u)
		if err != nil {
			say("error", map[string]any{"phase": "filter", "text": "[simulated guest] " + err.Error()})
			return 1
		}
		if !take {
			say("skipped", u.info(nil))
			continue
		}
		say("found", u.info(map[string]any{"input": u.Input}))
		wanted = append(wanted, u)
	}
	tried := 0
	for _, u := range wanted {
		if tried >= a.Limit {
			break
		}
		tried++
		if !p.elevated {
			// A remote session may search, and neither download nor install (Microsoft Learn: "Using WUA From a Remote Computer").
			say("failed", u.info(map[string]any{"phase": "download", "code": "0x80070005"}))
			continue
		}
		failing := func(code string) bool {
			s := m.updateStates()[u.KB]
			return code != "" && (u.Fails == 0 || s == nil || s.Failed < u.Fails)
		}
		if s := m.updateStates()[u.KB]; s == nil || !s.Downloaded {
			say("downloading", u.info(nil))
			if !m.wait(p.ctx, m.duration("update-download")) {
				return 1
			}
			if failing(u.DownloadError) {
				m.changeUpdate(u.KB, func(s *updateState) { s.Failed++ })
				say("failed", u.info(map[string]any{"phase": "download", "code": u.DownloadError}))
				continue
			}
			m.changeUpdate(u.KB, func(s *updateState) { s.Downloaded = true })
			say("downloaded", u.info(nil))
		}
		say("installing", u.info(nil))
		if u.Hangs {
			<-p.ctx.Done()
			return 1
		}
		if s := m.updateStates()[u.KB]; u.Effect != "" && s != nil && s.Times == 0 {
			m.changeUpdate(u.KB, func(s *updateState) { s.Times++ })
			m.effect(u.Effect)
			if u.Effect == "reboot" {
				<-p.ctx.Done()
				return 1
			}
		}
		if !m.wait(p.ctx, m.duration("update-install")) {
			return 1
		}
		if failing(u.InstallError) {
			m.changeUpdate(u.KB, func(s *updateState) { s.Failed++ })
			say("failed", u.info(map[string]any{"phase": "install", "code": u.InstallError}))
			continue
		}
		m.changeUpdate(u.KB, func(s *updateState) { s.Times, s.Pending, s.Installed = s.Times+1, u.Restart, !u.Restart })
		if u.Restart || u.RestartLoop {
			m.effect("pending-reboot")
		}
		say("installed", u.info(map[string]any{"restart": u.Restart}))
	}
	switch {
	case pending():
		return restart()
	case tried > 0:
		return 102
	}
	return 0
}

func (u Update) info(more map[string]any) map[string]any {
	out := map[string]any{"id": "simulated-" + strings.ToLower(u.KB), "kb": u.KB, "title": u.Title, "bytes": u.Bytes}
	for k, v := range more {
		out[k] = v
	}
	return out
}

var criterion = regexp.MustCompile(`(?i)^\(?\s*(\w+)\s*(=|!=)\s*'?(\w+)'?\s*\)?$`)

// criteria judges an update by search criteria, whose words are those of IUpdateSearcher::Search (Microsoft Learn).
func criteria(text string, u Update, installed bool) (bool, error) {
	is := func(b bool) string {
		if b {
			return "1"
		}
		return "0"
	}
	values := map[string]string{"isinstalled": is(installed), "browseonly": is(u.Optional), "autoselectonwebsites": is(!u.Optional), "ishidden": "0", "type": "software", "isassigned": "1",
		"deploymentaction": "installation", "ispresent": is(installed), "rebootrequired": "0"}
	if strings.TrimSpace(text) == "" {
		return false, fmt.Errorf("the search criteria are empty")
	}
	for _, or := range regexp.MustCompile(`(?i)\s+or\s+`).Split(strings.TrimSpace(text), -1) {
		all := true
		for _, and := range regexp.MustCompile(`(?i)\s+and\s+`).Split(or, -1) {
			c := criterion.FindStringSubmatch(strings.TrimSpace(and))
			if c == nil {
				return false, fmt.Errorf("does not understand the criterion %q", and)
			}
			v, ok := values[strings.ToLower(c[1])]
			if !ok {
				return false, fmt.Errorf("does not know the criterion %s", c[1])
			}
			all = all && (v == strings.ToLower(c[3])) == (c[2] == "=")
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

// filtered says what the first filter that matches says; the model knows the PowerShell that filters are usually made of.
func filtered(filters []string, u Update) (bool, error) {
	for _, f := range filters {
		word, text, _ := strings.Cut(f, ":")
		match, err := expression(text, u)
		if err != nil {
			return false, err
		}
		if match {
			return word == "include", nil
		}
	}
	return false, nil
}

var comparison = regexp.MustCompile(`(?i)^\$_\.([\w.]+)\s+-(like|notlike|match|notmatch|eq|ne|contains|notcontains|gt|ge|lt|le)\s+(?:'((?:[^']|'')*)'|"([^"]*)"|(\$true|\$false)|(\d+)(kb|mb|gb)?)$`)

func expression(text string, u Update) (bool, error) {
	text = strings.TrimSpace(text)
	for _, or := range split(text, "-or") {
		all := true
		for _, and := range split(or, "-and") {
			one, err := term(and, u)
			if err != nil {
				return false, err
			}
			all = all && one
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

// split cuts an expression at an operator outside of quotes and brackets.
func split(text, operator string) []string {
	var out []string
	quote, depth, from := byte(0), 0, 0
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case quote != 0:
			if ch == quote {
				quote = 0
			}
		case ch == '\'' || ch == '"':
			quote = ch
		case ch == '(':
			depth++
		case ch == ')':
			depth--
		case depth == 0 && ch == '-' && len(text) > i+len(operator) && strings.EqualFold(text[i:i+len(operator)], operator) && text[i+len(operator)] == ' ':
			out = append(out, text[from:i])
			from = i + len(operator)
		}
	}
	return append(out, text[from:])
}

func term(text string, u Update) (bool, error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "!"); ok {
		b, err := term(rest, u)
		return !b, err
	}
	if rest, ok := strings.CutPrefix(text, "-not "); ok {
		b, err := term(rest, u)
		return !b, err
	}
	if strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")") {
		return expression(text[1:len(text)-1], u)
	}
	kb := strings.TrimPrefix(u.KB, "KB")
	flags := map[string]bool{"$true": true, "$false": false, "$_.browseonly": u.Optional, "$_.autoselectonwebsites": !u.Optional, "$_.installationbehavior.canrequestuserinput": u.Input, "$_.ishidden": false, "$_.ismandatory": false}
	if b, ok := flags[strings.ToLower(text)]; ok {
		return b, nil
	}
	c := comparison.FindStringSubmatch(text)
	if c == nil {
		return false, fmt.Errorf("does not understand the filter %q: it executes no PowerShell", text)
	}
	value, have := strings.ReplaceAll(c[3]+c[4]+c[5], "''", "'"), ""
	switch name := strings.ToLower(c[1]); name {
	case "title":
		have = u.Title
	case "kbarticleids":
		have = kb
	case "maxdownloadsize":
		n, _ := strconv.ParseInt(c[6], 10, 64) //nolint:errcheck // digits
		n *= map[string]int64{"": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}[strings.ToLower(c[7])]
		switch strings.ToLower(c[2]) {
		case "gt":
			return u.Bytes > n, nil
		case "ge":
			return u.Bytes >= n, nil
		case "lt":
			return u.Bytes < n, nil
		case "le":
			return u.Bytes <= n, nil
		}
		return false, fmt.Errorf("does not understand the filter %q", text)
	default:
		b, ok := flags["$_."+name]
		if !ok {
			return false, fmt.Errorf("does not model $_.%s of an update", c[1])
		}
		have = "$" + strconv.FormatBool(b)
	}
	switch strings.ToLower(c[2]) {
	case "like", "notlike":
		pattern := "(?is)^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(value)) + "$"
		return regexp.MustCompile(pattern).MatchString(have) == strings.EqualFold(c[2], "like"), nil
	case "match", "notmatch":
		re, err := regexp.Compile("(?i)" + value)
		if err != nil {
			return false, err
		}
		return re.MatchString(have) == strings.EqualFold(c[2], "match"), nil
	case "eq", "contains":
		return strings.EqualFold(have, value), nil
	case "ne", "notcontains":
		return !strings.EqualFold(have, value), nil
	}
	return false, fmt.Errorf("does not understand the filter %q", text)
}
