// SPDX-License-Identifier: Apache-2.0
import CVosABI
public import Channel
public import Manifest

/// A manifest turned into numbers: which channels there are, which PCI slot everything has. Pure.
public struct SystemLayout: Equatable, Sendable {
  /// First PCI device number used for channels: 0 is the host bridge, 1 and 2 are left to it.
  static let firstSlot = 3
  /// A control channel needs few calls at a time and little data.
  static let controlSlots = 16
  static let controlArenaBytes = 256 << 10
  /// The name of each domain's own channel with the host.
  public static let controlName = "control"

  /// One channel of the system.
  public struct ChannelPlan: Equatable, Sendable {
    public var name: String
    /// `nil`: the host, on a control channel.
    public var client: String?
    public var service: String
    public var geometry: Geometry
    /// Where the client mounts it, if it carries files.
    public var mount: String?

    /// Number within the system.
    public var number: UInt32 { geometry.channel }
  }

  /// One domain's end of a channel.
  public struct Port: Equatable, Sendable {
    /// Index into `channels`.
    public var channel: Int
    public var side: ChannelSide
    /// Device number on the domain's PCI bus 0.
    public var slot: Int
  }

  /// One domain with everything that is plugged into it.
  public struct DomainPlan: Equatable, Sendable {
    public var domain: Domain
    public var isPrimary: Bool
    /// The control channel comes first.
    public var ports: [Port]
    /// Host address and device number of each passed-through function.
    public var devices: [Device]

    public struct Device: Equatable, Sendable {
      public var address: String
      public var slot: Int
    }
  }

  public var manifest: Manifest
  public var channels: [ChannelPlan]
  public var domains: [DomainPlan]

  /// Lays out a checked manifest.
  public init(_ manifest: Manifest) throws(GeometryError) {
    self.manifest = manifest
    channels = []
    for (index, domain) in manifest.domains.enumerated() {
      let geometry = try Geometry.layout(
        channel: UInt32(index), carries: VOS_CARRIES_CONTROL, sliceCount: 1,
        slotCount: Self.controlSlots, arenaBytes: Self.controlArenaBytes, eventCount: 64)
      channels.append(
        ChannelPlan(name: Self.controlName, client: nil, service: domain.name, geometry: geometry))
    }
    for settings in manifest.channels {
      let geometry = try Geometry.layout(
        channel: UInt32(channels.count),
        carries: settings.carries == .sockets ? VOS_CARRIES_SOCKETS : VOS_CARRIES_FILES,
        sliceCount: settings.geometry.slices, slotCount: settings.geometry.slots,
        arenaBytes: settings.geometry.arenaBytes)
      channels.append(
        ChannelPlan(
          name: settings.name, client: settings.client, service: settings.service,
          geometry: geometry, mount: manifest.domain(settings.service)?.storage?.mount))
    }
    let all = channels
    domains = manifest.domains.map { Self.plan($0, manifest: manifest, channels: all) }
  }

  private static func plan(
    _ domain: Domain, manifest: Manifest, channels: [ChannelPlan]
  ) -> DomainPlan {
    var slot = firstSlot
    var ports: [Port] = []
    for (index, channel) in channels.enumerated() {
      let side: ChannelSide
      if channel.service == domain.name {
        side = .service
      } else if channel.client == domain.name {
        side = .client
      } else {
        continue
      }
      ports.append(Port(channel: index, side: side, slot: slot))
      slot += 1
    }
    let devices = domain.devices.map { address in
      defer { slot += 1 }
      return DomainPlan.Device(address: address, slot: slot)
    }
    return DomainPlan(
      domain: domain, isPrimary: domain.name == manifest.primary, ports: ports, devices: devices)
  }
}

extension SystemLayout.ChannelPlan {
  /// What the VM on `side` may only read: the superblock, the other side's page, and the area that
  /// the other side alone writes (vos_abi.h, first comment).
  func readOnlyRanges(for side: ChannelSide) -> [Range<UInt64>] {
    let page = UInt64(VOS_PAGE_BYTES)
    switch side {
    case .client:
      return [
        0..<page, UInt64(VOS_SERVICE_PAGE_OFFSET)..<UInt64(VOS_SERVICE_PAGE_OFFSET) + page,
        UInt64(geometry.eventRingOffset)..<UInt64(geometry.slicesOffset),
      ]
    case .service:
      return [
        0..<UInt64(VOS_CLIENT_PAGE_OFFSET) + page,
        UInt64(geometry.sliceTableOffset)..<UInt64(geometry.eventRingOffset),
      ]
    }
  }
}
