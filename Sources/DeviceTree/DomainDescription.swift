// SPDX-License-Identifier: Apache-2.0

/// What a domain gets to know about itself; travels as a flattened device tree.
///
/// The binding is firmware/bindings/vos.md.
public struct DomainDescription: Equatable, Sendable {
  /// What a domain is for.
  public enum Role: String, Sendable, CaseIterable {
    case primary
    case network
    case storage
  }

  /// The domain's name within its system.
  public var domain: String
  /// The system's name.
  public var system: String
  /// Counts the domain's lives, from 1.
  public var generation: UInt32
  public var processorCount: UInt32
  public var memoryByteCount: UInt64
  public var roles: [Role]
  /// In ascending order of `number`, which is unique.
  public var channels: [Channel]
  /// How a network domain sets up its interface.
  public var network: Network?
  /// What a storage domain mounts.
  public var storage: Storage?
  /// Kernel modules that the guest's init loads, in this order.
  public var modules: [String]

  public init(
    domain: String, system: String, generation: UInt32, processorCount: UInt32,
    memoryByteCount: UInt64, roles: [Role] = [], channels: [Channel] = [],
    network: Network? = nil, storage: Storage? = nil, modules: [String] = []
  ) {
    self.domain = domain
    self.system = system
    self.generation = generation
    self.processorCount = processorCount
    self.memoryByteCount = memoryByteCount
    self.roles = roles
    self.channels = channels
    self.network = network
    self.storage = storage
    self.modules = modules
  }
}

extension DomainDescription {
  /// One end of a channel, as the domain sees it.
  public struct Channel: Equatable, Sendable {
    /// Which side of the channel the domain is.
    public enum Role: String, Sendable, CaseIterable {
      case client
      case service
    }

    /// What the channel carries.
    public enum Carries: String, Sendable, CaseIterable {
      case control
      case sockets
      case files
    }

    /// Within the system.
    public var number: UInt32
    /// Names the guest's character device.
    public var name: String
    public var role: Role
    public var carries: Carries
    /// Device number on bus 0 of the ivshmem device.
    public var pciSlot: UInt32
    /// The domain at the other end; nil for the host.
    public var peer: String?
    /// Where a client of `files` mounts.
    public var mount: String?
    /// What a service of `files` hands out.
    public var export: String?

    public init(
      number: UInt32, name: String, role: Role, carries: Carries, pciSlot: UInt32,
      peer: String? = nil, mount: String? = nil, export: String? = nil
    ) {
      self.number = number
      self.name = name
      self.role = role
      self.carries = carries
      self.pciSlot = pciSlot
      self.peer = peer
      self.mount = mount
      self.export = export
    }
  }

  /// A network domain's interface.
  public struct Network: Equatable, Sendable {
    /// Address and prefix length, `10.0.2.15/24`.
    public var address: String
    public var gateway: String?
    public var nameserver: String?

    public init(address: String, gateway: String? = nil, nameserver: String? = nil) {
      self.address = address
      self.gateway = gateway
      self.nameserver = nameserver
    }
  }

  /// A storage domain's file system.
  public struct Storage: Equatable, Sendable {
    /// A device file of the guest, `/dev/sda`.
    public var source: String
    /// A file system type, `ext4`.
    public var type: String
    /// Mount options.
    public var options: String?

    public init(source: String, type: String, options: String? = nil) {
      self.source = source
      self.type = type
      self.options = options
    }
  }
}
