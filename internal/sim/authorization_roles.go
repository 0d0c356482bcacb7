package sim

import "strings"

// builtInRole is one of Azure's own, with the id it has in every tenant.
type builtInRole struct {
	id, description string
	Role
}

// builtInRoles are those that building images and running session hosts ask for
// (https://learn.microsoft.com/azure/role-based-access-control/built-in-roles; actions as listed there, shortened to what the
// simulated Azure can be asked for).
func builtInRoles() []builtInRole {
	always := []string{"Microsoft.Authorization/*/read", "Microsoft.Resources/deployments/*", "Microsoft.Resources/subscriptions/resourceGroups/read"}
	role := func(id, name, description string, actions ...string) builtInRole {
		return builtInRole{id, description, Role{Name: name, Actions: append(actions, always...)}}
	}
	data := func(id, name, description string, actions, dataActions []string) builtInRole {
		return builtInRole{id, description, Role{Name: name, Actions: actions, DataActions: dataActions}}
	}
	const blobs = "Microsoft.Storage/storageAccounts/blobServices"
	const avd = "Microsoft.DesktopVirtualization/"
	owner, _ := wellKnown("owner")
	contributor, _ := wellKnown("contributor")
	reader, _ := wellKnown("reader")
	return []builtInRole{
		{"8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Grants full access to manage all resources, including the ability to assign roles in Azure RBAC.", owner},
		{"b24988ac-6180-42a0-ab88-20f7382dd24c", "Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC, manage assignments in Azure Blueprints, or share image galleries.", contributor},
		{"acdd72a7-3385-48ef-bd42-f606fba81ae7", "View all resources, but does not allow you to make any changes.", reader},
		{"18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", "Lets you manage user access to Azure resources.", Role{Name: "User Access Administrator", Actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"}}},
		role("9980e02c-c2be-4d73-94e8-173b1dc7cf3c", "Virtual Machine Contributor", "Lets you manage virtual machines, but not access to them, and not the virtual network or storage account they're connected to.",
			"Microsoft.Compute/virtualMachines/*", "Microsoft.Compute/disks/write", "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/delete", "Microsoft.Compute/locations/*", "Microsoft.KeyVault/vaults/deploy/action",
			"Microsoft.Network/networkInterfaces/*", "Microsoft.Network/networkSecurityGroups/join/action", "Microsoft.Network/networkSecurityGroups/read", "Microsoft.Network/publicIPAddresses/join/action",
			"Microsoft.Network/publicIPAddresses/read", "Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.Storage/storageAccounts/listKeys/action", "Microsoft.Storage/storageAccounts/read"),
		role("4d97b98b-1d4f-4787-a291-c67834d212e7", "Network Contributor", "Lets you manage networks, but not access to them.", "Microsoft.Network/*"),
		role("17d1049b-9a84-46fb-8f53-869881c3d3ab", "Storage Account Contributor", "Lets you manage storage accounts, including accessing storage account keys which provide full access to storage account data.", "Microsoft.Storage/storageAccounts/*"),
		data("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner", "Allows for full access to Azure Storage blob containers and data, including assigning POSIX access control.",
			[]string{blobs + "/containers/*", blobs + "/generateUserDelegationKey/action"}, []string{blobs + "/containers/blobs/*"}),
		data("ba92f5b4-2d11-453d-a403-e96b0029c9fe", "Storage Blob Data Contributor", "Allows for read, write and delete access to Azure Storage blob containers and data.",
			[]string{blobs + "/containers/delete", blobs + "/containers/read", blobs + "/containers/write", blobs + "/generateUserDelegationKey/action"},
			[]string{blobs + "/containers/blobs/delete", blobs + "/containers/blobs/read", blobs + "/containers/blobs/write", blobs + "/containers/blobs/move/action", blobs + "/containers/blobs/add/action"}),
		data("2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "Storage Blob Data Reader", "Allows for read access to Azure Storage blob containers and data.",
			[]string{blobs + "/containers/read", blobs + "/generateUserDelegationKey/action"}, []string{blobs + "/containers/blobs/read"}),
		data("00482a5a-887f-4fb3-b363-3b7fe8e74483", "Key Vault Administrator", "Perform all data plane operations on a key vault and all objects in it, including certificates, keys, and secrets.",
			append([]string{"Microsoft.KeyVault/checkNameAvailability/read", "Microsoft.KeyVault/deletedVaults/read", "Microsoft.KeyVault/locations/*/read", "Microsoft.KeyVault/vaults/*/read"}, always...), []string{"Microsoft.KeyVault/vaults/*"}),
		data("b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "Key Vault Secrets Officer", "Perform any action on the secrets of a key vault, except manage permissions.",
			append([]string{"Microsoft.KeyVault/vaults/*/read"}, always...), []string{"Microsoft.KeyVault/vaults/secrets/*"}),
		data("4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User", "Read secret contents.", nil, []string{"Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/vaults/secrets/readMetadata/action"}),
		role("f25e0fa2-a7c8-4377-a976-54943a77a395", "Key Vault Contributor", "Lets you manage key vaults, but not access to them.", "Microsoft.KeyVault/*"),
		role("e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", "Managed Identity Contributor", "Create, Read, Update, and Delete User Assigned Identity", "Microsoft.ManagedIdentity/userAssignedIdentities/read", "Microsoft.ManagedIdentity/userAssignedIdentities/write", "Microsoft.ManagedIdentity/userAssignedIdentities/delete"),
		role("f1a07417-d97a-45cb-824c-7a7467783830", "Managed Identity Operator", "Read and Assign User Assigned Identity", "Microsoft.ManagedIdentity/userAssignedIdentities/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"),
		role("082f0a83-3be5-4ba1-904c-961cca79b387", "Desktop Virtualization Contributor", "Contributor of Desktop Virtualization.", avd+"*"),
		role("e307426c-f9b6-4e81-87de-d99efb3c32bc", "Desktop Virtualization Host Pool Contributor", "Contributor of the Desktop Virtualization Host Pool.", avd+"hostpools/*"),
		role("49a72310-ab8d-41df-bbb0-79b649203868", "Desktop Virtualization Reader", "Reader of Desktop Virtualization.", avd+"*/read"),
		role("40c5ff49-9181-41f8-ae61-143b0e78555e", "Desktop Virtualization Power On Off Contributor", "Provide permission to the Azure Virtual Desktop Resource Provider to start and stop virtual machines.",
			"Microsoft.Compute/virtualMachines/start/action", "Microsoft.Compute/virtualMachines/deallocate/action", "Microsoft.Compute/virtualMachines/restart/action", "Microsoft.Compute/virtualMachines/powerOff/action",
			"Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/instanceView/read", avd+"hostpools/read", avd+"hostpools/sessionhosts/read", avd+"hostpools/sessionhosts/write"),
		role("a959dbd1-f747-45e3-8ba6-dd80f235f97c", "Desktop Virtualization Virtual Machine Contributor", "This role is in preview and subject to change. Provide permission to the Azure Virtual Desktop Resource Provider to create, delete, update, start, and stop virtual machines.",
			"Microsoft.Compute/virtualMachines/*", "Microsoft.Compute/disks/*", "Microsoft.Compute/galleries/images/read", "Microsoft.Compute/galleries/images/versions/read", "Microsoft.Network/networkInterfaces/*", "Microsoft.Network/virtualNetworks/subnets/join/action", avd+"hostpools/*"),
		role("7efff54f-a5b4-42b5-a1c5-5411624893ce", "Disk Snapshot Contributor", "Provides permission to backup vault to manage disk snapshots.", "Microsoft.Compute/snapshots/*", "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/beginGetAccess/action", "Microsoft.Storage/storageAccounts/listkeys/action"),
		role("85a2d0d9-2eba-4c9c-b355-11c2cc0788ab", "Compute Gallery Artifacts Publisher", "This is the role for publishing gallery artifacts.", "Microsoft.Compute/galleries/*", "Microsoft.Compute/images/*", "Microsoft.Compute/disks/read", "Microsoft.Compute/snapshots/read", "Microsoft.Compute/virtualMachines/read"),
		role("36243c78-bf99-498c-9df9-86d9f8d28608", "Resource Policy Contributor", "Users with rights to create/modify resource policy, create support ticket and read resources/hierarchy.", "*/read", "Microsoft.Authorization/policyAssignments/*", "Microsoft.Authorization/policyDefinitions/*", "Microsoft.Authorization/policySetDefinitions/*"),
	}
}

// definition is a role as its id, however it is written, names it: a GUID at the end.
func (w *Azure) definition(id string) (Role, bool) {
	name := strings.ToLower(lastPart(id))
	for _, r := range builtInRoles() {
		if r.id == name {
			return r.Role, true
		}
	}
	for _, r := range w.all(roleType) {
		if strings.ToLower(r.name) == name {
			return roleOf(r), true
		}
	}
	return Role{}, false
}

// roleOf reads a custom role's document.
func roleOf(r *resource) Role {
	out := Role{Name: text(r.props, "roleName")}
	for _, p := range items(r.props, "permissions") {
		out.Actions = append(out.Actions, texts(p, "actions")...)
		out.NotActions = append(out.NotActions, texts(p, "notActions")...)
		out.DataActions = append(out.DataActions, texts(p, "dataActions")...)
		out.NotDataActions = append(out.NotDataActions, texts(p, "notDataActions")...)
	}
	return out
}

func texts(v any, path ...string) []string {
	var out []string
	for _, x := range items(v, path...) {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func anys(s []string) []any {
	out := []any{}
	for _, x := range s {
		out = append(out, x)
	}
	return out
}
