package diag

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func problems() (List, Sources) {
	var l List
	l.Errorf(Pos{File: "b.pkr.hcl", Line: 2, Column: 3}, `did you mean "vm_size"?`, "unknown option %q", "vm_sise")
	l.Warnf(Pos{File: "a.pkr.hcl", Line: 1, Column: 1}, "", "first in the list of files")
	l.Errorf(Pos{}, "write -var name=value", "no place")
	l = append(l, Problem{Severity: Error, Summary: "earlier in b", Detail: "why", Pos: Pos{File: "b.pkr.hcl", Line: 1, Column: 9}})
	l.Errorf(Pos{File: "b.pkr.hcl", Line: 99}, "", "beyond the end")
	l.Errorf(Pos{File: "unread.hcl", Line: 1}, "", "text not known")
	return l, Sources{"a.pkr.hcl": []byte("one\r\ntwo"), "b.pkr.hcl": []byte("source {\n  vm_sise = \"x\"\n}\n")}
}

const rendered = `Error: no place

  Remedy: write -var name=value

Warning: first in the list of files

  on a.pkr.hcl line 1:
     1: one

Error: earlier in b

  on b.pkr.hcl line 1:
     1: source {

  why

Error: unknown option "vm_sise"

  on b.pkr.hcl line 2:
     2:   vm_sise = "x"

  Remedy: did you mean "vm_size"?

Error: beyond the end

  on b.pkr.hcl line 99:

Error: text not known

  on unread.hcl line 1:

`

func TestRender(t *testing.T) {
	l, s := problems()
	var b bytes.Buffer
	Render(&b, l, s, false)
	if b.String() != rendered {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), rendered)
	}
	if l[0].Summary != `unknown option "vm_sise"` {
		t.Error("the caller's list was sorted")
	}
	var c bytes.Buffer
	Render(&c, l, s, true)
	if !strings.Contains(c.String(), "\x1b[1;31mError\x1b[0m") || !strings.Contains(c.String(), "\x1b[1;33mWarning\x1b[0m") {
		t.Errorf("no colour: %q", c.String())
	}
}

func TestRenderKeepsTheTerminal(t *testing.T) {
	var l List
	l.Errorf(Pos{File: "f", Line: 1}, "", "bad \x1b[2J name")
	var b bytes.Buffer
	Render(&b, l, Sources{"f": []byte("x = \"\x1b]0;title\x07\"\tend" + strings.Repeat("ä", 500))}, false)
	if strings.ContainsAny(b.String(), "\x1b\x07") {
		t.Errorf("a template's control characters reach the terminal: %q", b.String())
	}
	if !strings.Contains(b.String(), "\tend") || !strings.Contains(b.String(), "ä…") {
		t.Errorf("the line is not shown, or not cut: %q", b.String())
	}
}

func TestRenderJSON(t *testing.T) {
	l, _ := problems()
	for _, c := range []struct {
		list  List
		valid bool
		n     int
	}{{l, false, 6}, {nil, true, 0}, {l[1:2], true, 1}} {
		var b bytes.Buffer
		if err := RenderJSON(&b, c.list); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Valid    bool
			Problems []Problem
		}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Valid != c.valid || len(got.Problems) != c.n || got.Problems == nil {
			t.Errorf("%d problems: %s", c.n, b.String())
		}
		if c.n == 6 && (got.Problems[1].Pos.File != "a.pkr.hcl" || got.Problems[1].Severity != Warning) {
			t.Errorf("not in order: %s", b.String())
		}
	}
}

func TestPos(t *testing.T) {
	for _, c := range []struct {
		p    Pos
		want string
	}{{Pos{}, ""}, {Pos{File: "f"}, "f"}, {Pos{File: "f", Line: 3, Column: 5}, "f:3:5"}} {
		if c.p.String() != c.want {
			t.Errorf("%v, want %s", c.p, c.want)
		}
	}
}
