package cli

import (
	"bufio"
	"bytes"
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
	"unicode/utf8"

	"github.com/spf13/cobra"

	"ingot/internal/explain"
	"ingot/internal/plan"
)

func (a *app) explainCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "explain FILE|-|RUN", Short: "Say what an error text or a log means, and what to do",
		Long: "Explain reads an error text or a log (Packer's, Image Builder's customization.log, a pipeline's, a VM extension's, sysprep's), from a\n" +
			"file, the standard input or a run's journal, and says the cause, the fix, the command that fixes it and where the fact comes from.\n" +
			"Its exit code is 1 when it knows nothing of what is in the text. Every failed build explains its own error in the same way.",
		Example: "  ingot explain customization.log\n  packer build . 2>&1 | tee build.log | ingot explain -\n  ingot explain 2026-11-25-a1b2   # a run of ingot runs, or its beginning",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, where, err := a.explainable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
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

// explainable explains what the argument names, and says what to call it.
func (a *app) explainable(ctx context.Context, arg string) (found []explain.Finding, where string, err error) {
	if arg == "-" {
		found, err = readLog(a.In, "the standard input")
		return found, "-", err
	}
	path := arg
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.Cwd, path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		st, stErr := a.status(ctx, arg)
		if stErr != nil {
			return nil, "", usage("there is no file %s, and no run either: %v", arg, stErr)
		}
		return explain.Explain(journalText(st)), "run " + st.Run, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the log: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, "", usage("%s is a folder: name the log in it", arg)
	}
	found, err = readLog(f, arg)
	return found, arg, err
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

// readLog explains a log as it comes: UTF-8, or the UTF-16 that Windows PowerShell's redirection and some of sysprep's logs are in. It
// holds some MiB of it at a time.
func readLog(r io.Reader, where string) ([]explain.Finding, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(4 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the log: %w", err)
	}
	if len(bytes.TrimSpace(head)) == 0 && len(head) < 4<<10 {
		return nil, usage("%s is empty: give the log, as with packer build . 2>&1 | ingot explain -", where)
	}
	for _, packed := range packings {
		if bytes.HasPrefix(head, []byte(packed.magic)) {
			return nil, usage("%s is %s", where, packed.what)
		}
	}
	var text io.Reader = in
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		text = &utf16Reader{in: in}
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		text = &utf16Reader{in: in, big: true}
	case bytes.HasPrefix(head, []byte("\ufeff")):
		_, _ = in.Discard(3)
	case bytes.IndexByte(head, 0) >= 0:
		// Without its mark, UTF-16 of Latin letters has a zero in every other place; a binary file has them anywhere.
		if even, odd := zeros(head); max(even, odd)*5 > len(head)*2 && min(even, odd)*20 < len(head) {
			text = &utf16Reader{in: in, big: even > odd}
			break
		}
		return nil, usage("%s is a binary file, not a log", where)
	}
	found, err := explain.Read(text)
	if err != nil {
		return nil, fmt.Errorf("cannot read the log: %w", err)
	}
	return found, nil
}

// packings are files in which logs travel.
var packings = []struct{ magic, what string }{
	{"PK\x03\x04", "a zip: unpack it, and explain the log in it"},
	{"\x1f\x8b", "compressed: gzip -dc LOG | ingot explain -"},
	{"ElfFile\x00", "a Windows event log: export it as text first, wevtutil qe LOG.evtx /lf:true /f:text > LOG.txt"},
	{"MSCF", "a cabinet: unpack it with expand, and explain the log in it"},
}

// zeros counts zero bytes in even and odd places.
func zeros(b []byte) (even, odd int) {
	for i, c := range b {
		if c == 0 {
			if i%2 == 0 {
				even++
			} else {
				odd++
			}
		}
	}
	return even, odd
}

// utf16Reader gives UTF-16 as UTF-8.
type utf16Reader struct {
	in   *bufio.Reader
	big  bool
	left []byte
	high rune // first half of a pair, 0 for none
	err  error
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.left) == 0 && u.err == nil {
		raw := make([]byte, 32<<10)
		n, err := io.ReadFull(u.in, raw)
		u.err = err
		if errors.Is(err, io.ErrUnexpectedEOF) {
			u.err = io.EOF
		}
		for i := 0; i+1 < n; i += 2 {
			r := rune(raw[i]) | rune(raw[i+1])<<8
			if u.big {
				r = rune(raw[i])<<8 | rune(raw[i+1])
			}
			switch {
			case r == 0xfeff:
			case u.high != 0:
				u.left = utf8.AppendRune(u.left, utf16.DecodeRune(u.high, r))
				u.high = 0
			case 0xd800 <= r && r < 0xdc00:
				u.high = r
			default:
				u.left = utf8.AppendRune(u.left, r)
			}
		}
	}
	if len(u.left) == 0 {
		return 0, u.err
	}
	n := copy(p, u.left)
	u.left = u.left[n:]
	return n, nil
}
