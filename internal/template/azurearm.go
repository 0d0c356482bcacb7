package template

import (
	"time"

	"ingot/internal/image"
)

// azureARM is every option of Packer's azure-arm builder (packer-plugin-azure 2.6). What Ingot cannot act on yet is in it too:
// it is recognised, checked for its type, and refused by name.
type azureARM struct {
	armIdentity
	armSource
	armTarget
	armMachine
	armNetwork
	armCommunicator
}

// armIdentity says who builds.
type armIdentity struct {
	// ClientID: the application (client) id of the service principal, or of the user-assigned identity to sign in as.
	ClientID string `hcl:"client_id"`
	// ClientSecret: secret of the service principal.
	ClientSecret image.Text `hcl:"client_secret,secret"`
	// ClientCertPath: PKCS#12 file of the service principal's certificate.
	ClientCertPath string `hcl:"client_cert_path"`
	// ClientCertPassword: password of that file.
	ClientCertPassword image.Text `hcl:"client_cert_password,secret"`
	// ClientJWT: token of a federated identity, used as client assertion; it is not refreshed.
	ClientJWT image.Text `hcl:"client_jwt,secret"`
	// OIDCRequestURL: where GitHub Actions hands out such tokens (ACTIONS_ID_TOKEN_REQUEST_URL).
	OIDCRequestURL string `hcl:"oidc_request_url"`
	// OIDCRequestToken: what to show there (ACTIONS_ID_TOKEN_REQUEST_TOKEN).
	OIDCRequestToken image.Text `hcl:"oidc_request_token,secret"`
	// ObjectID: has no effect: it is read from the token.
	ObjectID string `hcl:"object_id"`
	// TenantID: the tenant; found from the subscription if not set.
	TenantID string `hcl:"tenant_id"`
	// SubscriptionID: the subscription to build in.
	SubscriptionID string `hcl:"subscription_id"`
	// UseAzureCLIAuth: signs in as the Azure CLI is signed in; goes before everything else.
	UseAzureCLIAuth bool `hcl:"use_azure_cli_auth"`
	// CloudEnvironmentName: Public (default), China or USGovernment.
	CloudEnvironmentName string `hcl:"cloud_environment_name"`
	// MetadataHost: URL of another cloud's metadata endpoint.
	MetadataHost string `hcl:"metadata_host"`
}

// armSource says what the image starts from: exactly one kind.
type armSource struct {
	// ImagePublisher: publisher of a marketplace image; with image_offer and image_sku.
	ImagePublisher string `hcl:"image_publisher"`
	// ImageOffer: offer of a marketplace image.
	ImageOffer string `hcl:"image_offer"`
	// ImageSKU: SKU of a marketplace image.
	ImageSKU string `hcl:"image_sku"`
	// ImageVersion: its version; latest if not set.
	ImageVersion string `hcl:"image_version"`
	// ImageURL: address of a generalised VHD to start from, in a page blob of the same region.
	ImageURL string `hcl:"image_url"`

	// CustomManagedImageName: managed image to start from.
	CustomManagedImageName string `hcl:"custom_managed_image_name"`
	// CustomManagedImageGroup: its resource group.
	CustomManagedImageGroup string `hcl:"custom_managed_image_resource_group_name"`

	// Gallery: gallery image to start from.
	Gallery *armGallery `hcl:"shared_image_gallery,block"`
	// Plan: purchase plan of a marketplace image, for those that are sold with one.
	Plan *armPlan `hcl:"plan_info,block"`
}

type armGallery struct {
	// ID: whole id of an image version; excludes the others.
	ID string `hcl:"id"`
	// Subscription: subscription of the gallery.
	Subscription string `hcl:"subscription"`
	// ResourceGroup: its resource group.
	ResourceGroup string `hcl:"resource_group"`
	// GalleryName: its name.
	GalleryName string `hcl:"gallery_name"`
	// ImageName: image definition.
	ImageName string `hcl:"image_name"`
	// ImageVersion: version; the newest if not set.
	ImageVersion string `hcl:"image_version"`
	// CommunityGalleryID: /CommunityGalleries/NAME/Images/NAME[/Versions/1.0.0].
	CommunityGalleryID string `hcl:"community_gallery_image_id"`
	// DirectSharedID: /sharedGalleries/NAME/images/NAME[/versions/1.0.0].
	DirectSharedID string `hcl:"direct_shared_gallery_image_id"`
}

type armPlan struct {
	// Name: name of the plan.
	Name string `hcl:"plan_name"`
	// Product: product of the plan.
	Product string `hcl:"plan_product"`
	// Publisher: publisher of the plan.
	Publisher string `hcl:"plan_publisher"`
	// PromotionCode: promotion code.
	PromotionCode string `hcl:"plan_promotion_code"`
}

// armTarget says where the image goes.
type armTarget struct {
	// SkipCreateImage: provisions only: nothing is captured.
	SkipCreateImage bool `hcl:"skip_create_image"`
	// ManagedImageName: managed image to make; at most 80 characters.
	ManagedImageName string `hcl:"managed_image_name"`
	// ManagedImageGroup: its resource group, which must exist.
	ManagedImageGroup string `hcl:"managed_image_resource_group_name"`
	// ManagedImageStorageType: type of the machine's OS disk and of the managed image: Standard_LRS (default), StandardSSD_LRS, Premium_LRS.
	ManagedImageStorageType string `hcl:"managed_image_storage_account_type"`
	// ManagedImageOSSnapshot: keeps a snapshot of the OS disk under this name.
	ManagedImageOSSnapshot string `hcl:"managed_image_os_disk_snapshot_name"`
	// ManagedImageDataSnapshot: keeps snapshots of the data disks under this name and a number.
	ManagedImageDataSnapshot string `hcl:"managed_image_data_disk_snapshot_prefix"`
	// ManagedImageZone: makes the managed image zone-resilient.
	ManagedImageZone bool `hcl:"managed_image_zone_resilient"`
	// KeepOSDisk: keeps the machine's OS disk.
	KeepOSDisk bool `hcl:"keep_os_disk"`

	// ResourceGroupName: resource group of storage_account, for a VHD.
	ResourceGroupName string `hcl:"resource_group_name"`
	// StorageAccount: storage account that a VHD is written to.
	StorageAccount string `hcl:"storage_account"`
	// CaptureContainerName: container of the VHD, which must exist.
	CaptureContainerName string `hcl:"capture_container_name"`
	// CaptureNamePrefix: beginning of the VHD's name.
	CaptureNamePrefix string `hcl:"capture_name_prefix"`
	// SASTokenDuration: life of the link that the disk is read through; 24h.
	SASTokenDuration time.Duration `hcl:"sas_token_duration"`

	// Destinations: gallery version to make; may stand several times.
	Destinations []armDestination `hcl:"shared_image_gallery_destination,block"`
	// GalleryTimeout: bounds the publication; 60m.
	GalleryTimeout time.Duration `hcl:"shared_image_gallery_timeout"`
	// EndOfLife: end of life of the version, as 2027-01-31T00:00:00Z.
	EndOfLife string `hcl:"shared_gallery_image_version_end_of_life_date"`
	// ReplicaCount: replicas in each region, 1 to 100; not with target_region.
	ReplicaCount int32 `hcl:"shared_image_gallery_replica_count"`
	// ExcludeFromLatest: keeps the version from being taken as the newest.
	ExcludeFromLatest bool `hcl:"shared_gallery_image_version_exclude_from_latest"`
}

type armDestination struct {
	// Subscription: subscription of the gallery; the build's if not set.
	Subscription string `hcl:"subscription"`
	// ResourceGroup: its resource group.
	ResourceGroup string `hcl:"resource_group"`
	// GalleryName: its name.
	GalleryName string `hcl:"gallery_name"`
	// ImageName: image definition, which must exist.
	ImageName string `hcl:"image_name"`
	// ImageVersion: Major.Minor.Patch; "auto" counts on from the newest (Ingot only).
	ImageVersion string `hcl:"image_version"`
	// StorageAccountType: Standard_LRS (default), Standard_ZRS or Premium_LRS.
	StorageAccountType string `hcl:"storage_account_type"`
	// Specialized: publishes without generalising.
	Specialized bool `hcl:"specialized"`
	// ReplicationRegions: older form of target_region.
	ReplicationRegions []string `hcl:"replication_regions"`
	// TargetRegions: region to replicate to; may stand several times.
	TargetRegions []armRegion `hcl:"target_region,block"`
	// Shallow: shallow replication: one region, one replica.
	Shallow bool `hcl:"use_shallow_replication"`
	// ConfidentialType: EncryptedVMGuestStateOnlyWithPmk, EncryptedWithPmk or EncryptedWithCmk.
	ConfidentialType string `hcl:"confidential_vm_image_encryption_type"`
}

type armRegion struct {
	// Name: name of the region.
	Name string `hcl:"name"`
	// Replicas: replicas there, 1 to 100.
	Replicas int32 `hcl:"replicas"`
	// DiskEncryptionSetID: disk encryption set there.
	DiskEncryptionSetID string `hcl:"disk_encryption_set_id"`
}

// armMachine is the VM, its disks and what Azure calls its security profile.
type armMachine struct {
	// OSType: Windows or Linux.
	OSType string `hcl:"os_type"`
	// Location: region to build in; or build_resource_group_name.
	Location string `hcl:"location"`
	// BuildResourceGroupName: existing resource group to build in; its region counts.
	BuildResourceGroupName string `hcl:"build_resource_group_name"`
	// TempResourceGroupName: name of the temporary resource group.
	TempResourceGroupName string `hcl:"temp_resource_group_name"`
	// VMSize: size of the machine; Packer's default Standard_A1 is retired in most regions.
	VMSize string `hcl:"vm_size"`
	// TempOSDiskName: name of the machine's OS disk.
	TempOSDiskName string `hcl:"temp_os_disk_name"`
	// TempComputeName: name of the machine.
	TempComputeName string `hcl:"temp_compute_name"`
	// TempNICName: name of its network interface.
	TempNICName string `hcl:"temp_nic_name"`
	// NamePrefix: beginning of the names of what is made; at most 10 letters, digits, hyphens.
	NamePrefix string `hcl:"custom_resource_build_prefix"`
	// OSDiskSizeGB: size of the OS disk in GB; the source's if not set.
	OSDiskSizeGB int32 `hcl:"os_disk_size_gb"`
	// DiskAdditionalSize: sizes of data disks in GB.
	DiskAdditionalSize []int `hcl:"disk_additional_size"`
	// DiskAdditionalLUNs: their unit numbers, one for each.
	DiskAdditionalLUNs []int `hcl:"disk_additional_luns"`
	// DiskCachingType: none, ReadOnly or ReadWrite (default).
	DiskCachingType string `hcl:"disk_caching_type"`
	// DiskControllerType: SCSI or NVMe.
	DiskControllerType string `hcl:"disk_controller_type"`
	// DiskEncryptionSetID: id of a disk encryption set; not for a managed image or VHD.
	DiskEncryptionSetID string `hcl:"disk_encryption_set_id"`
	// SecureBootEnabled: secure boot; needs Trusted Launch.
	SecureBootEnabled bool `hcl:"secure_boot_enabled"`
	// VTPMEnabled: a virtual TPM; needs Trusted Launch.
	VTPMEnabled bool `hcl:"vtpm_enabled"`
	// SecurityType: TrustedLaunch or ConfidentialVM.
	SecurityType string `hcl:"security_type"`
	// SecurityEncryptionType: VMGuestStateOnly (default) or DiskWithVMGuestState; for ConfidentialVM only.
	SecurityEncryptionType string `hcl:"security_encryption_type"`
	// EncryptionAtHost: encryption at the host.
	EncryptionAtHost *bool `hcl:"encryption_at_host"`
	// Spot: makes the machine a spot VM.
	Spot *armSpot `hcl:"spot,block"`
	// LicenseType: Windows_Client or Windows_Server; RHEL_BYOS or SLES_BYOS for Linux.
	LicenseType string `hcl:"license_type"`
	// Identities: ids of user-assigned identities of the machine.
	Identities []string `hcl:"user_assigned_managed_identities"`
	// CustomData: custom data, base64.
	CustomData image.Text `hcl:"custom_data"`
	// CustomDataFile: file whose content is the custom data.
	CustomDataFile string `hcl:"custom_data_file"`
	// UserData: user data, base64.
	UserData image.Text `hcl:"user_data"`
	// UserDataFile: file whose content is the user data.
	UserDataFile string `hcl:"user_data_file"`
	// CustomScript: command line of a CustomScriptExtension; Windows only.
	CustomScript image.Text `hcl:"custom_script"`
	// BootDiagStorageAccount: storage account for boot diagnostics.
	BootDiagStorageAccount string `hcl:"boot_diag_storage_account"`
	// AzureTags: tags of everything that is made; at most 50.
	AzureTags map[string]string `hcl:"azure_tags"`
	// AzureTag: one tag, with name and value; may stand several times.
	AzureTag []armTag `hcl:"azure_tag,block"`
	// AsyncResourceGroupDelete: does not wait until the temporary group is deleted.
	AsyncResourceGroupDelete bool `hcl:"async_resourcegroup_delete"`
	// PollingDurationTimeout: bounds every operation of Azure but the publication; 15m.
	PollingDurationTimeout time.Duration `hcl:"polling_duration_timeout"`

	// BuildKeyVaultName: existing key vault, in the group that is built in.
	BuildKeyVaultName string `hcl:"build_key_vault_name"`
	// BuildKeyVaultSecretName: name of the certificate's secret there; packerKeyVaultSecret.
	BuildKeyVaultSecretName string `hcl:"build_key_vault_secret_name"`
	// BuildKeyVaultSKU: standard (default) or premium.
	BuildKeyVaultSKU string `hcl:"build_key_vault_sku"`
	// SkipCreateBuildKeyVault: makes no key vault: custom_script opens WinRM, or without it a script of Ingot's.
	SkipCreateBuildKeyVault bool `hcl:"skip_create_build_key_vault"`
}

type armSpot struct {
	// EvictionPolicy: Deallocate or Delete.
	EvictionPolicy string `hcl:"eviction_policy"`
	// MaxPrice: US dollars an hour; up to the normal price if not set.
	MaxPrice float64 `hcl:"max_price"`
}

type armTag struct {
	// Name: name of the tag, at most 512 characters.
	Name string `hcl:"name"`
	// Value: its value, at most 256 characters.
	Value string `hcl:"value"`
}

// armNetwork is where the VM stands.
type armNetwork struct {
	// VNetName: existing virtual network; a new one if not set.
	VNetName string `hcl:"virtual_network_name"`
	// SubnetName: subnet in it.
	SubnetName string `hcl:"virtual_network_subnet_name"`
	// VNetGroup: resource group of the network.
	VNetGroup string `hcl:"virtual_network_resource_group_name"`
	// PublicIPInVNet: a public address in an existing network all the same.
	PublicIPInVNet bool `hcl:"private_virtual_network_with_public_ip"`
	// AllowedInbound: who may reach the machine in a new network; Packer lets everybody in if not set, Ingot only the caller.
	AllowedInbound []string `hcl:"allowed_inbound_ip_addresses"`
	// PublicIPSKU: Standard (default); Basic is retired.
	PublicIPSKU string `hcl:"public_ip_sku"`
	// AcceleratedNetworking: accelerated networking.
	AcceleratedNetworking *bool `hcl:"accelerated_networking"`
}

// armCommunicator is how the guest is reached.
type armCommunicator struct {
	// Communicator: runcommand (no port, no public address, no key vault; not Packer's), winrm or ssh (default, for Windows too).
	Communicator string `hcl:"communicator"`
	// PauseBeforeConnect: waits before the first connection.
	PauseBeforeConnect time.Duration `hcl:"pause_before_connecting"`
	// WinRMUsername: user to make; packer.
	WinRMUsername string `hcl:"winrm_username"`
	// WinRMPassword: its password; generated if not set.
	WinRMPassword image.Text `hcl:"winrm_password,secret"`
	// WinRMHost: address to connect to instead of the machine's.
	WinRMHost string `hcl:"winrm_host"`
	// WinRMNoProxy: does not go through a proxy.
	WinRMNoProxy bool `hcl:"winrm_no_proxy"`
	// WinRMPort: 5986 with TLS, 5985 without.
	WinRMPort int `hcl:"winrm_port"`
	// WinRMTimeout: bounds the time to the first connection; 30m.
	WinRMTimeout time.Duration `hcl:"winrm_timeout"`
	// WinRMUseSSL: TLS.
	WinRMUseSSL bool `hcl:"winrm_use_ssl"`
	// WinRMInsecure: accepts a certificate that is not known; Ingot pins the one it made, or else the first it sees.
	WinRMInsecure bool `hcl:"winrm_insecure"`
	// WinRMUseNTLM: NTLM (default) or Basic.
	WinRMUseNTLM *bool `hcl:"winrm_use_ntlm"`
	// WinRMExpirationTime: when the certificate's secret expires.
	WinRMExpirationTime time.Duration `hcl:"winrm_expiration_time"`

	// SSHHost: address to connect to instead of the machine's.
	SSHHost string `hcl:"ssh_host"`
	// SSHPort: 22.
	SSHPort int `hcl:"ssh_port"`
	// SSHUsername: user to make; packer.
	SSHUsername string `hcl:"ssh_username"`
	// SSHPassword: its password.
	SSHPassword image.Text `hcl:"ssh_password,secret"`
	// SSHPrivateKeyFile: private key to sign in with.
	SSHPrivateKeyFile string `hcl:"ssh_private_key_file"`
	// SSHCertificateFile: OpenSSH certificate of that key, or of one that the SSH agent holds, for images that trust its authority.
	SSHCertificateFile string `hcl:"ssh_certificate_file"`
	// SSHKeypairName: refused; it means nothing for Azure, which keeps public keys only.
	SSHKeypairName string `hcl:"ssh_keypair_name"`
	// TemporaryKeyPairName: comment of the key made for the build.
	TemporaryKeyPairName string `hcl:"temporary_key_pair_name"`
	// TemporaryKeyPairType: ed25519 (default) or rsa; Azure takes no ecdsa and no dsa for a new machine.
	TemporaryKeyPairType string `hcl:"temporary_key_pair_type"`
	// TemporaryKeyPairBits: length of an RSA key, 2048 and more; 3072.
	TemporaryKeyPairBits int `hcl:"temporary_key_pair_bits"`
	// SSHCiphers: ciphers to offer, by OpenSSH's names.
	SSHCiphers []string `hcl:"ssh_ciphers"`
	// SSHKeyExchange: key exchanges to offer, by OpenSSH's names.
	SSHKeyExchange []string `hcl:"ssh_key_exchange_algorithms"`
	// SSHClearKeys: removes the build's key from root's list at the end, and from the account's when that stays in the image (specialized). Linux only.
	SSHClearKeys bool `hcl:"ssh_clear_authorized_keys"`
	// SSHPTY: runs scripts with a terminal of their own (script of util-linux), for guests whose sudoers say requiretty. Linux only.
	SSHPTY bool `hcl:"ssh_pty"`
	// SSHTimeout: bounds the time to the first connection; 20m.
	SSHTimeout time.Duration `hcl:"ssh_timeout"`
	// SSHHandshakeAttempts: how many handshakes may fail; without it, two minutes of refusals.
	SSHHandshakeAttempts int `hcl:"ssh_handshake_attempts"`
	// SSHAgentAuth: signs in with the SSH agent (SSH_AUTH_SOCK); the machine is given the first of its keys that Azure takes.
	SSHAgentAuth bool `hcl:"ssh_agent_auth"`
	// SSHDisableAgentForwarding: does not lend the agent to the guest's scripts; without ssh_agent_auth it is never lent. Linux only.
	SSHDisableAgentForwarding bool `hcl:"ssh_disable_agent_forwarding"`
	// SSHBastionHost: host to go through. Its key must be the one in ~/.ssh/known_hosts, if that knows it.
	SSHBastionHost string `hcl:"ssh_bastion_host"`
	// SSHBastionPort: its port; 22.
	SSHBastionPort int `hcl:"ssh_bastion_port"`
	// SSHBastionAgentAuth: signs in there with the SSH agent.
	SSHBastionAgentAuth bool `hcl:"ssh_bastion_agent_auth"`
	// SSHBastionUsername: user there.
	SSHBastionUsername string `hcl:"ssh_bastion_username"`
	// SSHBastionPassword: password there.
	SSHBastionPassword image.Text `hcl:"ssh_bastion_password,secret"`
	// SSHBastionInteractive: what the bastion asks is asked at this terminal.
	SSHBastionInteractive bool `hcl:"ssh_bastion_interactive"`
	// SSHBastionKeyFile: private key for it.
	SSHBastionKeyFile string `hcl:"ssh_bastion_private_key_file"`
	// SSHBastionCertFile: certificate of that key.
	SSHBastionCertFile string `hcl:"ssh_bastion_certificate_file"`
	// SSHFileTransferMethod: sftp (default, other than Packer's) or scp. In a Windows guest scp stands for PowerShell's standard input.
	SSHFileTransferMethod string `hcl:"ssh_file_transfer_method"`
	// SSHProxyHost: SOCKS5 proxy to go through.
	SSHProxyHost string `hcl:"ssh_proxy_host"`
	// SSHProxyPort: its port; 1080.
	SSHProxyPort int `hcl:"ssh_proxy_port"`
	// SSHProxyUsername: user there.
	SSHProxyUsername string `hcl:"ssh_proxy_username"`
	// SSHProxyPassword: password there.
	SSHProxyPassword image.Text `hcl:"ssh_proxy_password,secret"`
	// SSHKeepAlive: how often a sign of life is asked for; 15s; negative: never.
	SSHKeepAlive time.Duration `hcl:"ssh_keep_alive_interval"`
	// SSHReadWriteTimeout: a connection over which nothing came or went for so long is made anew; scripts go on.
	SSHReadWriteTimeout time.Duration `hcl:"ssh_read_write_timeout"`
	// SSHRemoteTunnels: ports of the guest that lead to this computer's network: port:host:port.
	SSHRemoteTunnels []string `hcl:"ssh_remote_tunnels"`
	// SSHLocalTunnels: ports of this computer that lead to the guest's network: port:host:port.
	SSHLocalTunnels []string `hcl:"ssh_local_tunnels"`
}
