package sim

import "strings"

// shelf is more of the marketplace: offers whose SKUs the recordings of Azure/azure-cli list, so that a walk through them finds what it found
// there. A line is a publisher, an offer, and SKUs with those of their versions that are on offer; a SKU without is listed and has none.
func shelf() []marketImage {
	var out []marketImage
	for _, line := range []string{
		`Canonical UbuntuServer 18.04-LTS=18.04.202306070,18.04.202401161 12.04.5-LTS 14.04.0-LTS 14.04.2-LTS 14.04.3-LTS 14.04.4-LTS 14.04.5-LTS 16.04-DAILY-LTS=16.04.202108040,16.04.202109280 16.04-LTS 16.04.0-LTS 16_04-daily-lts-gen2=16.04.202108040,16.04.202109280 16_04-lts-gen2 16_04_0-lts-gen2 18.04-DAILY-LTS 18.10 18_04-daily-lts-arm64 18_04-daily-lts-gen2 18_04-lts-arm64 18_04-lts-gen2 19.04 19.10-DAILY=19.10.202007090,19.10.202007100 19_04-daily-gen2 19_04-gen2=19.04.201911131,19.04.202001220 19_10-daily-gen2=19.10.202007090,19.10.202007100`,
		`Debian debian-10 10=0.20240430.1733 10-backports 10-backports-gen2 10-cloudinit 10-cloudinit-gen2=0.0.999,0.0.1015 10-gen2`,
		`OpenLogic CentOS 7.5=7.5.201808150 7.7=7.7.2020111300,7.7.2021020400 7_6-gen2=7.6.20200213`,
		`Debian debian-11 11-backports-gen2=0.20231013.1532 11 11-backports 11-backports-arm64 11-gen2`,
		`OpenLogic CentOS-CI 7-CI`,
		`OpenLogic CentOS-HPC 6.5 6.8 7.1 7.3 7.4 7.6 7.7 7_6gen2 7_7-gen2 7_8 7_8-gen2 7_9 7_9-gen2 8_1 8_1-gen2`,
		`OpenLogic CentOS-LVM 7-LVM 7-lvm-gen2 8-lvm 8-lvm-gen2`,
		`OpenLogic CentOS_CoreVM_Test-200331 8_1 8_1-gen2`,
		`OpenLogic CentOS_CoreVM_Test-200408 8_1-200408-gen2`,
		`Debian debian-10-daily 10 10-backports 10-backports-gen2 10-gen2`,
		`Debian debian-11-daily 11 11-backports 11-backports-arm64 11-backports-gen2 11-gen2`,
		`Debian debian-12 12 12-arm64 12-gen2`,
		`Debian debian-12-daily 12 12-arm64 12-backports 12-backports-arm64 12-backports-gen2 12-gen2`,
		`Debian debian-13-daily 13 13-arm64 13-gen2`,
		`Debian debian-sid-daily sid sid-arm64 sid-gen2`,
	} {
		f := strings.Fields(line)
		for _, x := range f[2:] {
			sku, versions, _ := strings.Cut(x, "=")
			m := marketImage{publisher: f[0], offer: f[1], sku: sku, os: "Linux", generation: "V1", sizeGB: 30}
			if strings.Contains(sku, "gen2") || strings.HasSuffix(sku, "arm64") {
				m.generation = "V2"
			}
			if versions != "" {
				m.versions = strings.Split(versions, ",")
			}
			out = append(out, m)
		}
	}
	return out
}

// extensionImages answers publishers/P/artifacttypes/vmextension/types[/T/versions[/V]]: the extensions that can be installed
// (rest/api/compute/virtual-machine-extension-images). A publisher without any has an empty list.
func extensionImages(root string, location string, path []string) *reply {
	entry := func(name, id string) map[string]any {
		return map[string]any{"location": location, "name": name, "id": id}
	}
	list, found := []any{}, false
	for _, h := range handlers() {
		if !strings.EqualFold(h.publisher, path[0]) {
			continue
		}
		id := root + "/Publishers/" + h.publisher + "/ArtifactTypes/VMExtension/Types/" + h.typ
		if len(path) == 1 {
			list, found = append(list, entry(h.typ, id)), true
			continue
		}
		if !strings.EqualFold(h.typ, path[1]) {
			continue
		}
		found = true
		version := entry(h.version, id+"/Versions/"+h.version)
		if len(path) == 3 {
			if path[2] != h.version {
				found = false
				continue
			}
			system := osType(h.windows)
			version["properties"] = map[string]any{"operatingSystem": system, "computeRole": "IaaS", "vmScaleSetEnabled": false, "supportsMultipleExtensions": false}
			return &reply{status: 200, body: version}
		}
		list = append(list, version)
	}
	if !found {
		return failed(refuse(404, "NotFound", "Artifact: VMExtension was not found."))
	}
	return &reply{status: 200, body: list}
}
