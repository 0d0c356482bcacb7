package communicator

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// cutDialer hands out connections that break after so many bytes sent, as often as it is told.
type cutDialer struct {
	after, times atomic.Int64
}

type cutConn struct {
	net.Conn
	d    *cutDialer
	left int64
}

func (d *cutDialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{c, d, d.after.Load()}, nil
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.d.after.Load() > 0 {
		if c.left -= int64(len(b)); c.left < 0 && c.d.times.Add(-1) >= 0 {
			c.Close() //nolint:errcheck // a test
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

func TestLargeFilesGoOnAfterLostConnections(t *testing.T) {
	c, disk := machine(t, true)
	var d cutDialer
	c.c.Dial = d.dial
	c.wire = newWire(c.c)
	data := random(20 << 20)
	d.after.Store(4 << 20)
	d.times.Store(5)
	before := c.Calls()
	if err := c.Upload(t.Context(), `C:\up\large.bin`, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if got, _ := disk.File(`C:\up\large.bin`); !bytes.Equal(got, data) {
		t.Error("it arrived damaged")
	}
	if d.times.Load() >= 0 {
		t.Errorf("%d connections were to be cut and were not", d.times.Load()+1)
	}
	// 28 MB of base64 are 77 envelopes; each of five losses may cost the one under way and its new beginning, never the whole part of 20.
	if n := c.Calls() - before; n > 77+5*20 {
		t.Errorf("%d calls: more was sent again than was lost", n)
	}
	for _, f := range disk.Files() {
		if strings.HasPrefix(f, `C:\up\`) && f != `C:\up\large.bin` {
			t.Errorf("left over: %s", f)
		}
	}
	d.times.Store(5)
	var back bytes.Buffer
	if err := c.Download(t.Context(), `C:\up\large.bin`, &back); err != nil || !bytes.Equal(back.Bytes(), data) {
		t.Errorf("download: %d bytes, %v", back.Len(), err)
	}
}

// failing is a file whose last byte can be read twice only: for the sums of the whole and of its last part.
type failing struct {
	data []byte
	last *atomic.Int64
}

func (f failing) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) >= int64(len(f.data)) && f.last.Add(1) > 2 {
		return 0, errors.New("the disk is gone")
	}
	return bytes.NewReader(f.data).ReadAt(b, at)
}

func TestAnotherProcessGoesOn(t *testing.T) {
	c, disk := machine(t, false)
	data := random(40 << 20)
	if err := c.Upload(t.Context(), `C:\f`, failing{data, new(atomic.Int64)}, int64(len(data))); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Fatalf("an upload of what cannot be read: %v", err)
	}
	there := 0
	for _, f := range disk.Files() {
		b, _ := disk.File(f)
		there += len(b)
	}
	if there < len(data)/4 {
		t.Fatalf("%d bytes are in the guest when the last is not read", there)
	}
	other := c.another()
	before := c.Calls()
	if err := other.Upload(t.Context(), `C:\f`, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if got, _ := disk.File(`C:\f`); !bytes.Equal(got, data) {
		t.Error("damaged")
	}
	envelopes := (len(data)-there)*4/3/sendBlock + streams
	if n := c.Calls() - before; n > envelopes+60 {
		t.Errorf("%d calls, of which %d had to be: what was there was sent again", n, envelopes)
	}
}

func TestTrees(t *testing.T) {
	c, disk := machine(t, true)
	local := t.TempDir()
	var files []LocalFile
	for _, name := range []string{"one.txt", "deep/er/two.bin", "ünï cödé.txt"} {
		p := filepath.Join(local, "src", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
		files = append(files, LocalFile{Name: "app/" + name, Path: p})
	}
	files = append(files, LocalFile{Name: "app/empty"})
	if err := c.UploadTree(t.Context(), `C:\dest\`, files); err != nil {
		t.Fatal(err)
	}
	want := []string{`C:\dest\app\deep\er\two.bin`, `C:\dest\app\one.txt`, `C:\dest\app\ünï cödé.txt`}
	if got := disk.Files(); !slices.Equal(got, want) {
		t.Errorf("in the guest: %q", got)
	}
	for source, want := range map[string][]string{
		`C:\dest\app`:       {"app/deep/er/two.bin", "app/one.txt", "app/ünï cödé.txt"},
		`C:/dest/app/`:      {"deep/er/two.bin", "one.txt", "ünï cödé.txt"},
		`C:\dest\app\*.txt`: {"one.txt", "ünï cödé.txt"},
	} {
		out := t.TempDir()
		if err := c.DownloadTree(t.Context(), source, out, nil); err != nil {
			t.Errorf("%s: %v", source, err)
		}
		var got []string
		for _, w := range want {
			if b, err := os.ReadFile(filepath.Join(out, w)); err == nil && strings.HasSuffix(w, string(b)) {
				got = append(got, w)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", source, got)
		}
	}
	if err := c.DownloadTree(t.Context(), `C:\nope`, t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "nothing of that name") {
		t.Error(err)
	}
	if err := c.Download(t.Context(), `C:\dest`, io.Discard); !errors.Is(err, ErrFolder) {
		t.Error(err)
	}
	if err := c.UploadTree(t.Context(), `C:\x`, []LocalFile{{Name: "../up", Path: files[0].Path}}); err == nil {
		t.Error("a name that leads out is taken")
	}
	if got := disk.Files(); len(got) != 3 {
		t.Errorf("left over: %q", got)
	}
}

func TestArchivesOfTheGuestStayInTheirFolder(t *testing.T) {
	for _, name := range []string{"../out", "/etc/x", `..\out`, "a/../../out"} {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte("x"))
		}
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		if err := readZip(bytes.NewReader(b.Bytes()), int64(b.Len()), t.TempDir()); err == nil {
			t.Errorf("%q is unpacked", name)
		}
	}
}
