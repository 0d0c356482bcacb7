# What Image Builder cannot say. It never reads this file; Ingot finds it by its name beside the template.
host_pool "hp-office" {
  resource_group = "rg-avd"
  batch          = "20%"
  drain_timeout  = "2h"
  keep_old       = "72h"
}
