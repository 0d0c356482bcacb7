package guest

import (
	"encoding/json"
	"slices"
)

// readiness answers what Ingot asks before sysprep.
func (p *process) readiness() int {
	m := p.m
	_, script := m.disk.size(`C:\DeprovisioningScript.ps1`)
	r := map[string]any{"pending": []string{}, "agents": []string{}, "unknown": []string{}, "script": script}
	m.mu.Lock()
	if m.pendingReboot {
		r["pending"] = []string{`Component Based Servicing\RebootPending`}
	}
	r["appx"], r["bitlocker"] = slices.Concat([]string{}, m.appx), slices.Concat([]string{}, m.bitlocker)
	m.mu.Unlock()
	b, err := json.Marshal(r)
	if err != nil {
		p.complain("cannot write readiness: " + err.Error())
		return 1
	}
	p.print("#ingot:readiness " + string(b))
	return 0
}

// validate is what sysprep checks before it changes anything, in the words of its logs: AppxSysprep.dll (Microsoft Learn, KB 2769827) and
// BdeSysprep.dll's ValidateBitLockerState (antifob/incus-windows#30, canonical/packer-maas#341).
func (m *machine) validate() (complaints []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.bitlocker, "C:") {
		complaints = append(complaints, "BitLocker-Sysprep: BitLocker is on for the OS volume. Turn BitLocker off to run Sysprep. (0x80310039)")
	}
	for _, name := range m.appx {
		complaints = append(complaints, "Package "+name+" was installed for a user, but not provisioned for all users. This package will not function properly in the sysprep image.",
			"Failed to remove apps for the current user: 0x80073cf2.")
	}
	return complaints
}
