package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var _ Runner = (*AnsibleLocal)(nil)

// Run uploads the playbooks and what they need, and runs ansible-playbook in the guest, on itself.
func (p *AnsibleLocal) Run(ctx context.Context, e *Env) error {
	s := &staging{e: e, what: "ansible-playbook in the guest", clean: p.CleanStagingDirectory, dir: cmp.Or(p.StagingDirectory, "/tmp/packer-provisioner-ansible-local/"+e.StepID)}
	put := func(from string, names ...string) string {
		to := inside(s.dir, names...)
		s.up = append(s.up, upload{from: from, to: to})
		return to
	}
	if p.PlaybookDir != "" {
		put(p.PlaybookDir)
	}
	var books []string
	if p.PlaybookFile != "" {
		books = append(books, put(p.PlaybookFile, localBase(p.PlaybookFile)))
	}
	for i, f := range p.PlaybookFiles {
		if rel, ok := below(p.PlaybookDir, f); ok {
			books = append(books, inside(s.dir, rel)) // it is there with its folder
			continue
		}
		// Two of the same name do not overwrite one another.
		name := []string{localBase(f)}
		for _, other := range p.PlaybookFiles[:i] {
			if localBase(other) == localBase(f) {
				name = []string{fmt.Sprintf("playbook-%d", i), localBase(f)}
			}
		}
		books = append(books, put(f, name...))
	}
	inventory := inside(s.dir, "ingot-inventory")
	if p.InventoryFile != "" {
		inventory = put(p.InventoryFile, localBase(p.InventoryFile))
	} else {
		text := "127.0.0.1\n"
		if len(p.InventoryGroups) > 0 {
			text = ""
		}
		for _, g := range p.InventoryGroups {
			text += "[" + g + "]\n127.0.0.1\n"
		}
		s.up = append(s.up, upload{text: text, to: inventory})
	}
	for _, f := range []struct{ local, name string }{{p.GroupVars, "group_vars"}, {p.HostVars, "host_vars"}} {
		if f.local != "" {
			put(f.local, f.name)
		}
	}
	for name, list := range map[string][]string{"roles": p.RolePaths, "collections": p.CollectionPaths, "playbooks": p.PlaybookPaths} {
		for _, f := range list {
			put(f, name, localBase(f))
		}
	}

	var script strings.Builder
	fmt.Fprintf(&script, "cd %s || exit 1\n", shellQuote(s.dir))
	paths, err := p.galaxy(s, &script, put)
	if err != nil {
		return err
	}
	script.WriteString(paths)
	vars := ""
	for _, v := range []struct{ name, of string }{{"packer_build_name", "PACKER_BUILD_NAME"}, {"packer_builder_type", "PACKER_BUILDER_TYPE"}} {
		if e.Vars[v.of] != "" {
			vars += " -e " + shellQuote(fmt.Sprintf("%s=%q", v.name, e.Vars[v.of]))
		}
	}
	// As with Packer, the arguments are words of the guest's shell.
	for _, a := range p.ExtraArguments {
		vars += " " + a.Reveal()
	}
	for _, b := range books {
		fmt.Fprintf(&script, "%s %s%s -c local -i %s || exit\n", cmp.Or(p.Command, "PYTHONUNBUFFERED=1 ansible-playbook"), shellQuote(b), vars, shellQuote(inventory))
	}
	s.shell = "mkdir -p " + shellQuote(s.dir) + " || exit 1\n" + script.String()
	code, complaint, err := s.run(ctx)
	if err != nil || code == 0 {
		return err
	}
	meaning := ansibleCode(code)
	if code == 127 {
		meaning = "there is no such program in the guest: install Ansible in a provisioner before"
	}
	text := fmt.Sprintf("cannot run %s: it exited with code %d (%s)", s.what, code, meaning)
	if complaint != "" {
		text += ": " + complaint
	}
	return errors.New(text)
}

// galaxy adds to the script what installs roles and collections, and returns the lines that make Ansible look for them.
func (p *AnsibleLocal) galaxy(s *staging, script *strings.Builder, put func(from string, names ...string) string) (string, error) {
	var collections, roles []string
	if p.GalaxyFile != "" {
		text, err := os.ReadFile(p.GalaxyFile)
		if err != nil {
			return "", fmt.Errorf("cannot read galaxy_file: %w", err)
		}
		file := put(p.GalaxyFile, localBase(p.GalaxyFile))
		roleDir, collectionDir := cmp.Or(p.GalaxyRolesPath, inside(s.dir, "galaxy_roles")), cmp.Or(p.GalaxyCollectionsPath, inside(s.dir, "galaxy_collections"))
		both := []string{"-r", shellQuote(file)}
		if p.GalaxyForceInstall {
			both = append(both, "-f")
		}
		with := func(dir string) []string { return append(append([]string{}, both...), "-p", shellQuote(dir)) }
		for _, call := range galaxyCalls(text, with(roleDir), with(collectionDir)) {
			fmt.Fprintf(script, "%s %s || exit\n", cmp.Or(p.GalaxyCommand, galaxyProgram), strings.Join(call, " "))
			if call[0] == "collection" {
				collections = append(collections, collectionDir)
			} else {
				roles = append(roles, roleDir)
			}
		}
	}
	if len(p.CollectionPaths) > 0 {
		collections = append(collections, inside(s.dir, "collections"))
	}
	out := ""
	for _, v := range []struct {
		name string
		list []string
	}{{"ANSIBLE_COLLECTIONS_PATH", collections}, {"ANSIBLE_ROLES_PATH", roles}} {
		if len(v.list) > 0 {
			out += fmt.Sprintf("export %[1]s=\"${%[1]s:+$%[1]s:}\"%[2]s\n", v.name, shellQuote(strings.Join(v.list, ":")))
		}
	}
	return out, nil
}

// below is a file's path below a folder.
func below(dir, file string) (string, bool) {
	if dir == "" {
		return "", false
	}
	rel, err := filepath.Rel(dir, file)
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}
