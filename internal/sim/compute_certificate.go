package sim

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// machineCertificate reads the certificate a VM is given from a vault secret. Accepted: the base64 of
// {"data":"<base64 pfx>","dataType":"pfx","password":"..."} (the form of VM templates and of Packer), the bare base64 of a PFX
// without a password (what a vault certificate's secret holds, content type application/x-pkcs12), and PEM
// (application/x-pem-file). golang.org/x/crypto/pkcs12 cannot read PBES2/AES, which both OpenSSL 3 and EncodeModern write.
// The error never holds any of the secret.
func machineCertificate(value string) (*tls.Certificate, error) {
	if strings.Contains(value, "-----BEGIN") {
		return pemCertificate([]byte(value))
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return nil, errors.New("cannot read certificate secret: neither base64 nor PEM")
	}
	password := ""
	var wrapped struct{ Data, DataType, Password string }
	if json.Unmarshal(raw, &wrapped) == nil && wrapped.Data != "" {
		if !strings.EqualFold(wrapped.DataType, "pfx") {
			return nil, fmt.Errorf("cannot read certificate secret: dataType %q is not pfx", wrapped.DataType)
		}
		if raw, err = base64.StdEncoding.DecodeString(wrapped.Data); err != nil {
			return nil, errors.New("cannot read certificate secret: its data is not base64")
		}
		password = wrapped.Password
	}
	if strings.Contains(string(raw), "-----BEGIN") {
		return pemCertificate(raw)
	}
	key, leaf, chain, err := pkcs12.DecodeChain(raw, password)
	if err != nil {
		return nil, fmt.Errorf("cannot read certificate secret as PKCS#12: %w", err)
	}
	c := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c, nil
}

func pemCertificate(data []byte) (*tls.Certificate, error) {
	var certs, keys []byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			certs = append(certs, pem.EncodeToMemory(block)...)
		} else {
			keys = append(keys, pem.EncodeToMemory(block)...)
		}
	}
	c, err := tls.X509KeyPair(certs, keys)
	if err != nil {
		return nil, fmt.Errorf("cannot read certificate secret as PEM: %w", err)
	}
	return &c, nil
}
