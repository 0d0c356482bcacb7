# A Windows 11 multi-session image for Azure Virtual Desktop: Packer's own language, read by Ingot as it stands.
#
#   ingot build examples/windows-11-avd
#
# Without an Azure sign-in that is a rehearsal in the simulated Azure.

packer {
  required_plugins {
    azure = {
      version = ">= 2.3.0"
      source  = "github.com/hashicorp/azure"
    }
  }
}

variable "location" {
  type        = string
  default     = "westeurope"
  description = "Where the image is built; the gallery is there too."
}

variable "gallery" {
  type = object({ resource_group = string, name = string, image = string })
  default = {
    resource_group = "rg-images"
    name           = "galAvd"
    image          = "windows-11-avd"
  }
}

variable "company" {
  type    = string
  default = "Contoso"
  validation {
    condition     = length(var.company) > 0 && length(var.company) <= 40
    error_message = "The company's name has 1 to 40 characters."
  }
}

locals {
  built = formatdate("YYYY-MM-DD", timestamp())
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

  communicator   = "winrm"
  winrm_use_ssl  = true
  winrm_insecure = true # for Packer's sake; Ingot pins the certificate it made
  winrm_timeout  = "20m"

  shared_image_gallery_destination {
    resource_group = var.gallery.resource_group
    gallery_name   = var.gallery.name
    image_name     = var.gallery.image
    image_version  = "1.0.0"

    target_region {
      name     = var.location
      replicas = 1
    }
    target_region {
      name     = "northeurope"
      replicas = 1
    }
  }

  azure_tags = {
    workload = "avd"
    built    = local.built
  }
}

build {
  sources = ["source.azure-arm.windows-11"]

  provisioner "file" {
    source      = "${path.root}/files/welcome.txt"
    destination = "C:/ProgramData/${var.company}/welcome.txt"
  }

  provisioner "powershell" {
    environment_vars = ["COMPANY=${var.company}"]
    inline = [
      "Write-Host \"Preparing an image for $env:COMPANY\"",
      "Set-TimeZone -Id 'W. Europe Standard Time'",
    ]
  }

  provisioner "powershell" {
    script = "${path.root}/files/optimize.ps1"
  }

  provisioner "windows-restart" {
    restart_timeout = "15m"
  }

  provisioner "powershell" {
    elevated_user = "SYSTEM"
    inline        = ["Write-Host 'Ready to be generalised'"]
  }
}
