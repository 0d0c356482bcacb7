package communicator

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

// The server of issue 5's figures: 50 ms round trip, and 0.4 s for each PowerShell that starts. Bytes cost nothing on the way, and TCP's own
// slow start is not in it: a warm connection to a region nearby.
const (
	testTrip  = 50 * time.Millisecond
	testStart = 400 * time.Millisecond
)

// farConn delivers what is written, and what is to be read, half a round trip later, without limiting how much is under way.
type farConn struct {
	net.Conn
	in, out chan farPiece
	rest    []byte
	closed  chan struct{}
	once    sync.Once
}

type farPiece struct {
	data []byte
	err  error
	due  time.Time
}

func far(dial Dialer) Dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := (wall{}).Sleep(ctx, testTrip); err != nil { // SYN and its answer
			return nil, err
		}
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		f := &farConn{Conn: c, in: make(chan farPiece, 1<<14), out: make(chan farPiece, 1<<14), closed: make(chan struct{})}
		go func() {
			for {
				b := make([]byte, 1<<16)
				n, err := c.Read(b)
				select {
				case f.in <- farPiece{b[:n], err, time.Now().Add(testTrip / 2)}:
				case <-f.closed:
					return
				}
				if err != nil {
					return
				}
			}
		}()
		go func() {
			for {
				select {
				case p := <-f.out:
					time.Sleep(time.Until(p.due))
					if _, err := c.Write(p.data); err != nil {
						return
					}
				case <-f.closed:
					c.Close() //nolint:errcheck // a test
					return
				}
			}
		}()
		return f, nil
	}
}

func (f *farConn) Read(b []byte) (int, error) {
	if len(f.rest) == 0 {
		select {
		case p := <-f.in:
			time.Sleep(time.Until(p.due))
			if f.rest = p.data; len(f.rest) == 0 {
				return 0, p.err
			}
		case <-f.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *farConn) Write(b []byte) (int, error) {
	select {
	case f.out <- farPiece{data: bytes.Clone(b), due: time.Now().Add(testTrip / 2)}:
		return len(b), nil
	case <-f.closed:
		return 0, net.ErrClosed
	}
}

func (f *farConn) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// farMachine is a guest that far away, connected to.
func farMachine(t testing.TB) (*winrm, *guest.Disk) {
	t.Helper()
	cert := testCertificate()
	disk := guest.NewDisk()
	m, err := guest.Start(context.Background(), guest.Config{Computer: "test", User: "packer", Password: testPassword, Certificate: &cert, Listen: "127.0.0.1:0", Disk: disk, Clock: wall{},
		Duration: func(kind string) time.Duration {
			return map[string]time.Duration{"powershell-start": testStart, "poll": 50 * time.Millisecond}[kind]
		}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewWinRM(WinRMConfig{Address: m.Addr(), User: "packer", Password: testPassword, NTLM: true, Fingerprint: sha256.Sum256(cert.Certificate[0]), Dial: far((&net.Dialer{}).DialContext), Clock: wall{}, Dir: `C:\Windows\Temp\ingot-test`})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close() //nolint:errcheck // a test
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		m.Stop(ctx) //nolint:errcheck // a test
	})
	if _, err := c.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	return c.(*winrm), disk
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails
	return b
}

// farWork is what issue 5 gives figures for: how long it may take, and how many HTTP calls.
func farWork(t testing.TB, large int) []struct {
	name  string
	limit time.Duration
	calls int
	do    func(ctx context.Context, c *winrm, disk *guest.Disk) error
} {
	small := t.TempDir()
	var files []LocalFile
	for i := range 20 {
		name := fmt.Sprintf("file%02d", i)
		if err := os.WriteFile(filepath.Join(small, name), random(1<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, LocalFile{Name: "app/" + name, Path: filepath.Join(small, name)})
	}
	mib, many := random(1<<20), random(large)
	arrived := func(disk *guest.Disk, path string, want []byte) error {
		if got, _ := disk.File(path); !bytes.Equal(got, want) {
			return errors.New(path + " arrived damaged")
		}
		return nil
	}
	script := 0
	return []struct {
		name  string
		limit time.Duration
		calls int
		do    func(ctx context.Context, c *winrm, disk *guest.Disk) error
	}{
		{"EmptyScript", 1500 * time.Millisecond, 4, func(ctx context.Context, c *winrm, _ *guest.Disk) error {
			script++
			_, err := c.Run(ctx, Script{ID: fmt.Sprintf("s%d", script), Shell: "powershell", Text: ""}, nil)
			return err
		}},
		{"Upload1MiB", 2 * time.Second, 7, func(ctx context.Context, c *winrm, disk *guest.Disk) error {
			return errors.Join(c.Upload(ctx, `C:\one`, bytes.NewReader(mib), 1<<20), arrived(disk, `C:\one`, mib))
		}},
		{"Upload20x1KiB", 3 * time.Second, 8, func(ctx context.Context, c *winrm, disk *guest.Disk) error {
			if err := c.UploadTree(ctx, `C:\`, files); err != nil {
				return err
			}
			for _, f := range files {
				want, err := os.ReadFile(f.Path)
				if err := errors.Join(err, arrived(disk, `C:\`+f.Name, want)); err != nil {
					return err
				}
			}
			return nil
		}},
		{fmt.Sprintf("Upload%dMiB", large>>20), time.Duration(large) * time.Second / (5 << 20), 60 + large>>20*5, func(ctx context.Context, c *winrm, disk *guest.Disk) error {
			return errors.Join(c.Upload(ctx, `C:\many`, bytes.NewReader(many), int64(large)), arrived(disk, `C:\many`, many))
		}},
		{"Download1MiB", 2 * time.Second, 8, func(ctx context.Context, c *winrm, _ *guest.Disk) error {
			var b bytes.Buffer
			if err := c.Download(ctx, `C:\one`, &b); err != nil || !bytes.Equal(b.Bytes(), mib) {
				return fmt.Errorf("damaged, or %w", err)
			}
			return nil
		}},
		{fmt.Sprintf("Download%dMiB", large>>20), time.Duration(large) * time.Second / (5 << 20), 60 + large>>20*5, func(ctx context.Context, c *winrm, _ *guest.Disk) error {
			var b bytes.Buffer
			if err := c.Download(ctx, `C:\many`, &b); err != nil || !bytes.Equal(b.Bytes(), many) {
				return fmt.Errorf("damaged, or %w", err)
			}
			return nil
		}},
	}
}

// TestFarGuestCalls holds the number of HTTP calls, which no busy machine changes.
func TestFarGuestCalls(t *testing.T) {
	c, disk := farMachine(t)
	for _, w := range farWork(t, 24<<20) {
		before, begun := c.Calls(), time.Now()
		if err := w.do(t.Context(), c, disk); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		took, calls := time.Since(begun), c.Calls()-before
		t.Logf("%-15s %6.2f s (goal %s), %d calls", w.name, took.Seconds(), w.limit, calls)
		if calls > w.calls {
			t.Errorf("%s: %d calls, want at most %d", w.name, calls, w.calls)
		}
	}
}

// BenchmarkFar measures issue 5's figures; a line of each says how many HTTP calls it takes.
// Packer on the same server: an empty script 6 s, 1 MiB 31 s, 20 files of 1 KiB 32 s.
func BenchmarkFar(b *testing.B) {
	c, disk := farMachine(b)
	for _, w := range farWork(b, 100<<20) {
		b.Run(w.name, func(b *testing.B) {
			before, n := c.Calls(), 0
			for b.Loop() {
				n++
				if err := w.do(b.Context(), c, disk); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.Calls()-before)/float64(n), "calls/op")
			b.ReportMetric(b.Elapsed().Seconds()/float64(n), "s/op")
			b.ReportMetric(w.limit.Seconds(), "s-goal")
		})
	}
}
