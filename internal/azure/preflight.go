package azure

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

// What a build asks before it begins. Permissions, locks, usages and policies are asked through the SDK's pipeline and a few members
// of our own, for which four more of its modules would be needed.

// Permission is one entry of what an identity may do at a scope: Azure's patterns, with stars for anything, slashes included.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// Allows reports whether the entry grants an action, or a data action.
func (p Permission) Allows(action string, data bool) bool {
	if data {
		return anyMatches(p.DataActions, action) && !anyMatches(p.NotDataActions, action)
	}
	return anyMatches(p.Actions, action) && !anyMatches(p.NotActions, action)
}

func anyMatches(patterns []string, action string) bool {
	for _, p := range patterns {
		p, action := strings.ToLower(p), strings.ToLower(action)
		// Managed Identity Operator has userAssignedIdentities/*/assign/action, and lets whoever has it do what Azure calls
		// userAssignedIdentities/assign/action (https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/identity).
		if matches(p, action) || matches(strings.ReplaceAll(p, "/*/", "/"), action) {
			return true
		}
	}
	return false
}

// matches holds text against a pattern whose stars stand for anything.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return strings.HasSuffix(text, parts[len(parts)-1])
}

// Permissions are what the credential may do at a scope (https://learn.microsoft.com/rest/api/authorization/permissions). The scope is
// an id: "/subscriptions/…", a group's or a resource's.
func (c *Client) Permissions(ctx context.Context, scope string) ([]Permission, error) {
	var out []Permission
	err := pages(ctx, c, scope+"/providers/Microsoft.Authorization/permissions", "2022-04-01", "list the permissions on "+scope, &out)
	return out, err
}

// Usage is how much of a quota is used, in the quota's own unit: vCPUs or machines.
type Usage struct {
	CurrentValue int64 `json:"currentValue"`
	Limit        int64 `json:"limit"`
	Name         struct {
		Value          string `json:"value"`
		LocalizedValue string `json:"localizedValue"`
	} `json:"name"`
}

// Usages lists the quotas of Compute in a region (https://learn.microsoft.com/rest/api/compute/usage/list): "cores", "lowPriorityCores",
// "virtualMachines" and one for each family of sizes.
func (c *Client) Usages(ctx context.Context, location string) ([]Usage, error) {
	var out []Usage
	err := pages(ctx, c, "/subscriptions/"+c.o.Subscription+"/providers/Microsoft.Compute/locations/"+url.PathEscape(location)+"/usages", "2024-07-01", "list the quotas of "+location, &out)
	return out, err
}

// Registered reports a provider's registration: Registered, NotRegistered, Registering, …
func (c *Client) Registered(ctx context.Context, namespace string) (string, error) {
	r, err := c.provs.Get(ctx, namespace, nil)
	if err != nil {
		return "", wrap(err, "look up resource provider %s", namespace)
	}
	return val(r.RegistrationState), nil
}

// Denial is a policy that would refuse a resource.
type Denial struct{ Assignment, Definition string }

// Denials asks which policies would deny a resource (https://learn.microsoft.com/rest/api/policyinsights/policy-restrictions): scope is
// the subscription's or the group's id.
func (c *Client) Denials(ctx context.Context, scope, typ, name, location string, tags map[string]string) ([]Denial, error) {
	var out struct {
		Result struct {
			Evaluations []struct {
				Result string `json:"evaluationResult"`
				Info   struct {
					Assignment string `json:"policyAssignmentId"`
					Definition string `json:"policyDefinitionId"`
				} `json:"policyInfo"`
				Effect struct {
					Effect string `json:"policyEffect"`
				} `json:"effectDetails"`
			} `json:"policyEvaluations"`
		} `json:"contentEvaluationResult"`
	}
	body := map[string]any{"includeAuditEffect": false, "resourceDetails": map[string]any{"resourceContent": map[string]any{"type": typ, "name": name, "location": location, "tags": tags}}}
	if err := c.exchange(ctx, http.MethodPost, scope+"/providers/Microsoft.PolicyInsights/checkPolicyRestrictions", "2022-03-01", "ask which policies hold for "+typ, body, &out); err != nil {
		return nil, err
	}
	var denials []Denial
	for _, e := range out.Result.Evaluations {
		if e.Result == "NonCompliant" && (e.Effect.Effect == "" || strings.EqualFold(e.Effect.Effect, "Deny")) {
			denials = append(denials, Denial{Assignment: e.Info.Assignment, Definition: e.Info.Definition})
		}
	}
	return denials, nil
}

// SubnetFacts are what a build must know of a subnet that it is to use.
type SubnetFacts struct {
	ID, Group, Name  string
	Prefixes         []string // "10.0.0.0/24"
	Used             int      // addresses that are taken, without Azure's own five
	Delegation       string   // the service that the subnet is reserved for
	SecurityGroup    string   // id, "" for none
	Rules            []Rule   // of that security group, without the default ones
	Routes           []Route
	PrivateEndpoints int
}

// Rule is one of a security group's.
type Rule struct {
	Name, Direction, Access, Protocol string
	Priority                          int32
	Sources, Ports                    []string // "*", "VirtualNetwork", "10.0.0.0/8"; "*", "5986", "5000-6000"
}

// Route is one of a route table's.
type Route struct{ Name, Prefix, NextHop string }

// SubnetFacts looks a subnet up with its security group and its routes.
func (c *Client) SubnetFacts(ctx context.Context, group, vnet, subnet string) (SubnetFacts, error) {
	r, err := c.subnets.Get(ctx, group, vnet, subnet, nil)
	if err != nil {
		return SubnetFacts{}, wrap(err, "look up subnet %s of %s", subnet, vnet)
	}
	f := SubnetFacts{ID: val(r.ID), Group: group, Name: val(r.Name)}
	p := r.Properties
	if p == nil {
		return f, nil
	}
	for _, a := range p.AddressPrefixes {
		f.Prefixes = append(f.Prefixes, val(a))
	}
	if a := val(p.AddressPrefix); a != "" && len(f.Prefixes) == 0 {
		f.Prefixes = []string{a}
	}
	f.Used, f.PrivateEndpoints = len(p.IPConfigurations), len(p.PrivateEndpoints)
	for _, d := range p.Delegations {
		if d.Properties != nil {
			f.Delegation = val(d.Properties.ServiceName)
		}
	}
	if p.NetworkSecurityGroup != nil {
		f.SecurityGroup = val(p.NetworkSecurityGroup.ID)
		n, err := c.nsgs.Get(ctx, groupOf(f.SecurityGroup), last(f.SecurityGroup), nil)
		if err != nil {
			return f, wrap(err, "look up network security group %s", last(f.SecurityGroup))
		}
		if n.Properties != nil {
			for _, s := range n.Properties.SecurityRules {
				f.Rules = append(f.Rules, ruleOf(s))
			}
		}
	}
	if p.RouteTable != nil && p.RouteTable.ID != nil {
		var table armnetwork.RouteTable
		if err := c.exchange(ctx, http.MethodGet, *p.RouteTable.ID, "2024-05-01", "look up route table "+last(*p.RouteTable.ID), nil, &table); err != nil {
			return f, err
		}
		if table.Properties != nil {
			for _, x := range table.Properties.Routes {
				if x.Properties != nil {
					f.Routes = append(f.Routes, Route{val(x.Name), val(x.Properties.AddressPrefix), string(val(x.Properties.NextHopType))})
				}
			}
		}
	}
	return f, nil
}

func ruleOf(s *armnetwork.SecurityRule) Rule {
	out := Rule{Name: val(s.Name)}
	p := s.Properties
	if p == nil {
		return out
	}
	out.Direction, out.Access, out.Protocol, out.Priority = string(val(p.Direction)), string(val(p.Access)), string(val(p.Protocol)), val(p.Priority)
	both := func(one *string, many []*string) (list []string) {
		if v := val(one); v != "" {
			list = append(list, v)
		}
		for _, m := range many {
			list = append(list, val(m))
		}
		return list
	}
	out.Sources = both(p.SourceAddressPrefix, p.SourceAddressPrefixes)
	out.Ports = both(p.DestinationPortRange, p.DestinationPortRanges)
	return out
}

// VaultAccess is who may do what in a vault.
type VaultAccess struct {
	RBAC          bool // roles decide, not access policies
	ForDeployment bool // machines may fetch certificates from it
	Public        bool // it answers on its public address
	Secrets       map[string][]string
}

// VaultAccess looks up a vault's access policies: by object id, the permissions on secrets in lower case.
func (c *Client) VaultAccess(ctx context.Context, group, name string) (VaultAccess, error) {
	r, err := c.vaults.Get(ctx, group, name, nil)
	if err != nil {
		return VaultAccess{}, wrap(err, "look up key vault %s", name)
	}
	out := VaultAccess{Public: true, Secrets: map[string][]string{}}
	if p := r.Properties; p != nil {
		out.RBAC, out.ForDeployment = val(p.EnableRbacAuthorization), val(p.EnabledForDeployment)
		out.Public = !strings.EqualFold(val(p.PublicNetworkAccess), "Disabled") && (p.NetworkACLs == nil || string(val(p.NetworkACLs.DefaultAction)) != "Deny")
		for _, a := range p.AccessPolicies {
			if a.Permissions == nil {
				continue
			}
			for _, s := range a.Permissions.Secrets {
				out.Secrets[strings.ToLower(val(a.ObjectID))] = append(out.Secrets[strings.ToLower(val(a.ObjectID))], strings.ToLower(string(val(s))))
			}
		}
	}
	return out, nil
}

// pages follows a list to its end and appends its values to out.
func pages[T any](ctx context.Context, c *Client, path, version, what string, out *[]T) error {
	for next := path; next != ""; {
		var p struct {
			Value    []T    `json:"value"`
			NextLink string `json:"nextLink"`
		}
		if err := c.exchange(ctx, http.MethodGet, next, version, what, nil, &p); err != nil {
			return err
		}
		*out, next = append(*out, p.Value...), p.NextLink
	}
	return nil
}

// exchange makes one call through the SDK's own pipeline: sign-in, retries, correlation. A nil out leaves the answer unread.
func (c *Client) exchange(ctx context.Context, method, path, version, what string, body, out any) error {
	client, err := arm.NewClient("ingot/preflight", "v1.0.0", c.o.Credential, c.arm)
	if err != nil {
		return wrap(err, "%s", what)
	}
	address := path
	if strings.HasPrefix(path, "/") {
		address = client.Endpoint() + path + "?api-version=" + version
	}
	r, err := runtime.NewRequest(ctx, method, address)
	if err != nil {
		return wrap(err, "%s", what)
	}
	r.Raw().Header.Set("Accept", "application/json")
	if body != nil {
		if err := runtime.MarshalAsJSON(r, body); err != nil {
			return wrap(err, "%s", what)
		}
	}
	resp, err := client.Pipeline().Do(r)
	if err != nil {
		return wrap(err, "%s", what)
	}
	if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
		return wrap(runtime.NewResponseError(resp), "%s", what)
	}
	if out == nil {
		return nil
	}
	return wrap(runtime.UnmarshalAsJSON(resp, out), "%s", what)
}
