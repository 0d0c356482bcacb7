package explain

import (
	"crypto/sha256"
	"os"
	"slices"
	"strings"
	"testing"
)

// worldText is an error text that was met outside.
type worldText struct {
	address, cause string
	want           []string // entries that say what the cause is; "-" alone: the catalogue has none
	text           string
}

// seen are the half from which the catalogue was improved; the other half is held out. The address decides, so that the texts of one
// thread are on one side.
func (w worldText) seen() bool { return sha256.Sum256([]byte(w.address))[0]&1 == 0 }

// world reads texts with their addresses; see the head of testdata/world.txt.
func world(t *testing.T, files ...string) (texts []worldText) {
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(raw), "\n") {
			last := len(texts) - 1
			switch {
			case strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, "http"):
				texts = append(texts, worldText{address: line})
			case last < 0:
			case strings.HasPrefix(line, "? "):
				texts[last].cause = line[2:]
			case strings.HasPrefix(line, "= "):
				texts[last].want = strings.Fields(line[2:])
			default:
				texts[last].text += strings.TrimPrefix(line, "  ") + "\n"
			}
		}
	}
	for i := range texts {
		texts[i].text = strings.ReplaceAll(strings.TrimRight(texts[i].text, "\n")+"\n", `\x1b`, "\x1b")
		if len(texts[i].want) == 0 || texts[i].cause == "" || strings.TrimSpace(texts[i].text) == "" {
			t.Fatalf("%s lacks its text, cause or entries", texts[i].address)
		}
	}
	return texts
}

// right reports that the first finding is one that says the cause.
func (w worldText) right(found []Finding) bool {
	return len(found) > 0 && slices.Contains(w.want, found[0].ID)
}

// TestQualityWorld counts the texts of the world whose first finding says the cause that a reader of the thread would. The floors keep
// what was reached; what the figures are worth is in docs/status.md.
func TestQualityWorld(t *testing.T) {
	first, second := world(t, "testdata/world.txt"), world(t, "testdata/world2.txt")
	half := func(seen bool) (texts []worldText) {
		for _, w := range first {
			if w.seen() == seen {
				texts = append(texts, w)
			}
		}
		return texts
	}
	for _, part := range []struct {
		name  string
		texts []worldText
		least int // percent
	}{{"world, seen half", half(true), 95}, {"world, held-out half", half(false), 90}, {"world, collected afterwards", second, 50}} {
		right, other := 0, 0
		for _, w := range part.texts {
			found := Explain(w.text)
			if w.right(found) {
				right++
				continue
			}
			ids := []string{}
			for _, f := range found {
				ids = append(ids, f.ID)
			}
			if len(ids) > 0 {
				other++
			}
			t.Logf("%s: %v instead of %v: %s (%s)", part.name, ids, w.want, w.cause, w.address)
		}
		t.Logf("%s: %d of %d right, %d with another cause first", part.name, right, len(part.texts), other)
		if len(part.texts) < 30 || right*100 < part.least*len(part.texts) {
			t.Errorf("%s: %d of %d right, want %d%%", part.name, right, len(part.texts), part.least)
		}
	}
}

// TestHarmlessLogs is of logs in which nothing failed, or whose failure they do not tell: nothing must be found there but what is
// marked as harmless, or what only says where the real error is.
func TestHarmlessLogs(t *testing.T) {
	texts := world(t, "testdata/harmless.txt")
	if len(texts) < 50 {
		t.Errorf("%d harmless texts, want 50", len(texts))
	}
	wrong := 0
	for _, w := range texts {
		for _, f := range Explain(w.text) {
			if !f.Harmless && !slices.Contains(w.want, f.ID) {
				t.Errorf("%s (%s): explained by %s: %q", w.address, w.cause, f.ID, f.Text)
				wrong++
				break
			}
		}
	}
	t.Logf("harmless: %d of %d explained as failures", wrong, len(texts))
}
