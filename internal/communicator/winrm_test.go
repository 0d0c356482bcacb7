package communicator

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ingot/internal/sim/guest"
)

const testPassword = "Test-Password-Not-Real-1"

// wall is real time; the guests of these tests take next to none.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }
func (wall) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var testCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// machine starts a simulated guest and connects to it.
func machine(t testing.TB, ntlm bool, rules ...guest.Rule) (*winrm, *guest.Disk) {
	t.Helper()
	cert := testCertificate()
	disk := guest.NewDisk()
	m, err := guest.Start(context.Background(), guest.Config{Computer: "test", User: "packer", Password: testPassword, Certificate: &cert, Listen: "127.0.0.1:0", Disk: disk, Clock: wall{}, Rules: rules,
		Duration: func(kind string) time.Duration {
			if kind == "reboot" {
				return 20 * time.Millisecond
			}
			return 0
		}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewWinRM(WinRMConfig{Address: m.Addr(), User: "packer", Password: testPassword, NTLM: ntlm, Fingerprint: sha256.Sum256(cert.Certificate[0]), Dial: (&net.Dialer{}).DialContext, Clock: wall{}, Dir: `C:\Windows\Temp\ingot-test`})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close() //nolint:errcheck // a test
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		m.Stop(ctx) //nolint:errcheck // a test
	})
	return c.(*winrm), disk
}

func TestRunUploadDownload(t *testing.T) {
	for _, ntlm := range []bool{false, true} {
		c, disk := machine(t, ntlm)
		f, err := c.Ready(t.Context())
		if err != nil || f.Computer != "test" || f.ImageState != "IMAGE_STATE_COMPLETE" {
			t.Fatalf("ntlm %v: %+v %v", ntlm, f, err)
		}
		var out []string
		code, err := c.Run(t.Context(), Script{ID: "s1", Shell: "powershell", Text: "Write-Host \"hello $env:WHO\"\nexit 3", Env: map[string]string{"WHO": "world"}}, func(stream, line string) { out = append(out, stream+": "+line) })
		if err != nil || code != 3 || len(out) == 0 || out[0] != "stdout: hello world" {
			t.Errorf("ntlm %v: %d %v %q", ntlm, code, err, out)
		}
		// The same id is followed, not run again.
		out = nil
		if code, err := c.Run(t.Context(), Script{ID: "s1", Shell: "powershell", Text: "exit 9"}, nil); err != nil || code != 3 {
			t.Errorf("second run: %d %v", code, err)
		}
		for _, size := range []int{0, 1, 3000, 700_000, 2_000_000} {
			data := bytes.Repeat([]byte("ingot\x00\xff"), size/7+1)[:size]
			if err := c.Upload(t.Context(), `C:\x\file.bin`, bytes.NewReader(data), int64(size)); err != nil {
				t.Fatalf("upload %d: %v", size, err)
			}
			got, _ := disk.File(`c:/X/file.bin`)
			var back bytes.Buffer
			if err := c.Download(t.Context(), `C:\x\file.bin`, &back); err != nil || !bytes.Equal(got, data) || !bytes.Equal(back.Bytes(), data) {
				t.Errorf("%d bytes: %d in the guest, %d back, %v", size, len(got), back.Len(), err)
			}
		}
		if err := c.Download(t.Context(), `C:\nope`, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Error(err)
		}
		if code, err := c.Command(t.Context(), "echo hi", func(_, line string) { out = append(out, line) }); err != nil || code != 0 || len(out) != 1 || out[0] != "hi" {
			t.Errorf("%d %v %q", code, err, out)
		}
	}
}

func TestRebootAndLostConnections(t *testing.T) {
	c, _ := machine(t, true, guest.Rule{Match: "^cut", Effect: "drop"})
	before, err := c.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Command(t.Context(), "cut", nil) //nolint:errcheck // the connection is cut before the answer
	if code, err := c.Run(t.Context(), Script{ID: "after-cut", Shell: "powershell", Text: "exit 0"}, nil); err != nil || code != 0 {
		t.Errorf("after a lost connection: %d %v", code, err)
	}
	c.Command(t.Context(), "shutdown /r /f /t 0", nil) //nolint:errcheck // as above
	for {
		f, err := c.Ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f.Boot.After(before.Boot) {
			break
		}
	}
	if code, err := c.Run(t.Context(), Script{ID: "after-boot", Shell: "cmd", Text: "exit 5"}, nil); err != nil || code != 5 {
		t.Errorf("after a reboot: %d %v", code, err)
	}
}

func TestRefusals(t *testing.T) {
	c, _ := machine(t, false)
	c.c.AuthPatience = time.Millisecond
	c.c.Password, c.wire.c.Password = "wrong", "wrong"
	if _, err := c.Ready(t.Context()); !errors.Is(err, ErrAuth) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	other, _ := machine(t, false)
	other.c.Fingerprint = [32]byte{1}
	other.wire = newWire(other.c)
	if _, err := other.Ready(t.Context()); !errors.Is(err, ErrCertificate) {
		t.Errorf("another certificate: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("time is up"))
	if _, err := other.Ready(ctx); err == nil || !strings.Contains(err.Error(), "time is up") {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := NewWinRM(WinRMConfig{}); err == nil {
		t.Error("no certificate, and no complaint")
	}
}

func TestGuestProgramsFitTheCommandLine(t *testing.T) {
	long := followArgs{ID: strings.Repeat("x", 60), Dir: `C:\Windows\Temp\ingot-` + strings.Repeat("y", 60), Offset: 1 << 50, Slice: slice}
	for verb, file := range map[string]string{"start": "bootstrap", "follow": "follow", "facts": "facts", "sysprep": "sysprep", "panther": "panther", "discard": "discard"} {
		if _, err := programLine(verb, file, long); err != nil {
			t.Error(err)
		}
	}
	path := `C:\Prüfung\` + strings.Repeat("x", 240)
	for file, args := range map[string]any{
		"receive": receiveArgs{Path: path, Size: 1 << 50, SHA256: strings.Repeat("0", 64), Offset: 1 << 50},
		"join":    joinArgs{path, strings.Repeat("0", 12), streams, strings.Repeat("0", 64)},
		"fetch":   fetchArgs{path, 1 << 50, 1 << 50, false},
		"unpack":  map[string]string{"path": path, "to": path},
		"pack":    packArgs{path, path, true, false},
	} {
		if _, err := programLine(file, file, args); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkScript counts the HTTP calls of an empty inline script (Packer: 55).
func BenchmarkScript(b *testing.B) {
	c, _ := machine(b, true)
	if _, err := c.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	before, n := c.Calls(), 0
	for b.Loop() {
		n++
		if _, err := c.Run(b.Context(), Script{ID: "s" + time.Now().Format("150405.000000000"), Shell: "powershell", Text: ""}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(c.Calls()-before)/float64(n), "calls/script")
}

// BenchmarkUpload counts the HTTP calls of one MiB (Packer: 562).
func BenchmarkUpload(b *testing.B) {
	c, _ := machine(b, true)
	data := make([]byte, 1<<20)
	rand.Read(data) //nolint:errcheck // never fails
	if _, err := c.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 20)
	before, n := c.Calls(), 0
	for b.Loop() {
		n++
		if err := c.Upload(b.Context(), `C:\file`, bytes.NewReader(data), 1<<20); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(c.Calls()-before)/float64(n), "calls/MiB")
}
