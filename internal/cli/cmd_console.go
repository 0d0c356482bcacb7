package cli

import (
	"bufio"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ingot/internal/diag"
	"ingot/internal/template"
)

func (a *app) consoleCmd() *cobra.Command {
	var t templateFlags
	c := &cobra.Command{
		Use: "console [PATH]", Short: "Try expressions against a template",
		Long: "Console reads expressions, a line each, and shows their values: HCL for Packer's HCL2 (var.location), {{ }} for its older\n" +
			"language, ARM expressions for deployment templates (parameters('x')). Sensitive values are not shown. \"exit\" or Ctrl-D ends it.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r := template.Empty(t.options(a))
			if len(args) == 1 {
				var problems diag.List
				r, problems = template.Load(a.relative(args[0]), t.options(a))
				if len(r.Files) == 0 && problems.HasErrors() {
					diag.Render(a.Err, problems, r.Sources, a.color(a.Err))
					return shown(exitTemplate)
				}
				for _, p := range problems {
					if p.Severity == diag.Error {
						diag.Render(a.Err, diag.List{p}, r.Sources, a.color(a.Err))
					}
				}
			}
			prompt := func() {}
			if term.IsTerminal(int(a.In.Fd())) {
				prompt = func() { a.Err.WriteString("> ") } //nolint:errcheck // a prompt that cannot be shown is no reason to stop
			}
			failed := false
			lines := bufio.NewScanner(a.In)
			lines.Buffer(nil, 1<<20)
			for prompt(); lines.Scan(); prompt() {
				text := strings.TrimSpace(lines.Text())
				switch text {
				case "":
					continue
				case "exit", "quit":
					return nil
				case "variables":
					for _, v := range r.Variables {
						say(a.Out, "%s", v.Name)
					}
					continue
				}
				value, problems := r.Evaluate(text)
				if problems.HasErrors() {
					failed = true
					diag.Render(a.Err, problems, nil, a.color(a.Err))
					continue
				}
				say(a.Out, "%s", value)
			}
			if err := lines.Err(); err != nil {
				return err
			}
			if failed && !term.IsTerminal(int(a.In.Fd())) {
				return shown(exitTemplate)
			}
			return nil
		},
	}
	t.add(c)
	return c
}
