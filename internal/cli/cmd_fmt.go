package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"ingot/internal/diag"
	"ingot/internal/template"
)

func (a *app) fmtCmd() *cobra.Command {
	var check, showDiff, recursive bool
	write := true
	c := &cobra.Command{
		Use: "fmt [PATH…]", Short: "Give HCL templates their canonical form",
		Long: "Fmt rewrites *.pkr.hcl, *.pkrvars.hcl and *.ingot.hcl files in place and lists those that it changed. A folder stands for the\n" +
			"files in it, - for standard input. With -check nothing is written, and the exit code is 1 when a file would change.",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			f := formatter{app: a, check: check, diff: showDiff, write: write && !check}
			for _, arg := range args {
				if arg == "-" {
					raw, err := io.ReadAll(io.LimitReader(a.In, 1<<20))
					if err != nil {
						return err
					}
					out, problems := template.Format("standard input", raw)
					if f.bad(problems, diag.Sources{"standard input": raw}) {
						continue
					}
					if _, err := a.Out.Write(out); err != nil {
						return err
					}
					continue
				}
				files, err := a.hclFiles(arg, recursive)
				if err != nil {
					return err
				}
				for _, name := range files {
					if err := f.file(name); err != nil {
						return err
					}
				}
			}
			switch {
			case f.broken:
				return shown(exitTemplate)
			case check && f.changed > 0:
				return shown(exitFailed)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "write nothing; exit with 1 when a file is not in its canonical form")
	c.Flags().BoolVar(&showDiff, "diff", false, "show what changes")
	c.Flags().BoolVar(&write, "write", true, "rewrite the files")
	c.Flags().BoolVarP(&recursive, "recursive", "r", false, "look into folders inside folders")
	return c
}

// formatter formats files one after the other.
type formatter struct {
	*app
	check, diff, write bool
	changed            int
	broken             bool
}

func (f *formatter) bad(problems diag.List, s diag.Sources) bool {
	diag.Render(f.Err, problems, s, f.color(f.Err))
	f.broken = f.broken || problems.HasErrors()
	return problems.HasErrors()
}

func (f *formatter) file(name string) error {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(f.Cwd, name)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot format: %w", err)
	}
	out, problems := template.Format(name, raw)
	if f.bad(problems, diag.Sources{name: raw}) || bytes.Equal(raw, out) {
		return nil
	}
	f.changed++
	say(f.Out, "%s", name)
	if f.diff {
		if _, err := f.Out.Write(diff.Diff("old/"+filepath.ToSlash(name), raw, "new/"+filepath.ToSlash(name), out)); err != nil {
			return err
		}
	}
	if f.write {
		return writeWhole(path, out)
	}
	return nil
}

// hclFiles lists what a path stands for.
func (a *app) hclFiles(path string, recursive bool) ([]string, error) {
	abs := path
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(a.Cwd, path)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, usage("cannot format: %v", err)
	}
	if !info.IsDir() {
		if !strings.HasSuffix(path, ".hcl") {
			return nil, usage("cannot format %s: it is no *.hcl file", path)
		}
		return []string{path}, nil
	}
	var out []string
	err = filepath.WalkDir(abs, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != abs && (!recursive || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if template.Formatted(name) {
			rel, err := filepath.Rel(abs, name)
			if err != nil {
				return err
			}
			out = append(out, filepath.Join(path, rel))
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.SkipDir) {
		return nil, fmt.Errorf("cannot format: %w", err)
	}
	return out, nil
}
