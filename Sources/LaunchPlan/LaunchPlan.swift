// SPDX-License-Identifier: Apache-2.0

/// All that a monitor is told about the domain it runs: one message, with every descriptor it needs.
///
/// Descriptors are named by their index in the message's `SCM_RIGHTS` array. Each is used once and
/// none is left over, so that a plan and its descriptors cannot be told apart by mistake.
public struct LaunchPlan: Equatable, Sendable {
  /// Index into the descriptors that came with the plan.
  public typealias DescriptorIndex = Int

  /// The domain's name, for people: letters, digits, `-`, `_`, `.`; at most 63 bytes.
  public var domain: String
  /// Virtual CPUs, 1 to `Limits.vcpus`.
  public var vcpuCount: Int
  /// Guest RAM in bytes; a multiple of 2 MiB.
  public var memoryBytes: UInt64
  /// Memfd of exactly `memoryBytes` bytes.
  public var memory: DescriptorIndex
  /// Whether to ask for transparent huge pages behind guest RAM.
  public var hugePages: Bool
  /// An open `/dev/kvm`.
  public var kvm: DescriptorIndex
  /// A bzImage or a PVH ELF, readable.
  public var kernel: DescriptorIndex
  /// An initial RAM disk, readable.
  public var initrd: DescriptorIndex?
  /// A flattened device tree, readable.
  public var deviceTree: DescriptorIndex?
  /// The kernel's command line; one line, at most `Limits.commandLineBytes` bytes.
  public var commandLine: String
  /// A stream socket that carries the first serial line both ways.
  public var console: DescriptorIndex
  /// Channels, each an ivshmem function.
  public var ivshmem: [Ivshmem]
  /// The VFIO container (type 1) that the groups of all `vfio` devices have joined; there is one
  /// exactly if there are devices.
  public var vfioContainer: DescriptorIndex?
  /// Host devices passed through.
  public var vfio: [VFIODevice]

  /// What a plan may ask for at most.
  public enum Limits {
    /// Virtual CPUs of one domain.
    public static let vcpus = 64
    /// Bytes of a kernel command line (COMMAND_LINE_SIZE of x86 Linux, less its NUL).
    public static let commandLineBytes = 2047
    /// Bytes of a plan's text; a `SOCK_SEQPACKET` message of this size always fits.
    public static let textBytes = 60_000
    /// Doorbell vectors of one peer.
    public static let vectors = 32
    /// Guest RAM comes in units of this many bytes.
    public static let memoryUnit: UInt64 = 2 << 20
    /// Guest RAM of one domain: what lies below the 64-bit PCI window.
    public static let memoryBytes: UInt64 = 60 << 30
    /// A page of a shared region.
    public static let pageBytes: UInt64 = 4096
  }

  /// One channel: a shared region with doorbells, seen by the guest as an ivshmem function.
  public struct Ivshmem: Equatable, Sendable {
    /// Device number on PCI bus 0, 1 to 31.
    public var slot: Int
    /// The region's memfd.
    public var region: DescriptorIndex
    /// Bytes of the region; a power of two, at least one page.
    public var regionBytes: UInt64
    /// This domain's own peer id.
    public var peer: UInt16
    /// Eventfds that interrupt this domain, one per vector.
    public var vectors: [DescriptorIndex]
    /// The others, each with the eventfds that reach it.
    public var remotes: [Remote]
    /// What this domain may only read; page-aligned, in rising order, not overlapping.
    public var readOnly: [PageRange]

    public init(
      slot: Int, region: DescriptorIndex, regionBytes: UInt64, peer: UInt16,
      vectors: [DescriptorIndex], remotes: [Remote] = [], readOnly: [PageRange] = []
    ) {
      self.slot = slot
      self.region = region
      self.regionBytes = regionBytes
      self.peer = peer
      self.vectors = vectors
      self.remotes = remotes
      self.readOnly = readOnly
    }
  }

  /// Another peer of a channel.
  public struct Remote: Equatable, Sendable {
    /// Its peer id.
    public var peer: UInt16
    /// Eventfds that reach it, one per vector.
    public var vectors: [DescriptorIndex]

    public init(peer: UInt16, vectors: [DescriptorIndex]) {
      self.peer = peer
      self.vectors = vectors
    }
  }

  /// Whole pages of a region.
  public struct PageRange: Equatable, Sendable {
    /// First byte, from the start of the region.
    public var offset: UInt64
    /// Bytes.
    public var byteCount: UInt64

    public init(offset: UInt64, byteCount: UInt64) {
      self.offset = offset
      self.byteCount = byteCount
    }
  }

  /// A host PCI function that the domain owns.
  public struct VFIODevice: Equatable, Sendable {
    /// Device number on the guest's PCI bus 0, 1 to 31.
    public var slot: Int
    /// The host's address, such as `0000:01:00.0`, for reports.
    public var address: String
    /// The open VFIO device.
    public var device: DescriptorIndex

    public init(slot: Int, address: String, device: DescriptorIndex) {
      self.slot = slot
      self.address = address
      self.device = device
    }
  }

  public init(
    domain: String, vcpuCount: Int, memoryBytes: UInt64, memory: DescriptorIndex,
    hugePages: Bool = false, kvm: DescriptorIndex, kernel: DescriptorIndex,
    initrd: DescriptorIndex? = nil, deviceTree: DescriptorIndex? = nil, commandLine: String = "",
    console: DescriptorIndex, ivshmem: [Ivshmem] = [], vfioContainer: DescriptorIndex? = nil,
    vfio: [VFIODevice] = []
  ) {
    self.domain = domain
    self.vcpuCount = vcpuCount
    self.memoryBytes = memoryBytes
    self.memory = memory
    self.hugePages = hugePages
    self.kvm = kvm
    self.kernel = kernel
    self.initrd = initrd
    self.deviceTree = deviceTree
    self.commandLine = commandLine
    self.console = console
    self.ivshmem = ivshmem
    self.vfioContainer = vfioContainer
    self.vfio = vfio
  }

  /// Every descriptor index that the plan names, in no particular order.
  public var descriptorIndices: [DescriptorIndex] {
    var all = [memory, kvm, kernel, console]
    all += [initrd, deviceTree, vfioContainer].compactMap { $0 }
    for channel in ivshmem {
      all.append(channel.region)
      all += channel.vectors
      all += channel.remotes.flatMap(\.vectors)
    }
    return all + vfio.map(\.device)
  }
}

/// A plan that cannot be used.
public struct LaunchPlanError: Error, Equatable, CustomStringConvertible {
  /// Line of the text, from 1; 0 if it is about the plan as a whole.
  public let line: Int
  /// What is wrong.
  public let reason: String

  public init(line: Int, reason: String) {
    self.line = line
    self.reason = reason
  }

  public var description: String {
    (line > 0 ? "launch plan, line \(line): \(reason)" : "launch plan: \(reason)")
      + "; use the vosd and vosvmm of one build"
  }
}
