// Command replay plays recorded conversations with real Azure against the simulated Azure and scores the answers per
// operation: the same status, the same kinds of headers, the same words and states, the same keys in the bodies.
//
//	go run ./internal/sim/replay [-v] [-json] [-op TEXT] FILE.jsonl[.gz]...
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("replay", flag.ContinueOnError)
	f.SetOutput(errs)
	verbose := f.Int("v", 0, "show the first N differing exchanges of every operation")
	asJSON := f.Bool("json", false, "write the report and every outcome as JSON")
	only := f.String("op", "", "show differences only of operations that contain this text")
	f.Usage = func() {
		fmt.Fprintln(errs, "usage: replay [-v N] [-op TEXT] [-json] FILE.jsonl[.gz]...") //nolint:errcheck // standard error
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil || f.NArg() == 0 {
		f.Usage()
		return 2
	}
	n, all, err := ReplayFiles(f.Args())
	if err != nil {
		fmt.Fprintln(errs, err) //nolint:errcheck // standard error
		return 1
	}
	report := Tally(n, all)
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", " ")
		if err := e.Encode(map[string]any{"report": report, "outcomes": all}); err != nil {
			fmt.Fprintln(errs, err) //nolint:errcheck // standard error
			return 1
		}
		return 0
	}
	shown := map[string]int{}
	for _, o := range all {
		if o.Fate == Compared && (!o.Same() || !o.Format || o.Keys < 1) && strings.Contains(o.Operation, *only) && shown[o.Operation] < *verbose {
			shown[o.Operation]++
			fmt.Fprintf(out, "%s [%s %d] keys %.0f%%\n", o.Operation, o.Case, o.Index, 100*o.Keys) //nolint:errcheck // standard output
			for _, x := range o.Notes {
				fmt.Fprintln(out, "    "+x) //nolint:errcheck // standard output
			}
			if len(o.Missing) > 0 {
				fmt.Fprintln(out, "    missing: "+strings.Join(o.Missing, " ")) //nolint:errcheck // standard output
			}
			if len(o.Extra) > 0 {
				fmt.Fprintln(out, "    extra: "+strings.Join(o.Extra, " ")) //nolint:errcheck // standard output
			}
		}
	}
	report.Print(out)
	return 0
}

// ReplayFiles replays every conversation of some files, each against an Azure of its own.
func ReplayFiles(paths []string) (conversations int, all []Outcome, err error) {
	for _, path := range paths {
		cs, err := Read(path)
		if err != nil {
			return 0, nil, err
		}
		for _, c := range cs {
			out, err := Replay(c)
			if err != nil {
				return 0, nil, err
			}
			conversations++
			all = append(all, out...)
		}
	}
	return conversations, all, nil
}
