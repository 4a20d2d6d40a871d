// SPDX-License-Identifier: Apache-2.0

/// The keys of each mapping, in one place for the parser and for the test of the shipped schema.
enum ManifestKeys {
  static let top = ["vos", "system", "primary", "boot-timeout", "domains", "channels"]
  static let domain = [
    "kernel", "initrd", "cmdline", "memory", "cpus", "hugepages", "devices", "modules", "serves",
    "network", "storage", "monitor",
  ]
  /// Keys about a machine that is not ours in a domain with an external monitor.
  static let machine = ["kernel", "initrd", "cmdline", "memory", "cpus", "hugepages", "devices"]
  static let network = ["address", "gateway", "nameserver"]
  static let storage = ["source", "type", "options", "mount"]
  static let channel = ["client", "service", "carries", "slices", "slots", "arena"]
}
