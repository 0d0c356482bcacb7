package provisioner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"ingot/internal/communicator"
	"ingot/internal/image"
)

// checkScripts judges what every shell provisioner has: exactly one of inline, script and scripts; readable files; variables. What
// only Windows does to a script is looked for where windows says so.
func checkScripts(c *Check, inline []image.Text, script *string, scripts []string, uri image.Text, vars []image.Text, windows bool, sum string) {
	n := 0
	for _, set := range []bool{len(inline) > 0, *script != "", len(scripts) > 0, !uri.IsZero()} {
		if set {
			n++
		}
	}
	switch {
	case n == 0:
		c.fail("inline", "set inline, script or scripts", "nothing to run")
	case n > 1:
		c.fail("inline", "use a provisioner block for each", "only one of inline, script and scripts may be set")
	}
	if *script != "" {
		c.file("script", script)
	}
	for i := range scripts {
		c.file("scripts", &scripts[i])
	}
	c.variables("environment_vars", vars)
	c.scan(inline, *script, scripts, windows)
	for _, f := range BuiltIn(uri.Reveal(), sum) {
		c.warn("scriptUri", f.Remedy, "%s", f.Summary)
	}
}

var checksum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// environment joins what the step hands in with what the template sets, which wins.
func environment(e *Env, vars []image.Text, env map[string]image.Text) map[string]string {
	out := maps.Clone(e.Vars)
	if out == nil {
		out = map[string]string{}
	}
	for _, v := range vars {
		name, value, _ := strings.Cut(v.Reveal(), "=")
		out[name] = value
	}
	for name, value := range env {
		out[name] = value.Reveal()
	}
	return out
}

// joined is inline lines as one text.
func joined(lines []image.Text, end string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Reveal())
		b.WriteString(end)
	}
	return b.String()
}

// readScript reads a local script as UTF-8: Windows editors also save UTF-16 and byte order marks.
func readScript(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read script: %w", err)
	}
	return decodeScript(b), nil
}

// decodeScript is a script's bytes as UTF-8 without a byte order mark.
func decodeScript(b []byte) string {
	if len(b) >= 2 && (b[0] == 0xff && b[1] == 0xfe || b[0] == 0xfe && b[1] == 0xff) {
		little := b[0] == 0xff
		var u []uint16
		for i := 2; i+1 < len(b); i += 2 {
			if little {
				u = append(u, uint16(b[i])|uint16(b[i+1])<<8)
			} else {
				u = append(u, uint16(b[i+1])|uint16(b[i])<<8)
			}
		}
		return string(utf16.Decode(u))
	}
	return strings.TrimPrefix(string(b), "\ufeff")
}

// tail is how many of the last lines of stderr an error shows.
const tail = 10

// runScript runs s and judges its exit code; codes empty means 0 only.
func runScript(ctx context.Context, e *Env, s communicator.Script, what string, codes []int) error {
	var last []string
	code, err := e.Comm.Run(ctx, s, func(stream, line string) {
		if stream == "stderr" && strings.TrimSpace(line) != "" {
			last = append(last, line)
			if len(last) > tail {
				last = last[1:]
			}
		}
		if e.Output != nil {
			e.Output(stream, line)
		}
	})
	if errors.Is(err, communicator.ErrLost) {
		remedy := "put the restart into a windows-restart provisioner"
		if s.Shell == "sh" {
			remedy = "if it is meant to, set expect_disconnect = true"
		}
		return fmt.Errorf("cannot run %s: the guest restarted before it ended; %s: %w", what, remedy, err)
	}
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", what, err)
	}
	if len(codes) == 0 {
		codes = []int{0}
	}
	if slices.Contains(codes, code) {
		return nil
	}
	if len(last) == 0 {
		return fmt.Errorf("cannot run %s: it exited with code %d", what, code)
	}
	return fmt.Errorf("cannot run %s: it exited with code %d: %s", what, code, strings.Join(last, "\n"))
}

// count is "1 script" or "3 scripts".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
