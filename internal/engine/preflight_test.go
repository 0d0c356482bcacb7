package engine

import (
	"testing"

	"ingot/internal/azure"
)

func TestFreeAddresses(t *testing.T) {
	for _, c := range []struct {
		prefixes []string
		used     int
		want     int
	}{
		{[]string{"10.0.0.0/29"}, 0, 3}, {[]string{"10.0.0.0/29"}, 3, 0}, {[]string{"10.0.0.0/24"}, 250, 1}, {[]string{"10.0.0.0/29", "10.0.1.0/29"}, 4, 2},
		{[]string{"fd00::/64"}, 7, 1}, {nil, 7, 1}, {[]string{"nonsense"}, 0, 1},
	} {
		if got := FreeAddresses(c.prefixes, c.used); got != c.want {
			t.Errorf("%v with %d in use: %d free, want %d", c.prefixes, c.used, got, c.want)
		}
	}
}

func TestBlocking(t *testing.T) {
	rule := func(access string, priority int32, source, ports, protocol, direction string) azure.Rule {
		return azure.Rule{Name: access, Access: access, Priority: priority, Sources: []string{source}, Ports: []string{ports}, Protocol: protocol, Direction: direction}
	}
	deny := rule("Deny", 200, "*", "*", "*", "Inbound")
	for name, c := range map[string]struct {
		rules []azure.Rule
		want  bool
	}{
		"no rules":                      {nil, false},
		"everything is denied":          {[]azure.Rule{deny}, true},
		"allowed before":                {[]azure.Rule{deny, rule("Allow", 100, "10.0.0.0/8", "5986", "Tcp", "Inbound")}, false},
		"allowed after":                 {[]azure.Rule{deny, rule("Allow", 300, "*", "5986", "Tcp", "Inbound")}, true},
		"another port is allowed":       {[]azure.Rule{deny, rule("Allow", 100, "*", "22", "Tcp", "Inbound")}, true},
		"a range is allowed":            {[]azure.Rule{deny, rule("Allow", 100, "*", "5000-6000", "Tcp", "Inbound")}, false},
		"UDP is allowed":                {[]azure.Rule{deny, rule("Allow", 100, "*", "*", "Udp", "Inbound")}, true},
		"the way out is allowed":        {[]azure.Rule{deny, rule("Allow", 100, "*", "*", "*", "Outbound")}, true},
		"some are denied":               {[]azure.Rule{rule("Deny", 100, "Internet", "*", "*", "Inbound")}, false},
		"another port is denied":        {[]azure.Rule{rule("Deny", 100, "*", "3389", "Tcp", "Inbound")}, false},
		"the way out is denied":         {[]azure.Rule{rule("Deny", 100, "*", "*", "*", "Outbound")}, false},
		"UDP is denied":                 {[]azure.Rule{rule("Deny", 100, "*", "*", "Udp", "Inbound")}, false},
		"everybody by number is denied": {[]azure.Rule{rule("Deny", 100, "0.0.0.0/0", "5986-5986", "Tcp", "Inbound")}, true},
	} {
		if _, got := Blocking(c.rules, 5986); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCompact(t *testing.T) {
	got := Compact([]Right{{Action: "A/read", Scope: "/s/g"}, {Action: "a/READ", Scope: "/S"}, {Action: "B/read", Scope: "/s/gx"}, {Action: "B/read", Scope: "/s/g"}, {Action: "D", Scope: "/s", Data: true}, {Action: "D", Scope: "/s"}})
	want := []Right{{Action: "a/READ", Scope: "/S"}, {Action: "D", Scope: "/s", Data: true}, {Action: "D", Scope: "/s"}, {Action: "B/read", Scope: "/s/g"}, {Action: "B/read", Scope: "/s/gx"}}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%d: %v, want %v", i, got[i], want[i])
		}
	}
}
