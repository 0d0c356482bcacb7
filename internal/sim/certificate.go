package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// served is what a simulated Azure on a socket shows its callers: kept with the state, so that their settings stay valid.
type served struct {
	Certificate, CA, Key []byte // DER
	Until                time.Time
}

// served notes the port and returns the certificate to answer with, its authority, and what to wait for.
func (w *Azure) served(port string) (tls.Certificate, []byte, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cert == nil || time.Until(w.cert.Until) < 7*24*time.Hour {
		c, err := authority()
		if err != nil {
			return tls.Certificate{}, nil, 0, err
		}
		w.cert = c
	}
	w.servedPort = port
	w.touch("settings", "all")
	n := w.commit(true)
	key, err := x509.ParsePKCS8PrivateKey(w.cert.Key)
	if err != nil {
		return tls.Certificate{}, nil, 0, err
	}
	return tls.Certificate{Certificate: [][]byte{w.cert.Certificate, w.cert.CA}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.cert.CA}), n, nil
}

// KeptPort is the port that the state in Config.State was served at last, or "".
func (w *Azure) KeptPort() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.servedPort
}

// authority makes a certificate authority and a certificate for every name of the simulated Azure.
func authority() (*served, error) {
	now := time.Now()
	newKey := func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
	caKey, err := newKey()
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Ingot simulated Azure"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		DNSNames: []string{"localhost", "*.localhost", "*.vault.localhost", "*.sim.localhost", "*.blob.storage.localhost", "*.z1.blob.storage.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &served{Certificate: der, CA: caDER, Key: keyDER, Until: leaf.NotAfter}, nil
}
