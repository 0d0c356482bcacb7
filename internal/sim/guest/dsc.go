package guest

import (
	"encoding/json"
	"regexp"
	"strings"
)

// Resource says how a DSC resource behaves in the machine.
type Resource struct {
	// its id, such as "[File]Readme" or "[Microsoft.Windows/Registry]keys".
	ID string `json:"id"`
	// what it fails with; absent: it can be set.
	Error string `json:"error,omitempty"`
	// whether it wants a restart, the first time it is set.
	Restart bool `json:"restart,omitempty"`
}

// The model names a configuration's resources, and sets none: it executes no PowerShell. In a script they are the blocks of a Node, in a
// compiled configuration the ResourceID of each instance, in a document of DSC 3 its pairs of name and type.
var (
	dscBlock    = regexp.MustCompile(`(?im)^\s+([A-Za-z]\w*)\s+["']?([\w.-]+)["']?\s*\{?\s*$`)
	dscName     = regexp.MustCompile(`(?im)^\s*configuration\s+["']?([\w.-]+)["']?`)
	mofID       = regexp.MustCompile(`(?im)^\s*ResourceID\s*=\s*"([^"]+)"`)
	dscYAMLName = regexp.MustCompile(`(?m)^\s*(?:-\s+)?"?(name|type)"?:\s*"?([^",\n]+?)"?,?\s*$`)
)

const dscFile = `C:\Windows\System32\Configuration\simulated.json`

// desiredState plays the program that provisioner dsc runs in a guest (docs/guest-protocol.md).
func (p *process) desiredState(raw string) int {
	var a struct {
		Mode, Manifest, Name, MOF, Program string
		Modules                            []string
		Install                            []struct{ Name, Version string }
		Packages, Again                    bool
	}
	if err := json.Unmarshal([]byte(raw), &a); err != nil {
		p.complain("[simulated guest] cannot read the arguments of dsc: " + err.Error())
		return 1
	}
	say := func(event string, more map[string]any) {
		more["event"] = event
		b, _ := json.Marshal(more) //nolint:errcheck // text
		p.print("#ingot:dsc " + string(b))
	}
	for _, m := range a.Install {
		say("installing", map[string]any{"name": strings.TrimSpace(m.Name + " " + m.Version)})
	}
	var ids []string
	switch a.Mode {
	case "resource":
		ids = []string{"[" + a.Name + "]"}
	case "mof":
		for _, f := range p.m.disk.below(a.MOF) {
			data, _ := p.m.disk.File(f)
			for _, m := range mofID.FindAllStringSubmatch(string(data), -1) {
				ids = append(ids, m[1])
			}
		}
		if len(ids) == 0 {
			say("failed", map[string]any{"phase": "set", "text": "No valid configurations to apply were found at " + a.MOF + "."})
			return 1
		}
	default:
		data, ok := p.m.disk.File(a.Manifest)
		if !ok {
			say("failed", map[string]any{"phase": "compile", "text": "The term '" + a.Manifest + "' is not recognized as the name of a cmdlet, function, script file, or operable program."})
			return 1
		}
		if a.Mode == "v3" {
			ids = documentResources(string(data))
			break
		}
		if name := dscName.FindStringSubmatch(string(data)); name == nil || !strings.EqualFold(name[1], a.Name) {
			say("failed", map[string]any{"phase": "compile", "text": "The term '" + a.Name + "' is not recognized as the name of a cmdlet, function, script file, or operable program."})
			return 1
		}
		for _, m := range dscBlock.FindAllStringSubmatch(string(data), -1) {
			if !strings.EqualFold(m[1], "node") && !strings.EqualFold(m[1], "configuration") && !strings.EqualFold(m[1], "import-dscresource") {
				ids = append(ids, "["+m[1]+"]"+m[2])
			}
		}
	}
	done := map[string]bool{}
	if data, ok := p.m.disk.File(dscFile); ok {
		_ = json.Unmarshal(data, &done) // our own file
	}
	restart := false
	for _, id := range ids {
		var r Resource
		for _, x := range p.m.c.Resources {
			if strings.EqualFold(x.ID, id) {
				r = x
			}
		}
		if !p.m.wait(p.ctx, p.m.duration("command")) {
			return 1
		}
		if r.Error != "" {
			say("failed", map[string]any{"phase": "set", "resource": id, "text": r.Error})
			return 1
		}
		again := done[id]
		done[id] = true
		if b, err := json.Marshal(done); err == nil {
			p.m.disk.write(dscFile, b)
		}
		say("set", map[string]any{"resource": id, "text": "[simulated guest] named, and not carried out"})
		if r.Restart && !again {
			restart = true
			p.m.effect("pending-reboot")
			break // the manager goes on after the restart
		}
	}
	if restart {
		return 101
	}
	return 0
}

// documentResources are the resources of a document of DSC 3, in YAML or JSON as people write it: a name and a type for each.
func documentResources(text string) (ids []string) {
	name, kind := "", ""
	if _, rest, ok := strings.Cut(text, "resources"); ok {
		text = rest
	}
	for _, m := range dscYAMLName.FindAllStringSubmatch(text, -1) {
		if m[1] == "name" {
			name = m[2]
		} else {
			kind = m[2]
		}
		if name != "" && strings.Contains(kind, "/") {
			ids = append(ids, "["+kind+"]"+name)
			name, kind = "", ""
		}
	}
	return ids
}
