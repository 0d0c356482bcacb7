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
		seen[ns] = append(seen[ns], map[string]any{"resourceType": name, "locations": places, "apiVersions": apiVersions(ns), "defaultApiVersion": apiVersions(ns)[0], "capabilities": "None"})
	}
	show := func(ns string) map[string]any {
		policy := "RegistrationRequired"
		if ns == "Microsoft.Authorization" || ns == "Microsoft.Resources" {
			policy = "RegistrationFree"
		}
		return map[string]any{"id": at + "/providers/" + ns, "namespace": ns, "registrationState": w.registration(ns), "registrationPolicy": policy, "resourceTypes": seen[ns]}
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
