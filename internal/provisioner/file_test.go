package provisioner

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/internal/image"
)

func TestFileOverSSH(t *testing.T) {
	g := newSSHGuest(t)
	local := t.TempDir()
	tool := write(t, local+"/tool", "#!/bin/sh\n", 0o755)
	secret := write(t, local+"/ünï cödé 'file'", "x", 0o600)
	fixed := write(t, local+"/read only", "y", 0o444)
	write(t, local+"/app/one", "1", 0o644)
	write(t, local+"/app/deep/er/two", "2", 0o644)
	for name, c := range map[string]struct {
		p    File
		want map[string]os.FileMode // in the home
		fail string
	}{
		"keeps its mode":       {File{Source: tool, Destination: "~/a/tool"}, map[string]os.FileMode{"a/tool": 0o755}, ""},
		"into a folder":        {File{Source: secret, Destination: g.Home + "/b/"}, map[string]os.FileMode{"b/ünï cödé 'file'": 0o600}, ""},
		"read-only":            {File{Source: fixed, Destination: "c/-dash"}, map[string]os.FileMode{"c/-dash": 0o444}, ""},
		"several":              {File{Sources: []string{tool, fixed}, Destination: "d"}, map[string]os.FileMode{"d/tool": 0o755, "d/read only": 0o444}, ""},
		"folder itself":        {File{Source: local + "/app", Destination: "e"}, map[string]os.FileMode{"e/app/one": 0o644, "e/app/deep/er/two": 0o644}, ""},
		"what is in it":        {File{Source: local + "/app/", Destination: "f"}, map[string]os.FileMode{"f/one": 0o644, "f/deep/er/two": 0o644}, ""},
		"content":              {File{Content: image.Plain("text"), Destination: `g\h`}, map[string]os.FileMode{`g\h`: 0o644}, ""},
		"longest name":         {File{Content: image.Plain("text"), Destination: strings.Repeat("n", 255)}, map[string]os.FileMode{strings.Repeat("n", 255): 0o644}, ""},
		"a folder is there":    {File{Source: tool, Destination: g.Home}, nil, "it is a folder in the guest"},
		"a file is in between": {File{Source: tool, Destination: write(t, g.Home+"/between", "", 0o600) + "/x"}, nil, "cannot write"},
		"nothing to copy":      {File{Source: local + "/none", Destination: "x"}, nil, "cannot upload"},
	} {
		for range 2 { // copying again does no harm
			_, err := g.run("file", &c.p)
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for file, mode := range c.want {
			if info, err := os.Stat(filepath.Join(g.Home, file)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v %v", name, info, err)
			}
		}
	}
	out := t.TempDir()
	for _, c := range []struct{ source, dest, want string }{{"~/a/tool", out + "/x/", "x/tool"}, {g.Home + "/e/app/one", out + "/y", "y"}} {
		if _, err := g.run("down", &File{Source: c.source, Destination: c.dest, Direction: "download"}); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(filepath.Join(out, c.want)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v %v", c.want, info, err)
		}
	}
	if _, err := g.run("down", &File{Source: "none", Destination: out + "/none", Direction: "download"}); err == nil {
		t.Error("a download of nothing succeeds")
	}
	if left, _ := filepath.Glob(out + "/.ingot-*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if _, err := os.Stat(out + "/none"); !os.IsNotExist(err) {
		t.Errorf("half a file: %v", err)
	}
}

// TestGenerated names what is made during the build, and what comes back from the guest.
func TestGenerated(t *testing.T) {
	g := newSSHGuest(t)
	cwd := t.TempDir()
	f := &File{Sources: []string{"late.txt", "late/"}, Destination: g.Home + "/in/", Generated: true}
	c := &Check{Cwd: cwd, Dir: cwd}
	if f.Check(c); len(c.Problems) > 0 || f.Sources[0] != cwd+"/late.txt" || f.Sources[1] != cwd+"/late/" {
		t.Fatalf("%+v %q", c.Problems, f.Sources)
	}
	if _, err := g.run("early", f); err == nil {
		t.Error("what is not there yet is uploaded")
	}
	write(t, cwd+"/late.txt", "1", 0o644)
	write(t, cwd+"/late/two", "2", 0o644)
	if _, err := g.run("late", f); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"in/late.txt": "1", "in/two": "2"} {
		if raw, err := os.ReadFile(g.Home + "/" + name); err != nil || string(raw) != want {
			t.Errorf("%s: %q %v", name, raw, err)
		}
	}
	write(t, g.Home+"/sbom.json", "{}", 0o644)
	s := &SBOM{Source: g.Home + "/sbom.json", Destination: "out/"}
	c = &Check{Cwd: cwd}
	if s.Check(c); len(c.Problems) > 0 || len(s.Limits()) > 0 {
		t.Errorf("%+v %+v", c.Problems, s.Limits())
	}
	if _, err := g.run("sbom", s); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(cwd + "/out/sbom.json"); err != nil || string(raw) != "{}" {
		t.Errorf("%q %v", raw, err)
	}
	for _, no := range []*SBOM{{AutoGenerate: true, Destination: "x"}, {Source: "x"}} {
		if len(no.Limits()) != 1 {
			t.Errorf("%+v: %+v", no, no.Limits())
		}
	}
}

func TestBreakpoint(t *testing.T) {
	asked := ""
	e := &Env{Wait: func(_ context.Context, note string) error { asked = note; return nil }}
	if err := (&Breakpoint{Note: "look"}).Run(t.Context(), e); err != nil || asked != "look" {
		t.Errorf("%v %q", err, asked)
	}
	asked = ""
	if err := (&Breakpoint{Note: "look", Disable: true}).Run(t.Context(), e); err != nil || asked != "" {
		t.Errorf("disabled: %v %q", err, asked)
	}
	if err := (&Breakpoint{}).Run(t.Context(), &Env{}); err == nil {
		t.Error("it goes on with nobody there")
	}
}
