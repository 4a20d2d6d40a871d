// SPDX-License-Identifier: Apache-2.0
import CGuest
import DeviceTree
import Glibc

/// A program that process 1 keeps running.
struct Daemon {
  let arguments: [String]
  var name: String { arguments.joined(separator: " ") }
}

/// What each role of a domain needs before it can serve.
enum Roles {
  static let program = "/proc/self/exe"
  private static let patienceMilliseconds: UInt64 = 60000

  /// Sets the roles up; the daemons to start, or `nil` if the domain cannot do its work.
  static func prepare(_ domain: DomainDescription) -> [Daemon]? {
    if let network = domain.network, domain.roles.contains(.network) {
      guard configure(network) else { return nil }
    }
    if let storage = domain.storage {
      let export = domain.channels.first { $0.role == .service && $0.carries == .files }?.export
      guard mount(storage, at: export ?? "/export") else { return nil }
    }
    for path in remotePaths(domain) { cover(path) }
    return domain.channels.compactMap(daemon)
  }

  /// Where this domain sees another's files.
  private static func remotePaths(_ domain: DomainDescription) -> [String] {
    domain.channels.filter { $0.carries == .files && $0.role == .client }.map {
      $0.mount ?? "/storage"
    }
  }

  /// Puts an empty read-only file system below a remote one: should that be missing for a moment,
  /// nothing is written to a directory of this domain's own, to be lost from sight afterwards.
  private static func cover(_ path: String) {
    Setup.mount(
      "none", path, "tmpfs", "mode=0555,size=4k", flags: Int(MS_RDONLY | MS_NOSUID | MS_NODEV))
  }

  private static func daemon(_ channel: DomainDescription.Channel) -> Daemon? {
    switch (channel.carries, channel.role) {
    case (.sockets, .service): Daemon(arguments: ["vosguest", "serve", channel.name])
    case (.files, .service):
      Daemon(arguments: ["vosguest", "serve", channel.name, channel.export ?? "/export"])
    case (.files, .client):
      Daemon(arguments: ["vosguest", "fs", channel.name, channel.mount ?? "/storage"])
    default: nil
    }
  }

  /// The agents come last: their readiness is the domain's.
  static func agents(_ domain: DomainDescription) -> [Daemon] {
    domain.channels.filter { $0.carries == .control && $0.role == .service }.map {
      Daemon(arguments: ["vosguest", "agent", $0.name])
    }
  }

  /// Where this domain has something mounted that must be unmounted in the end.
  static func mounts(_ domain: DomainDescription) -> [String] {
    domain.channels.compactMap { channel in
      guard channel.carries == .files else { return nil }
      return channel.role == .client ? channel.mount ?? "/storage" : channel.export ?? "/export"
    }
  }

  /// Writes down which prefixes of paths are remote: libvos reads it when a program starts.
  static func tellMounts(_ domain: DomainDescription) {
    // SAFETY: static text, NUL-terminated.
    _ = unsafe mkdir("/run/vos", 0o755)
    // Also an empty list: then nothing is.
    Descriptor.write(remotePaths(domain).map { $0 + "\n" }.joined(), to: "/run/vos/mounts")
  }

  /// Waits until remote file systems are in place: whoever is let in by the agent expects them. They
  /// need nobody else for that; should one not come, somebody must be let in to see why.
  static func awaitMounts(_ domain: DomainDescription) {
    for path in remotePaths(domain) {
      let isThere = wait(milliseconds: patienceMilliseconds) {
        // No stat: it would wait for the service.
        String(decoding: Descriptor.contents(of: "/proc/mounts") ?? [], as: UTF8.self)
          .contains(" \(path) fuse.vos ")
      }
      if !isThere { System.log("\(path) is not mounted") }
    }
  }

  /// Looks until `condition` holds; false if it does not in time.
  private static func wait(milliseconds: UInt64, _ condition: () -> Bool) -> Bool {
    let end = System.milliseconds() + milliseconds
    while !condition() {
      if System.milliseconds() >= end { return false }
      System.sleep(milliseconds: 20)
    }
    return true
  }

  // MARK: Storage

  private static func mount(_ storage: DomainDescription.Storage, at export: String) -> Bool {
    // SAFETY: the string is NUL-terminated and outlives the call.
    guard wait(milliseconds: patienceMilliseconds, { unsafe access(storage.source, F_OK) == 0 })
    else {
      System.log("the device \(storage.source) did not appear")
      return false
    }
    // Nothing on the export is this domain's to run or to use as a device.
    let flags = Int(MS_NOSUID | MS_NODEV | MS_NOEXEC)
    let result = Setup.mount(
      storage.source, export, storage.type, storage.options ?? "", flags: flags)
    return result == 0
  }

  // MARK: Network

  private static func configure(_ network: DomainDescription.Network) -> Bool {
    guard let (address, prefix) = parse(network.address) else {
      System.log("\(network.address) is no address with a prefix length")
      return false
    }
    var name: String?
    guard
      wait(
        milliseconds: patienceMilliseconds,
        {
          name = interface(); return name != nil
        }),
      let name
    else {
      System.log("no network interface appeared")
      return false
    }
    // SAFETY: Swift strings become NUL-terminated ones that outlive the calls.
    guard unsafe check(guest_link_up(name), "bring up \(name)"),
      unsafe check(guest_set_address(name, address, prefix), "give \(name) its address")
    else { return false }
    if !wait(milliseconds: 10000, { hasCarrier(name) }) { System.log("\(name) has no carrier") }
    if let gateway = network.gateway {
      guard let (address, _) = parse(gateway + "/32"),
        check(guest_add_default_route(address), "set the route by \(gateway)")
      else { return false }
    }
    if let nameserver = network.nameserver {
      Descriptor.write("nameserver \(nameserver)\n", to: "/etc/resolv.conf")
    }
    return true
  }

  private static func check(_ result: Int32, _ what: String) -> Bool {
    if result < 0, result != -17 { System.log("cannot \(what): errno \(-result)") }
    return result == 0 || result == -17
  }

  /// Address in network order, prefix length.
  static func parse(_ text: String) -> (UInt32, Int32)? {
    let parts = text.split(separator: "/")
    var address = in_addr()
    // SAFETY: the string outlives the call, which fills a local of 4 bytes.
    guard parts.count == 2, let prefix = Int32(parts[1]), (0...32).contains(prefix),
      unsafe inet_pton(AF_INET, String(parts[0]), &address) == 1
    else { return nil }
    return (address.s_addr, prefix)
  }

  /// The first interface, by name, that a device is behind.
  private static func interface() -> String? {
    // SAFETY: the stream is open; an entry is valid until the next `readdir`, and its name ends
    // within it.
    guard let folder = unsafe opendir("/sys/class/net") else { return nil }
    defer { unsafe closedir(folder) }
    var names: [String] = []
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
        unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      // SAFETY: the string is NUL-terminated and outlives the call.
      if unsafe access("/sys/class/net/\(name)/device", F_OK) == 0 { names.append(name) }
    }
    return names.min()
  }

  private static func hasCarrier(_ name: String) -> Bool {
    Descriptor.contents(of: "/sys/class/net/\(name)/carrier")?.first == UInt8(ascii: "1")
  }
}
