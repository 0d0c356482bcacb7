//go:build !linux

package qemu

import (
	"context"
	"errors"
	"os/exec"
)

type owner struct{}

func own(string) (*owner, error) {
	return nil, errors.New("cannot run real machines: this version of Ingot does so on Linux only")
}

func (*owner) release() error { return nil }

// Sweep does nothing where there are no machines.
func Sweep(string) []string { return nil }

func startBound(*exec.Cmd, func(), chan<- struct{}) error {
	return errors.New("cannot run real machines on this system")
}

func lockFile(context.Context, string, string) (func(), error) {
	return nil, errors.New("cannot lock files on this system")
}

func freeBytes(string) int64 { return 0 }
