package provisioner

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/communicator/sshtest"
	"ingot/internal/sim/guest"
)

// windowsEnv is a simulated Windows guest for provisioners.
func windowsEnv(t *testing.T) (*Env, *guest.Disk) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	disk := guest.NewDisk()
	const password = "test-secret-not-real"
	m, err := guest.Start(context.Background(), guest.Config{Computer: "test", User: "packer", Password: password, Disk: disk, Listen: "127.0.0.1:0",
		Certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}})
	if err != nil {
		t.Fatal(err)
	}
	clock := &sshtest.Clock{}
	w, err := communicator.NewWinRM(communicator.WinRMConfig{Address: m.Addr(), User: "packer", Password: password, NTLM: true, Fingerprint: sha256.Sum256(der),
		Dial: (&net.Dialer{}).DialContext, Clock: clock, Dir: `C:\Windows\Temp\ingot-test`})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close() //nolint:errcheck // the test is over
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		m.Stop(ctx) //nolint:errcheck // as above
	})
	return &Env{Comm: w, Clock: clock, StepID: "file"}, disk
}

// below lists the files below a folder, with slashes.
func beneath(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, name) //nolint:errcheck // it is below
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTreesBothWays(t *testing.T) {
	local := t.TempDir()
	write(t, local+"/app/one.txt", "1", 0o644)
	write(t, local+"/app/deep/er/two.txt", "2", 0o644)
	write(t, local+"/shared/three.txt", "3", 0o644)
	write(t, local+"/x1.log", "x1", 0o644)
	write(t, local+"/x2.log", "x2", 0o644)
	write(t, local+"/dangling/ok", "", 0o644)
	write(t, local+"/round/in/ok", "", 0o644)
	for name, to := range map[string]string{"app/link": local + "/shared", "app/file": local + "/x1.log", "dangling/link": local + "/nowhere", "round/in/link": local + "/round"} {
		if err := os.Symlink(to, local+"/"+name); err != nil {
			if runtime.GOOS == "windows" {
				t.Skipf("skipped: Windows lets this account make no links: %v", err)
			}
			t.Fatal(err)
		}
	}
	app := []string{"deep/er/two.txt", "file", "link/three.txt", "one.txt"}
	ssh := newSSHGuest(t)
	win, disk := windowsEnv(t)
	for _, kind := range []string{"ssh", "winrm"} {
		root, e := ssh.Home, ssh.env("file")
		if kind == "winrm" {
			root, e = `C:`, win
		}
		have := func(dir string) (out []string) {
			if kind == "ssh" {
				return beneath(t, root+"/"+dir)
			}
			for _, f := range disk.Files() {
				if rest, ok := strings.CutPrefix(strings.ReplaceAll(f, `\`, "/"), "C:/"+dir+"/"); ok {
					out = append(out, rest)
				}
			}
			return out
		}
		for name, c := range map[string]struct {
			p    File
			want []string
			fail string
		}{
			"a": {File{Source: local + "/app"}, prefixed("app/", app), ""},
			"b": {File{Source: local + "/app/"}, app, ""},
			"c": {File{Sources: []string{local + "/app/", local + "/x1.log"}}, append(slices.Clone(app), "x1.log"), ""},
			"d": {File{Source: local + "/x?.log"}, []string{"x1.log", "x2.log"}, ""},
			"e": {File{Source: local + "/sha*"}, []string{"shared/three.txt"}, ""},
			"f": {File{Source: local + "/dangling"}, nil, "link to nothing"},
			"g": {File{Source: local + "/round"}, nil, "a folder that it is in"},
			"h": {File{Source: local + "/none*"}, nil, "no file matches"},
		} {
			c.p.Destination = root + "/" + name
			for range 2 { // copying again does no harm
				err := c.p.Run(t.Context(), e)
				if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
					t.Errorf("%s %s: %v", kind, name, err)
				}
			}
			if got := have(name); !slices.Equal(got, c.want) {
				t.Errorf("%s %s: %q, want %q", kind, name, got, c.want)
			}
		}
		if kind == "winrm" {
			if b, _ := disk.File(`C:\b\file`); string(b) != "x1" {
				t.Errorf("what a link to a file brings: %q", b)
			}
		}
		for source, want := range map[string][]string{
			"/b":          prefixed("b/", app),
			"/b/":         app,
			"/d/*.log":    {"x1.log", "x2.log"},
			"/b/one.txt":  {"one.txt"},
			"/d/x[2].log": {"x2.log"},
		} {
			out := t.TempDir()
			p := File{Source: root + source, Destination: out + "/", Direction: "download"}
			if err := p.Run(t.Context(), e); err != nil {
				t.Errorf("%s, download of %s: %v", kind, source, err)
			}
			if got := beneath(t, out); !slices.Equal(got, want) {
				t.Errorf("%s, download of %s: %q, want %q", kind, source, got, want)
			}
		}
		for _, source := range []string{"/nope/", "/nope/*"} {
			p := File{Source: root + source, Destination: t.TempDir() + "/", Direction: "download"}
			if err := p.Run(t.Context(), e); err == nil {
				t.Errorf("%s: a download of %s succeeds", kind, source)
			}
		}
	}
}

func prefixed(prefix string, names []string) (out []string) {
	for _, n := range names {
		out = append(out, prefix+n)
	}
	return out
}

func TestPatternsAreFoundWhenTheyAreChecked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd [name]")
	file := write(t, dir+"/tools/a.msi", "", 0o600)
	c := &Check{Cwd: t.TempDir(), Dir: dir}
	p := File{Source: "tools/*.msi", Destination: `C:\x\`}
	p.Check(c)
	if got, err := expand([]string{p.Source}); len(c.Problems) > 0 || err != nil || !slices.Equal(got, []string{file}) {
		t.Errorf("%v %v %v", c.Problems, got, err)
	}
	for _, bad := range []string{"tools/*.exe", "tools/[", "none"} {
		c := &Check{Cwd: t.TempDir(), Dir: dir}
		(&File{Source: bad, Destination: `C:\x\`}).Check(c)
		if len(c.Problems) != 1 {
			t.Errorf("%s: %v", bad, c.Problems)
		}
	}
}
