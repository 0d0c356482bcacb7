package provisioner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"ingot/internal/diag"
	"ingot/internal/image"
)

func sumOf(s string) string {
	x := sha256.Sum256([]byte(s))
	return hex.EncodeToString(x[:])
}

// TestAddresses fetches scripts and files from a server that is busy, moved, wrong or closed.
func TestAddresses(t *testing.T) {
	const script = "#!/bin/sh\r\necho \"fetched $A\"\r\n"
	var busy, cut atomic.Int32
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a/script.sh":
			fmt.Fprint(w, script)
		case "/busy.sh":
			if busy.Add(1) < 3 {
				http.Error(w, "later", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, script)
		case "/cut.sh":
			if cut.Add(1) < 2 {
				w.Header().Set("Content-Length", "4000")
				fmt.Fprint(w, "#!/bin/sh\necho half")
				panic(http.ErrAbortHandler)
			}
			fmt.Fprint(w, script)
		case "/moved.sh":
			http.Redirect(w, r, "/a/script.sh", http.StatusFound)
		case "/open.sh":
			http.Redirect(w, r, plain.URL, http.StatusFound)
		case "/private.sh":
			if r.URL.Query().Get("sig") == "test-secret-not-real" {
				fmt.Fprint(w, script)
				return
			}
			w.Header().Set("x-ms-error-code", "PublicAccessNotPermitted")
			w.WriteHeader(http.StatusConflict)
		case "/page.sh":
			fmt.Fprint(w, "\n<!DOCTYPE html><html>")
		case "/always.sh":
			http.Error(w, "later", http.StatusServiceUnavailable)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	g := newSSHGuest(t)
	at := func(path string) image.Text { return image.Plain(s.URL + path) }
	sas := image.Hidden("sas", s.URL+"/private.sh?sv=1&sig=test-secret-not-real")
	gone := image.Hidden("sas", s.URL+"/gone.sh?sv=1&sig=test-secret-not-real")
	for i, c := range []struct {
		p          Runner
		want, fail string
	}{
		{&Shell{URI: at("/a/script.sh"), SHA256: sumOf(script), EnvironmentVars: text("A=x")}, "stdout:fetched x", ""},
		{&Shell{URI: at("/busy.sh")}, "stdout:fetched", ""},
		{&Shell{URI: at("/cut.sh")}, "stdout:fetched", ""},
		{&Shell{URI: at("/moved.sh"), SHA256: sumOf(script)}, "stdout:fetched", ""},
		{&Shell{URI: sas, SHA256: sumOf(script)}, "stdout:fetched", ""},
		{&Shell{URI: at("/a/script.sh"), SHA256: sumOf("other")}, "", "its SHA-256 is " + sumOf(script) + ", and sha256Checksum says"},
		{&Shell{URI: at("/open.sh")}, "", "without encryption"},
		{&Shell{URI: at("/private.sh")}, "", "write the address with a SAS"},
		{&Shell{URI: gone}, "", "404 Not Found"},
		{&Shell{URI: at("/page.sh")}, "", "a web page, not a script"},
		{&Shell{URI: at("/always.sh")}, "", "503 Service Unavailable"},
		{&File{SourceURI: at("/a/script.sh"), SHA256: sumOf(script), Destination: g.Home + "/into/"}, "", ""},
		{&File{SourceURI: sas, Destination: g.Home + "/named"}, "", ""},
		{&File{SourceURI: at("/a/script.sh"), SHA256: sumOf("other"), Destination: g.Home + "/never"}, "", "sha256Checksum says"},
	} {
		id := fmt.Sprintf("a%d", i)
		g.hear, g.lines = nil, nil
		e := g.env(id)
		e.HTTP = s.Client()
		err := c.p.Run(t.Context(), e)
		out := strings.Join(g.lines, "\n")
		if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) || !strings.Contains(out, c.want) {
			t.Errorf("%d: %q %v, want %q %q", i, out, err, c.want, c.fail)
		}
		if err != nil && strings.Contains(err.Error(), "test-secret-not-real") {
			t.Errorf("%d: the SAS is in the error: %v", i, err)
		}
	}
	for name, want := range map[string]string{"into/script.sh": script, "named": script} {
		if raw, err := os.ReadFile(g.Home + "/" + name); err != nil || string(raw) != want {
			t.Errorf("%s: %q %v", name, raw, err)
		}
	}
	if _, err := os.Stat(g.Home + "/never"); err == nil {
		t.Error("what has the wrong checksum reaches the guest")
	}
	// What was there when the build began is what must be there now.
	e := g.env("pinned")
	e.HTTP, e.Pinned = s.Client(), func(image.Text) string { return sumOf("before") }
	if err := (&Shell{URI: at("/a/script.sh")}).Run(t.Context(), e); err == nil || !strings.Contains(err.Error(), sumOf("before")) {
		t.Errorf("a script that changed during the build: %v", err)
	}
}

func TestAddressesChecked(t *testing.T) {
	for _, c := range []struct {
		uri, sum, want string
		severity       diag.Severity
	}{
		{"https://raw.githubusercontent.com/o/r/main/a.ps1", sumOf("x"), "", ""},
		{"https://raw.githubusercontent.com/o/r/main/a.ps1", "", "a.ps1 has no checksum", diag.Warning},
		{"https://github.com/o/r/blob/main/a.ps1", sumOf("x"), "GitHub's page about the file", diag.Error},
		{"http://example.com/a.ps1", sumOf("x"), "without encryption", diag.Warning},
		{"ftp://example.com/a.ps1", sumOf("x"), "no address", diag.Error},
	} {
		var k Check
		(&PowerShell{URI: image.Plain(c.uri), SHA256: c.sum}).Check(&k)
		if c.want == "" && len(k.Problems) > 0 || c.want != "" && (len(k.Problems) != 1 || k.Problems[0].Severity != c.severity || !strings.Contains(k.Problems[0].Summary, c.want)) {
			t.Errorf("%s: %+v, want %q", c.uri, k.Problems, c.want)
		}
	}
	sas := image.Hidden("s", "https://a.blob.core.windows.net/c/setup.exe?sv=1&sig=test-secret-not-real")
	for _, c := range []struct{ got, want string }{
		{(&File{SourceURI: sas, Destination: `C:\x\`}).Summary(), `file, setup.exe to C:\x\`}, {(&Shell{URI: image.Hidden("s", "https://secret.example/name")}).Summary(), "shell, a secret address"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// TestStandIn: what stands in is used unchecked and says so; without a reason the address is fetched and checked.
func TestStandIn(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "there") }))
	defer s.Close()
	u := URI{Address: image.Plain(s.URL + "/x.ps1?sig=test-secret-not-real"), SHA256: sumOf("elsewhere")}
	for _, c := range []struct {
		standIn             StandIn
		sum                 string
		text, notice, wrong string
	}{
		{func(context.Context, string) (string, string, error) { return "instead", "because", nil }, u.SHA256, "instead", s.URL + "/x.ps1 is not fetched and its SHA-256 not checked: because", ""},
		{func(context.Context, string) (string, string, error) { return "instead", "", nil }, u.SHA256, "", "", "its SHA-256 is " + sumOf("there")},
		{nil, u.SHA256, "", "", "its SHA-256 is " + sumOf("there")},
		{nil, sumOf("there"), "there", "", ""},
		{func(context.Context, string) (string, string, error) { return "", "", errors.New("asked in vain") }, "", "", "", "cannot fetch " + s.URL + "/x.ps1: asked in vain"},
	} {
		var m memory
		u.SHA256 = c.sum
		sum, size, notice, err := FetchOr(t.Context(), c.standIn, s.Client(), nil, u, &m)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "test-secret-not-real") {
				t.Errorf("%v, want %s", err, c.wrong)
			}
			continue
		}
		if err != nil || m.String() != c.text || size != int64(len(c.text)) || notice != c.notice || (sum == "") != (notice != "") {
			t.Errorf("%q %d %q %q %v, want %q %q", m.String(), size, sum, notice, err, c.text, c.notice)
		}
	}
}
