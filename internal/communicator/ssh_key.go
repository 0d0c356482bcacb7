package communicator

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// NewSSHKey makes a key pair: the private key in OpenSSH's form, and the line of authorized_keys. Kinds are ed25519 and rsa (3072 bits),
// which Azure takes (https://learn.microsoft.com/azure/virtual-machines/linux/ed25519-ssh-keys).
func NewSSHKey(kind string) (private []byte, public string, err error) {
	var key crypto.PrivateKey
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	default:
		return nil, "", fmt.Errorf("cannot make an SSH key of type %q", kind)
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot make an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "ingot")
	if err != nil {
		return nil, "", fmt.Errorf("cannot write an SSH key: %w", err)
	}
	private = pem.EncodeToMemory(block)
	public, err = PublicKey(private)
	return private, public, err
}

// PublicKey is the line of authorized_keys that belongs to a private key.
func PublicKey(private []byte) (string, error) {
	key, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("cannot read the SSH key: %w", err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))), nil
}
