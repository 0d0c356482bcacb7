package sim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// How answers look on the wire, beside their documents: each provider's way of writing JSON, the headers that say who
// refused, and the ETag. All of it is as in the recordings.

// encode writes a body as its provider does: Compute with two spaces and CR LF, the others compact; what a provider itself
// refuses is written the Compute way by Network too, with empty details (azure-protocol.md 2.1, 2.5).
func encode(path string, out *reply) ([]byte, error) {
	body := out.body
	provider := providerOf(path)
	byProvider := out.status >= 400 && out.header["x-ms-failure-cause"] == ""
	if m := mapping(body, "error"); m != nil && byProvider && provider == "microsoft.network" && m["details"] == nil {
		m = copyMap(m)
		m["details"] = []any{}
		body = map[string]any{"error": m}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if provider == "microsoft.virtualmachineimages" {
		var b bytes.Buffer
		err := json.Indent(&b, raw, "", " ")
		return b.Bytes(), err
	}
	// The marketplace's last level and a result at a Location are compact in some recordings and not in others.
	if provider == "microsoft.compute" && strings.Count(path, "/") > 4 && (out.status < 400 || byProvider) || provider == "microsoft.network" && byProvider {
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return nil, err
		}
		raw = bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\r\n"))
	}
	return raw, nil
}

// providerOf is the namespace a path ends in, in lower case.
func providerOf(path string) string {
	low := strings.ToLower(path)
	at := strings.LastIndex(low, "/providers/")
	if at < 0 {
		return ""
	}
	name, _, _ := strings.Cut(low[at+len("/providers/"):], "/")
	return name
}

// finish adds the headers that follow from an answer: who refused, and the version of a document.
func finish(method string, at *url.URL, out *reply) {
	path := at.Path
	set := func(name, value string) {
		if out.header == nil {
			out.header = map[string]string{}
		}
		out.header[name] = value
	}
	switch {
	case out.status >= 400 && out.status < 500:
		// Resource Manager's own refusals say so; a provider's do not (azure-protocol.md 2.3).
		if code := text(out.body, "error", "code"); gatewayRefusal(code) || code == "" && method == http.MethodHead {
			set("x-ms-failure-cause", "gateway")
		}
	case out.status == 200 || out.status == 201:
		// Network sends it with GET, Compute with GET and PUT of machines, but not with what $expand adds to one.
		provider, etag := providerOf(path), text(out.body, "etag")
		if at.Query().Has("$expand") {
			etag = ""
		}
		if etag != "" && (provider == "microsoft.network" && method == http.MethodGet || provider == "microsoft.compute") {
			set("ETag", etag)
		}
	}
}

func gatewayRefusal(code string) bool {
	switch code {
	case "ResourceNotFound", "ResourceGroupNotFound", "ParentResourceNotFound", "InvalidResourceType", "InvalidResourceNamespace", "AuthorizationFailed",
		"LinkedAuthorizationFailed", "MissingSubscriptionRegistration", "NoRegisteredProviderFound", "InvalidApiVersionParameter",
		"MissingApiVersionParameter", "ResourceGroupBeingDeleted", "InvalidTemplateDeployment", "InvalidTemplate", "SubscriptionNotFound",
		"LocationNotAvailableForResourceGroup", "InvalidResourceGroupLocation", "ScopeLocked", "RequestDisallowedByPolicy", "InvalidRequestContent",
		"InvalidFilterInQueryString", "SubscriptionRequestsThrottled", "AuthenticationFailed":
		return true
	}
	return false
}

// withoutNulls drops members that are null, and objects that hold nothing else: clients send them for "not set", and no
// recorded answer shows one back.
func withoutNulls(m map[string]any) map[string]any {
	for k, v := range m {
		switch x := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			if before := len(x); len(withoutNulls(x)) == 0 && before > 0 {
				delete(m, k)
			}
		case []any:
			for _, e := range x {
				if inner, ok := e.(map[string]any); ok {
					withoutNulls(inner)
				}
			}
		}
	}
	return m
}
