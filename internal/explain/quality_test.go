package explain

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shared is where the studies of the field lie, beside the project.
const shared = "../../../shared/reference"

// section is the part of a study from one heading (or line) to another.
func section(t *testing.T, file, from, to string) string {
	dir := shared
	if d := os.Getenv("INGOT_REFERENCE"); d != "" {
		dir = d
	}
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("skipped: the reference file %s is not beside the project (INGOT_REFERENCE names its folder)", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	i := strings.Index(text, from)
	if i < 0 {
		t.Fatalf("%s has no %q", file, from)
	}
	text = text[i:]
	if j := strings.Index(text[1:], to); j >= 0 {
		text = text[:j+1]
	}
	return text
}

var quoted = regexp.MustCompile("`[^`]+`")

// cells are the rows of a table; n is the column of its text, from 0.
func cells(table string, n int) []string {
	var out []string
	for i, line := range strings.Split(table, "\n") {
		if c := strings.Split(line, "|"); strings.HasPrefix(line, "|") && len(c) > n+2 && i > 2 && !strings.HasPrefix(line, "|---") {
			out = append(out, strings.TrimSpace(c[n+1]))
		}
	}
	return out
}

// TestQuality counts how many of the error texts in the studies the catalogue explains, as they stand there, shortened with dots and placeholders.
func TestQuality(t *testing.T) {
	unquote := func(s string) string { return strings.ReplaceAll(s, "`", "") }
	var imageBuilder, packer, seeds, arm []string
	for _, line := range strings.Split(section(t, "azure-image-builder.md", "### 4.1", "### 4.2"), "\n") {
		if c := strings.Split(line, " | "); strings.HasPrefix(line, "| ") && len(c) >= 4 && c[0] != "| #" {
			imageBuilder = append(imageBuilder, unquote(c[1]))
		}
	}
	for _, line := range strings.Split(section(t, "azure-image-builder.md", "### 4.2", "## 5."), "\n") {
		if strings.HasPrefix(line, "- `") {
			packer = append(packer, unquote(line))
		}
		if strings.HasPrefix(line, "Builder pre-checks") {
			packer = append(packer, quoted.FindAllString(line[strings.Index(line, "e.g.:"):], -1)...)
		}
	}
	seedLine := section(t, "azure-protocol.md", "Signature -> diagnosis seeds", "\nThreads (27)")
	for _, s := range quoted.FindAllString(seedLine, -1) {
		seeds = append(seeds, strings.Trim(s, "`"))
	}
	for _, line := range strings.Split(section(t, "azure-protocol.md", "### 2.5", "Resource ids are"), "\n") {
		if c := strings.SplitN(line, " | ", 3); strings.HasPrefix(line, "| ") && len(c) == 3 && c[0] != "| HTTP" {
			arm = append(arm, unquote(c[0]+" "+c[1]))
		}
	}
	join := section(t, "avd-rollout.md", "## 2.5", "## 2.6")
	var desktop []string
	for _, c := range cells(join[:strings.Index(join, "AADLoginForWindows [S")], 0) {
		for _, code := range strings.Split(strings.NewReplacer("(", "/ ", ")", "").Replace(c), "/") {
			if code = strings.TrimSpace(code); code != "" && code != "code" {
				desktop = append(desktop, "NetpDoDomainJoin: join status: "+code)
			}
		}
	}
	for _, text := range regexp.MustCompile(`"[^"]{12,}"|\b[A-Z]+(_[A-Z]+)+\b|\b[A-Z]\w+Exception\b|-2145\d+`).FindAllString(join, -1) {
		line := text
		if i := strings.Index(join, "3277"); i >= 0 && strings.Index(join, text) > i {
			line = "WVD-Agent event 3277 " + text
		}
		desktop = append(desktop, line)
	}
	all, found := 0, 0
	for _, part := range []struct {
		name  string
		texts []string
		least int // percent
	}{{"Image Builder, section 4.1", imageBuilder, 90}, {"Packer, section 4.2", packer, 70}, {"signatures, protocol section 6", seeds, 75}, {"error bodies, protocol section 2.5", arm, 80}, {"join and agent, roll-out section 2.5", desktop, 80}} {
		n := 0
		for _, text := range part.texts {
			if len(Explain(text)) > 0 {
				n++
			} else {
				t.Logf("%s: not explained: %.160s", part.name, text)
			}
		}
		all, found = all+len(part.texts), found+n
		t.Logf("%s: %d of %d", part.name, n, len(part.texts))
		if len(part.texts) < 10 || n*100 < part.least*len(part.texts) {
			t.Errorf("%s: %d of %d explained, want %d%%", part.name, n, len(part.texts), part.least)
		}
	}
	t.Logf("all: %d of %d", found, all)
}
