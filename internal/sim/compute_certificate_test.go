package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

func TestMachineCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "vm.cloudapp.net"}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	const password = "test-secret-not-real"
	pfx := func(e *pkcs12.Encoder, password string) string {
		raw, err := e.Encode(key, cert, nil, password)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(raw)
	}
	wrap := func(data, kind string) string {
		raw, err := json.Marshal(map[string]string{"data": data, "dataType": kind, "password": password})
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(raw)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for name, value := range map[string]string{
		"template form, AES":   wrap(pfx(pkcs12.Modern, password), "pfx"),
		"template form, 3DES":  wrap(pfx(pkcs12.LegacyDES, password), "pfx"),
		"bare, empty password": pfx(pkcs12.Modern, ""),
		"PEM":                  text,
	} {
		c, err := machineCertificate(value)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if leaf, err := x509.ParseCertificate(c.Certificate[0]); err != nil || leaf.Subject.CommonName != "vm.cloudapp.net" || c.PrivateKey == nil {
			t.Errorf("%s: %v %v", name, leaf, err)
		}
	}
	for name, value := range map[string]string{
		"not base64":        "%%%" + password,
		"another data type": wrap(pfx(pkcs12.Modern, password), "jks"),
		"wrong password":    wrap(pfx(pkcs12.Modern, "test-secret-not-real-2"), "pfx"),
		"PEM without a key": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	} {
		if _, err := machineCertificate(value); err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
