package guest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"time"

	"context"
)

// RunLine runs a command line as the agent's extensions do: as SYSTEM, without any connection to the machine. up is false when Windows was not
// up, so that nothing was run, or went down under it.
func (m *machine) RunLine(line string, out func(stream int, text string)) (code int, up bool) {
	m.mu.Lock()
	if !m.up || m.stopped || m.vanished {
		m.mu.Unlock()
		return 0, false
	}
	ctx := m.bootCtx
	m.mu.Unlock()
	env := windowsEnv()
	env["COMPUTERNAME"], env["USERNAME"] = m.c.Computer, "SYSTEM"
	p := &process{m: m, ctx: ctx, env: env, dir: `C:\Packages\Plugins\Microsoft.Compute.CustomScriptExtension`, stdin: newInput(), out: func(stream int, text string) {
		if ctx.Err() == nil {
			out(stream, text)
		}
	}}
	p.stdin.write(nil, true)
	code = p.line(line)
	if ctx.Err() != nil {
		return 0, false
	}
	if code == 0 && setsUpWinRM.MatchString(line) {
		if _, err := m.openWinRM(nil); err != nil {
			out(2, err.Error())
			return 1, true
		}
	}
	return code, true
}

// setsUpWinRM is what command lines and scripts look like that give Windows an HTTPS listener: winrm.cmd, the WSMan: drive, and the script that
// Ansible's documentation made known (learn.microsoft.com/windows/win32/winrm/installation-and-configuration-for-windows-remote-management).
var setsUpWinRM = regexp.MustCompile(`(?i)winrm(\.cmd)?\s+(create|quickconfig|qc)\b.*https|WSMan:\\\\?LocalHost\\\\?Listener.*https|ConfigureRemotingForAnsible|https.*WSMan:\\\\?LocalHost\\\\?Listener`)

// openWinRM opens the HTTPS listener: with the certificate that the machine was given, or with one that it makes itself. It answers the
// certificate's SHA-256. A listener that is open already stays.
func (m *machine) openWinRM(given *tls.Certificate) (sum string, err error) {
	m.mu.Lock()
	if m.http != nil {
		sum := m.print
		m.mu.Unlock()
		return sum, nil
	}
	m.mu.Unlock()
	late := given == nil // at its start, whoever starts the machine looks at Addr
	if late {
		if given, err = selfSigned(m.c.Computer, m.now()); err != nil {
			return "", err
		}
	}
	l, err := net.Listen("tcp", m.c.Listen)
	if err != nil && late { // another simulation has that port, and whoever is told of this one knows where it is
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", fmt.Errorf("cannot open WinRM on guest %s: %w", m.c.Computer, err)
	}
	digest := sha256.Sum256(given.Certificate[0])
	server := &http.Server{
		Handler: http.HandlerFunc(m.serve), ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, &connState{})
		},
		ReadHeaderTimeout: time.Minute,
	}
	m.mu.Lock()
	m.addr, m.http, m.print = l.Addr().String(), server, hex.EncodeToString(digest[:])
	sum, addr := m.print, m.addr
	m.mu.Unlock()
	secure := tls.NewListener(&gate{l, m}, &tls.Config{Certificates: []tls.Certificate{*given}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
	m.spawn(func() { _ = server.Serve(secure) })
	if late && m.c.Listening != nil {
		m.c.Listening(addr)
	}
	return sum, nil
}

// selfSigned is what New-SelfSignedCertificate makes: valid for a year.
func selfSigned(host string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: now.Add(-10 * time.Minute), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Up tells whether Windows runs.
func (m *machine) Up() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up && !m.stopped && !m.vanished
}
