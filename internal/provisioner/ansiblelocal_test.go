package provisioner

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"ingot/internal/image"
)

// TestAnsibleLocal runs the real ansible-playbook in a guest.
func TestAnsibleLocal(t *testing.T) {
	needs(t, "ansible-playbook")
	g := startSSHD(t)
	local := t.TempDir()
	site := write(t, local+"/site.yml", "- hosts: all\n  gather_facts: false\n  roles: [hello]\n  tasks:\n    - debug: {msg: \"{{ packer_build_name }} {{ colour | default('none') }} {{ size | default('none') }} {{ shade | default('none') }}\"}\n", 0o644)
	write(t, local+"/roles/hello/tasks/main.yml", "- debug: {msg: role ran}\n", 0o644)
	write(t, local+"/vars/web.yml", "colour: green\n", 0o644)
	write(t, local+"/hosts/127.0.0.1.yml", "size: small\n", 0o644)
	write(t, local+"/dir/tasks.yml", "- debug: {msg: from the folder}\n", 0o644)
	inner := write(t, local+"/dir/inner/play.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - include_tasks: ../tasks.yml\n", 0o644)
	other := write(t, local+"/other/play.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: {msg: from the other}\n", 0o644)
	twin := write(t, local+"/twin/play.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: {msg: from the twin}\n", 0o644)
	bad := write(t, local+"/bad.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - fail: {msg: on purpose}\n", 0o644)
	for id, c := range map[string]struct {
		p          AnsibleLocal
		want, fail string
		clean      bool
	}{
		"whole": {AnsibleLocal{PlaybookFile: site, RolePaths: []string{local + "/roles/hello"}, GroupVars: local + "/vars", HostVars: local + "/hosts", InventoryGroups: []string{"web"},
			ExtraArguments: []image.Text{image.Plain("--extra-vars"), image.Hidden("s", `"shade='test-secret not-real'"`)}, CleanStagingDirectory: true}, `(?s)role ran.*b green small test-secret not-real`, "", true},
		"several": {AnsibleLocal{PlaybookFiles: []string{inner, other, twin}, PlaybookDir: local + "/dir"}, `(?s)from the folder.*from the other.*from the twin`, "", false},
		"failing": {AnsibleLocal{PlaybookFiles: []string{bad, other}}, `on purpose`, `exited with code 2 \(a task failed\): .*on purpose`, false},
		"missing": {AnsibleLocal{PlaybookFile: other, Command: "no-such-ansible"}, ``, `exited with code 127 \(there is no such program in the guest`, false},
	} {
		t.Run(id, func(t *testing.T) {
			var said lines
			c.p.StagingDirectory = g.home + "/stage/" + id
			err := c.p.Run(limited(t), g.env(t, id, said.add))
			if (err == nil) != (c.fail == "") || err != nil && !regexp.MustCompile("(?s)"+c.fail).MatchString(err.Error()) || !regexp.MustCompile(c.want).MatchString(said.String()) {
				t.Errorf("%v, want %q %q\n%s", err, c.fail, c.want, said.String())
			}
			if id == "failing" && strings.Contains(said.String(), "from the other") {
				t.Error("the next playbook ran after one that failed")
			}
			if _, err := os.Stat(c.p.StagingDirectory); os.IsNotExist(err) != c.clean {
				t.Errorf("the staging folder: %v", err)
			}
		})
	}
}

func TestGalaxy(t *testing.T) {
	g := startSSHD(t)
	local := t.TempDir()
	write(t, g.home+"/bin/galaxy", "#!/bin/sh\necho \"galaxy $*\"\n", 0o755)
	write(t, g.home+"/bin/play", "#!/bin/sh\necho \"roles ${ANSIBLE_ROLES_PATH-none} collections ${ANSIBLE_COLLECTIONS_PATH-none}\"\n", 0o755)
	book := write(t, local+"/play.yml", "", 0o644)
	s := g.home + "/stage/"
	for id, c := range map[string]struct{ file, want string }{
		"both":  {"roles:\n- name: a\ncollections:\n- name: b.c\n", "galaxy install -r " + s + "both/req.yml -f -p " + s + "both/galaxy_roles\ngalaxy collection install -r " + s + "both/req.yml -f -p " + s + "both/galaxy_collections\nroles " + s + "both/galaxy_roles collections " + s + "both/galaxy_collections"},
		"old":   {"- src: a\n", "galaxy install -r " + s + "old/req.yml -f -p " + s + "old/galaxy_roles\nroles " + s + "old/galaxy_roles collections none"},
		"colls": {"collections:\n- name: b.c\n", "galaxy collection install -r " + s + "colls/req.yml -f -p " + s + "colls/galaxy_collections\nroles none collections " + s + "colls/galaxy_collections"},
	} {
		var said lines
		p := AnsibleLocal{PlaybookFile: book, GalaxyFile: write(t, local+"/req.yml", c.file, 0o644), GalaxyCommand: g.home + "/bin/galaxy", Command: g.home + "/bin/play", GalaxyForceInstall: true, StagingDirectory: s + id}
		if err := p.Run(limited(t), g.env(t, id, said.add)); err != nil || said.String() != c.want {
			t.Errorf("%v %q, want %q", err, said.String(), c.want)
		}
		// On this machine it is the same, without the folders.
		said = lines{}
		remote := Ansible{PlaybookFile: book, GalaxyFile: local + "/req.yml", GalaxyCommand: g.home + "/bin/galaxy", Command: g.home + "/bin/play", RolesPath: "r", CollectionsPath: "c", GalaxyForceWithDeps: true, SkipVersionCheck: true}
		if err := remote.Run(limited(t), g.env(t, id+"-here", said.add)); err != nil || strings.Contains(said.String(), "galaxy install -r "+local+"/req.yml --force-with-deps -p r") != strings.Contains(c.want, "galaxy install") ||
			strings.Contains(said.String(), "galaxy collection install -r "+local+"/req.yml --force-with-deps -p c") != strings.Contains(c.want, "galaxy collection") {
			t.Errorf("%v %q", err, said.String())
		}
	}
}
