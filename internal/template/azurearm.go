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
	ClientID             string     `hcl:"client_id"`
	ClientSecret         image.Text `hcl:"client_secret,secret"`
	ClientCertPath       string     `hcl:"client_cert_path"`
	ClientCertPassword   image.Text `hcl:"client_cert_password,secret"`
	ClientJWT            image.Text `hcl:"client_jwt,secret"`
	OIDCRequestURL       string     `hcl:"oidc_request_url"`
	OIDCRequestToken     image.Text `hcl:"oidc_request_token,secret"`
	ObjectID             string     `hcl:"object_id"`
	TenantID             string     `hcl:"tenant_id"`
	SubscriptionID       string     `hcl:"subscription_id"`
	UseAzureCLIAuth      bool       `hcl:"use_azure_cli_auth"`
	CloudEnvironmentName string     `hcl:"cloud_environment_name"`
	MetadataHost         string     `hcl:"metadata_host"`
}

// armSource says what the image starts from: exactly one kind.
type armSource struct {
	ImagePublisher string `hcl:"image_publisher"`
	ImageOffer     string `hcl:"image_offer"`
	ImageSKU       string `hcl:"image_sku"`
	ImageVersion   string `hcl:"image_version"`
	ImageURL       string `hcl:"image_url"`

	CustomManagedImageName  string `hcl:"custom_managed_image_name"`
	CustomManagedImageGroup string `hcl:"custom_managed_image_resource_group_name"`

	Gallery *armGallery `hcl:"shared_image_gallery,block"`
	Plan    *armPlan    `hcl:"plan_info,block"`
}

type armGallery struct {
	ID                 string `hcl:"id"`
	Subscription       string `hcl:"subscription"`
	ResourceGroup      string `hcl:"resource_group"`
	GalleryName        string `hcl:"gallery_name"`
	ImageName          string `hcl:"image_name"`
	ImageVersion       string `hcl:"image_version"`
	CommunityGalleryID string `hcl:"community_gallery_image_id"`
	DirectSharedID     string `hcl:"direct_shared_gallery_image_id"`
}

type armPlan struct {
	Name          string `hcl:"plan_name"`
	Product       string `hcl:"plan_product"`
	Publisher     string `hcl:"plan_publisher"`
	PromotionCode string `hcl:"plan_promotion_code"`
}

// armTarget says where the image goes.
type armTarget struct {
	SkipCreateImage          bool   `hcl:"skip_create_image"`
	ManagedImageName         string `hcl:"managed_image_name"`
	ManagedImageGroup        string `hcl:"managed_image_resource_group_name"`
	ManagedImageStorageType  string `hcl:"managed_image_storage_account_type"`
	ManagedImageOSSnapshot   string `hcl:"managed_image_os_disk_snapshot_name"`
	ManagedImageDataSnapshot string `hcl:"managed_image_data_disk_snapshot_prefix"`
	ManagedImageZone         bool   `hcl:"managed_image_zone_resilient"`
	KeepOSDisk               bool   `hcl:"keep_os_disk"`

	ResourceGroupName    string        `hcl:"resource_group_name"`
	StorageAccount       string        `hcl:"storage_account"`
	CaptureContainerName string        `hcl:"capture_container_name"`
	CaptureNamePrefix    string        `hcl:"capture_name_prefix"`
	SASTokenDuration     time.Duration `hcl:"sas_token_duration"`

	Destinations      []armDestination `hcl:"shared_image_gallery_destination,block"`
	GalleryTimeout    time.Duration    `hcl:"shared_image_gallery_timeout"`
	EndOfLife         string           `hcl:"shared_gallery_image_version_end_of_life_date"`
	ReplicaCount      int32            `hcl:"shared_image_gallery_replica_count"`
	ExcludeFromLatest bool             `hcl:"shared_gallery_image_version_exclude_from_latest"`
}

type armDestination struct {
	Subscription       string      `hcl:"subscription"`
	ResourceGroup      string      `hcl:"resource_group"`
	GalleryName        string      `hcl:"gallery_name"`
	ImageName          string      `hcl:"image_name"`
	ImageVersion       string      `hcl:"image_version"`
	StorageAccountType string      `hcl:"storage_account_type"`
	Specialized        bool        `hcl:"specialized"`
	ReplicationRegions []string    `hcl:"replication_regions"`
	TargetRegions      []armRegion `hcl:"target_region,block"`
	Shallow            bool        `hcl:"use_shallow_replication"`
	ConfidentialType   string      `hcl:"confidential_vm_image_encryption_type"`
}

type armRegion struct {
	Name                string `hcl:"name"`
	Replicas            int32  `hcl:"replicas"`
	DiskEncryptionSetID string `hcl:"disk_encryption_set_id"`
}

// armMachine is the VM, its disks and what Azure calls its security profile.
type armMachine struct {
	OSType                   string            `hcl:"os_type"`
	Location                 string            `hcl:"location"`
	BuildResourceGroupName   string            `hcl:"build_resource_group_name"`
	TempResourceGroupName    string            `hcl:"temp_resource_group_name"`
	VMSize                   string            `hcl:"vm_size"`
	TempOSDiskName           string            `hcl:"temp_os_disk_name"`
	TempComputeName          string            `hcl:"temp_compute_name"`
	TempNICName              string            `hcl:"temp_nic_name"`
	NamePrefix               string            `hcl:"custom_resource_build_prefix"`
	OSDiskSizeGB             int32             `hcl:"os_disk_size_gb"`
	DiskAdditionalSize       []int             `hcl:"disk_additional_size"`
	DiskAdditionalLUNs       []int             `hcl:"disk_additional_luns"`
	DiskCachingType          string            `hcl:"disk_caching_type"`
	DiskControllerType       string            `hcl:"disk_controller_type"`
	DiskEncryptionSetID      string            `hcl:"disk_encryption_set_id"`
	SecureBootEnabled        bool              `hcl:"secure_boot_enabled"`
	VTPMEnabled              bool              `hcl:"vtpm_enabled"`
	SecurityType             string            `hcl:"security_type"`
	SecurityEncryptionType   string            `hcl:"security_encryption_type"`
	EncryptionAtHost         *bool             `hcl:"encryption_at_host"`
	Spot                     *armSpot          `hcl:"spot,block"`
	LicenseType              string            `hcl:"license_type"`
	Identities               []string          `hcl:"user_assigned_managed_identities"`
	CustomData               image.Text        `hcl:"custom_data"`
	CustomDataFile           string            `hcl:"custom_data_file"`
	UserData                 image.Text        `hcl:"user_data"`
	UserDataFile             string            `hcl:"user_data_file"`
	CustomScript             image.Text        `hcl:"custom_script"`
	BootDiagStorageAccount   string            `hcl:"boot_diag_storage_account"`
	AzureTags                map[string]string `hcl:"azure_tags"`
	AzureTag                 []armTag          `hcl:"azure_tag,block"`
	AsyncResourceGroupDelete bool              `hcl:"async_resourcegroup_delete"`
	PollingDurationTimeout   time.Duration     `hcl:"polling_duration_timeout"`

	BuildKeyVaultName       string `hcl:"build_key_vault_name"`
	BuildKeyVaultSecretName string `hcl:"build_key_vault_secret_name"`
	BuildKeyVaultSKU        string `hcl:"build_key_vault_sku"`
	SkipCreateBuildKeyVault bool   `hcl:"skip_create_build_key_vault"`
}

type armSpot struct {
	EvictionPolicy string  `hcl:"eviction_policy"`
	MaxPrice       float64 `hcl:"max_price"`
}

type armTag struct {
	Name  string `hcl:"name"`
	Value string `hcl:"value"`
}

// armNetwork is where the VM stands.
type armNetwork struct {
	VNetName              string   `hcl:"virtual_network_name"`
	SubnetName            string   `hcl:"virtual_network_subnet_name"`
	VNetGroup             string   `hcl:"virtual_network_resource_group_name"`
	PublicIPInVNet        bool     `hcl:"private_virtual_network_with_public_ip"`
	AllowedInbound        []string `hcl:"allowed_inbound_ip_addresses"`
	PublicIPSKU           string   `hcl:"public_ip_sku"`
	AcceleratedNetworking *bool    `hcl:"accelerated_networking"`
}

// armCommunicator is how the guest is reached. The ssh_ options are known so that they are refused by name.
type armCommunicator struct {
	Communicator        string        `hcl:"communicator"`
	PauseBeforeConnect  time.Duration `hcl:"pause_before_connecting"`
	WinRMUsername       string        `hcl:"winrm_username"`
	WinRMPassword       image.Text    `hcl:"winrm_password,secret"`
	WinRMHost           string        `hcl:"winrm_host"`
	WinRMNoProxy        bool          `hcl:"winrm_no_proxy"`
	WinRMPort           int           `hcl:"winrm_port"`
	WinRMTimeout        time.Duration `hcl:"winrm_timeout"`
	WinRMUseSSL         bool          `hcl:"winrm_use_ssl"`
	WinRMInsecure       bool          `hcl:"winrm_insecure"`
	WinRMUseNTLM        *bool         `hcl:"winrm_use_ntlm"`
	WinRMExpirationTime time.Duration `hcl:"winrm_expiration_time"`

	SSHHost                   string        `hcl:"ssh_host"`
	SSHPort                   int           `hcl:"ssh_port"`
	SSHUsername               string        `hcl:"ssh_username"`
	SSHPassword               image.Text    `hcl:"ssh_password,secret"`
	SSHPrivateKeyFile         string        `hcl:"ssh_private_key_file"`
	SSHCertificateFile        string        `hcl:"ssh_certificate_file"`
	SSHKeypairName            string        `hcl:"ssh_keypair_name"`
	TemporaryKeyPairName      string        `hcl:"temporary_key_pair_name"`
	TemporaryKeyPairType      string        `hcl:"temporary_key_pair_type"`
	TemporaryKeyPairBits      int           `hcl:"temporary_key_pair_bits"`
	SSHCiphers                []string      `hcl:"ssh_ciphers"`
	SSHKeyExchange            []string      `hcl:"ssh_key_exchange_algorithms"`
	SSHClearKeys              bool          `hcl:"ssh_clear_authorized_keys"`
	SSHPTY                    bool          `hcl:"ssh_pty"`
	SSHTimeout                time.Duration `hcl:"ssh_timeout"`
	SSHHandshakeAttempts      int           `hcl:"ssh_handshake_attempts"`
	SSHAgentAuth              bool          `hcl:"ssh_agent_auth"`
	SSHDisableAgentForwarding bool          `hcl:"ssh_disable_agent_forwarding"`
	SSHBastionHost            string        `hcl:"ssh_bastion_host"`
	SSHBastionPort            int           `hcl:"ssh_bastion_port"`
	SSHBastionAgentAuth       bool          `hcl:"ssh_bastion_agent_auth"`
	SSHBastionUsername        string        `hcl:"ssh_bastion_username"`
	SSHBastionPassword        image.Text    `hcl:"ssh_bastion_password,secret"`
	SSHBastionInteractive     bool          `hcl:"ssh_bastion_interactive"`
	SSHBastionKeyFile         string        `hcl:"ssh_bastion_private_key_file"`
	SSHBastionCertFile        string        `hcl:"ssh_bastion_certificate_file"`
	SSHFileTransferMethod     string        `hcl:"ssh_file_transfer_method"`
	SSHProxyHost              string        `hcl:"ssh_proxy_host"`
	SSHProxyPort              int           `hcl:"ssh_proxy_port"`
	SSHProxyUsername          string        `hcl:"ssh_proxy_username"`
	SSHProxyPassword          image.Text    `hcl:"ssh_proxy_password,secret"`
	SSHKeepAlive              time.Duration `hcl:"ssh_keep_alive_interval"`
	SSHReadWriteTimeout       time.Duration `hcl:"ssh_read_write_timeout"`
	SSHRemoteTunnels          []string      `hcl:"ssh_remote_tunnels"`
	SSHLocalTunnels           []string      `hcl:"ssh_local_tunnels"`
}
