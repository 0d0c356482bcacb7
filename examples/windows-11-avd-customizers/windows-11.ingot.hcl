# What each of these does, what is wrong with its script and what is done about it: docs/reference/avd-customizers.md

avd_customizer "install_language_packs" {
  position  = "first"
  languages = ["French (France)", "Norwegian, Bokmål (Norway)"]
}

avd_customizer "set_default_language" {
  position = "first"
  language = "French (France)"
}

avd_customizer "remove_appx_packages" {
  after    = "company"
  packages = ["Microsoft.BingNews", "Microsoft.XboxGamingOverlay"]
}

avd_customizer "fslogix" {
  profile_path = var.profiles
  vhd_size_mb  = 30000
}

avd_customizer "fslogix_kerberos" {}

avd_customizer "session_timeouts" {
  max_disconnection_minutes = 60
  max_idle_minutes          = 120
  reset_broken              = true
}

avd_customizer "screen_capture_protection" {
  block_option = "BlockClientAndServer"
}

avd_customizer "timezone_redirection" {}

avd_customizer "disable_auto_updates" {}

avd_customizer "windows_optimization" {
  optimizations = ["ScheduledTasks", "Autologgers", "DefaultUserSettings"]
}
