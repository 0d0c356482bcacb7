package progress

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/internal/plan"
)

func TestCMTrace(t *testing.T) {
	var b bytes.Buffer
	d := NewCMTrace(&b)
	events := append(story(), plan.Event{Time: start, Kind: plan.StepOutput, Step: `a"b`, Text: "one\ntwo]LOG]!>"})
	for _, e := range events {
		d.Event(e)
	}
	pid := os.Getpid()
	want := strings.ReplaceAll(fmt.Sprintf(`<![LOG[Provision]LOG]!><time="12:01:30.000+000" date="11-23-2026" component="p" context="" type="1" thread="%[1]d" file="">
<![LOG[hello [2Jworld]LOG]!><time="12:01:31.000+000" date="11-23-2026" component="p" context="" type="1" thread="%[1]d" file="">
<![LOG[oh]LOG]!><time="12:01:31.000+000" date="11-23-2026" component="p" context="" type="2" thread="%[1]d" file="">
<![LOG[failed after 2.0s: exit code 3]LOG]!><time="12:01:32.000+000" date="11-23-2026" component="p" context="" type="3" thread="%[1]d" file="">
`, pid), "\n", "\r\n")
	if !strings.Contains(b.String(), want) {
		t.Errorf("got\n%s\nwant in it\n%s", b.String(), want)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\r\n"), "\r\n")
	entry := regexp.MustCompile(`^<!\[LOG\[.*\]LOG\]!><time="\d\d:\d\d:\d\d\.\d{3}\+000" date="\d\d-\d\d-\d{4}" component="[^"]+" context="" type="[123]" thread="\d+" file="">$`)
	for _, l := range lines {
		if !entry.MatchString(l) || strings.Count(l, "]LOG]!>") != 1 {
			t.Errorf("no entry: %q", l)
		}
	}
	if len(lines) != len(events) {
		t.Errorf("%d entries of %d events", len(lines), len(events))
	}
}

// gone is a reader that went away.
type gone struct{ writes int }

func (g *gone) Write([]byte) (int, error) { g.writes++; return 0, errors.New("closed pipe") }

func TestAReaderThatIsGoneIsNotWrittenToAgain(t *testing.T) {
	for _, kind := range []string{"json", "cmtrace"} {
		g := &gone{}
		d := map[string]Display{"json": NewJSON(g), "cmtrace": NewCMTrace(g)}[kind]
		for _, e := range story() {
			d.Event(e)
		}
		if g.writes != 1 {
			t.Errorf("%s wrote %d times", kind, g.writes)
		}
	}
}

func TestNewKnowsEveryKind(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test
	for _, kind := range []string{"", "auto", "plain", "json", "cmtrace"} {
		d, err := New(kind, f, Options{})
		if err != nil {
			t.Errorf("%q: %v", kind, err)
			continue
		}
		if err := d.Close(); err != nil {
			t.Errorf("%q: %v", kind, err)
		}
	}
	if _, err := New("fancy", f, Options{}); err == nil {
		t.Error("fancy is no display")
	}
}
