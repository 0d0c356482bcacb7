package guest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/masterzen/winrm"
)

const testPassword = "test-secret-not-real"

// stepClock is simulated time that runs a thousand times as fast as ours.
type stepClock struct{ start time.Time }

func (c stepClock) Now() time.Time { return c.start.Add(1000 * time.Since(c.start)) }

func (c stepClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d / 1000)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func certificate(t *testing.T) *tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func boot(t *testing.T, change func(*Config)) *machine {
	t.Helper()
	c := Config{Computer: "pkrvm1", User: "packer", Password: testPassword, Certificate: certificate(t), Listen: "127.0.0.1:0", Disk: NewDisk(), Clock: stepClock{time.Now()},
		Duration: func(kind string) time.Duration {
			return map[string]time.Duration{"reboot": 60 * time.Second, "sysprep": 200 * time.Second}[kind]
		}}
	if change != nil {
		change(&c)
	}
	m, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	until(t, func() bool { mm := m.(*machine); mm.mu.Lock(); defer mm.mu.Unlock(); return mm.up })
	return m.(*machine)
}

// until asks again, yielding to the simulated clock in between, and fails after ten seconds.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ok() {
		if stepClock.Sleep(stepClock{}, ctx, time.Second) != nil {
			t.Fatal("condition not met in time")
		}
	}
}

func dial(t *testing.T, m *machine, ntlm bool, password string) *winrm.Client {
	t.Helper()
	a := netip.MustParseAddrPort(m.Addr())
	p := *winrm.DefaultParameters
	if ntlm {
		p.TransportDecorator = func() winrm.Transporter { return &winrm.ClientNTLM{} }
	}
	c, err := winrm.NewClientWithParameters(winrm.NewEndpoint(a.Addr().String(), int(a.Port()), true, true, nil, nil, nil, 20*time.Second), m.c.User, password, &p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func run(t *testing.T, c *winrm.Client, line, stdin string) (string, string, int) {
	t.Helper()
	out, errs, code, err := c.RunWithContextWithString(t.Context(), line, stdin)
	if err != nil {
		t.Fatalf("%.60s: %v", line, err)
	}
	return out, errs, code
}

func encoded(script string) string {
	return "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -EncodedCommand " + base64.StdEncoding.EncodeToString(utf16le(script))
}

func TestCommands(t *testing.T) {
	for _, ntlm := range []bool{false, true} {
		t.Run(fmt.Sprintf("ntlm=%v", ntlm), func(t *testing.T) {
			m := boot(t, nil)
			c := dial(t, m, ntlm, testPassword)
			for _, tc := range []struct {
				line, out, errs string
				code            int
			}{
				{"echo hello", "hello\r\n", "", 0},
				{"hostname", "pkrvm1\r\n", "", 0},
				{"whoami", "pkrvm1\\packer\r\n", "", 0},
				{"exit 7", "", "", 7},
				{"echo a&echo b", "a\r\nb\r\n", "", 0},
				{"exit 1 && echo no", "", "", 1},
				{`echo one> "%TEMP%\x.txt"&echo two>> C:/Windows/temp/X.TXT&type %TEMP%\x.txt`, "one\r\ntwo\r\n", "", 0},
				{"foo bar", "", "'foo' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n", 1},
				{encoded("$env:A='x'\nWrite-Host \"v $Env:A\"\nGet-Foo\nif ($x) {\n exit 9\n}\nexit 4"), "v x\r\n[simulated guest] 4 of 7 lines of PowerShell were not executed\r\n", "", 4},
				{encoded(`throw "bad"`), "", "bad\r\n", 1},
				{`powershell -Command "Write-Output hi"`, "hi\r\n", "", 0},
			} {
				out, errs, code := run(t, c, tc.line, "")
				if out != tc.out || errs != tc.errs || code != tc.code {
					t.Errorf("%s: %q %q %d", tc.line, out, errs, code)
				}
			}
			if b, ok := m.disk.File(`$env:SystemRoot/Temp/x.txt`); !ok || string(b) != "one\r\ntwo\r\n" {
				t.Errorf("file: %q %v", b, ok)
			}
			if _, err := dial(t, m, ntlm, "wrong-not-real").CreateShell(); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("wrong password: %v", err)
			}
		})
	}
}

func TestLongPollTimesOutAndGoesOn(t *testing.T) {
	m := boot(t, nil)
	// 90 simulated seconds are longer than the client's operation timeout of 60.
	out, _, code := run(t, dial(t, m, false, testPassword), encoded("Start-Sleep -s 90\nWrite-Host late"), "")
	if out != "late\r\n" || code != 0 {
		t.Errorf("%q %d", out, code)
	}
	c := &command{shell: &shell{m: m}, changed: make(chan struct{}, 1)}
	if _, f := c.receive(t.Context(), time.Second, ""); f == nil || f.code != 2150858793 {
		t.Errorf("fault: %+v", f)
	}
}

func TestUploadOverStdin(t *testing.T) {
	m := boot(t, nil)
	c := dial(t, m, true, testPassword)
	data := bytes.Repeat([]byte("0123456789abcdef"), 30000)
	var in strings.Builder
	for rest := data; len(rest) > 0; rest = rest[min(len(rest), 30000):] {
		in.WriteString(base64.StdEncoding.EncodeToString(rest[:min(len(rest), 30000)]) + "\n")
	}
	sum := sha256.Sum256(data)
	prog := fmt.Sprintf(`#ingot:receive/1 {"path":"C:\\up\\a.bin","size":%d,"sha256":"%x","offset":0}`, len(data), sum)
	if out, errs, code := run(t, c, encoded(prog+"\nrest"), in.String()); out != fmt.Sprintf("#ingot:received %d %x\r\n", len(data), sum) || code != 0 {
		t.Fatalf("%q %q %d", out, errs, code)
	}
	if b, _ := m.disk.File(`c:\UP\a.bin`); !bytes.Equal(b, data) {
		t.Error("content differs")
	}
	out, _, _ := run(t, c, encoded(`#ingot:fetch/1 {"path":"C:\\up\\a.bin","offset":0,"length":9999999,"sum":true}`), "")
	if !strings.HasSuffix(out, fmt.Sprintf("#ingot:end %x\r\n", sum)) {
		t.Errorf("fetch ends %q", out[max(0, len(out)-90):])
	}
	if out, _, code := run(t, c, encoded(`#ingot:receive/1 {"path":"C:\\b","size":3,"sha256":"00","offset":0}`), "YWJj\n"); out != "#ingot:mismatch\r\n" || code != 1 {
		t.Errorf("%q %d", out, code)
	}
}

func facts(t *testing.T, m *machine) (boot time.Time, state string) {
	t.Helper()
	var out string
	until(t, func() bool {
		var err error
		out, _, _, err = dial(t, m, false, testPassword).RunWithContextWithString(t.Context(), encoded("#ingot:facts/1 {}"), "")
		return err == nil && strings.HasPrefix(out, "#ingot:facts ")
	})
	var f struct {
		Boot       time.Time
		ImageState string
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(out, "#ingot:facts ")), &f); err != nil {
		t.Fatal(err)
	}
	return f.Boot, f.ImageState
}

func script(text string) string {
	b, _ := json.Marshal(startInput{Text: text, Shell: "powershell", Env: map[string]string{"NAME": "avd"}})
	return base64.StdEncoding.EncodeToString(b) + "\n"
}

func TestDetachedSurvivesConnectionButNotReboot(t *testing.T) {
	m := boot(t, nil)
	before, _ := facts(t, m)
	start := encoded(`#ingot:start/1 {"id":"s1","dir":"C:\\ingot"}`)
	out, _, _ := run(t, dial(t, m, false, testPassword), start, script("Write-Host \"one $env:NAME\"\nStart-Sleep -s 120\nWrite-Error 'two'\nexit 5"))
	if out != "1 one avd\r\n#ingot:more 11\r\n" {
		t.Fatalf("start: %q", out)
	}
	m.cut()
	follow := `#ingot:follow/1 {"id":"s1","dir":"C:\\ingot","offset":11,"slice":500}`
	if out, _, _ = run(t, dial(t, m, true, testPassword), encoded(follow), ""); out != "2 two\r\n#ingot:exit 5 18\r\n" {
		t.Errorf("follow: %q", out)
	}
	if out, _, _ = run(t, dial(t, m, false, testPassword), start, ""); out != "1 one avd\r\n2 two\r\n#ingot:exit 5 18\r\n" {
		t.Errorf("second start: %q", out)
	}
	run(t, dial(t, m, false, testPassword), encoded(`#ingot:start/1 {"id":"s2","dir":"C:\\ingot","slice":1}`), script("Start-Sleep 9999"))
	// The machine may be down before the answer is out.
	_, _, _, _ = dial(t, m, false, testPassword).RunWithContextWithString(t.Context(), `shutdown /r /f /t 5 /c "restart"`, "")
	var after time.Time
	until(t, func() bool { after, _ = facts(t, m); return after.After(before) })
	if out, _, _ = run(t, dial(t, m, false, testPassword), encoded(strings.Replace(strings.Replace(follow, "s1", "s2", 1), "11", "0", 1)), ""); out != "#ingot:lost 0\r\n" {
		t.Errorf("after reboot: %q", out)
	}
	if out, _, _ = run(t, dial(t, m, false, testPassword), encoded(strings.Replace(follow, "s1", "s9", 1)), ""); out != "#ingot:none\r\n" {
		t.Errorf("never started: %q", out)
	}
}

func TestSysprep(t *testing.T) {
	m := boot(t, nil)
	loop := "& $env:SystemRoot\\System32\\Sysprep\\Sysprep.exe /oobe /generalize /quiet /quit\n" +
		"while($true) { $s = Get-ItemProperty HKLM:\\x | Select ImageState; if($s.ImageState -ne 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE') { Write-Output $s.ImageState; Start-Sleep -s 10 } else { break } }"
	out, _, code := run(t, dial(t, m, false, testPassword), encoded(loop), "")
	if !strings.HasPrefix(out, StateUndeployable) || code != 0 {
		t.Errorf("%q %d", out, code)
	}
	if _, state := facts(t, m); state != StateGeneralized {
		t.Error(state)
	}
	bad := boot(t, func(c *Config) {
		c.Rules = []Rule{{Match: "(?i)sysprep.exe /gen", ExitCode: 1, Stderr: []string{"Package X was installed for a user"}}}
	})
	run(t, dial(t, bad, false, testPassword), encoded(`#ingot:sysprep/1 {"modeVM":true}`), "")
	until(t, func() bool { b, _ := bad.disk.File(pantherErrors); return strings.Contains(string(b), "Package X") })
	if bad.disk.ImageState() != StateComplete {
		t.Error(bad.disk.ImageState())
	}
}

func TestRules(t *testing.T) {
	m := boot(t, func(c *Config) {
		c.Rules = []Rule{{Match: "^setup", Times: 1, Stdout: []string{"ok"}, ExitCode: 3010, Effect: "pending-reboot"}, {Match: "^mark", Effect: "image-state:" + StateUndeployable},
			{Match: "^cut", Effect: "drop"}, {Match: "^gone", Effect: "vanish"}}
	})
	c := dial(t, m, false, testPassword)
	if out, _, code := run(t, c, "setup.exe /q", ""); out != "ok\r\n" || code != 3010 {
		t.Errorf("%q %d", out, code)
	}
	if _, _, code := run(t, c, "setup.exe /q", ""); code != 1 {
		t.Errorf("a rule for one time applied twice: %d", code)
	}
	run(t, c, "mark", "")
	if !m.pendingReboot || m.disk.ImageState() != StateUndeployable {
		t.Error("effects missing")
	}
	_, _, _, _ = c.RunWithContextWithString(t.Context(), "cut", "")
	// The client may find out only now that its connection is gone; the machine itself must answer.
	out, _, _, err := c.RunWithContextWithString(t.Context(), "echo back", "")
	if err != nil {
		out, _, _ = run(t, c, "echo back", "")
	}
	if out != "back\r\n" {
		t.Errorf("after drop: %q", out)
	}
	_, _, _, _ = c.RunWithContextWithString(t.Context(), "gone", "")
	if _, err := c.CreateShell(); err == nil {
		t.Error("a vanished machine answers")
	}
}

func TestNetworkRulesAndPowerOff(t *testing.T) {
	off := make(chan struct{})
	var once sync.Once
	m := boot(t, func(c *Config) { c.PowerOff = func() { once.Do(func() { close(off) }) } })
	// The machine may be off before the answer is out.
	_, _, _, _ = dial(t, m, false, testPassword).RunWithContextWithString(t.Context(), "shutdown /s /t 1", "")
	<-off
	shut := boot(t, func(c *Config) { c.Allow = func(netip.Addr) bool { return false } })
	if _, err := dial(t, shut, false, testPassword).CreateShell(); err == nil {
		t.Error("a refused address got an answer")
	}
}

func TestDiskClone(t *testing.T) {
	d := NewDisk()
	d.write(`C:\a`, []byte("x"))
	c := d.Clone()
	d.appendTo(`c:/A`, []byte("1"))
	c.appendTo(`C:\a`, []byte("2"))
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	back := NewDisk()
	if err := json.Unmarshal(b, back); err != nil {
		t.Fatal(err)
	}
	x, _ := d.File(`C:\A`)
	y, _ := back.File(`C:\A`)
	if string(x) != "x1" || string(y) != "x2" {
		t.Errorf("%q %q", x, y)
	}
}

func TestPythonClient(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import winrm").CombinedOutput(); err != nil {
		t.Skipf("skipped: Debian's python3-winrm is not installed: %v %s", err, out)
	}
	m := boot(t, nil)
	for _, transport := range []string{"basic", "ntlm"} {
		cmd := exec.Command(python, "testdata/pywinrm_client.py", "https://"+m.Addr()+"/wsman", "packer", testPassword, transport)
		// requests prefers a CA bundle named in the environment over "do not verify".
		cmd.Env = append(cmd.Environ(), "REQUESTS_CA_BUNDLE=", "CURL_CA_BUNDLE=")
		out, err := cmd.CombinedOutput()
		if want := "cmd 0 hello from python\nexit 7\nps 3 posh\nwrong password refused\n"; err != nil || string(out) != want {
			t.Errorf("%s: %v\n%s", transport, err, out)
		}
	}
}
