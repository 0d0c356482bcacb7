package vm

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// certificate is a WinRM listener's.
type certificate struct {
	DER    []byte
	Secret string // what the vault holds, in the form a VM's certificate store takes
}

// newCertificate makes a self-signed server certificate that is valid for 24 hours, as Packer's azure-arm does (reference:
// packer-azure-arm.md section 3), and wraps it as Microsoft.Compute wants a certificate that is kept as a secret: base64 of
// a JSON object with the PFX and its password (https://learn.microsoft.com/azure/virtual-machines/windows/winrm).
// The PFX uses the older algorithms, because Windows Server 2016 cannot read the newer ones; it never leaves the vault.
func newCertificate(host string, now time.Time) (certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return certificate{}, fmt.Errorf("cannot make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return certificate{}, fmt.Errorf("cannot make a serial number: %w", err)
	}
	name := host + ".cloudapp.net"
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		// Clocks differ: a certificate that is valid from this very second is not yet valid in the guest.
		NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return certificate{}, fmt.Errorf("cannot make a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return certificate{}, fmt.Errorf("cannot read the certificate back: %w", err)
	}
	password, err := newPassword()
	if err != nil {
		return certificate{}, err
	}
	pfx, err := pkcs12.LegacyDES.Encode(key, cert, nil, password)
	if err != nil {
		return certificate{}, fmt.Errorf("cannot wrap the certificate: %w", err)
	}
	wrapped, err := json.Marshal(map[string]string{"data": base64.StdEncoding.EncodeToString(pfx), "dataType": "pfx", "password": password})
	if err != nil {
		return certificate{}, err
	}
	return certificate{DER: der, Secret: base64.StdEncoding.EncodeToString(wrapped)}, nil
}

// newPassword makes 32 characters with all the classes that Azure asks of an administrator's password (8 to 123 characters,
// three of four classes: https://learn.microsoft.com/azure/virtual-machines/windows/faq), and none that a shell would read.
func newPassword() (string, error) {
	const lower, upper, digit = "abcdefghijkmnopqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789"
	const all = lower + upper + digit
	out := make([]byte, 0, 32)
	for len(out) < 32 {
		from := all
		switch len(out) {
		case 0:
			from = lower
		case 1:
			from = upper
		case 2:
			from = digit
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(from))))
		if err != nil {
			return "", fmt.Errorf("cannot make a password: %w", err)
		}
		out = append(out, from[n.Int64()])
	}
	return string(out), nil
}
