package sim

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

const imageType = "Microsoft.Compute/images"

// checkImage: only a generalised machine can be captured.
func checkImage(w *Azure, in ask) *refusal {
	id := text(in.body, "properties", "sourceVirtualMachine", "id")
	if in.old != nil {
		return nil
	}
	if id == "" && mapping(in.body, "properties", "storageProfile", "osDisk") != nil {
		return checkImageOfDisk(w, in)
	}
	v := w.find(id)
	if v == nil {
		return refuse(404, "NotFound", "The entity was not found in this Azure location.")
	}
	if !sameRegion(v.location, in.location) {
		return refuse(400, "InvalidParameter", "The source virtual machine is not in the location of the image.")
	}
	if !machineOf(v).generalized {
		return refuse(409, "OperationNotAllowed", "The operation 'Create Image' requires the Virtual Machine '"+v.name+"' to be Generalized.")
	}
	if s := text(v.props, "securityProfile", "securityType"); s == "TrustedLaunch" || s == "ConfidentialVM" {
		return refuse(409, "OperationNotAllowed", "The operation 'Create Image' is not supported for virtual machines with security type '"+s+"'.")
	}
	return nil
}

func fillImage(w *Azure, r *resource, in ask) {
	if in.old != nil && r.aux != nil {
		return
	}
	p := copyMap(mapping(in.body, "properties"))
	v := w.find(text(p, "sourceVirtualMachine", "id"))
	if v != nil {
		c := w.captureVM(v)
		r.aux = c
		disk := map[string]any{"osType": osType(c.windows), "osState": "Generalized", "caching": "ReadWrite", "storageAccountType": "Standard_LRS", "managedDisk": map[string]any{"id": diskID(v.id, v.props)}}
		p["storageProfile"] = map[string]any{"osDisk": disk, "dataDisks": imageDataDisks(c), "zoneResilient": truth(p, "storageProfile", "zoneResilient")}
		if text(p, "hyperVGeneration") == "" {
			p["hyperVGeneration"] = "V1"
		}
	}
	if v == nil {
		fillImageOfDisk(w, r, p)
	}
	r.props = p
}

func doneImage(w *Azure, r *resource) *refusal {
	c, ok := r.aux.(content)
	if !ok {
		return nil
	}
	return w.whole(&c, func() *refusal {
		r.aux = c
		if d := mapping(r.props, "storageProfile", "osDisk"); d != nil {
			d["diskSizeGB"] = c.sizeGB()
		}
		return nil
	})
}

// market is the marketplace, the sizes and the usages: what hangs off the subscription's Compute provider. nil: not that.
func (w *Azure) market(q *request, sub string, parts, low []string) *reply {
	if low[1] != "microsoft.compute" || q.method != http.MethodGet {
		return nil
	}
	if len(low) == 3 && low[2] == "skus" {
		if bad := w.authorize(q.who, "Microsoft.Compute/skus/read", "/subscriptions/"+sub); bad != nil {
			return failed(bad)
		}
		return &reply{status: 200, body: map[string]any{"value": w.sizesIn(q.query.Get("$filter"))}}
	}
	if len(low) == 5 && low[2] == "locations" && low[4] == "usages" {
		if bad := w.authorize(q.who, "Microsoft.Compute/locations/usages/read", "/subscriptions/"+sub); bad != nil {
			return failed(bad)
		}
		return &reply{status: 200, body: map[string]any{"value": w.usages(regionKey(parts[3]))}}
	}
	if len(low) == 5 && low[2] == "locations" && low[4] == "vmsizes" {
		return w.vmSizes(q, regionKey(parts[3]))
	}
	zone := ""
	if len(low) > 6 && low[2] == "locations" && low[4] == "edgezones" && low[6] == "publishers" { // the same below a zone of an edge
		zone = parts[5]
		parts, low = append(append([]string{}, parts[:4]...), parts[6:]...), append(append([]string{}, low[:4]...), low[6:]...)
	}
	if len(low) < 5 || low[2] != "locations" || low[4] != "publishers" {
		return nil
	}
	// Each level of the marketplace has a right of its own (Azure's list of operations, Microsoft.Compute).
	right := "Microsoft.Compute/locations/publishers"
	for i, s := range []string{"/artifacttypes", "/offers", "/skus", "/versions"} {
		if len(low) > []int{6, 8, 10, 12}[i] {
			right += s
		}
	}
	if bad := w.authorize(q.who, right+"/read", "/subscriptions/"+sub); bad != nil {
		return failed(bad)
	}
	location := regionKey(parts[3])
	if _, ok := findRegion(location); !ok {
		return failed(refuse(400, "NoRegisteredProviderFound", "No registered resource provider found for location '"+location+"' and API version '"+q.query.Get("api-version")+"' for type 'locations/publishers'."))
	}
	if len(low) >= 9 && low[7] == "vmextension" && low[8] == "types" {
		path := []string{parts[5]}
		for _, i := range []int{9, 11} {
			if len(parts) > i {
				path = append(path, parts[i])
			}
		}
		return extensionImages(marketRoot(sub, location), location, path)
	}
	// publishers/P/artifacttypes/vmimage/offers/O/skus/S/versions/V
	var path []string
	for _, i := range []int{5, 9, 11} {
		if len(parts) > i {
			path = append(path, parts[i])
		}
	}
	if len(parts) == 14 && low[12] == "versions" {
		m, ok := w.findMarketImage(path[0], path[1], path[2])
		if ok {
			if v, has := m.exact(parts[13]); has {
				body := m.body(sub, location, v)
				inEdgeZone(zone, body)
				return &reply{status: 200, body: body}
			}
		}
		return failed(refuse(404, "NotFound", "Artifact: VMImage was not found."))
	}
	list, missing := w.marketList(sub, location, path, q.query.Get("$expand"))
	if missing != "" {
		return failed(refuse(404, "NotFound", missing+" was not found."))
	}
	inEdgeZone(zone, list...)
	return &reply{status: 200, body: append([]any{}, list...)}
}

// inEdgeZone marks entries of the marketplace as those of a zone of an edge (recorded).
func inEdgeZone(zone string, list ...any) {
	for _, x := range list {
		if m, ok := x.(map[string]any); ok && zone != "" {
			m["extendedLocation"] = map[string]any{"type": "EdgeZone", "name": strings.ToLower(zone)}
			if p := mapping(m, "properties"); p != nil && text(p, "replicaType") == "Unmanaged" {
				p["replicaType"], p["replicaCount"] = "Managed", 1
			}
		}
	}
}

// vmSizes is the older list of sizes (rest/api/compute/virtual-machine-sizes/list).
func (w *Azure) vmSizes(q *request, location string) *reply {
	if bad := w.authorize(q.who, "Microsoft.Compute/locations/vmSizes/read", "/subscriptions/"+w.cfg.Subscription); bad != nil {
		return failed(bad)
	}
	out := []any{}
	if _, ok := findRegion(location); ok {
		for _, s := range vmSizes() {
			out = append(out, map[string]any{"name": s.name, "numberOfCores": s.cores, "osDiskSizeInMB": 1047552, "resourceDiskSizeInMB": s.tempMB, "memoryInMB": s.memoryMB, "maxDataDiskCount": s.disks})
		}
	}
	return &reply{status: 200, body: map[string]any{"value": out}}
}

// usages counts a region's cores and machines against the scenario's quota; without one there is plenty.
func (w *Azure) usages(location string) []any {
	cores, machines, limit := 0, 0, 1000
	for _, v := range w.all(vmType) {
		if s, ok := findSize(text(v.props, "hardwareProfile", "vmSize")); ok && sameRegion(v.location, location) {
			machines++
			if machineOf(v).power != "deallocated" {
				cores += s.cores
			}
		}
	}
	if w.cfg.Scenario != nil {
		if n, ok := w.cfg.Scenario.Quota[location]; ok {
			limit = n
		}
	}
	families := map[string]bool{}
	line := func(name, shown string, value, limit int) any {
		return map[string]any{"unit": "Count", "currentValue": value, "limit": limit, "name": map[string]any{"value": name, "localizedValue": shown}}
	}
	out := []any{line("cores", "Total Regional vCPUs", cores, limit), line("virtualMachines", "Virtual Machines", machines, 25000)}
	for _, s := range vmSizes() {
		if families[s.family] {
			continue
		}
		families[s.family] = true
		allowed := limit
		if w.cfg.Scenario != nil {
			for name, n := range w.cfg.Scenario.FamilyQuota[location] {
				if strings.EqualFold(name, s.family) {
					allowed = n
				}
			}
		}
		out = append(out, line(s.family, s.familyUI, w.cores(location, s.family), allowed))
	}
	return out
}

// sizesIn is the list of resource SKUs of the region a filter names.
func (w *Azure) sizesIn(filter string) []any {
	location := ""
	if m := filterTerm.FindStringSubmatch(filter); m != nil && strings.EqualFold(m[1], "location") {
		location = regionKey(m[2])
	}
	out := []any{}
	for _, r := range regions() {
		if location != "" && r.name != location {
			continue
		}
		for _, s := range vmSizes() {
			caps := []any{}
			add := func(name, value string) { caps = append(caps, map[string]any{"name": name, "value": value}) }
			add("vCPUs", itoa(s.cores))
			add("MemoryGB", trimZero(s.memoryMB))
			add("MaxDataDiskCount", itoa(s.disks))
			add("HyperVGenerations", s.gens)
			add("CpuArchitectureType", "x64")
			more := s.capabilities()
			for _, name := range slices.Sorted(maps.Keys(more)) {
				add(name, more[name])
			}
			if !s.trusted {
				add("TrustedLaunchDisabled", "True")
			}
			restrictions := []any{}
			if w.cfg.Scenario != nil {
				for _, name := range w.cfg.Scenario.UnavailableSizes[r.name] {
					if strings.EqualFold(name, s.name) {
						restrictions = append(restrictions, map[string]any{"type": "Location", "values": []any{r.name}, "restrictionInfo": map[string]any{"locations": []any{r.name}}, "reasonCode": "NotAvailableForSubscription"})
					}
				}
			}
			out = append(out, map[string]any{"resourceType": "virtualMachines", "name": s.name, "tier": "Standard", "size": strings.TrimPrefix(s.name, "Standard_"), "family": s.family,
				"locations": []any{r.name}, "locationInfo": []any{map[string]any{"location": r.name, "zones": []any{"1", "2", "3"}, "zoneDetails": []any{}}}, "capabilities": caps, "restrictions": restrictions})
		}
	}
	return out
}

// trimZero writes memory in GB as Azure does: "8", "3.5".
func trimZero(mb int) string {
	if mb%1024 == 0 {
		return itoa(mb / 1024)
	}
	return strings.TrimRight(itoa(mb/1024)+"."+itoa(mb%1024*1000/1024), "0")
}
