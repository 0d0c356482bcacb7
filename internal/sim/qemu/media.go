package qemu

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"time"
)

// Provisioning is what Azure tells a new machine from a generalised image about itself.
type Provisioning struct {
	Computer       string
	User, Password string
	Keys           []SSHKey
	NoPasswords    bool   // SSH logs in with keys only
	CustomData     []byte // as the guest shall have it, decoded
}

// SSHKey is a public key and the file it goes to.
type SSHKey struct{ Path, Value string }

// ovfEnvironment is the content of ovf-env.xml, which Azure hands to a machine on a DVD and which waagent and cloud-init
// read (github.com/Azure/WALinuxAgent, azurelinuxagent/common/protocol/ovfenv.py; cloud-init's DataSourceAzure).
func ovfEnvironment(p Provisioning) []byte {
	var b bytes.Buffer
	text := func(s string) {
		xml.EscapeText(&b, []byte(s)) //nolint:errcheck // a buffer does not fail
	}
	element := func(name, value string) {
		b.WriteString("<" + name + ">")
		text(value)
		b.WriteString("</" + name + ">\n")
	}
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" xmlns:wa="http://schemas.microsoft.com/windowsazure" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<wa:ProvisioningSection><wa:Version>1.0</wa:Version>
<LinuxProvisioningConfigurationSet xmlns="http://schemas.microsoft.com/windowsazure" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
<ConfigurationSetType>LinuxProvisioningConfiguration</ConfigurationSetType>
`)
	element("HostName", p.Computer)
	element("UserName", p.User)
	if p.Password != "" {
		element("UserPassword", p.Password)
	}
	element("DisableSshPasswordAuthentication", map[bool]string{true: "true", false: "false"}[p.NoPasswords])
	if len(p.Keys) > 0 {
		b.WriteString("<SSH><PublicKeys>\n")
		for _, k := range p.Keys {
			b.WriteString("<PublicKey>")
			element("Path", k.Path)
			element("Value", k.Value)
			b.WriteString("</PublicKey>\n")
		}
		b.WriteString("</PublicKeys></SSH>\n")
	}
	if len(p.CustomData) > 0 {
		element("CustomData", base64.StdEncoding.EncodeToString(p.CustomData))
	}
	b.WriteString(`</LinuxProvisioningConfigurationSet></wa:ProvisioningSection>
<wa:PlatformSettingsSection><wa:Version>1.0</wa:Version><PlatformSettings xmlns="http://schemas.microsoft.com/windowsazure">
<ProvisionGuestAgent>true</ProvisionGuestAgent><GuestAgentPackageName i:nil="true" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"/>
</PlatformSettings></wa:PlatformSettingsSection></Environment>
`)
	return b.Bytes()
}

// disc is an ISO 9660 image with one file in its root (ECMA-119). The name keeps its hyphen and lower case, which the
// standard would not allow and every system that reads ovf-env.xml expects.
func disc(name string, data []byte, made time.Time) []byte {
	const sector = 2048
	const root, file, first = 20, 21, 16
	sectors := (len(data) + sector - 1) / sector
	out := make([]byte, (file+max(sectors, 1))*sector)
	both32 := func(b []byte, v uint32) {
		binary.LittleEndian.PutUint32(b, v)
		binary.BigEndian.PutUint32(b[4:], v)
	}
	both16 := func(b []byte, v uint16) {
		binary.LittleEndian.PutUint16(b, v)
		binary.BigEndian.PutUint16(b[2:], v)
	}
	made = made.UTC()
	entry := func(id string, at, size uint32, dir bool) []byte {
		n := 33 + len(id)
		n += n % 2
		e := make([]byte, n)
		e[0] = byte(n)
		both32(e[2:], at)
		both32(e[10:], size)
		copy(e[18:], []byte{byte(made.Year() - 1900), byte(made.Month()), byte(made.Day()), byte(made.Hour()), byte(made.Minute()), byte(made.Second()), 0})
		if dir {
			e[25] = 2
		}
		both16(e[28:], 1)
		e[32] = byte(len(id))
		copy(e[33:], id)
		return e
	}
	pad := func(b []byte, s string) {
		for i := range b {
			b[i] = ' '
		}
		copy(b, s)
	}
	v := out[first*sector:]
	v[0], v[6] = 1, 1
	copy(v[1:], "CD001")
	pad(v[8:40], "")
	pad(v[40:72], "OVF_ENV")
	both32(v[80:], uint32(len(out)/sector))
	both16(v[120:], 1)
	both16(v[124:], 1)
	both16(v[128:], sector)
	both32(v[132:], 10)                        // bytes of a path table with the root only
	binary.LittleEndian.PutUint32(v[140:], 18) // where it lies, in both orders
	binary.BigEndian.PutUint32(v[148:], 19)
	copy(v[156:190], entry("\x00", root, sector, true))
	pad(v[190:813], "")
	for _, at := range []int{813, 830, 847, 864} {
		copy(v[at:], made.Format("20060102150405")+"00\x00")
	}
	copy(v[847:], "0000000000000000\x00")
	v[881] = 1
	end := out[(first+1)*sector:]
	end[0], end[6] = 255, 1
	copy(end[1:], "CD001")
	for at, order := range map[int]binary.ByteOrder{18: binary.LittleEndian, 19: binary.BigEndian} {
		t := out[at*sector:]
		t[0] = 1
		order.PutUint32(t[2:], root)
		order.PutUint16(t[6:], 1)
	}
	d := out[root*sector:]
	for _, e := range [][]byte{entry("\x00", root, sector, true), entry("\x01", root, sector, true), entry(name+";1", file, uint32(len(data)), false)} {
		d = d[copy(d, e):]
	}
	copy(out[file*sector:], data)
	return out
}
