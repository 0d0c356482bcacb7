package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ingot/internal/template"
)

// foldDashes lets every long flag be written with one dash, as Packer's users do (-var, -on-error=abort): a word that begins
// with a single dash and names a long flag of the command gets its second dash. Words after "--" and the values of flags
// are left alone.
func foldDashes(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil {
		cmd = root
	}
	lookup := func(name string) *pflag.Flag {
		if f := cmd.Flags().Lookup(name); f != nil {
			return f
		}
		if f := cmd.InheritedFlags().Lookup(name); f != nil {
			return f
		}
		return root.PersistentFlags().Lookup(name)
	}
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			return append(out, args[i:]...)
		}
		if len(word) < 2 || word[0] != '-' {
			out = append(out, word)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		f := lookup(name)
		if f == nil {
			out = append(out, word)
			continue
		}
		out = append(out, "--"+strings.TrimLeft(word, "-"))
		if !hasValue && f.NoOptDefVal == "" && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out
}

// templateFlags are the flags of every command that reads a template.
type templateFlags struct {
	vars, varFiles, only, except  []string
	warnUndeclared                bool
	subscription, group, location string
	path                          string // of a resumed run: the template, where it is elsewhere
	noScripts                     bool
	engine                        engineFlags
}

func (t *templateFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&t.vars, "var", nil, "set a variable: name=value (repeatable)")
	f.StringArrayVar(&t.varFiles, "var-file", nil, "read variables from a file (repeatable)")
	f.StringSliceVar(&t.only, "only", nil, "build only what matches these names or globs")
	f.StringSliceVar(&t.except, "except", nil, "leave out what matches these names or globs")
	f.StringVar(&t.subscription, "subscription", "", "subscription that a deployment template is for (default: AZURE_SUBSCRIPTION_ID or ARM_SUBSCRIPTION_ID)")
	f.StringVar(&t.group, "resource-group", "", "resource group that a deployment template is for")
	f.StringVar(&t.location, "location", "", "region of that resource group")
	f.BoolVar(&t.noScripts, "no-script-check", false, "do not look for syntax errors in PowerShell")
	f.BoolVar(&t.warnUndeclared, "warn-on-undeclared-var", false, "warn about values for variables that the template does not declare")
}

func (t *templateFlags) options(a *app) template.Options {
	sub := t.subscription
	for _, key := range []string{"AZURE_SUBSCRIPTION_ID", "ARM_SUBSCRIPTION_ID"} {
		if sub == "" {
			sub = a.Getenv(key)
		}
	}
	return template.Options{Subscription: sub, ResourceGroup: t.group, Location: t.location, Vars: t.vars, VarFiles: t.varFiles, Env: a.Env, Only: t.only, Except: t.except, Cwd: a.Cwd, WarnUndeclared: t.warnUndeclared, NoScriptCheck: t.noScripts}
}
