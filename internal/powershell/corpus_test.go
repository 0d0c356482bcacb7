package powershell

import (
	"bufio"
	"os"
	"testing"
	"time"
	"unicode/utf8"
)

// TestCorpus holds the parser against real scripts: INGOT_PS_CORPUS names a file with a list of them, one path a line. None may be refused.
// With INGOT_PS_FIVE set they are judged as Windows PowerShell 5.1 does.
func TestCorpus(t *testing.T) {
	name := os.Getenv("INGOT_PS_CORPUS")
	if name == "" {
		t.Skip("INGOT_PS_CORPUS names no list of scripts")
	}
	list, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	n, size, refused, warned := 0, 0, 0, 0
	var slowest, all time.Duration
	for s := bufio.NewScanner(list); s.Scan(); {
		raw, err := os.ReadFile(s.Text())
		if err != nil || !utf8.Valid(raw) {
			continue
		}
		n, size = n+1, size+len(raw)
		begun := time.Now()
		found := Check(string(raw), Options{Seven: os.Getenv("INGOT_PS_FIVE") == ""})
		took := time.Since(begun)
		all, slowest = all+took, max(slowest, took)
		for _, f := range found {
			if f.Warning {
				warned++
				t.Logf("%s:%d:%d: warning: %s (%s)", s.Text(), f.Line, f.Column, f.Summary, f.Remedy)
				continue
			}
			refused++
			t.Errorf("%s:%d:%d: %s (%s)", s.Text(), f.Line, f.Column, f.Summary, f.Remedy)
		}
	}
	t.Logf("%d scripts, %d bytes, %d refused, %d warnings, %s in all, slowest %s", n, size, refused, warned, all, slowest)
}
