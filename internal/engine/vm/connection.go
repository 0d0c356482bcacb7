package vm

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"

	"ingot/internal/communicator"
	"ingot/internal/plan"
	"ingot/internal/provisioner"
)

// reaches is a communicator that has a way of its own to the guest, as over a bastion.
type reaches interface {
	// DialGuest opens a connection to the port that the communicator itself talks to.
	DialGuest(ctx context.Context) (net.Conn, error)
}

// connection is how g reaches the guest, for programs of this machine.
func (b *build) connection(t *plan.Task, g communicator.Communicator) func(context.Context) (provisioner.Connection, error) {
	return func(ctx context.Context) (provisioner.Connection, error) {
		var a connectArgs
		var v vmArgs
		var nic, ip addressResult
		var done connectResult
		if err := errors.Join(b.argsOf(t, "connect", &a), b.argsOf(t, "vm", &v), t.Result("connect", &done), optional(t.Result("nic", &nic)), optional(t.Result("ip", &ip))); err != nil {
			return provisioner.Connection{}, err
		}
		c := provisioner.Connection{Kind: a.Communicator.Kind, Windows: v.VM.Windows, Host: cmp.Or(a.Communicator.Host, ip.Address, nic.Address), Port: a.Communicator.Port,
			User: a.Communicator.User, HostKey: done.HostKey, NTLM: a.Communicator.NTLM}
		address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
		c.Dial = func(ctx context.Context) (net.Conn, error) { return b.env.Dial(ctx, "tcp", address) }
		if r, ok := g.(reaches); ok {
			c.Dial = r.DialGuest
		}
		var err error
		switch c.Kind {
		case "ssh":
			if c.Key, err = b.sshKey(ctx, t); err != nil {
				return c, err
			}
			c.Password, err = b.given(t)
			return c, err
		case "winrm":
			var cert certificateResult
			if err := t.Result("certificate", &cert); err != nil {
				return c, err
			}
			sum, err := hex.DecodeString(cert.Fingerprint)
			if err != nil || len(sum) != len(c.Fingerprint) {
				return c, fmt.Errorf("cannot pin the guest's certificate: its fingerprint in the journal is %q", cert.Fingerprint)
			}
			copy(c.Fingerprint[:], sum)
			c.Password, err = b.password(ctx, t)
			return c, err
		}
		return c, nil
	}
}
