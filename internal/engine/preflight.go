package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ingot/internal/azure"
	"ingot/internal/diag"
	"ingot/internal/image"
	"ingot/internal/plan"
)

// Preflight is what can be asked of Azure before anything is made: whether the build would be allowed to do what it is going to do,
// and whether there is room for it. All questions are independent and asked side by side.
type Preflight struct {
	Cloud *azure.Client
	Img   *image.Image
	Facts image.Facts
	Plan  *plan.Plan
	// Rights are the engine's own; lookups and the checks' are added.
	Rights []Right
	// Name is what people call the identity.
	Name string
	// Asked is what was answered to the checks of other images; nil: each asks for itself.
	Asked *Asked
}

// Findings are all problems found, each with its remedy. What cannot be asked is a warning: a build may succeed without.
// Denied reports that a permission is missing.
func (p Preflight) Findings(ctx context.Context) (l diag.List, denied bool) {
	checks := []func(context.Context) (diag.List, error){p.providers, p.quota, p.network, p.policies, p.locks, p.vault}
	others := len(checks)
	checks = append(checks, p.denyAssignments)
	rights := Compact(append(slices.Clone(p.Rights), LookupRights(p.Img, p.Facts)...))
	for _, scope := range scopes(rights) {
		checks = append(checks, func(ctx context.Context) (diag.List, error) { return p.permissions(ctx, scope, rights) })
	}
	lists := make([]diag.List, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() {
			found, err := check(ctx)
			if err != nil && ctx.Err() == nil && !azure.IsNotFound(err) {
				found.Warnf(p.Img.Pos, "give the identity what `ingot permissions` prints, or build without this check", "could not be checked: %v", err)
			}
			lists[i] = found
		})
	}
	wg.Wait()
	for i, found := range lists {
		denied = denied || i >= others && found.HasErrors()
		l = append(l, found...)
	}
	slices.SortStableFunc(l, func(a, b diag.Problem) int { return strings.Compare(a.Summary, b.Summary) })
	return l, denied
}

// MissingLookups are the findings when the template's own questions were refused, before there is a plan.
func (p Preflight) MissingLookups(ctx context.Context) (l diag.List) {
	rights := Compact(LookupRights(p.Img, p.Facts))
	for _, scope := range scopes(rights) {
		if found, err := p.permissions(ctx, scope, rights); err == nil {
			l = append(l, found...)
		}
	}
	return l
}

func scopes(rights []Right) (out []string) {
	for _, r := range rights {
		if !r.Data && !slices.ContainsFunc(out, func(s string) bool { return strings.EqualFold(s, r.Scope) }) {
			out = append(out, r.Scope)
		}
	}
	return out
}

// permissions holds what the plan needs at a scope against what the identity has there.
func (p Preflight) permissions(ctx context.Context, scope string, rights []Right) (l diag.List, err error) {
	have, err := ask(p.Asked, func() ([]azure.Permission, error) { return p.Cloud.Permissions(ctx, scope) }, "permissions", scope)
	if err != nil {
		return nil, err
	}
	var missing []string
	first := ""
	for _, r := range rights {
		if r.Data || !strings.EqualFold(r.Scope, scope) || slices.ContainsFunc(have, func(h azure.Permission) bool { return h.Allows(r.Action, false) }) {
			continue
		}
		if first == "" {
			first = r.For
		}
		missing = append(missing, r.Action)
	}
	if len(missing) > 0 {
		l.Errorf(p.Img.Pos, fmt.Sprintf("az role assignment create --assignee %s --role %q --scope %s; or a role of just these: ingot permissions", p.Facts.ObjectID, builtIn(missing), scope),
			"%s may not do this on %s: %s (first needed to: %s)", p.who(), scope, strings.Join(missing, ", "), first)
	}
	return l, nil
}

func (p Preflight) who() string {
	return fmt.Sprintf("the identity %s (object id %s)", cmp.Or(p.Name, p.Facts.ObjectID), p.Facts.ObjectID)
}

// builtIn is the narrowest of Azure's own roles that has all of these actions
// (https://learn.microsoft.com/azure/role-based-access-control/built-in-roles).
func builtIn(actions []string) string {
	all := func(prefixes ...string) bool {
		return !slices.ContainsFunc(actions, func(a string) bool {
			return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(strings.ToLower(a), strings.ToLower(p)) })
		})
	}
	switch {
	case !slices.ContainsFunc(actions, func(a string) bool { return !strings.HasSuffix(strings.ToLower(a), "/read") }):
		return "Reader"
	case all("Microsoft.Compute/galleries/images/"):
		return "Compute Gallery Artifacts Publisher"
	case all("Microsoft.Network/"):
		return "Network Contributor"
	}
	return "Contributor"
}

// Namespaces are the resource providers of which the plan makes something, sorted.
func Namespaces(p *plan.Plan) []string {
	more := map[string][]string{"image-template": {"Microsoft.Compute", "Microsoft.ContainerInstance", "Microsoft.KeyVault", "Microsoft.Network", "Microsoft.Storage"}} // the service works with them in the subscription
	of := map[string]string{"vault": "Microsoft.KeyVault", "nsg": "Microsoft.Network", "network": "Microsoft.Network", "ip": "Microsoft.Network", "nic": "Microsoft.Network",
		"image-template": "Microsoft.VirtualMachineImages", "vm": "Microsoft.Compute", "managed-image": "Microsoft.Compute", "gallery": "Microsoft.Compute", "snapshot": "Microsoft.Compute", "vhd": "Microsoft.Storage", "storage": "Microsoft.Storage"}
	var out []string
	for _, s := range p.Steps {
		for _, ns := range append([]string{of[s.Kind]}, more[s.Kind]...) {
			if ns != "" && !slices.Contains(out, ns) {
				out = append(out, ns)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (p Preflight) providers(ctx context.Context) (l diag.List, err error) {
	for _, ns := range Namespaces(p.Plan) {
		state, err := ask(p.Asked, func() (string, error) { return p.Cloud.Registered(ctx, ns) }, "registered", ns)
		if err != nil {
			return l, err
		}
		if !strings.EqualFold(state, "Registered") && !strings.EqualFold(state, "Registering") {
			l.Errorf(p.Img.Pos, "az provider register --namespace "+ns+" --wait", "the subscription is not registered for %s (%s)", ns, state)
		}
	}
	return l, nil
}

// quota holds the machine's vCPUs against what is left of the region's and of the family's.
func (p Preflight) quota(ctx context.Context) (l diag.List, err error) {
	if p.Facts.Size.VCPUs == 0 {
		return nil, nil
	}
	usages, err := ask(p.Asked, func() ([]azure.Usage, error) { return p.Cloud.Usages(ctx, p.Facts.Location) }, "usages", p.Facts.Location)
	if err != nil {
		return nil, err
	}
	need := int64(p.Facts.Size.VCPUs)
	for _, u := range usages {
		want := need
		switch {
		case p.Img.Machine.Spot != nil && strings.EqualFold(u.Name.Value, "lowPriorityCores"):
		case p.Img.Machine.Spot == nil && (strings.EqualFold(u.Name.Value, "cores") || p.Facts.Size.Family != "" && strings.EqualFold(u.Name.Value, p.Facts.Size.Family)):
		case strings.EqualFold(u.Name.Value, "virtualMachines"):
			want = 1
		default:
			continue
		}
		if u.CurrentValue+want > u.Limit {
			l.Errorf(p.Img.Pos, "choose a smaller size or another family or region, free what is in use, or ask for more: https://aka.ms/ProdportalCRP/#blade/Microsoft_Azure_Support/NewSupportRequestV3Blade",
				"%s needs %d of %s in %s, and %d of %d are in use", p.Facts.Size.Name, want, cmp.Or(u.Name.LocalizedValue, u.Name.Value), p.Facts.Location, u.CurrentValue, u.Limit)
		}
	}
	return l, nil
}

// network looks at a subnet that exists already: whether it has an address left, is reserved for a service, lets the guest be reached.
func (p Preflight) network(ctx context.Context) (l diag.List, err error) {
	n := p.Img.Machine.Network
	if n.VNet == "" {
		return nil, nil
	}
	group := n.ResourceGroup
	if group == "" {
		if group, err = p.Cloud.FindNetwork(ctx, n.VNet); err != nil {
			l.Errorf(p.Img.Pos, "set virtual_network_resource_group_name", "virtual network %s: %v", n.VNet, err)
			return l, nil
		}
	}
	subnet := n.Subnet
	if subnet == "" {
		names, err := p.Cloud.ListSubnets(ctx, group, n.VNet)
		if azure.IsNotFound(err) {
			l.Errorf(p.Img.Pos, "create it, or correct virtual_network_name and virtual_network_resource_group_name", "virtual network %s does not exist in resource group %s", n.VNet, group)
			return l, nil
		}
		if err != nil {
			return l, err
		}
		if len(names) != 1 {
			l.Errorf(p.Img.Pos, "set virtual_network_subnet_name", "virtual network %s has %d subnets: %s", n.VNet, len(names), strings.Join(names, ", "))
			return l, nil
		}
		subnet = names[0]
	}
	f, err := p.Cloud.SubnetFacts(ctx, group, n.VNet, subnet)
	if azure.IsNotFound(err) {
		l.Errorf(p.Img.Pos, "create it, or correct virtual_network_name, virtual_network_subnet_name and virtual_network_resource_group_name", "subnet %s of virtual network %s does not exist in resource group %s", subnet, n.VNet, group)
		return l, nil
	}
	if err != nil {
		return l, err
	}
	if free := FreeAddresses(f.Prefixes, f.Used); free < 1 {
		l.Errorf(p.Img.Pos, "use another subnet, or free an address", "subnet %s of %s has no address left: %s, of which Azure keeps 5 and %d are in use", subnet, n.VNet, strings.Join(f.Prefixes, ", "), f.Used)
	}
	if f.Delegation != "" {
		l.Errorf(p.Img.Pos, "use a subnet of its own for the build", "subnet %s of %s is delegated to %s, which lets no other machine in", subnet, n.VNet, f.Delegation)
	}
	port := p.Img.Communicator.Port
	if rule, ok := Blocking(f.Rules, port); ok && port > 0 {
		l.Errorf(p.Img.Pos, fmt.Sprintf("allow TCP %d in from where Ingot runs, with a lower priority number than %d, or use communicator = \"runcommand\"", port, rule.Priority),
			"rule %s of security group %s denies TCP %d into subnet %s", rule.Name, lastOf(f.SecurityGroup), port, subnet)
	}
	if n.PublicIP && f.SecurityGroup == "" && !strings.EqualFold(n.PublicIPSKU, "Basic") {
		l.Errorf(p.Img.Pos, fmt.Sprintf("give the subnet a network security group that allows TCP %d from where Ingot runs, or use communicator = \"runcommand\"", port),
			"a Standard public address lets nobody in where there is no network security group, and subnet %s of %s has none", subnet, n.VNet)
	}
	for _, r := range f.Routes {
		switch {
		case r.Prefix == "0.0.0.0/0" && strings.EqualFold(r.NextHop, "None"):
			l.Warnf(p.Img.Pos, "use a subnet with a way out if a provisioner downloads anything", "route %s of subnet %s drops what goes to the internet", r.Name, subnet)
		case r.Prefix == "0.0.0.0/0" && n.PublicIP:
			l.Warnf(p.Img.Pos, "leave private_virtual_network_with_public_ip out and build from inside the network", "route %s of subnet %s sends answers to the internet to %s: the machine cannot be reached at its public address", r.Name, subnet, r.NextHop)
		}
	}
	return l, nil
}

func lastOf(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// FreeAddresses is how many addresses are left: of each prefix Azure keeps the first four and the last
// (https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq). IPv6 prefixes are not counted.
func FreeAddresses(prefixes []string, used int) int {
	free, known := 0, false
	for _, s := range prefixes {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() {
			continue
		}
		known = true
		free += 1<<(32-p.Bits()) - 5
	}
	if !known {
		return 1 // nothing is known; Azure will say
	}
	return free - used
}

// Blocking returns the rule that denies TCP to a port from anywhere, unless one before it allows the port from somewhere: whether this
// machine is there, only the connection can tell.
func Blocking(rules []azure.Rule, port int) (azure.Rule, bool) {
	in := slices.DeleteFunc(slices.Clone(rules), func(r azure.Rule) bool {
		tcp := r.Protocol == "*" || strings.EqualFold(r.Protocol, "Tcp")
		return !strings.EqualFold(r.Direction, "Inbound") || !tcp || !slices.ContainsFunc(r.Ports, func(s string) bool { return covers(s, port) })
	})
	slices.SortFunc(in, func(a, b azure.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range in {
		if strings.EqualFold(r.Access, "Allow") {
			return azure.Rule{}, false
		}
		if slices.ContainsFunc(r.Sources, func(s string) bool { return s == "*" || s == "0.0.0.0/0" || strings.EqualFold(s, "Any") }) {
			return r, true
		}
	}
	return azure.Rule{}, false
}

// covers reports whether a port is in "*", "5986" or "5000-6000".
func covers(ports string, port int) bool {
	if ports == "*" {
		return true
	}
	from, to, many := strings.Cut(ports, "-")
	a, err := strconv.Atoi(from)
	if err != nil {
		return false
	}
	if !many {
		return a == port
	}
	b, err := strconv.Atoi(to)
	return err == nil && a <= port && port <= b
}

// policies asks for each kind of resource that the plan makes whether a policy would deny it with its region and tags.
func (p Preflight) policies(ctx context.Context) (l diag.List, err error) {
	types := map[string]string{"group": "Microsoft.Resources/subscriptions/resourceGroups", "vault": "Microsoft.KeyVault/vaults", "nsg": "Microsoft.Network/networkSecurityGroups",
		"network": "Microsoft.Network/virtualNetworks", "ip": "Microsoft.Network/publicIPAddresses", "nic": "Microsoft.Network/networkInterfaces", "vm": "Microsoft.Compute/virtualMachines"}
	scope := "/subscriptions/" + p.Facts.Subscription
	if g := p.Img.Machine.ResourceGroup; g != "" {
		scope = groupID(p.Facts.Subscription, g)
	}
	tags := map[string]string{"ingot-run": p.Plan.Run, "ingot-expires": p.Plan.Made.UTC().Format("2006-01-02T15:04:05Z")}
	for k, v := range p.Img.Tags {
		tags[k] = v
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var first error
	seen := map[string][]string{} // assignment -> types
	for _, s := range p.Plan.Steps {
		typ := types[s.Kind]
		if typ == "" || s.Scope == plan.Nothing || s.ID == "vault" && p.Img.Machine.KeyVault.Name != "" {
			continue
		}
		wg.Go(func() {
			// No policy goes by a run's own id: one answer holds for all.
			denials, err := ask(p.Asked, func() ([]azure.Denial, error) {
				return p.Cloud.Denials(ctx, scope, typ, "ingot-"+p.Plan.Run, p.Facts.Location, tags)
			}, "policies", scope, typ, p.Facts.Location, fmt.Sprint(p.Img.Tags))
			mu.Lock()
			defer mu.Unlock()
			first = cmp.Or(first, err)
			for _, d := range denials {
				seen[d.Assignment] = append(seen[d.Assignment], typ)
			}
		})
	}
	wg.Wait()
	for _, a := range slices.Sorted(mapKeys(seen)) {
		slices.Sort(seen[a])
		l.Errorf(p.Img.Pos, "give the tags or the region that it asks for (azure_tags, location), build in a group that it leaves out (build_resource_group_name), or have it exempted: az policy assignment show --name "+lastOf(a),
			"policy assignment %s denies %s in %s", lastOf(a), strings.Join(slices.Compact(seen[a]), ", "), p.Facts.Location)
	}
	return l, first
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// locks finds what keeps a build from making or removing its things.
func (p Preflight) locks(ctx context.Context) (l diag.List, err error) {
	sub := "/subscriptions/" + p.Facts.Subscription
	locks, err := ask(p.Asked, func() ([]azure.Lock, error) { return p.Cloud.Locks(ctx) }, "locks")
	if err != nil {
		return nil, err
	}
	work := sub
	if g := p.Img.Machine.ResourceGroup; g != "" {
		work = groupID(p.Facts.Subscription, g)
	}
	for _, k := range locks {
		at, readOnly := k.Scope, strings.EqualFold(k.Level, "ReadOnly")
		remedy := fmt.Sprintf("remove it for the build: az lock delete --ids %s", k.ID)
		switch {
		case within(work, at) && readOnly:
			l.Errorf(p.Img.Pos, remedy, "lock %s on %s is ReadOnly: nothing can be made there", lastOf(k.ID), at)
		case within(work, at):
			l.Errorf(p.Img.Pos, remedy, "lock %s on %s forbids deleting: what the build makes could not be removed", lastOf(k.ID), at)
		}
		for _, t := range p.Img.Targets {
			var target string
			switch t := t.(type) {
			case image.ToGallery:
				if t.Subscription == "" || t.Subscription == p.Facts.Subscription {
					target = groupID(p.Facts.Subscription, t.ResourceGroup) + "/providers/Microsoft.Compute/galleries/" + t.Gallery + "/images/" + t.Image
				}
			case image.ToManagedImage:
				target = groupID(p.Facts.Subscription, t.ResourceGroup)
			}
			if target != "" && readOnly && within(target, at) && !within(work, at) {
				l.Errorf(p.Img.Pos, remedy, "lock %s on %s is ReadOnly: the image cannot be published there", lastOf(k.ID), at)
			}
		}
	}
	return l, nil
}

// vault looks at a key vault that exists already: whether the build may use it the way it goes.
func (p Preflight) vault(ctx context.Context) (l diag.List, err error) {
	name := p.Img.Machine.KeyVault.Name
	if _, used := p.Plan.Find("vault"); name == "" || !used {
		return nil, nil
	}
	group := p.Img.Machine.ResourceGroup
	v, err := p.Cloud.VaultAccess(ctx, group, name)
	if azure.IsNotFound(err) {
		l.Errorf(p.Img.Pos, "create it, or leave build_key_vault_name out", "key vault %s does not exist in resource group %s", name, group)
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	id := groupID(p.Facts.Subscription, group) + "/providers/Microsoft.KeyVault/vaults/" + name
	if p.Img.OS == image.Windows && !v.ForDeployment {
		l.Errorf(p.Img.Pos, "az keyvault update --name "+name+" --enabled-for-deployment true", "key vault %s does not let machines fetch certificates", name)
	}
	if !v.Public {
		l.Warnf(p.Img.Pos, "build from inside its network, or open it to this machine's address", "key vault %s does not answer everybody on its public address", name)
	}
	if !v.RBAC {
		var missing []string
		have := v.Secrets[strings.ToLower(p.Facts.ObjectID)]
		needs := []string{"get", "set", "delete"}
		if p.Img.Machine.KeyVault.SecretName != "" { // others may use it, as a list of its versions tells; and a name that is only deleted cannot be used again
			needs = append(needs, "list", "purge")
		}
		for _, need := range needs {
			if !slices.Contains(have, need) && !slices.Contains(have, "all") {
				missing = append(missing, need)
			}
		}
		if len(missing) > 0 {
			l.Errorf(p.Img.Pos, fmt.Sprintf("az keyvault set-policy --name %s --object-id %s --secret-permissions %s", name, p.Facts.ObjectID, strings.Join(needs, " ")),
				"%s has no access policy in key vault %s to %s secrets", p.who(), name, strings.Join(missing, ", "))
		}
		return l, nil
	}
	have, err := p.Cloud.Permissions(ctx, id)
	if err != nil {
		return l, err
	}
	var missing []string
	for _, r := range p.Rights {
		if r.Data && strings.EqualFold(r.Vault, id) && !slices.ContainsFunc(have, func(h azure.Permission) bool { return h.Allows(r.Action, true) }) && !slices.Contains(missing, r.Action) {
			missing = append(missing, r.Action)
		}
	}
	if len(missing) > 0 {
		l.Errorf(p.Img.Pos, fmt.Sprintf("az role assignment create --assignee %s --role \"Key Vault Secrets Officer\" --scope %s", p.Facts.ObjectID, id),
			"%s may not do this with the secrets of key vault %s, which goes by roles: %s", p.who(), name, strings.Join(missing, ", "))
	}
	return l, nil
}
