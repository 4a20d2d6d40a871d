// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// Something that the host needs a device for.
public enum HostUse: Hashable, Sendable, CustomStringConvertible {
  /// A file system on one of its disks is mounted.
  case mounted(disk: String, at: String)
  /// It is swapped to.
  case swap(disk: String)
  /// Something else holds one of its disks: a volume manager, RAID, another program.
  case held(disk: String, by: String)
  /// An interface carries the route to everywhere.
  case defaultRoute(interface: String)
  /// An interface has an address.
  case networkAddress(interface: String, address: String)

  public var description: String {
    switch self {
    case .mounted(let disk, let point): "\(disk) is mounted at \(point)"
    case .swap(let disk): "\(disk) is swap space"
    case .held(let disk, let holder): "\(disk) is held by \(holder)"
    case .defaultRoute(let interface): "\(interface) carries the default route"
    case .networkAddress(let interface, let address): "\(interface) has address \(address)"
    }
  }

  /// What ends it, beginning with a verb.
  var remedy: String {
    switch self {
    case .mounted(_, let point): "unmount \(point)"
    case .swap(let disk): "take it out of use (swapoff /dev/\(disk))"
    case .held(let disk, let holder): "free \(disk) from \(holder)"
    case .defaultRoute(let interface): "route through another interface than \(interface)"
    case .networkAddress(let interface, let address):
      "remove the address (ip address del \(address) dev \(interface))"
    }
  }
}

/// What can only be asked of a live kernel, not read from a file.
public struct HostProbes {
  /// Whether somebody has the block device at this path open for himself alone.
  public var isHeld: (String) -> Bool
  /// Interfaces with their addresses, without link-local and loopback ones.
  public var addresses: () -> [(interface: String, address: String)]

  public init(
    isHeld: @escaping (String) -> Bool,
    addresses: @escaping () -> [(interface: String, address: String)]
  ) {
    self.isHeld = isHeld
    self.addresses = addresses
  }

  /// The host that we run on.
  public static var live: HostProbes {
    HostProbes(isHeld: isHeldExclusively, addresses: interfaceAddresses)
  }

  /// Mounted file systems, swap, RAID and volume managers open a disk with O_EXCL; a second such
  /// opening fails with EBUSY (open(2)).
  private static func isHeldExclusively(_ path: String) -> Bool {
    do throws(SystemCallError) {
      _ = try OwnedDescriptor.open(path, flags: O_RDONLY | O_EXCL | O_NONBLOCK)
      return false
    } catch {
      return error.errno == .resourceBusy
    }
  }

  private static func interfaceAddresses() -> [(interface: String, address: String)] {
    var list: UnsafeMutablePointer<ifaddrs>?
    // SAFETY: the call gives a list of its own, which is freed here.
    guard unsafe getifaddrs(&list) == 0 else { return [] }
    defer { unsafe freeifaddrs(list) }
    var found: [(interface: String, address: String)] = []
    var next = unsafe list
    while let entry = unsafe next {
      // SAFETY: every entry of the list has a name; the address may be missing.
      if let address = unsafe text(of: entry.pointee.ifa_addr) {
        found.append((unsafe String(cString: entry.pointee.ifa_name), address))
      }
      unsafe next = entry.pointee.ifa_next
    }
    return found
  }

  @unsafe
  private static func text(of address: UnsafeMutablePointer<sockaddr>?) -> String? {
    guard let address = unsafe address else { return nil }
    let family = Int32(unsafe address.pointee.sa_family)
    let count = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
    guard family == AF_INET || family == AF_INET6 else { return nil }
    var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    // SAFETY: the family tells the length of the address; the buffer's length is given.
    let result = unsafe getnameinfo(
      address, socklen_t(count), &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST)
    let name = String(
      decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let isLocal = name.hasPrefix("fe80:") || name.hasPrefix("127.") || name == "::1"
    return result == 0 && !isLocal ? name : nil
  }
}
