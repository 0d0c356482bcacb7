package provisioner

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"ingot/internal/image"
)

func TestShellLocal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the scripts of this test are for /bin/sh")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "s.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho script $A; exit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(p *ShellLocal) (string, error) {
		var mu sync.Mutex
		var out []string
		err := p.Run(t.Context(), &Env{Vars: map[string]string{"PACKER_BUILD_NAME": "b"}, Output: func(stream, line string) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, stream+":"+line)
		}})
		return strings.Join(out, "\n"), err
	}
	for name, c := range map[string]struct {
		p    ShellLocal
		want string
		fail string
	}{
		"inline":      {ShellLocal{Inline: text("echo one $PACKER_BUILD_NAME")}, "stdout:one b", ""},
		"command":     {ShellLocal{Command: image.Plain("echo two >&2")}, "stderr:two", ""},
		"first error": {ShellLocal{Inline: []image.Text{image.Plain("false"), image.Plain("echo on")}}, "", "exited with code 1"},
		"script":      {ShellLocal{Script: script, EnvironmentVars: text("A=x"), ValidExitCodes: []int{3}}, "stdout:script x", ""},
		"wins":        {ShellLocal{Script: script, EnvironmentVars: text("A=x"), Env: map[string]image.Text{"A": image.Plain("y")}, ValidExitCodes: []int{3}}, "stdout:script y", ""},
		"code":        {ShellLocal{Script: script}, "stdout:script", "s.sh: it exited with code 3"},
		"elsewhere":   {ShellLocal{Inline: text("echo no"), OnlyOn: []string{"windows"}}, "", ""},
		"own command": {ShellLocal{Inline: text("echo three"), ExecuteCommand: []string{"/bin/sh", "-c", "echo before; {{.Vars}} {{.Script}}"}}, "stdout:before\nstdout:three", ""},
		"no program":  {ShellLocal{Inline: text("echo"), ExecuteCommand: []string{"/nonexistent/program"}}, "", "cannot run shell-local"},
	} {
		out, err := run(&c.p)
		if out != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: %q %v", name, out, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "ingot-shell-local-*")); len(left) > 0 {
		t.Errorf("scripts are left: %v", left)
	}
	spaced := filepath.Join(dir, "a 'quoted' name.sh")
	if err := os.WriteFile(spaced, []byte("#!/bin/sh\necho spaced\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := run(&ShellLocal{Script: spaced}); out != "stdout:spaced" || err != nil {
		t.Errorf("a script with a space in its name: %q %v", out, err)
	}
	if _, err := run(&ShellLocal{Script: script, ExecuteCommand: []string{"{{.Vars}}"}}); err == nil || !strings.Contains(err.Error(), "names no program") {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	// What a script starts holds its pipe: it is ended with it.
	if err := (&ShellLocal{Inline: text("echo begun; sleep 600 & wait")}).Run(ctx, &Env{Output: func(string, string) { stop() }}); err == nil {
		t.Error("a run that was cancelled succeeds")
	}
	if err := (&ShellLocal{Inline: text("sleep 60")}).Run(ctx, &Env{}); err == nil {
		t.Error("a run that was cancelled succeeds")
	}
}
