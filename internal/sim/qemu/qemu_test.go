package qemu

import (
	"bytes"
	"context"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ready opens a host, or skips where this computer cannot be one.
func ready(t *testing.T) *Host {
	t.Helper()
	if m := append(Missing(), MissingForDebian()...); m != nil {
		t.Skipf("real machines need packages that are not installed: %s", strings.Join(m, " "))
	}
	h, err := Open(Options{Dir: filepath.Join(t.TempDir(), "disks"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestDisc(t *testing.T) {
	want := ovfEnvironment(Provisioning{Computer: "h<o>st", User: "azureuser", Password: `test-secret-not-real &<>"'`, CustomData: []byte("hello")})
	var any struct {
		Inner string `xml:",innerxml"`
	}
	if err := xml.Unmarshal(want, &any); err != nil {
		t.Fatalf("the environment is no XML: %v", err)
	}
	iso := disc("ovf-env.xml", want, time.Now())
	if !bytes.Contains(iso, want) || string(iso[32769:32774]) != "CD001" || len(iso)%2048 != 0 {
		t.Error("the disc does not hold the file, or is no disc")
	}
	program, err := exec.LookPath("isoinfo")
	if err != nil {
		t.Log("isoinfo is not installed: the disc is read by the guest's kernel only (TestBoot)")
		return
	}
	path := filepath.Join(t.TempDir(), "x.iso")
	if err := os.WriteFile(path, iso, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command(program, "-i", path, "-x", "/ovf-env.xml;1").Output()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("isoinfo reads %q, %v", got, err)
	}
}

func TestBoot(t *testing.T) {
	h := ready(t)
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Minute)
	defer stop()
	base, err := h.Debian(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// What a BIOS machine leaves starts under UEFI, and the other way round.
	for _, generation := range []string{"V1", "V2", "V1"} {
		name := generation + "-from-" + filepath.Base(base.Path)
		t.Run(name, func(t *testing.T) {
			disk := h.Path(name + ".qcow2")
			if err := Overlay(ctx, disk, base, 0); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			m, err := h.Start(ctx, Spec{Name: name, Generation: generation, Disk: disk, Address: "10.0.0.4", Cores: 2, MemoryMB: 1024, Ports: []int{22},
				First: &Provisioning{Computer: "tester", User: "azureuser", Password: "test-secret-not-real"}})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Ready(ctx, 22); err != nil {
				t.Fatal(err)
			}
			t.Logf("SSH after %s with %s", time.Since(begun).Round(time.Millisecond), m.Accelerator())
			begun = time.Now()
			m.Shutdown(ctx, 20*time.Second)
			t.Logf("off after %s", time.Since(begun).Round(time.Millisecond))
			vhd := h.Path(name + ".vhd")
			i, err := Capture(ctx, Image{disk, "qcow2", base.Bytes}, vhd)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Inspect(vhd); err != nil || got != i {
				t.Errorf("captured %v, inspected %v, %v", i, got, err)
			}
			if err := exec.Command("qemu-img", "check", "-q", disk).Run(); err != nil {
				t.Errorf("qemu-img check: %v", err)
			}
			base = i
		})
	}
}
