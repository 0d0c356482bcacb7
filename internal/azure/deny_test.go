package azure

import "testing"

func TestDenies(t *testing.T) {
	const me, other = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	all := []Principal{{ID: everyone, Type: "SystemDefined"}}
	deny := []Permission{{Actions: []string{"Microsoft.Compute/*"}, NotActions: []string{"*/read"}, DataActions: []string{"Microsoft.KeyVault/vaults/secrets/*"}}}
	for name, c := range map[string]struct {
		d            DenyAssignment
		action       string
		data         bool
		denies, sure bool
	}{
		"everyone":                      {DenyAssignment{Permissions: deny, Principals: all}, "Microsoft.Compute/virtualMachines/write", false, true, true},
		"reading is left":               {DenyAssignment{Permissions: deny, Principals: all}, "Microsoft.Compute/virtualMachines/read", false, false, true},
		"something else":                {DenyAssignment{Permissions: deny, Principals: all}, "Microsoft.Network/virtualNetworks/write", false, false, true},
		"a data action":                 {DenyAssignment{Permissions: deny, Principals: all}, "Microsoft.KeyVault/vaults/secrets/setSecret/action", true, true, true},
		"everyone but this one":         {DenyAssignment{Permissions: deny, Principals: all, Excluded: []Principal{{me, "ServicePrincipal"}}}, "Microsoft.Compute/disks/write", false, false, true},
		"everyone but another":          {DenyAssignment{Permissions: deny, Principals: all, Excluded: []Principal{{other, "User"}}}, "Microsoft.Compute/disks/write", false, true, true},
		"everyone but those of a group": {DenyAssignment{Permissions: deny, Principals: all, Excluded: []Principal{{other, "Group"}}}, "Microsoft.Compute/disks/write", false, true, false},
		"this one":                      {DenyAssignment{Permissions: deny, Principals: []Principal{{me, "ServicePrincipal"}}}, "Microsoft.Compute/disks/write", false, true, true},
		"another one":                   {DenyAssignment{Permissions: deny, Principals: []Principal{{other, "User"}}}, "Microsoft.Compute/disks/write", false, false, true},
		"a group":                       {DenyAssignment{Permissions: deny, Principals: []Principal{{other, "Group"}}}, "Microsoft.Compute/disks/write", false, true, false},
	} {
		if denies, sure := c.d.Denies(me, c.action, c.data); denies != c.denies || sure != c.sure {
			t.Errorf("%s: denies %v, sure %v; want %v, %v", name, denies, sure, c.denies, c.sure)
		}
	}
}
