package azure

import "testing"

func TestPermissionPatterns(t *testing.T) {
	p := Permission{Actions: []string{"*/read", "Microsoft.Compute/*", "Microsoft.Network/virtualNetworks/subnets/join/action"}, NotActions: []string{"Microsoft.Compute/galleries/*/delete"}, DataActions: []string{"Microsoft.KeyVault/vaults/secrets/*"}}
	for action, want := range map[string]bool{
		"Microsoft.Storage/storageAccounts/read": true, "Microsoft.Storage/storageAccounts/write": false,
		"microsoft.compute/virtualmachines/write": true, "Microsoft.Compute/galleries/images/versions/delete": false, "Microsoft.Compute/galleries/images/versions/write": true,
		"Microsoft.Network/virtualNetworks/subnets/join/action": true, "Microsoft.Network/virtualNetworks/write": false,
		"Microsoft.KeyVault/vaults/secrets/setSecret/action": false,
	} {
		if got := p.Allows(action, false); got != want {
			t.Errorf("%s: %v", action, got)
		}
	}
	if !p.Allows("Microsoft.KeyVault/vaults/secrets/setSecret/action", true) || p.Allows("Microsoft.Compute/virtualMachines/write", true) {
		t.Error("data actions are judged by the wrong list")
	}
	if matches("a*b*c", "abc") != true || matches("a*b", "ab") != true || matches("ab*ba", "aba") {
		t.Error("stars overlap or do not stand for nothing")
	}
}
