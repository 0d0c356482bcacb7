# A Windows 11 multi-session image, with Azure Virtual Desktop's own customizer scripts by name: they stand in windows-11.ingot.hcl.
#
#   ingot build examples/windows-11-avd-customizers
#
# Without an Azure sign-in that is a rehearsal in the simulated Azure, in which no script is fetched or run.

variable "location" {
  type    = string
  default = "westeurope"
}

variable "profiles" {
  type        = string
  default     = "\\\\stavdprofiles.file.core.windows.net\\profiles"
  description = "The share for profile containers."
}

source "azure-arm" "windows-11" {
  image_publisher = "MicrosoftWindowsDesktop"
  image_offer     = "windows-11"
  image_sku       = "win11-25h2-avd"
  os_type         = "Windows"

  location            = var.location
  vm_size             = "Standard_D4s_v5"
  license_type        = "Windows_Client"
  security_type       = "TrustedLaunch"
  secure_boot_enabled = true
  vtpm_enabled        = true
  communicator        = "runcommand"

  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galAvd"
    image_name     = "windows-11-avd"
    image_version  = "1.0.0"

    target_region {
      name = var.location
    }
  }
}

build {
  sources = ["source.azure-arm.windows-11"]

  provisioner "powershell" {
    name   = "company"
    inline = ["Write-Host 'What is ours comes between.'"]
  }

  provisioner "powershell" {
    inline = ["Write-Host 'The rest of ours.'"]
  }
}
