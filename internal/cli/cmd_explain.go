package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"github.com/spf13/cobra"

	"ingot/internal/explain"
	"ingot/internal/plan"
)

// maxLog is as much of a log as is read: Image Builder's customization.log of a long build is some tens of MiB.
const maxLog = 256 << 20

func (a *app) explainCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "explain FILE|-|RUN", Short: "Say what an error text or a log means, and what to do",
		Long: "Explain reads an error text or a log (Packer's, Image Builder's customization.log, a pipeline's, a VM extension's, sysprep's), from a\n" +
			"file, the standard input or a run's journal, and says the cause, the fix, the command that fixes it and where the fact comes from.\n" +
			"Its exit code is 1 when it knows nothing of what is in the text. Every failed build explains its own error in the same way.",
		Example: "  ingot explain customization.log\n  packer build . 2>&1 | tee build.log | ingot explain -\n  ingot explain 2026-11-25-a1b2   # a run of ingot runs, or its beginning",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, where, err := a.explainable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			found := explain.Explain(text)
			if a.json {
				if found == nil {
					found = []explain.Finding{}
				}
				e := json.NewEncoder(a.Out)
				e.SetEscapeHTML(false)
				if err := e.Encode(found); err != nil {
					return err
				}
			} else {
				for i, f := range found {
					if i > 0 {
						say(a.Out, "")
					}
					say(a.Out, "%s", explained(f, where))
				}
			}
			if len(found) == 0 {
				return fmt.Errorf("nothing in %s is in the catalogue of causes: look for its first error, and for the log that it points to (customization.log, C:\\WindowsAzure\\Logs\\Plugins, setuperr.log), and explain that one", where)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return c
}

// explained is a finding with the line that it is of.
func explained(f explain.Finding, where string) string {
	return fmt.Sprintf("%s:%d: %s\n%s", where, f.Line, f.Text, indent(f.String()))
}

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

// explainable reads what is to be explained, and says what to call it.
func (a *app) explainable(ctx context.Context, arg string) (text, where string, err error) {
	if arg == "-" {
		text, err = readLog(a.In)
		return text, "-", err
	}
	path := arg
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.Cwd, path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		st, stErr := a.status(ctx, arg)
		if stErr != nil {
			return "", "", usage("there is no file %s, and no run either: %v", arg, stErr)
		}
		return journalText(st), "run " + st.Run, nil
	}
	if err != nil {
		return "", "", fmt.Errorf("cannot read the log: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return "", "", usage("%s is a folder: name the log in it", arg)
	}
	text, err = readLog(f)
	return text, arg, err
}

// journalText is what a run's journal says of its failures, a line each; it has passed the run's redaction when it was written.
func journalText(st plan.Status) string {
	var b strings.Builder
	if st.Error != "" {
		fmt.Fprintln(&b, st.Error)
	}
	for _, s := range st.Steps {
		if s.Error != "" && !strings.Contains(st.Error, s.Error) {
			fmt.Fprintf(&b, "%s: %s\n", s.Step.Title, s.Error)
		}
	}
	return b.String()
}

// readLog reads UTF-8, or the UTF-16 that Windows PowerShell's redirection and sysprep's logs are in.
func readLog(r io.Reader) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxLog+1))
	if err != nil {
		return "", fmt.Errorf("cannot read the log: %w", err)
	}
	if len(raw) > maxLog {
		return "", usage("the log is larger than %d MiB: give the end of it, as with tail -c 200M LOG | ingot explain -", maxLog>>20)
	}
	if len(raw) < 2 || !(raw[0] == 0xff && raw[1] == 0xfe || raw[0] == 0xfe && raw[1] == 0xff) {
		return strings.TrimPrefix(string(raw), "\ufeff"), nil
	}
	low := 0
	if raw[0] == 0xfe {
		low = 1
	}
	words := make([]uint16, 0, len(raw)/2)
	for i := 2; i+1 < len(raw); i += 2 {
		words = append(words, uint16(raw[i+low])|uint16(raw[i+1-low])<<8)
	}
	return string(utf16.Decode(words)), nil
}
