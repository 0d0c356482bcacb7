# A Debian 12 image, built on a machine that really boots: in a rehearsal it is QEMU's, started from an image that Ingot makes
# from this computer's Debian mirror.
#
#   ingot build examples/debian-12

variable "location" {
  type    = string
  default = "westeurope"
}

source "azure-arm" "debian-12" {
  image_publisher = "Debian"
  image_offer     = "debian-12"
  image_sku       = "12-gen2"
  os_type         = "Linux"

  location = var.location
  vm_size  = "Standard_B2s"

  communicator = "ssh"
  ssh_username = "builder"

  shared_image_gallery_destination {
    resource_group = "rg-images"
    gallery_name   = "galLinux"
    image_name     = "debian-12"
    image_version  = "1.0.0"

    target_region {
      name = var.location
    }
  }
}

build {
  sources = ["source.azure-arm.debian-12"]

  provisioner "file" {
    source      = "${path.root}/files/motd"
    destination = "/tmp/motd"
  }

  provisioner "shell" {
    execute_command  = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    environment_vars = ["COMPANY=Contoso"]
    inline = [
      "install -m 644 /tmp/motd /etc/motd",
      "echo \"built for $COMPANY on $(. /etc/os-release; echo $PRETTY_NAME), kernel $(uname -r)\" | tee /etc/ingot-build",
      "systemctl is-system-running || systemctl --failed",
    ]
  }
}
