package explain

// terraform is what Terraform and Bicep say around the resources of an image or a host pool.
func terraform() []Entry {
	const state = "Terraform, State: https://developer.hashicorp.com/terraform/language/state"
	return []Entry{
		{ID: "terraform-exists",
			Line:    []string{`a resource with the id "?(?P<id>/subscriptions/[\w./()-]+)"? already exists - to be managed via terraform`, `to be managed via terraform this resource needs to be imported`},
			Cause:   "the resource exists, and Terraform's state does not know it",
			Fix:     "import it, or delete it",
			Command: "terraform import <address> {id}", Source: state},
		{ID: "terraform-lock",
			Line:    []string{`error acquiring the state lock`, `state blob is already locked`, `error locking state`},
			Cause:   "another run holds the state's lock, or one that was ended left it",
			Fix:     "wait for it; if no run is under way, break the lock with the id that the message has",
			Command: "terraform force-unlock <lock id>", Source: state},
		{ID: "terraform-registration-token",
			Line:    []string{`registration_info is empty list`, `registration_info\[0\]\.token`},
			With:    []string{`invalid index|error`},
			Cause:   "since azurerm 2.92 the host pool's token is a resource of its own, and registration_info of the pool is empty",
			Fix:     "make an azurerm_virtual_desktop_host_pool_registration_info and use its token",
			Command: "terraform plan", Source: "GitHub, Azure/RDS-Templates#666 and hashicorp/terraform-provider-azurerm#14953"},
		{ID: "terraform-provider",
			Line:    []string{`failed to query available provider packages`, `could not (load|retrieve) (plugin|the list of available versions)`, `inconsistent dependency lock file`, `failed to install provider`},
			Cause:   "Terraform's provider is not installed, or its version does not fit the lock file",
			Fix:     "initialise again; let the agent reach the registry or a mirror",
			Command: "terraform init -upgrade", Source: "Terraform, init command: https://developer.hashicorp.com/terraform/cli/commands/init"},
		{ID: "terraform-subscription",
			Line:    []string{`unable to build authorizer for resource manager api`, `subscription_id.? is a required provider property`, `building azurerm client: .{0,200}(could not|unable|authoriz)`},
			Cause:   "Terraform has no sign-in or no subscription: azurerm 4 wants subscription_id, and in a pipeline the ARM_ variables",
			Fix:     "set ARM_SUBSCRIPTION_ID, ARM_TENANT_ID and ARM_CLIENT_ID, with ARM_USE_OIDC or a secret, or sign in with az",
			Command: "export ARM_SUBSCRIPTION_ID=<subscription> ARM_USE_CLI=true", Source: "Terraform, azurerm provider 4 upgrade guide: https://registry.terraform.io/providers/hashicorp/azurerm/latest/docs/guides/4.0-upgrade-guide"},
		{ID: "bicep-compile",
			Line:    []string{`error bcp\d{3}: (?P<problem>.{1,80})`, `\berror bcp\d{3}\b`},
			Cause:   "the Bicep file does not compile",
			Fix:     "the message names file, line and column",
			Command: "az bicep build --file <file>.bicep", Source: "Microsoft Learn, Bicep error codes: https://learn.microsoft.com/azure/azure-resource-manager/bicep/diagnostics/bicep-core-diagnostics"},
	}
}
