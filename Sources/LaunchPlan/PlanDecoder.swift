// SPDX-License-Identifier: Apache-2.0

extension LaunchPlan {
  /// Reads a plan from `bytes` that came with `descriptorCount` descriptors.
  ///
  /// Strict: an unknown or repeated key, a value out of range, a missing line, a descriptor named
  /// twice or not at all, each is an error that names the line.
  public init(decoding bytes: [UInt8], descriptorCount: Int) throws(LaunchPlanError) {
    guard bytes.count <= Limits.textBytes else {
      throw LaunchPlanError(
        line: 0, reason: "text of \(bytes.count) bytes, at most \(Limits.textBytes) allowed")
    }
    var decoder = PlanDecoder()
    for (index, line) in bytes.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated()
    {
      // The text ends with a line feed, so the last piece is empty.
      if line.isEmpty, line.endIndex == bytes.endIndex { break }
      try decoder.take(line: line, number: index + 1)
    }
    self = try decoder.finish()
    try checkDescriptors(count: descriptorCount)
  }

  private func checkDescriptors(count: Int) throws(LaunchPlanError) {
    var used = [Bool](repeating: false, count: count)
    for index in descriptorIndices {
      guard index < count else {
        throw LaunchPlanError(line: 0, reason: "descriptor \(index) named, only \(count) came")
      }
      guard !used[index] else {
        throw LaunchPlanError(line: 0, reason: "descriptor \(index) named twice")
      }
      used[index] = true
    }
    if let unused = used.firstIndex(of: false) {
      throw LaunchPlanError(line: 0, reason: "descriptor \(unused) came but is not named")
    }
  }
}

/// Collects lines into a plan.
struct PlanDecoder {
  private var scalars: [String: (value: PlanValue, line: Int)] = [:]
  private var channels: [PartialChannel] = []
  private var devices: [PartialDevice] = []
  private var started = false

  private struct PartialChannel {
    let line: Int
    let slot: Int
    var region: Int?
    var regionBytes: UInt64?
    var peer: UInt16?
    var vectors: [Int]?
    var remotes: [LaunchPlan.Remote] = []
    var readOnly: [LaunchPlan.PageRange] = []
  }

  private struct PartialDevice {
    let line: Int
    let slot: Int
    var address: String?
    var device: Int?
  }

  private static let scalarKeys: Set<String> = [
    PlanKey.domain, PlanKey.vcpus, PlanKey.memoryBytes, PlanKey.memory, PlanKey.hugePages,
    PlanKey.kvm, PlanKey.kernel, PlanKey.initrd, PlanKey.deviceTree, PlanKey.commandLine,
    PlanKey.console, PlanKey.vfioContainer,
  ]

  mutating func take(line: ArraySlice<UInt8>, number: Int) throws(LaunchPlanError) {
    guard let text = String(validating: line, as: UTF8.self),
      !text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f })
    else { throw LaunchPlanError(line: number, reason: "not plain text") }
    guard let equals = text.firstIndex(of: "=") else {
      throw LaunchPlanError(line: number, reason: "expected key=value")
    }
    let key = String(text[..<equals])
    let value = PlanValue(key: key, text: String(text[text.index(after: equals)...]), line: number)
    guard started else {
      guard key == PlanKey.version, value.text == PlanKey.currentVersion else {
        throw LaunchPlanError(
          line: number, reason: "expected \(PlanKey.version)=\(PlanKey.currentVersion)")
      }
      started = true
      return
    }
    try take(value)
  }

  private mutating func take(_ value: PlanValue) throws(LaunchPlanError) {
    if Self.scalarKeys.contains(value.key) {
      guard scalars.updateValue((value, value.line), forKey: value.key) == nil else {
        throw value.error("given twice")
      }
    } else if value.key.hasPrefix("ivshmem.") {
      try takeChannel(value)
    } else if value.key.hasPrefix("vfio.") {
      try takeDevice(value)
    } else {
      throw LaunchPlanError(line: value.line, reason: "unknown key \(value.key)")
    }
  }

  private mutating func takeChannel(_ value: PlanValue) throws(LaunchPlanError) {
    if value.key == PlanKey.ivshmemSlot {
      channels.append(PartialChannel(line: value.line, slot: try value.number(in: 1...31)))
      return
    }
    guard var channel = channels.popLast() else {
      throw value.error("comes before \(PlanKey.ivshmemSlot)")
    }
    switch value.key {
    case PlanKey.ivshmemRegion: try value.set(&channel.region, value.index())
    case PlanKey.ivshmemRegionBytes: try value.set(&channel.regionBytes, value.regionBytes())
    case PlanKey.ivshmemPeer: try value.set(&channel.peer, value.peer(value.text))
    case PlanKey.ivshmemVectors: try value.set(&channel.vectors, value.indices(value.text))
    case PlanKey.ivshmemRemote: channel.remotes.append(try value.remote())
    case PlanKey.ivshmemReadOnly: channel.readOnly.append(try value.pageRange())
    default: throw LaunchPlanError(line: value.line, reason: "unknown key \(value.key)")
    }
    channels.append(channel)
  }

  private mutating func takeDevice(_ value: PlanValue) throws(LaunchPlanError) {
    if value.key == PlanKey.vfioSlot {
      devices.append(PartialDevice(line: value.line, slot: try value.number(in: 1...31)))
      return
    }
    guard var device = devices.popLast() else {
      throw value.error("comes before \(PlanKey.vfioSlot)")
    }
    switch value.key {
    case PlanKey.vfioAddress: try value.set(&device.address, value.hostAddress())
    case PlanKey.vfioDevice: try value.set(&device.device, value.index())
    default: throw LaunchPlanError(line: value.line, reason: "unknown key \(value.key)")
    }
    devices.append(device)
  }

  func finish() throws(LaunchPlanError) -> LaunchPlan {
    let channels = try self.channels.map { channel throws(LaunchPlanError) in
      try finish(channel)
    }
    let devices = try self.devices.map { device throws(LaunchPlanError) in try finish(device) }
    try checkSlots()
    let plan = LaunchPlan(
      domain: try required(PlanKey.domain).name(),
      vcpuCount: try required(PlanKey.vcpus).number(in: 1...LaunchPlan.Limits.vcpus),
      memoryBytes: try required(PlanKey.memoryBytes).memoryBytes(),
      memory: try required(PlanKey.memory).index(),
      hugePages: try optional(PlanKey.hugePages)?.boolean() ?? false,
      kvm: try required(PlanKey.kvm).index(), kernel: try required(PlanKey.kernel).index(),
      initrd: try optional(PlanKey.initrd)?.index(),
      deviceTree: try optional(PlanKey.deviceTree)?.index(),
      commandLine: try required(PlanKey.commandLine).commandLine(),
      console: try required(PlanKey.console).index(), ivshmem: channels,
      vfioContainer: try optional(PlanKey.vfioContainer)?.index(), vfio: devices)
    guard (plan.vfioContainer != nil) == !plan.vfio.isEmpty else {
      throw LaunchPlanError(
        line: 0, reason: "\(PlanKey.vfioContainer) is needed exactly if there are VFIO devices")
    }
    return plan
  }

  private func optional(_ key: String) -> PlanValue? { scalars[key]?.value }

  private func required(_ key: String) throws(LaunchPlanError) -> PlanValue {
    guard let value = optional(key) else {
      throw LaunchPlanError(line: 0, reason: "no \(key)")
    }
    return value
  }

  private func checkSlots() throws(LaunchPlanError) {
    var taken: Set<Int> = []
    for (slot, line) in channels.map({ ($0.slot, $0.line) }) + devices.map({ ($0.slot, $0.line) })
    where !taken.insert(slot).inserted {
      throw LaunchPlanError(line: line, reason: "PCI slot \(slot) given twice")
    }
  }

  private func finish(
    _ channel: PartialChannel
  ) throws(LaunchPlanError) -> LaunchPlan.Ivshmem {
    guard let region = channel.region, let bytes = channel.regionBytes, let peer = channel.peer,
      let vectors = channel.vectors
    else {
      throw LaunchPlanError(
        line: channel.line, reason: "ivshmem entry lacks region, region-bytes, peer or vectors")
    }
    var peers: Set<UInt16> = [peer]
    for remote in channel.remotes where !peers.insert(remote.peer).inserted {
      throw LaunchPlanError(line: channel.line, reason: "peer \(remote.peer) given twice")
    }
    var end: UInt64 = 0
    for range in channel.readOnly {
      guard range.offset >= end, range.offset <= bytes, range.byteCount <= bytes - range.offset
      else {
        throw LaunchPlanError(
          line: channel.line,
          reason: "read-only range \(range.offset):\(range.byteCount) overlaps or leaves the region"
        )
      }
      end = range.offset + range.byteCount
    }
    return LaunchPlan.Ivshmem(
      slot: channel.slot, region: region, regionBytes: bytes, peer: peer, vectors: vectors,
      remotes: channel.remotes, readOnly: channel.readOnly)
  }

  private func finish(_ device: PartialDevice) throws(LaunchPlanError) -> LaunchPlan.VFIODevice {
    guard let address = device.address, let index = device.device else {
      throw LaunchPlanError(line: device.line, reason: "vfio entry lacks address or device")
    }
    return LaunchPlan.VFIODevice(slot: device.slot, address: address, device: index)
  }
}
