package sim

import (
	"net/http"
	"slices"
	"sort"
	"strings"
)

// registrationType is how a provider's registration is kept where it is not the one that a fresh simulation has.
const registrationType = "Microsoft.Resources/providers"

// apiVersions are of each provider those that clients in use ask for and the recordings show; any well-formed version is answered.
func apiVersions(namespace string) []any {
	switch strings.ToLower(namespace) {
	case "microsoft.compute":
		return []any{"2024-11-01", "2024-07-01", "2024-03-01", "2023-09-01", "2023-07-03", "2022-08-01", "2022-03-03", "2021-10-01", "2020-06-01"}
	case "microsoft.network":
		return []any{"2024-05-01", "2024-01-01", "2023-09-01", "2022-01-01", "2020-07-01"}
	case "microsoft.keyvault":
		return []any{"2023-07-01", "2022-07-01", "2021-10-01"}
	case "microsoft.storage":
		return []any{"2023-05-01", "2022-09-01", "2021-09-01"}
	case "microsoft.managedidentity":
		return []any{"2023-01-31", "2022-01-31-preview", "2018-11-30"}
	case "microsoft.desktopvirtualization":
		return []any{"2024-04-03", "2023-09-05", "2021-07-12"}
	case "microsoft.virtualmachineimages":
		return []any{"2025-10-01", "2024-02-01", "2023-07-01", "2022-07-01", "2022-02-14", "2021-10-01", "2020-02-14"}
	case "microsoft.authorization":
		return []any{"2022-04-01", "2021-06-01", "2016-09-01"}
	}
	return []any{"2024-07-01"}
}

// provider shows, registers and unregisters resource providers.
func (w *Azure) provider(q *request, sub string, rest []string) *reply {
	at := "/subscriptions/" + sub
	seen := map[string][]any{"Microsoft.Authorization": {}, "Microsoft.Resources": {}}
	var places []any
	for _, r := range regions() {
		places = append(places, r.display)
	}
	for _, typ := range append([]string{assignmentType, roleType, lockType, denyType, policyType, policyAssignmentType, groupType}, w.kindTypes()...) {
		ns, name, _ := strings.Cut(typ, "/")
		entry := map[string]any{"resourceType": name, "locations": places, "apiVersions": apiVersions(ns), "defaultApiVersion": apiVersions(ns)[0], "capabilities": "None"}
		if strings.Count(name, "/") == 0 && (ns == "Microsoft.Network" || ns == "Microsoft.Compute" || ns == "Microsoft.Storage") { // the versions that Azure Stack Hub's profiles pin (recorded)
			entry["apiProfiles"] = []any{map[string]any{"profileVersion": "2018-03-01-hybrid", "apiVersion": "2017-10-01"}, map[string]any{"profileVersion": "2019-03-01-hybrid", "apiVersion": "2017-10-01"}}
			entry["capabilities"] = "CrossResourceGroupResourceMove, CrossSubscriptionResourceMove, SupportsTags, SupportsLocation"
		}
		seen[ns] = append(seen[ns], entry)
	}
	apps := providerApplications()
	show := func(ns string) map[string]any {
		policy := "RegistrationRequired"
		if ns == "Microsoft.Authorization" || ns == "Microsoft.Resources" {
			policy = "RegistrationFree"
		}
		b := map[string]any{"id": at + "/providers/" + ns, "namespace": ns, "registrationState": w.registration(ns), "registrationPolicy": policy, "resourceTypes": seen[ns]}
		if a := apps[ns]; a != nil {
			b["authorizations"] = a
		}
		return b
	}
	var names []string
	for ns := range seen {
		names = append(names, ns)
	}
	sort.Strings(names)
	right := "read"
	if len(rest) == 3 {
		right = rest[2] + "/action"
	}
	if len(rest) > 1 {
		if bad := w.authorize(q.who, rest[1]+"/"+right, at); bad != nil && right != "read" {
			return failed(bad)
		}
	}
	if len(rest) == 1 {
		var out []any
		for _, ns := range names {
			out = append(out, show(ns))
		}
		return w.page(q, out)
	}
	i := slices.IndexFunc(names, func(ns string) bool { return strings.EqualFold(ns, rest[1]) })
	switch {
	case i < 0:
		return failed(refuse(404, "InvalidResourceNamespace", "The resource namespace '"+rest[1]+"' is invalid."))
	case len(rest) == 2 && q.method == http.MethodGet:
		return &reply{status: 200, body: show(names[i])}
	case len(rest) == 3 && q.method == http.MethodPost:
		w.register(names[i], map[string]string{"register": "Registered", "unregister": "Unregistered"}[rest[2]])
		return &reply{status: 200, body: show(names[i])}
	}
	return w.unknown(q)
}

// providerApplications are the service principals that some providers act as, with the roles that they have (recorded: the first two of each).
func providerApplications() map[string][]any {
	of := func(pairs ...string) (out []any) {
		for i := 0; i+1 < len(pairs); i += 2 {
			out = append(out, map[string]any{"applicationId": pairs[i], "roleDefinitionId": pairs[i+1]})
		}
		return out
	}
	network := of("b4ca0290-4e73-4e31-ade0-c82ecfaabf6a", "18363e25-ff21-4159-ae8d-7dfecb5bd001", "40c49ff3-c6ae-436d-b28e-b8e268841980", "d4d2d679-cce0-429d-9a3b-17118c035f66")
	network = append(network, map[string]any{"applicationId": "6d057c82-a784-47ae-8d12-ca7b38cf06b4", "roleDefinitionId": "c27dd31e-c1e5-4ab0-93e1-a12ba34f182e", "managedByRoleDefinitionId": "82e8942a-bcb6-444a-b1c4-31a3ea463a7d"})
	return map[string][]any{"Microsoft.Network": network,
		"Microsoft.Compute": of("60e6cd67-9c8c-4951-9b3c-23c25a2169af", "e4770acb-272e-4dc8-87f3-12f44a612224", "a303894e-f1d8-4a37-bf10-67aa654a0596", "903ac751-8ad5-4e5a-bfc2-5e49f450a241"),
		"Microsoft.Storage": of("a6aa9161-5291-40bb-8c5c-923b567bee3b", "070ab87f-0efc-4423-b18b-756f3bdb0236", "05d97c70-cb7c-4e66-8138-d5ca7c59d206", "3185b772-d635-455a-8d37-0a41169c8cf9")}
}

// kindTypes are the resource types that are simulated, sorted.
func (w *Azure) kindTypes() []string {
	var out []string
	for _, k := range w.kinds {
		out = append(out, k.typ)
	}
	sort.Strings(out)
	return out
}

func (w *Azure) registrationID(namespace string) string {
	return "/subscriptions/" + w.cfg.Subscription + "/providers/" + namespace
}

// registration is whether the subscription may use a provider: a fresh simulation may use all but those that its scenario names.
func (w *Azure) registration(namespace string) string {
	if r := w.find(w.registrationID(namespace)); r != nil {
		return text(r.props, "registrationState")
	}
	if s := w.cfg.Scenario; s != nil && slices.ContainsFunc(s.Unregistered, func(ns string) bool { return strings.EqualFold(ns, namespace) }) {
		return "NotRegistered"
	}
	return "Registered"
}

func (w *Azure) register(namespace, state string) {
	r := w.find(w.registrationID(namespace))
	if r == nil {
		r = w.place(w.registrationID(namespace), registrationType, "")
	}
	r.props = map[string]any{"registrationState": state}
}

// unregistered refuses a write of a provider that the subscription may not use (azure-protocol.md 2.5).
func (w *Azure) unregistered(method, typ string) *refusal {
	ns, _, _ := strings.Cut(typ, "/")
	if method != http.MethodPut || w.registration(ns) == "Registered" {
		return nil
	}
	return refuse(409, "MissingSubscriptionRegistration", "The subscription is not registered to use namespace '"+ns+"'. See https://aka.ms/rps-not-found for how to register subscriptions.")
}
