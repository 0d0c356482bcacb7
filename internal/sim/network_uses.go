package sim

import "strings"

// uses is who refers to whom among the network's resources and machines, by lower-case id. It is made when a read needs it
// and holds until something changes: without it every document of a list would look through all the others.
type uses struct {
	address  map[string]string    // of a public address: the ip configuration that has it
	subnet   map[string][]string  // of a subnet: the ip configurations in it
	nics     map[string][]string  // of a security group
	subnets  map[string][]string  // of a security group
	machines map[string]*resource // of a NIC
}

// reading is the index while a call is under way that changes nothing; nil during all others.
func (w *Azure) reading() *uses {
	if !w.reads {
		return nil
	}
	if w.uses != nil {
		return w.uses
	}
	u := &uses{map[string]string{}, map[string][]string{}, map[string][]string{}, map[string][]string{}, map[string]*resource{}}
	for _, n := range w.all(nicType) {
		if g := strings.ToLower(text(n.props, "networkSecurityGroup", "id")); g != "" {
			u.nics[g] = append(u.nics[g], n.id)
		}
		for _, c := range items(n.props, "ipConfigurations") {
			id := text(c, "id")
			if a := strings.ToLower(text(c, "properties", "publicIPAddress", "id")); a != "" && u.address[a] == "" {
				u.address[a] = id
			}
			if s := strings.ToLower(text(c, "properties", "subnet", "id")); s != "" {
				u.subnet[s] = append(u.subnet[s], id)
			}
		}
	}
	for _, s := range w.all(subnetType) {
		if g := strings.ToLower(text(s.props, "networkSecurityGroup", "id")); g != "" {
			u.subnets[g] = append(u.subnets[g], s.id)
		}
	}
	for _, v := range w.all(vmType) {
		for _, n := range items(v.props, "networkProfile", "networkInterfaces") {
			if id := strings.ToLower(text(n, "id")); u.machines[id] == nil {
				u.machines[id] = v
			}
		}
	}
	w.uses = u
	return u
}
