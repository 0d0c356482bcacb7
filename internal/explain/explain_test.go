package explain

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// cases are the texts of testdata/cases.txt by entry: what must match it and what must not.
func cases(t *testing.T) (match, miss map[string][]string) {
	raw, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	match, miss = map[string][]string{}, map[string][]string{}
	id := ""
	for _, line := range strings.Split(string(raw), "\n") {
		text := strings.NewReplacer(`\n`, "\n", `\x1b`, "\x1b").Replace(strings.TrimLeft(line, "+- "))
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "+ "):
			match[id] = append(match[id], text)
		case strings.HasPrefix(line, "- "):
			miss[id] = append(miss[id], text)
		default:
			id = line
		}
	}
	return match, miss
}

func finds(text, id string) bool {
	return slices.ContainsFunc(Explain(text), func(f Finding) bool { return f.ID == id })
}

func TestEveryEntryHasItsTexts(t *testing.T) {
	match, miss := cases(t)
	for _, w := range world(t, "testdata/world.txt", "testdata/world2.txt") {
		if id := w.want[0]; id != "-" && len(match[id]) == 0 {
			match[id] = append(match[id], w.text)
		}
	}
	known := map[string]bool{}
	for _, e := range Catalogue() {
		if known[e.ID] {
			t.Errorf("%s is in the catalogue twice", e.ID)
		}
		known[e.ID] = true
		if len(match[e.ID]) < 1 || len(miss[e.ID]) < 2 {
			t.Errorf("%s has %d texts that must match and %d near misses; it needs 1 and 2", e.ID, len(match[e.ID]), len(miss[e.ID]))
		}
		for _, text := range match[e.ID] {
			if !finds(text, e.ID) {
				t.Errorf("%s must explain %q", e.ID, text)
			}
		}
		for _, text := range miss[e.ID] {
			if finds(text, e.ID) {
				t.Errorf("%s must not explain %q", e.ID, text)
			}
		}
	}
	for id := range match {
		if !known[id] {
			t.Errorf("testdata/cases.txt has %s, which is not in the catalogue", id)
		}
	}
}

func TestEntriesAreWhole(t *testing.T) {
	for _, e := range Catalogue() {
		if e.Cause == "" || e.Fix == "" || e.Source == "" || len(e.Line) == 0 || e.Command == "" && !e.Harmless {
			t.Errorf("%s lacks a pattern, cause, fix, command or source", e.ID)
		}
		for _, p := range slices.Concat(e.Line, e.With, e.Not) {
			if _, err := regexp.Compile(spaced(p)); err != nil {
				t.Errorf("%s: %v", e.ID, err)
			}
			if plain := regexp.MustCompile(`\\[A-Z]|\?P<`).ReplaceAllString(p, ""); plain != strings.ToLower(plain) {
				t.Errorf("%s: %q has capitals and can never match", e.ID, p)
			}
		}
	}
}

// A whole log must yield its own cause first, with its line, and nothing of the kind that only says that something failed on the same line.
func TestOrderAndLine(t *testing.T) {
	log := "==> azure-arm: Running builder ...\n" +
		"    azure-arm: Package Microsoft.Foo_1.0_x64__8wekyb3d8bbwe was installed for a user, but not provisioned for all users\n" +
		strings.Repeat("    azure-arm: IMAGE_STATE_UNDEPLOYABLE\n", 300) +
		"Build 'azure-arm' errored after 1 hour: Script exited with non-zero exit status: 1\n==> Builds finished but no artifacts were created.\n"
	found := Explain(log)
	var ids []string
	for _, f := range found {
		ids = append(ids, f.ID)
	}
	if got, want := strings.Join(ids, " "), "sysprep-appx sysprep-undeployable packer-script-exit aib-no-artifacts"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	if found[0].Line != 2 || !strings.Contains(found[0].Text, "Microsoft.Foo_1.0") || !strings.Contains(found[0].Command, "'Microsoft.Foo_1.0_x64__8wekyb3d8bbwe'") {
		t.Errorf("%+v", found[0])
	}
	if Explain("everything is fine\n") != nil || Explain("") != nil {
		t.Error("found something in nothing")
	}
}

// A log is written by others: what it says must neither become part of a command that people paste, nor draw on their terminal, nor show secrets.
func TestWhatALogCannotDo(t *testing.T) {
	found := Explain("Resource group 'a(reboot)' could not be found \x1b[2J https://x/?sv=1&sig=test-secret-not-real\x07 password: test-secret-not-real")
	if len(found) != 1 {
		t.Fatalf("%+v", found)
	}
	if strings.Contains(found[0].Command, "reboot") || !strings.Contains(found[0].Command, "<group>") {
		t.Errorf("%+v", found)
	}
	if s := found[0].Text; strings.Contains(s, "test-secret-not-real") || strings.ContainsAny(s, "\x1b\x07") {
		t.Errorf("shown: %q", s)
	}
	long := "password=test-secret-not-real" + strings.Repeat("x", 1000) + " AuthorizationFailed " + strings.Repeat("y", 1000)
	if f := Explain(long); len(f) != 1 || len(f[0].Text) > shown || strings.Contains(f[0].Text, "test-secret") || !strings.Contains(f[0].Text, "AuthorizationFailed") {
		t.Errorf("%+v", f)
	}
}

// Consoles wrap lines, and errors travel as JSON inside JSON.
func TestWrappedAndQuoted(t *testing.T) {
	if !finds("Update/Upgrade of image\r\ntemplates is currently\r\nnot supported", "aib-template-exists") {
		t.Error("a wrapped line is not found")
	}
	if !finds(`{"message":"{\\\"message\\\":\\\"unmarshalling ImageTemplate, unknown field \\\"vmboot\\\"\\\"}"}`, "aib-field-unknown") {
		t.Error("quoted JSON is not found")
	}
}

func FuzzExplain(f *testing.F) {
	f.Add("==> azure-arm: Getting tokens using Managed Identity for Azure\n")
	f.Add("İ\xff\n'Join completed for Domain 'x'\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, x := range Explain(s) {
			if x.Line < 1 || x.Cause == "" || strings.Contains(x.Command, "{field}") {
				t.Errorf("%+v", x)
			}
		}
	})
}

func BenchmarkExplain(b *testing.B) {
	log := strings.Repeat("[45f485cf-5a8c-4379-9937-8d85493bc791] PACKER OUT     azure-arm: Installing update 17 of 42 (2026-11 Cumulative Update for Windows 11)\n", 8000)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if Explain(log) != nil {
			b.Fatal("found something")
		}
	}
}
