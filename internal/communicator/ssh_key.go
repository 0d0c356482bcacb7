package communicator

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// NewSSHKey makes a key pair: the private key in OpenSSH's form, and the line of authorized_keys. Kinds are ed25519 and rsa, of that many bits
// (0: 3072; Azure asks for 2048: https://learn.microsoft.com/azure/virtual-machines/linux/create-ssh-keys-detailed).
func NewSSHKey(kind string, bits int) (private []byte, public string, err error) {
	var key crypto.PrivateKey
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, cmp.Or(bits, 3072))
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
	key, err := parseKey(private)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))), nil
}

// AzureTakesPrivateKey tells why Azure refuses the public half of a private key for a new machine, or nil.
func AzureTakesPrivateKey(private []byte) error {
	key, err := parseKey(private)
	if err != nil {
		return err
	}
	return AzureTakesKey(key.PublicKey().Type(), key.PublicKey().Marshal())
}
