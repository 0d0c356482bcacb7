package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/internal/diag"
	"ingot/internal/template"
)

func (a *app) convertCmd() *cobra.Command {
	var t templateFlags
	var to, output, report string
	c := &cobra.Command{
		Use: "convert --to packer-hcl|packer-json|image-builder PATH", Short: "Write a template in another language",
		Long: "Convert writes a template in another language to standard output, or to a file with -o. What the other language\n" +
			"cannot say, or not exactly, is listed on standard error. In another language a secret is never written: a variable or parameter\n" +
			"stands for it. In its own language a Packer template keeps its text, formatted: what stands in it in clear stays so.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			switch template.Language(to) {
			case template.PackerHCL, template.PackerJSON, template.ImageBuilder:
			case "":
				return usage("say which language to write: --to packer-hcl, packer-json or image-builder")
			default:
				return usage("unknown --to %q: use packer-hcl, packer-json or image-builder", to)
			}
			if report != "" && report != "text" && report != "json" {
				return usage("unknown --report %q: use text or json", report)
			}
			r, problems := template.Load(a.relative(args[0]), t.options(a))
			diag.Render(a.Err, problems, r.Sources, a.color(a.Err))
			if problems.HasErrors() {
				return shown(exitTemplate)
			}
			w, err := template.Convert(r, template.Language(to), t.options(a))
			if err != nil {
				return usage("%v", err)
			}
			// Scripts and files were found by their absolute paths; a template names them from its folder.
			for _, dir := range []string{a.Cwd, filepath.Dir(filepath.Join(a.Cwd, args[0]))} {
				w.Text = bytes.ReplaceAll(w.Text, []byte(filepath.ToSlash(dir)+"/"), nil)
			}
			if err := a.reportLosses(w, report); err != nil {
				return err
			}
			if output == "" || output == "-" {
				_, err = a.Out.Write(w.Text)
				return err
			}
			if !filepath.IsAbs(output) {
				output = filepath.Join(a.Cwd, output)
			}
			return writeWhole(output, w.Text)
		},
	}
	t.add(c)
	c.Flags().StringVar(&to, "to", "", "the language to write: packer-hcl, packer-json or image-builder")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write instead of standard output")
	c.Flags().StringVar(&report, "report", "text", "how what is lost is listed on standard error: text or json")
	return c
}

func (a *app) reportLosses(w template.Written, form string) error {
	if form == "json" {
		e := json.NewEncoder(a.Err)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(struct {
			Losses []template.Loss `json:"losses"`
			Needs  []string        `json:"needs"`
		}{append([]template.Loss{}, w.Losses...), append([]string{}, w.Needs...)})
	}
	for _, l := range w.Losses {
		where := l.Field
		if l.Image != "" {
			where = l.Image + ": " + l.Field
		}
		say(a.Err, "%s: %s: %s", l.Kind, where, l.Reason)
	}
	for _, n := range w.Needs {
		say(a.Err, "needs a value: %s (a secret, which is not written)", n)
	}
	return nil
}

// writeWhole writes a file beside its place and renames it, so that a full disk leaves no half of it.
func writeWhole(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".ingot-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	mode := os.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), mode)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
