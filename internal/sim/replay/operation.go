package main

import (
	"net/url"
	"strings"
)

// target is what a recorded URL speaks of.
type target struct {
	host, path string
	op         string // "put microsoft.compute/virtualmachines": the key that scores are counted under
	id         string // the resource that an action, a read or a write is about; "" for lists and polls
	poll       bool   // the URL of a long operation
	elsewhere  bool   // no host of the simulated Azure
}

// resolve takes a URL apart. Types are compared without case and shown in lower case.
func resolve(method, raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, err
	}
	t := target{host: u.Host, path: strings.TrimRight(u.Path, "/")}
	for strings.Contains(t.path, "//") {
		t.path = strings.ReplaceAll(t.path, "//", "/")
	}
	parts := strings.Split(strings.Trim(t.path, "/"), "/")
	switch {
	case strings.HasSuffix(u.Host, ".vault.azure.net"):
		t.op = vaultOperation(parts)
	case u.Host != "management.azure.com":
		t.elsewhere, t.op = true, u.Host
	default:
		t.manage(method, parts)
	}
	t.op = strings.ToLower(method) + " " + t.op
	return t, nil
}

// vaultOperation names calls of a vault's data plane: the collection, and what is done to one of its members.
func vaultOperation(parts []string) string {
	op := "vault " + parts[0]
	if len(parts) > 2 && (parts[2] == "backup" || parts[2] == "recover" || parts[2] == "versions") {
		return op + "/" + parts[2]
	}
	if len(parts) > 1 {
		return op + "/name"
	}
	return op
}

func (t *target) manage(method string, parts []string) {
	last := -1
	for i, p := range parts {
		if strings.EqualFold(p, "providers") {
			last = i
		}
	}
	var types []string
	rest := parts
	if last >= 0 && last+1 < len(parts) {
		types, rest = []string{parts[last+1]}, parts[last+2:]
	}
	for i := 0; i < len(rest); i += 2 {
		types = append(types, rest[i])
	}
	t.op = strings.ToLower(strings.Join(types, "/"))
	low := strings.ToLower(t.path)
	for _, s := range []string{"/operations/", "/diskoperations/", "/capsoperations/", "/operationresults/", "/operationstatuses/"} {
		t.poll = t.poll || strings.Contains(low+"/", s) && !strings.Contains(low, "/deployments/") || strings.Contains(low, "/operationstatuses/")
	}
	if t.poll {
		return
	}
	t.id = t.path
	if len(rest)%2 == 1 {
		t.id = strings.TrimSuffix(t.path, "/"+rest[len(rest)-1])
		if method == "GET" && !strings.EqualFold(rest[len(rest)-1], "instanceView") {
			t.id, t.op = "", t.op+" (list)"
		}
	}
	if last < 0 && len(parts) < 4 {
		t.id = ""
	}
}
