package powershell

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestRefused: what PowerShell's parser refuses, with the place where it does.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		text         string
		line, column int
		want         string
	}{
		{"if ($a) {\n  Write-Host b\n", 1, 9, "missing }"},
		{"Write-Host a\n}", 2, 1, "unexpected }"},
		{"foo (1, 2\nbar", 2, 1, ") is missing"},
		{"$a = @{ a = 1; b }", 1, 18, "missing ="},
		{"$a = @(1, 2", 1, 6, "missing )"},
		{"$a = $b[0", 1, 8, "missing ]"},
		{"Write-Host 'a", 1, 12, "single quotes"},
		{"Write-Host \"a $(Get-Date\"", 1, 25, "double quotes"},
		{"$a = @\"\ntext\n  \"@\n", 1, 6, "here-string"},
		{"$a = @'text\n'@", 1, 8, "characters after"},
		{"<# open", 1, 1, "comment"},
		{"if $a { }", 1, 4, "missing ( after if"},
		{"if ($a) Write-Host", 1, 9, "missing { of if"},
		{"if () { }", 1, 5, "missing expression"},
		{"if ($a -eq) { }", 1, 8, "missing value after -eq"},
		{"if ($a -equals $b) { }", 1, 8, "no such operator"},
		{"foreach ($a of $b) { }", 1, 13, "missing in"},
		{"foreach ($a in ) { }", 1, 16, "missing expression after in"},
		{"try { a } \nWrite-Host", 1, 1, "try without"},
		{"do { a }\nWrite-Host", 2, 1, "missing while"},
		{"switch ($a) { 1 Write-Host }", 1, 17, "missing {"},
		{"function { }", 1, 10, "missing name"},
		{"param($a,)\n$a", 1, 9, "last comma"},
		{"param([string$a)", 1, 14, "] is missing"},
		{"$a = ", 1, 4, "missing value after ="},
		{"$a $b", 1, 4, "unexpected '$b'"},
		{"\"a\" \"b\"", 1, 5, "unexpected"},
		{"Get-Item a |", 1, 12, "empty element"},
		{"Get-Item a\n| Select b", 2, 1, "empty element"},
		{"Get-Item a | $b", 1, 14, "expression after |"},
		{"a && b", 1, 3, "no separator"},
		{"a & b", 1, 3, "reserved"},
		{"$a ? 1 : 2", 1, 4, "PowerShell 7"},
		{"$a = $b ?? 1", 1, 9, "PowerShell 7"},
		{"<<<<<<< HEAD\n", 1, 1, "reserved"},
		{"Write-Host a,\n", 1, 13, "after a comma"},
		{"$x.Foo(1,)", 1, 9, "after a comma"},
		{"$x. ", 1, 3, "member"},
		{"$x = @foo", 1, 6, "splatted"},
		{"[int $x", 1, 6, "] is missing"},
		{"begin { } foo", 1, 11, "named block"},
		{"a > ", 1, 3, "missing file"},
		{"class A { [int] }", 1, 17, "in a class"},
		{"Write-Host \u201cabc", 1, 12, "double quotes"},
	} {
		found := Check(c.text, Options{})
		if len(found) == 0 {
			t.Errorf("%q passes", c.text)
			continue
		}
		f := found[len(found)-1]
		if f.Warning || f.Line != c.line || f.Column != c.column || !strings.Contains(f.Summary, c.want) || f.Remedy == "" {
			t.Errorf("%q: %+v, want %d:%d %s", c.text, f, c.line, c.column, c.want)
		}
	}
}

// TestWarned: what parses and fails when it runs.
func TestWarned(t *testing.T) {
	for _, text := range []string{"New-Item -Path a\n  -Force", "if ($a) { exit\nelse { b } }", "catch { }"} {
		if found := Check(text, Options{}); len(found) != 1 || !found[0].Warning {
			t.Errorf("%q: %+v", text, found)
		}
	}
}

// sound is a script with most of the language in it.
func sound(t testing.TB) string {
	raw, err := os.ReadFile("testdata/sound.ps1")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAccepted(t *testing.T) {
	if found := Check(sound(t), Options{}); found != nil {
		t.Errorf("%+v", found)
	}
	for _, text := range []string{"", "\ufeffparam()", "7z.exe x a.7z", "1..10 | % { $_ }", ".\\a.ps1 -x:$true", "& \"a b\" c 2>&1 | Out-Null", "cmd /c dir --% %PATH% | more", "$a.b.c[1].d()++",
		"if ($a) {1} elseif ($b) {2}\nelse {3}", "a > $b\\c.txt", "$i ++", "@{a=1;b=2}.a", "foo {a} {b}", "return", "$x = if ($a) {1} else {2}", "-join $a", "!$a", "echo <notes>"[:5] + "notes", "for (;;) { break }",
		"[Foo]::Bar('a', {b})", "$a, $b = 1, 2", "Get-Foo -a 1, 2,\n 3", "#requires -Version 7\na && b || c"} {
		if found := Check(text, Options{}); found != nil {
			t.Errorf("%q: %+v", text, found)
		}
	}
	for _, text := range []string{"a && b", "$a ? 1 : 2", "$a ?? $b", "${a}?.b", "a\n| b", "$a ??= 1", "a &"} {
		if found := Check(text, Options{Seven: true}); found != nil {
			t.Errorf("%q: %+v", text, found)
		}
		if found := Check(text, Options{}); found == nil {
			t.Errorf("%q passes as Windows PowerShell", text)
		}
	}
}

// TestHidden: nothing of a text that may hold secrets is quoted.
func TestHidden(t *testing.T) {
	for _, text := range []string{"$a test-secret-not-real", "if ($a -testsecretnotreal) {}", "$a = (1, -testsecretnotreal)", "\"a\" test-secret-not-real", "1 testsecretnotreal", "foreach ($a test-secret-not-real"} {
		found := Check(text, Options{Hidden: true})
		if len(found) == 0 {
			t.Errorf("%q passes", text)
		}
		for _, f := range found {
			if strings.Contains(f.Summary+f.Remedy, "secret") {
				t.Errorf("%q: %+v", text, f)
			}
		}
	}
}

func TestHead(t *testing.T) {
	for text, want := range map[string]string{"": "", "Write-Host a": "", "param($a)\n$a": "param", "# x\n[CmdletBinding()]\nparam()\n": "param", "begin { a } end { b }": "blocks", "param($a) process { }": "blocks", "using namespace System": "using", "[int]$a = 1": "", "param = 1": "", "if (": ""} {
		if got := Head(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// mutants are a sound text with one character of a kind taken out, each in turn, wherever it stands.
func mutants(text string, chars string) (out []string) {
	for i := range text {
		if strings.IndexByte(chars, text[i]) >= 0 {
			out = append(out, text[:i]+text[i+1:])
		}
	}
	return out
}

// TestMutants measures what is found of single mistakes in the sound script. The shares are the least that is allowed; what is
// not found is no error of syntax: a bracket in a text or comment, "ordered]@{" which is a command's name and its argument.
func TestMutants(t *testing.T) {
	text := sound(t)
	for _, c := range []struct {
		chars string
		least float64
	}{{"{", 0.88}, {"}", 0.90}, {"(", 0.79}, {")", 0.88}, {"[", 0.75}, {"]", 0.99}, {"\"", 0.85}, {"'", 0.95}} {
		all := mutants(text, c.chars)
		found := 0
		for _, m := range all {
			if len(Check(m, Options{})) > 0 {
				found++
			} else if testing.Verbose() {
				t.Logf("%s: passes: %s", c.chars, difference(text, m))
			}
		}
		share := float64(found) / float64(len(all))
		t.Logf("%s taken out: %d of %d found (%.0f %%)", c.chars, found, len(all), 100*share)
		if len(all) < 5 || share < c.least {
			t.Errorf("%s: %d of %d found, want %.0f %%", c.chars, found, len(all), 100*c.least)
		}
	}
}

func difference(a, b string) string {
	i := 0
	for i < len(b) && a[i] == b[i] {
		i++
	}
	return strings.SplitN(a[strings.LastIndexByte(a[:i], '\n')+1:], "\n", 2)[0]
}

// FuzzCheck: no text makes the parser panic or hang, and a place is always within the text.
func FuzzCheck(f *testing.F) {
	f.Add(sound(f))
	for _, s := range []string{"${", "$(", "@{a=", "\"$(\"", "@\"\n", "1..", "[a[b", "$a?.b?[1]", "if", "`", "a`", "--%", ":a", "foreach (", "class A{", "$:a", "[]", "@(", "-", "&", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, seven := range []bool{false, true} {
			for _, p := range Check(text, Options{Seven: seven}) {
				if p.Line < 1 || p.Column < 1 || p.Line > 1+strings.Count(text, "\n")+strings.Count(text, "\r") || p.Remedy == "" {
					t.Errorf("%+v", p)
				}
			}
		}
		Head(text)
	})
}

// TestGarbled: the parser survives random cuts of the sound script, which fuzzing reaches late.
func TestGarbled(t *testing.T) {
	text := []rune(sound(t))
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		a, b := r.IntN(len(text)), r.IntN(len(text))
		Check(string(slices.Concat(text[:min(a, b)], text[max(a, b):])), Options{})
		Check(string(text[min(a, b):max(a, b)]), Options{Seven: true})
	}
}

func BenchmarkCheck(b *testing.B) {
	text := sound(b)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Check(text, Options{})
	}
}
