package sim

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"ingot/internal/sim/guest"
)

// bootVM starts the guest when the machine has been created or started. A machine from an image that says it is generalised
// and whose Windows was never sysprepped does not come up: that is how Azure shows it.
func bootVM(w *Azure, r *resource) *refusal {
	m := machineOf(r)
	if m.guest != nil || w.cfg.NoGuests {
		m.power = "running"
		return nil
	}
	if bad := w.allocate(r); bad != nil {
		return bad
	}
	w.planEviction(r)
	switch {
	case m.real != nil:
		return w.bootReal(r, m)
	case !m.content.windows:
		// Without real machines a Linux VM is a document: it runs, and nobody answers.
		m.power = "running"
		return nil
	}
	// A captured image knows the account it was captured from; one of the marketplace has none, and is what it says.
	if captured := m.content.user != ""; m.content.generalized && captured && m.content.disk.ImageState() != guest.StateGeneralized {
		m.power = "running"
		return refuse(409, "OSProvisioningTimedOut", "OS Provisioning for VM '"+r.name+"' did not finish in the allotted time. The VM may still finish provisioning successfully. Please check provisioning state later. Also, make sure the image has been properly prepared (generalized).\r\n * Instructions for Windows: https://azure.microsoft.com/documentation/articles/virtual-machines-windows-upload-image/ ")
	}
	c := guest.Config{Computer: text(r.props, "osProfile", "computerName"), User: m.user, Password: m.password, Disk: m.content.disk, Clock: w.clock,
		Duration: func(kind string) time.Duration { return w.duration("guest-"+kind, r.id) }, Asked: func() { w.winrm.Add(1) }}
	if c.Computer == "" {
		c.Computer = r.name
	}
	if w.cfg.Scenario != nil {
		c.Rules, c.Updates, c.Resources = w.cfg.Scenario.Guest, w.cfg.Scenario.Updates, w.cfg.Scenario.DSC
	}
	if value, ok := w.secretByURL(m.certificateURL); ok {
		cert, err := machineCertificate(value)
		if err != nil {
			return refuse(400, "CertificateImproperlyFormatted", err.Error())
		}
		c.Certificate, m.content.winrm = cert, true
	}
	nicID, addrs := w.addresses(r)
	c.Allow = func(remote netip.Addr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return reachable(w, nicID, remote, 5986)
	}
	c.PowerOff = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if m.power == "running" {
			m.power = "stopped"
		}
	}
	const port = "5986"
	// A listener that a script opens later is found at the machine's addresses, too.
	c.Listening = func(addr string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.listens(m, addrs, port, addr)
		m.content.winrm = true
	}
	c.ListeningSSH = func(addr string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.listens(m, addrs, itoa(sshPort), addr)
	}
	c.AllowSSH = func(remote netip.Addr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return reachable(w, nicID, remote, sshPort)
	}
	c.ListenSSH = listenAt(addrs, itoa(sshPort))
	c.SelfSigned = m.content.winrm
	c.Listen = listenAt(addrs, port)
	g, err := guest.Start(context.Background(), c)
	if err != nil && c.Listen != anyPort {
		// Another simulation on this machine uses that address, or the system has no 127.83/16: any port will do, since
		// GuestDial knows where it is.
		c.Listen = anyPort
		g, err = guest.Start(context.Background(), c)
	}
	if err != nil {
		return refuse(500, "InternalExecutionError", "The simulated machine cannot listen: "+err.Error())
	}
	m.guest, m.power = g, "running"
	if g.Addr() != "" {
		w.listens(m, addrs, port, g.Addr())
	}
	if g.SSHAddr() != "" {
		w.listens(m, addrs, itoa(sshPort), g.SSHAddr())
	}
	return nil
}

// listens puts a machine's listener where its addresses are.
func (w *Azure) listens(m *machine, addrs []string, port, at string) {
	for _, a := range addrs {
		key := net.JoinHostPort(a, port)
		if w.guests[key] == "" {
			m.addrs = append(m.addrs, key)
		}
		w.guests[key] = at
	}
}

const anyPort = "127.0.0.1:0"

// listenAt is where a machine's port is put on loopback: at its public address, which is one of loopback's, so that any client
// on this computer finds it there.
func listenAt(addrs []string, port string) string {
	if len(addrs) > 0 && strings.HasPrefix(addrs[len(addrs)-1], "127.83.") {
		return net.JoinHostPort(addrs[len(addrs)-1], port)
	}
	return anyPort
}

// addresses are a machine's network interface and its addresses, the public one last.
func (w *Azure) addresses(r *resource) (nicID string, addrs []string) {
	for _, n := range items(r.props, "networkProfile", "networkInterfaces") {
		nicID = text(n, "id")
		if nic := w.find(nicID); nic != nil {
			for _, ip := range items(nic.props, "ipConfigurations") {
				if a := text(ip, "properties", "privateIPAddress"); a != "" {
					addrs = append(addrs, a)
				}
				if pub := w.find(text(ip, "properties", "publicIPAddress", "id")); pub != nil {
					addrs = append(addrs, text(pub.props, "ipAddress"))
				}
			}
		}
	}
	return nicID, addrs
}

// stopVM powers the guest off. Its goroutines may be asking for the lock that is held here, so nobody waits for them.
func stopVM(w *Azure, r *resource) {
	m := machineOf(r)
	for _, a := range m.addrs {
		delete(w.guests, a)
	}
	m.addrs = nil
	if g := m.guest; g != nil {
		m.guest = nil
		w.stopping.Go(func() {
			ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
			defer stop()
			g.Stop(ctx) //nolint:errcheck // it is gone either way
		})
	}
	if m.real != nil {
		w.stopReal(m.real)
	}
	m.power = "stopping"
}

// guestOwner is the VM a guest's address belongs to, or "".
func (w *Azure) guestOwner(addr string) string {
	for _, v := range w.all(vmType) {
		for _, a := range machineOf(v).addrs {
			if a == addr {
				return v.id
			}
		}
	}
	return ""
}

// stopped ends a machine's way to a power state, when it is really off.
func stopped(state string) func(*Azure, *resource) *refusal {
	return func(_ *Azure, r *resource) *refusal {
		m := machineOf(r)
		then := func() *refusal { m.power = state; return nil }
		if m.real == nil {
			return then()
		}
		return m.real.untilOff(then)
	}
}
