// SPDX-License-Identifier: Apache-2.0

extension DomainDescription {
  /// Most bytes that a domain is handed: what the loader has room for below 1 MiB.
  public static let encodedByteCountLimit = 0x6_E000
  private static let firstCapacity = 4096

  /// The description as a flattened device tree.
  public func encoded() throws(DeviceTreeError) -> [UInt8] {
    var capacity = Self.firstCapacity
    while capacity < Self.encodedByteCountLimit * 2 {
      var writer = try TreeWriter(capacity: min(capacity, Self.encodedByteCountLimit))
      try write(to: &writer)
      if let blob = try writer.finished() { return blob }
      capacity *= 2
    }
    throw .tooLarge(limit: Self.encodedByteCountLimit)
  }

  private func write(to writer: inout TreeWriter) throws(DeviceTreeError) {
    try writer.node("") { (root) throws(DeviceTreeError) in
      try root.property("compatible", Schema.compatible)
      try root.property("model", Schema.model)
      try root.node("vos") { (node) throws(DeviceTreeError) in try writeDomain(to: &node) }
    }
  }

  private func writeDomain(to node: inout TreeWriter) throws(DeviceTreeError) {
    try node.property("domain", domain)
    try node.property("system", system)
    try node.property("generation", generation)
    try node.property("cpus", processorCount)
    try node.property("memory-bytes", memoryByteCount)
    try node.property("roles", roles.map(\.rawValue))
    try node.property("modules", modules)
    try node.node("channels") { (list) throws(DeviceTreeError) in
      try list.property("#address-cells", 1 as UInt32)
      try list.property("#size-cells", 0 as UInt32)
      for channel in channels { try channel.write(to: &list) }
    }
    if let network { try network.write(to: &node) }
    if let storage { try storage.write(to: &node) }
  }
}

extension DomainDescription.Channel {
  fileprivate func write(to list: inout TreeWriter) throws(DeviceTreeError) {
    let unit = String(number, radix: 16)
    try list.node("channel@" + unit) { (node) throws(DeviceTreeError) in
      try node.property("reg", number)
      try node.property("channel-name", name)
      try node.property("role", role.rawValue)
      try node.property("carries", carries.rawValue)
      try node.property("pci-slot", pciSlot)
      try node.property("peer", peer)
      try node.property("mount", mount)
      try node.property("export", export)
    }
  }
}

extension DomainDescription.Network {
  fileprivate func write(to parent: inout TreeWriter) throws(DeviceTreeError) {
    try parent.node("network") { (node) throws(DeviceTreeError) in
      try node.property("address", address)
      try node.property("gateway", gateway)
      try node.property("nameserver", nameserver)
    }
  }
}

extension DomainDescription.Storage {
  fileprivate func write(to parent: inout TreeWriter) throws(DeviceTreeError) {
    try parent.node("storage") { (node) throws(DeviceTreeError) in
      try node.property("source", source)
      try node.property("type", type)
      try node.property("options", options)
    }
  }
}
