// SPDX-License-Identifier: Apache-2.0

extension DomainDescription {
  /// Reads a flattened device tree, which may hold anything.
  public init(decoding blob: [UInt8]) throws(DeviceTreeError) {
    let tree = try TreeReader(blob)
    let root = try tree.requiredNode("/")
    guard try tree.strings("compatible", of: root).contains(Schema.compatible) else {
      throw .foreign
    }
    let node = try tree.requiredNode(Schema.domainPath)
    self.init(
      domain: try tree.string("domain", of: node),
      system: try tree.string("system", of: node),
      generation: try tree.cell("generation", of: node),
      processorCount: try tree.cell("cpus", of: node),
      memoryByteCount: try tree.twoCells("memory-bytes", of: node),
      roles: try Self.roles(of: node, in: tree),
      channels: try Self.channels(in: tree),
      network: try Network(in: tree),
      storage: try Storage(in: tree),
      modules: try tree.strings("modules", of: node))
  }

  private static func roles(
    of node: TreeReader.Node, in tree: borrowing TreeReader
  ) throws(DeviceTreeError) -> [Role] {
    var roles: [Role] = []
    for word in try tree.strings("roles", of: node) {
      guard let role = Role(rawValue: word) else {
        throw .badProperty("roles", node: node.path, expected: expectation(Role.self))
      }
      roles.append(role)
    }
    return roles
  }

  private static func channels(
    in tree: borrowing TreeReader
  ) throws(DeviceTreeError) -> [Channel] {
    guard let list = try tree.node(Schema.channelsPath) else { return [] }
    var channels: [Channel] = []
    for node in try tree.children(of: list) {
      let channel = try Channel(at: node, in: tree)
      guard !channels.contains(where: { $0.number == channel.number }) else {
        throw .badProperty("reg", node: node.path, expected: "a number used once")
      }
      channels.append(channel)
    }
    return channels.sorted { $0.number < $1.number }
  }
}

extension DomainDescription.Channel {
  fileprivate init(
    at node: TreeReader.Node, in tree: borrowing TreeReader
  ) throws(DeviceTreeError) {
    self.init(
      number: try tree.cell("reg", of: node),
      name: try tree.string("channel-name", of: node),
      role: try tree.word("role", of: node, as: Role.self),
      carries: try tree.word("carries", of: node, as: Carries.self),
      pciSlot: try tree.cell("pci-slot", of: node),
      peer: try tree.optionalString("peer", of: node),
      mount: try tree.optionalString("mount", of: node),
      export: try tree.optionalString("export", of: node))
  }
}

extension DomainDescription.Network {
  fileprivate init?(in tree: borrowing TreeReader) throws(DeviceTreeError) {
    guard let node = try tree.node(Schema.networkPath) else { return nil }
    self.init(
      address: try tree.string("address", of: node),
      gateway: try tree.optionalString("gateway", of: node),
      nameserver: try tree.optionalString("nameserver", of: node))
  }
}

extension DomainDescription.Storage {
  fileprivate init?(in tree: borrowing TreeReader) throws(DeviceTreeError) {
    guard let node = try tree.node(Schema.storagePath) else { return nil }
    self.init(
      source: try tree.string("source", of: node),
      type: try tree.string("type", of: node),
      options: try tree.optionalString("options", of: node))
  }
}
