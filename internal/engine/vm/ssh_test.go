package vm

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/internal/communicator"
	"ingot/internal/engine"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// overSSH makes the example one that is reached by SSH.
func overSSH(i *image.Image) {
	i.Communicator = image.Communicator{Kind: "ssh", User: "packer", Port: 22, Timeout: 20 * time.Minute}
}

func stepsOf(t *testing.T, change func(*image.Image)) map[string]plan.Step {
	t.Helper()
	img := example(t)
	overSSH(img)
	change(img)
	p, err := Engine{}.Plan(img, facts(), engine.Options{Run: "abcd2345", Made: made})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]plan.Step{}
	for _, s := range p.Steps {
		out[s.ID] = s
	}
	return out
}

// TestPlanOverSSH: how SSH comes into a Windows machine depends on where its image is from and what the template does itself.
func TestPlanOverSSH(t *testing.T) {
	s := stepsOf(t, func(i *image.Image) { i.Communicator.Pause = time.Minute })
	if x := s["openssh"]; !slices.Equal(x.After, []string{"vm"}) || !slices.Contains(s["connect"].After, "openssh") || !slices.Contains(s["pause"].After, "openssh") {
		t.Errorf("the extension is not between the machine and the connection: %v %v", x.After, s["connect"].After)
	}
	if !strings.Contains(string(s["nsg"].Args), `"Port":22`) || strings.Contains(s["certificate"].Title, "WinRM") || !strings.Contains(string(s["certificate"].Args), `"PasswordOnly":true`) {
		t.Errorf("%s %s %s", s["nsg"].Args, s["certificate"].Title, s["certificate"].Args)
	}
	if s := stepsOf(t, func(i *image.Image) { i.Machine.CustomScript = image.Plain("Start-Service sshd") }); s["openssh"].ID != "" || !slices.Contains(s["connect"].After, "custom-script") {
		t.Error("custom_script does not stand for the extension")
	}
	if s := stepsOf(t, func(i *image.Image) { i.Source = image.ManagedImage{Name: "own"} }); s["openssh"].ID != "" {
		t.Error("an image of one's own is given the extension")
	}
	// Linux, where the key is to be cleared: before what ends the guest's life.
	linux := func(i *image.Image) {
		i.OS, i.Provision, i.Communicator.SSH = image.Linux, nil, image.SSH{ClearAuthorizedKeys: true, Agent: true, TemporaryKeyName: "n"}
	}
	s = stepsOf(t, linux)
	if x := s["clear-keys"]; !slices.Equal(x.After, []string{"connect"}) || !slices.Equal(s["generalize"].After, []string{"clear-keys"}) || strings.Contains(string(x.Args), `"Account":true`) {
		t.Errorf("%v %s %v", x.After, x.Args, s["generalize"].After)
	}
	if x := s["ssh-key"]; !strings.Contains(string(x.Args), `"Agent":true`) || !strings.Contains(x.Title, "agent") {
		t.Errorf("%s %s", x.Title, x.Args)
	}
}

// TestCheckSSH: each setting that cannot work is refused before anything is made, and those that can are not.
func TestCheckSSH(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private, public, err := communicator.NewSSHKey("rsa", 0)
	if err != nil {
		t.Fatal(err)
	}
	short, _, err := communicator.NewSSHKey("rsa", 1024)
	if err != nil {
		t.Fatal(err)
	}
	key, weak, open := file("key", private), file("weak", short), file("key.pub", []byte(public))
	for name, c := range map[string]struct {
		os   image.OS
		ssh  image.SSH
		want string // "" is none
	}{
		"nothing":             {image.Linux, image.SSH{}, ""},
		"all that works":      {image.Linux, image.SSH{PrivateKeyFile: key, Agent: true, PTY: true, ClearAuthorizedKeys: true, Ciphers: []string{"aes256-ctr"}, KeyExchange: []string{"curve25519-sha256"}, LocalTunnels: []string{"8080:localhost:80"}, Bastion: image.Bastion{Host: "b", KeyFile: key}, FileTransfer: "scp"}, ""},
		"a proxy":             {image.Windows, image.SSH{Proxy: image.SOCKS{Host: "p"}}, ""},
		"an agent's bastion":  {image.Linux, image.SSH{Bastion: image.Bastion{Host: "b", Agent: true}}, ""},
		"key pair by name":    {image.Linux, image.SSH{KeypairName: "x"}, "keeps public keys only"},
		"ecdsa":               {image.Linux, image.SSH{TemporaryKeyType: "ecdsa"}, "ecdsa"},
		"few bits":            {image.Linux, image.SSH{TemporaryKeyType: "rsa", TemporaryKeyBits: 1024}, "1024"},
		"a weak key":          {image.Linux, image.SSH{PrivateKeyFile: weak}, "1024 bits"},
		"for Windows any key": {image.Windows, image.SSH{PrivateKeyFile: weak}, ""},
		"a public key":        {image.Linux, image.SSH{PrivateKeyFile: open}, "ssh_private_key_file"},
		"no certificate":      {image.Linux, image.SSH{PrivateKeyFile: key, CertificateFile: open}, "-cert.pub"},
		"certificate alone":   {image.Linux, image.SSH{CertificateFile: open}, "none is given"},
		"a cipher":            {image.Linux, image.SSH{Ciphers: []string{"rot13"}}, "rot13"},
		"a tunnel":            {image.Linux, image.SSH{RemoteTunnels: []string{"80"}}, `"80"`},
		"bastion, no way in":  {image.Linux, image.SSH{Bastion: image.Bastion{Host: "b"}}, "sign in to bastion"},
		"no bastion":          {image.Linux, image.SSH{Bastion: image.Bastion{User: "u"}}, "without a bastion"},
		"no proxy":            {image.Linux, image.SSH{Proxy: image.SOCKS{User: "u"}}, "without a proxy"},
		"terminal on Windows": {image.Windows, image.SSH{PTY: true}, "no effect in a Windows guest"},
	} {
		img := example(t)
		overSSH(img)
		img.OS, img.Communicator.SSH = c.os, c.ssh
		var all []string
		for _, p := range checkSSH(img) {
			all = append(all, fmt.Sprint(p))
		}
		if text := strings.Join(all, "\n"); c.want == "" && text != "" || c.want != "" && !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestClearKeys runs the script: of the lists only the build's own line is gone, and their rights stay.
func TestClearKeys(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "authorized_keys")
	const others = "# of others\nssh-ed25519 AAAAother other@host\n"
	for text, want := range map[string]string{
		others + "no-pty,command=\"echo\" ssh-ed25519 AAAAbuild ingot\n": others,
		"ssh-ed25519 AAAAbuild ingot\n":                                  "",
		others:                                                           others,
	} {
		if err := os.WriteFile(list, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it may be run again
			if out, err := exec.Command("sh", "-c", fmt.Sprintf(clearKeysScript, filepath.Join(dir, "none")+" "+list, "AAAAbuild")).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		got, err := os.ReadFile(list)
		info, statErr := os.Stat(list)
		if err != nil || statErr != nil || string(got) != want || info.Mode().Perm() != 0o640 {
			t.Errorf("%q became %q, not %q; %v %v", text, got, want, err, info)
		}
	}
}

// TestSSHArgsHideSecrets: passwords of a bastion and a proxy are in no plan.
func TestSSHArgsHideSecrets(t *testing.T) {
	s := stepsOf(t, func(i *image.Image) {
		i.Communicator.SSH.Bastion = image.Bastion{Host: "b", Password: image.Hidden("gate", "gate-test-secret-not-real")}
		i.Communicator.SSH.Proxy = image.SOCKS{Host: "p", Password: image.Hidden("proxy", "proxy-test-secret-not-real")}
	})
	raw, err := json.Marshal(s)
	if err != nil || strings.Contains(string(raw), "not-real") || !strings.Contains(string(raw), "gate") {
		t.Errorf("%v %s", err, raw)
	}
}
