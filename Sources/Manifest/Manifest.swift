// SPDX-License-Identifier: Apache-2.0

/// One system as its manifest describes it: checked, with every path absolute.
public struct Manifest: Equatable, Sendable {
  /// The manifest's own absolute path.
  public var path: String
  /// Name of the system, which names its runtime directory.
  public var system: String
  /// Name of the domain that runs the user's programs.
  public var primary: String
  /// All domains, in the manifest's order.
  public var domains: [Domain]
  /// Channels between domains, derived ones included; control channels are not among them.
  public var channels: [ChannelSettings]
  /// Seconds that `up` gives a domain to announce itself.
  public var bootTimeoutSeconds: Int

  /// The domain called `name`.
  public func domain(_ name: String) -> Domain? {
    domains.first { $0.name == name }
  }
}

/// One virtual machine.
public struct Domain: Equatable, Sendable {
  public var name: String
  /// Who runs it. Of a domain with an external monitor everything about its machine is somebody
  /// else's: no kernel, no memory, no processors, no devices.
  public var monitor: MonitorKind
  /// A bzImage or a PVH ELF file.
  public var kernel: String
  public var initrd: String?
  public var commandLine: String
  public var memoryBytes: UInt64
  public var cpus: Int
  /// RAM from huge pages of the default size.
  public var hugePages: Bool
  /// PCI functions it owns, as `0000:01:00.0`.
  public var devices: [String]
  /// Kernel modules that its init loads, in this order.
  public var modules: [String]
  /// What it serves to others.
  public var serves: ServiceKind?
  /// How its interface is set up; only with `serves: sockets`.
  public var network: NetworkSettings?
  /// What it mounts; only with `serves: files`.
  public var storage: StorageSettings?
}

/// Who runs a domain's virtual machine.
public enum MonitorKind: String, CaseIterable, Sendable {
  /// Our own monitor, started for it.
  case vosvmm
  /// A QEMU that somebody starts, with an ivshmem-doorbell device for each of its channels.
  case external
}

/// What a service domain serves.
public enum ServiceKind: String, CaseIterable, Sendable {
  case sockets
  case files
}

/// The network domain's interface.
public struct NetworkSettings: Equatable, Sendable {
  /// IPv4 address with prefix length.
  public var address: String
  public var gateway: String?
  public var nameserver: String?
}

/// The storage domain's file system.
public struct StorageSettings: Equatable, Sendable {
  /// Block device within the storage domain, such as `/dev/sda`.
  public var source: String
  /// File system type as `mount -t` takes it.
  public var type: String
  /// Mount options, comma-separated.
  public var options: String?
  /// Where the client of the channel mounts it.
  public var mount: String
}

/// A channel between two domains.
public struct ChannelSettings: Equatable, Sendable {
  public var name: String
  public var client: String
  public var service: String
  public var carries: ServiceKind
  public var geometry: ChannelGeometry
}

/// How large the parts of a channel are.
public struct ChannelGeometry: Equatable, Sendable {
  /// Slices, slice 0 (the client kernel's own) included.
  public var slices: Int
  /// Slots in each slice.
  public var slots: Int
  /// Bytes of data arena in each slice.
  public var arenaBytes: Int

  public init(slices: Int = 32, slots: Int = 16, arenaBytes: Int = 1 << 20) {
    self.slices = slices
    self.slots = slots
    self.arenaBytes = arenaBytes
  }
}

/// What a manifest may ask for.
public enum ManifestLimits {
  /// The only version of the syntax.
  public static let version = 1
  /// A manifest is written by a person; this stops a hostile one early.
  public static let fileBytes = 64 << 10
  public static let domains = 16
  public static let channels = 15
  /// With all channels and the control channel they fill PCI slots 3 to 31.
  public static let devicesPerDomain = 13
  public static let modulesPerDomain = 64
  public static let cpus = 1...64
  /// The upper end is what lies below a guest's 64-bit PCI window (LaunchPlan.Limits).
  public static let memoryBytes: ClosedRange<UInt64> = (4 << 20)...(60 << 30)
  /// A huge page of x86-64; RAM comes in these whether it uses them or not.
  public static let memoryGranule: UInt64 = 2 << 20
  /// COMMAND_LINE_SIZE of Linux on x86.
  public static let commandLineBytes = 2047
  /// Names become directory, memfd and /dev/vos names.
  public static let nameBytes = 31
  public static let slices = 2...256
  /// VOS_ABI: 1..64.
  public static let slots = 1...64
  public static let arenaBytes: ClosedRange<UInt64> = (64 << 10)...(16 << 20)
  public static let bootTimeoutSeconds = 1...3600
}
