package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTornLastLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	j, err := OpenFileJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := j.Append(Entry{Kind: EntryStart, Step: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// However much of the last line a crash has left, the journal opens, and the next entry follows the last whole one.
	last := strings.LastIndex(strings.TrimRight(string(whole), "\n"), "\n") + 1
	for cut := last + 1; cut < len(whole); cut += 7 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := OpenFileJournal(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := j.Append(Entry{Kind: EntryDone, Step: "b"}); err != nil {
			t.Fatal(err)
		}
		entries, err := j.Entries()
		if err != nil || len(entries) != 3 || entries[2].Step != "b" || entries[2].Seq != 3 {
			t.Fatalf("cut at %d: %v %v", cut, entries, err)
		}
		j.Close() //nolint:errcheck // a test
	}
	damaged := strings.Replace(string(whole), `"step"`, `"st`, 1)
	if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFileJournal(path); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("damage in the middle: %v", err)
	}
}

func TestStore(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "runs")}
	p := stepsOf(t, "a b>a")
	p.Run, p.Made = "abcd2345", time.Now()
	r, err := s.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "abcd", nil); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	if live, err := s.RequestCancel(t.Context(), "abcd"); !live || err != nil || !r.CancelRequested() {
		t.Error(live, err)
	}
	rec := &recorder{fail: map[string]int{"b:undo": 1}}
	err = (&Runner{Actions: map[string]Action{"any": rec}, Journal: r, Clock: WallClock{}}).Run(t.Context(), p)
	if err == nil {
		t.Fatal("something was left")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Live || list[0].Clean() || list[0].Outcome != Succeeded {
		t.Fatalf("%+v %v", list, err)
	}
	st, err := s.Status(t.Context(), "abcd2345")
	if err != nil || st.Steps[1].State != "undo failed" || st.Steps[0].State != "undone" {
		t.Fatalf("%+v %v", st, err)
	}
	r, err = s.Open(t.Context(), "abcd2345", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // a test
	if err := (&Runner{Actions: map[string]Action{"any": rec}, Journal: r, Clock: WallClock{}}).CleanUp(t.Context()); err != nil {
		t.Errorf("cleaning up again: %v", err)
	}
	if list, _ := s.List(t.Context()); !list[0].Clean() {
		t.Errorf("%+v", list)
	}
	if _, err := s.Open(t.Context(), "zz", nil); err == nil {
		t.Error("found a run that there is not")
	}
	info, err := os.Stat(filepath.Join(s.Dir, "abcd2345"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
}

func TestCheckAndCritical(t *testing.T) {
	for _, c := range []struct{ text, want string }{{"a>b b>a", "waits for itself"}, {"a a", "twice"}, {"a>x", "does not have"}} {
		p := &Plan{}
		for _, w := range strings.Fields(c.text) {
			id, after, ok := strings.Cut(w, ">")
			st := Step{ID: id, Scope: Scratch}
			if ok {
				st.After = []string{after}
			}
			p.Steps = append(p.Steps, st)
		}
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	p := stepsOf(t, "a b>a c>a d>b,c")
	for i, d := range []int{1, 5, 2, 1} {
		p.Steps[i].Estimate = time.Duration(d) * time.Second
	}
	p.Steps[0].UndoEstimate = 3 * time.Second
	ids, total := p.Critical()
	if strings.Join(ids, " ") != "a b d" || total != 7*time.Second || p.CriticalWithUndo() != 10*time.Second {
		t.Error(ids, total, p.CriticalWithUndo())
	}
}

func BenchmarkAppend(b *testing.B) {
	j, err := OpenFileJournal(filepath.Join(b.TempDir(), "journal.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // a benchmark
	for b.Loop() {
		if err := j.Append(Entry{Kind: EntrySave, Step: "vm", Data: []byte(`{"token":"x"}`)}); err != nil {
			b.Fatal(err)
		}
	}
}
