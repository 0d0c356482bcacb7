package sim

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"ingot/internal/sim/qemu"
)

// marketImage is one SKU of the marketplace with the versions that are on offer.
type marketImage struct {
	publisher, offer, sku string
	os                    string // Windows or Linux
	generation            string // V1 or V2
	security              string // the SecurityType feature; "" where the image has none
	sizeGB                int
	plan                  bool // the image asks for a purchase plan
	versions              []string
	backing
}

// backing is the disk that a machine of QEMU starts from, where an image has one.
type backing struct {
	made        string // one that the host knows how to make
	file        string // or a disk file
	specialized bool
}

// DiskImage is an entry of the marketplace that a user adds, with a disk of his own behind it.
type DiskImage struct {
	// publisher of the entry.
	Publisher string `json:"publisher"`
	// offer of the entry.
	Offer string `json:"offer"`
	// SKU of the entry.
	SKU string `json:"sku"`
	// version of the entry; absent: 1.0.0.
	Version string `json:"version,omitempty"`
	// Windows or Linux; absent: Linux.
	OS string `json:"os,omitempty"`
	// V1 (BIOS) or V2 (UEFI); absent: V2.
	Generation string `json:"generation,omitempty"`
	// whether the disk was not generalised: machines of it get no account.
	Specialized bool `json:"specialized,omitempty"`
	// VHD, VHDX, qcow2 or raw disk; nothing is written to it.
	File string `json:"file"`
}

// inspect looks at the disks of one's own, so that a wrong file is found before anybody wants a machine of it.
func (w *Azure) inspect() error {
	w.sizes = map[string]int64{}
	for _, d := range w.cfg.Images {
		if d.Publisher == "" || d.Offer == "" || d.SKU == "" {
			return fmt.Errorf("cannot add the disk %s to the marketplace: it needs a publisher, an offer and a SKU", d.File)
		}
		disk, err := qemu.Inspect(d.File)
		if err != nil {
			return fmt.Errorf("cannot add %s:%s:%s to the marketplace: %w", d.Publisher, d.Offer, d.SKU, err)
		}
		w.sizes[d.File] = disk.Bytes
	}
	return nil
}

// catalogue is the marketplace of this simulated Azure: the built-in one and what was added to it.
func (w *Azure) catalogue() []marketImage {
	out := marketplace()
	known := map[string]bool{}
	for _, m := range out {
		known[strings.ToLower(m.offer+":"+m.sku)] = true
	}
	for _, m := range shelf() {
		if !known[strings.ToLower(m.offer+":"+m.sku)] {
			out = append(out, m)
		}
	}
	for _, d := range w.cfg.Images {
		m := marketImage{publisher: d.Publisher, offer: d.Offer, sku: d.SKU, os: d.OS, generation: d.Generation, sizeGB: gigabytes(w.sizes[d.File]), versions: []string{d.Version}, backing: backing{file: d.File, specialized: d.Specialized}}
		if m.os == "" {
			m.os = "Linux"
		}
		if m.generation == "" {
			m.generation = "V2"
		}
		if d.Version == "" {
			m.versions[0] = "1.0.0"
		}
		out = append([]marketImage{m}, out...) // it wins over a built-in one of its name
	}
	return out
}

// gigabytes is a disk's size as Azure counts it, rounded up.
func gigabytes(bytes int64) int { return int((bytes + 1<<30 - 1) >> 30) }

// Versions of a client release follow its build number and the month's update: 26100.<revision>.<yymmdd>.
var (
	win10v22h2 = [...]string{"19045.5737.250404", "19045.5854.250509", "19045.5965.250606"}
	win11v23h2 = [...]string{"22631.5189.250406", "22631.5335.250510", "22631.5472.250608"}
	win11v24h2 = [...]string{"26100.3775.250406", "26100.3915.250428", "26100.4061.250510", "26100.4349.250609"}
	win11v25h2 = [...]string{"26200.6584.250915", "26200.6899.251011", "26200.7171.251112"}
)

// marketplace is the catalogue of the simulated Azure: the images an Azure Virtual Desktop template starts from, the server
// images people try templates with, and two Linux families. Names and features are those of the public marketplace; the
// features SecurityType, IsAcceleratedNetworkSupported and DiskControllerTypes are in the recorded answers of
// `GET .../skus/{sku}/versions/{version}`.
func marketplace() []marketImage {
	const desktop, server = "MicrosoftWindowsDesktop", "MicrosoftWindowsServer"
	client := func(offer, sku string, versions []string) marketImage {
		return marketImage{desktop, offer, sku, "Windows", "V2", "TrustedLaunchSupported", 127, false, versions, backing{}}
	}
	return []marketImage{
		client("windows-11", "win11-23h2-avd", win11v23h2[:]),
		client("windows-11", "win11-23h2-ent", win11v23h2[:]),
		client("windows-11", "win11-24h2-avd", win11v24h2[:]),
		client("windows-11", "win11-24h2-ent", win11v24h2[:]),
		client("windows-11", "win11-24h2-pro", win11v24h2[:]),
		client("windows-11", "win11-25h2-avd", win11v25h2[:]),
		client("windows-11", "win11-25h2-ent", win11v25h2[:]),
		client("office-365", "win11-23h2-avd-m365", win11v23h2[:]),
		client("office-365", "win11-24h2-avd-m365", win11v24h2[:]),
		client("office-365", "win11-25h2-avd-m365", win11v25h2[:]),
		{desktop, "windows-10", "win10-22h2-avd", "Windows", "V1", "", 127, false, win10v22h2[:], backing{}},
		client("windows-10", "win10-22h2-avd-g2", win10v22h2[:]),
		client("windows-10", "win10-22h2-ent-g2", win10v22h2[:]),
		{server, "WindowsServer", "2016-Datacenter", "Windows", "V1", "", 127, false, []string{"14393.7969.250408", "14393.8066.250509"}, backing{}},
		{server, "WindowsServer", "2019-datacenter", "Windows", "V1", "", 127, false, []string{"17763.7136.250409", "17763.7314.250509"}, backing{}},
		{server, "WindowsServer", "2019-datacenter-gensecond", "Windows", "V2", "TrustedLaunchSupported", 127, false, []string{"17763.7136.250409", "17763.7314.250509"}, backing{}},
		{server, "WindowsServer", "2022-datacenter", "Windows", "V1", "", 127, false, []string{"20348.3453.250404", "20348.3692.250509"}, backing{}},
		{server, "WindowsServer", "2022-datacenter-g2", "Windows", "V2", "TrustedLaunchSupported", 127, false, []string{"20348.3453.250404", "20348.3692.250509"}, backing{}},
		{server, "WindowsServer", "2022-datacenter-azure-edition", "Windows", "V2", "TrustedLaunchSupported", 127, false, []string{"20348.3453.250404", "20348.3692.250509"}, backing{}},
		// Azure's quickstart for confidential machines starts from this one (learn.microsoft.com/azure/confidential-computing).
		{server, "WindowsServer", "2022-datacenter-smalldisk-g2", "Windows", "V2", "TrustedLaunchAndConfidentialVmSupported", 30, false, []string{"20348.3453.250404", "20348.3692.250509"}, backing{}},
		{server, "WindowsServer", "2025-datacenter-g2", "Windows", "V2", "TrustedLaunchSupported", 127, false, []string{"26100.3775.250406", "26100.4061.250508"}, backing{}},
		{"Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", "Linux", "V2", "TrustedLaunchSupported", 30, false, []string{"22.04.202504090", "22.04.202505160"}, backing{}},
		{"Canonical", "ubuntu-24_04-lts", "server", "Linux", "V2", "TrustedLaunchSupported", 30, false, []string{"24.04.202504080", "24.04.202505200"}, backing{}},
		{"Debian", "debian-12", "12", "Linux", "V1", "", 30, false, []string{"0.20250316.2053", "0.20250428.2096"}, backing{made: "debian-12"}},
		{"Debian", "debian-12", "12-gen2", "Linux", "V2", "", 30, false, []string{"0.20250316.2053", "0.20250428.2096"}, backing{made: "debian-12"}},
		// Those that recorded machines were made of, for `go run ./internal/sim/replay`.
		{server, "WindowsServer", "2012-Datacenter", "Windows", "V1", "", 127, false, []string{"9200.24075.221007"}, backing{}},
		{server, "WindowsServer", "2012-R2-Datacenter", "Windows", "V1", "", 127, false, []string{"9600.20625.221007"}, backing{}},
		{"Canonical", "UbuntuServer", "18.04-LTS", "Linux", "V1", "", 30, false, []string{"18.04.202401161"}, backing{}},
		{"Canonical", "UbuntuServer", "18_04-lts-gen2", "Linux", "V2", "TrustedLaunchSupported", 30, false, []string{"18.04.202401161"}, backing{}},
		{"canonical", "0001-com-ubuntu-server-focal", "20_04-lts-gen2", "Linux", "V2", "TrustedLaunchSupported", 30, false, []string{"20.04.202505200"}, backing{}},
		{"Debian", "debian-10", "10", "Linux", "V1", "", 30, false, []string{"0.20240204.1647", "0.20240703.1797"}, backing{}},
		{"OpenLogic", "CentOS", "7.5", "Linux", "V1", "", 30, false, []string{"7.5.201808150"}, backing{}},
		{"OpenLogic", "CentOS", "7_6-gen2", "Linux", "V2", "", 30, false, []string{"7.6.2022012101"}, backing{}},
		{"RedHat", "RHEL", "8-lvm-gen2", "Linux", "V2", "TrustedLaunchSupported", 64, false, []string{"8.10.2024110613"}, backing{}},
		{"cloud-infrastructure-services", "avd-golden-base", "avd-golden-base-win11", "Windows", "V2", "TrustedLaunchSupported", 127, true, []string{"1.0.1"}, backing{}},
	}
}

// findMarketImage is the catalogue's entry; names are compared without case, as Azure does.
func (w *Azure) findMarketImage(publisher, offer, sku string) (marketImage, bool) {
	for _, m := range w.catalogue() {
		if strings.EqualFold(m.publisher, publisher) && strings.EqualFold(m.offer, offer) && strings.EqualFold(m.sku, sku) {
			return m, true
		}
	}
	return marketImage{}, false
}

// exact is the version that "latest" stands for, or the given one if it is on offer.
func (m marketImage) exact(version string) (string, bool) {
	if strings.EqualFold(version, "latest") {
		v := m.sorted(false)
		if len(v) == 0 {
			return "", false
		}
		return v[len(v)-1], true
	}
	for _, v := range m.versions {
		if v == version {
			return v, true
		}
	}
	return "", false
}

func (m marketImage) sorted(descending bool) []string {
	out := append([]string(nil), m.versions...)
	sort.Slice(out, func(i, j int) bool {
		if descending {
			i, j = j, i
		}
		return versionLess(out[i], out[j])
	})
	return out
}

// versionLess compares dotted numbers part by part.
func versionLess(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; i < len(x) && i < len(y); i++ {
		p, errP := strconv.ParseInt(x[i], 10, 64)
		q, errQ := strconv.ParseInt(y[i], 10, 64)
		switch {
		case errP != nil || errQ != nil:
			if x[i] != y[i] {
				return x[i] < y[i]
			}
		case p != q:
			return p < q
		}
	}
	return len(x) < len(y)
}

// body is the answer to GET of one version; the shape is the recorded one.
func (m marketImage) body(sub, location, version string) map[string]any {
	features := []any{
		map[string]any{"name": "IsAcceleratedNetworkSupported", "value": "True"},
		map[string]any{"name": "DiskControllerTypes", "value": "SCSI, NVMe"},
		map[string]any{"name": "IsHibernateSupported", "value": "True"},
	}
	if m.security != "" {
		features = append([]any{map[string]any{"name": "SecurityType", "value": m.security}}, features...)
	}
	props := map[string]any{
		"hyperVGeneration": m.generation, "architecture": "x64", "replicaType": "Managed",
		"disallowed":                   map[string]any{"vmDiskType": "Unmanaged"},
		"automaticOSUpgradeProperties": map[string]any{"automaticOSUpgradeSupported": false},
		"imageDeprecationStatus":       map[string]any{"imageState": "Active"},
		"osDiskImage":                  map[string]any{"operatingSystem": m.os, "sizeInBytes": int64(m.sizeGB)<<30 + 512},
		"dataDiskImages":               []any{},
	}
	if m.generation == "V1" {
		features = []any{features[0], map[string]any{"name": "DiskControllerTypes", "value": "SCSI"}, map[string]any{"name": "IsHibernateSupported", "value": "False"}}
	}
	if m.publisher != "OpenLogic" || m.generation == "V2" { // recorded: CentOS of generation 1 alone has none
		props["features"] = features
	}
	if m.plan {
		props["plan"] = m.planBody()
	}
	return map[string]any{"properties": props, "location": location, "name": version, "id": m.id(sub, location) + "/Versions/" + version}
}

func (m marketImage) planBody() map[string]any {
	return map[string]any{"publisher": m.publisher, "name": m.sku, "product": m.offer}
}

// id is written with capitals, as real Azure writes marketplace ids.
func (m marketImage) id(sub, location string) string {
	return marketRoot(sub, location) + "/Publishers/" + m.publisher + "/ArtifactTypes/VMImage/Offers/" + m.offer + "/Skus/" + m.sku
}

func marketRoot(sub, location string) string {
	return "/Subscriptions/" + sub + "/Providers/Microsoft.Compute/Locations/" + location
}

// marketList is what a level of the catalogue lists: names given the fixed part of the path.
// Level 0 lists publishers, 1 offers, 2 SKUs, 3 versions. ok is false where the fixed part does not exist; missing names it.
func (w *Azure) marketList(sub, location string, path []string, expand string) (list []any, missing string) {
	var out []any
	seen := map[string]bool{}
	matched := make([]bool, len(path)+1)
	matched[0] = true
	for _, m := range w.catalogue() {
		names := []string{m.publisher, m.offer, m.sku}
		fits := true
		for i, p := range path {
			if !strings.EqualFold(p, names[i]) {
				fits = false
				break
			}
			matched[i+1] = true
		}
		if !fits {
			continue
		}
		if len(path) == 3 {
			for _, v := range m.sorted(false) {
				entry := map[string]any{"location": location, "name": v, "id": m.id(sub, location) + "/Versions/" + v}
				if strings.HasPrefix(expand, "properties") { // recorded, nulls and all
					entry["extendedLocation"] = nil
					entry["properties"] = map[string]any{"imageDeprecationStatus": map[string]any{"imageState": "Active", "scheduledDeprecationTime": nil}, "hyperVGeneration": m.generation, "architecture": "x64", "replicaType": "Unmanaged", "replicaCount": nil, "goLiveDate": nil}
				}
				out = append(out, entry)
			}
			continue
		}
		name := names[len(path)]
		if seen[strings.ToLower(name)] {
			continue
		}
		seen[strings.ToLower(name)] = true
		id := marketRoot(sub, location) + "/Publishers/" + m.publisher
		if len(path) > 0 {
			id += "/ArtifactTypes/VMImage/Offers/" + m.offer
		}
		entry := map[string]any{"location": location, "name": name}
		if len(path) == 2 {
			id += "/Skus/" + m.sku
			entry["properties"] = map[string]any{"automaticOSUpgradeProperties": map[string]any{"automaticOSUpgradeSupported": false}}
		}
		entry["id"] = id
		out = append(out, entry)
	}
	what := []string{"Publisher", "Offer", "Sku"}
	for i := range path {
		if !matched[i+1] {
			return nil, what[i] + ": " + path[i]
		}
	}
	return out, ""
}
