// SPDX-License-Identifier: Apache-2.0

/// Finds out what the host needs each of its PCI functions for.
///
/// Disks: mounts (also through partitions, device mapper, RAID and btrfs), swap, and whatever holds
/// a disk for itself. Interfaces: the default route and addresses, also through bridges, bonds and
/// VLANs on top. A device below a function counts for the function and for every bridge above it.
struct Criticality {
  private let files: HostFiles
  private let probes: HostProbes
  /// Kernel names of block devices (`sda1`), each with the functions it hangs on.
  private let disks: [String: Set<PCIAddress>]
  private let interfaces: [String: Set<PCIAddress>]

  /// Stacks of block devices or interfaces are never this high; more is a loop.
  private static let maximumDepth = 16

  init(_ files: HostFiles, _ probes: HostProbes) {
    self.files = files
    self.probes = probes
    disks = Self.owners(files, "/class/block")
    interfaces = Self.owners(files, "/class/net")
  }

  /// Entries of a class, each with the functions in its path.
  private static func owners(_ files: HostFiles, _ path: String) -> [String: Set<PCIAddress>] {
    let directory = files.sys + path
    var owners: [String: Set<PCIAddress>] = [:]
    for name in files.names(in: directory) {
      guard let resolved = files.resolved(directory + "/" + name) else { continue }
      owners[name] = functions(in: resolved).union(controllers(files, ofNamespace: resolved))
    }
    return owners
  }

  private static func functions(in path: String) -> Set<PCIAddress> {
    Set(path.split(separator: "/").compactMap { PCIAddress(String($0)) })
  }

  /// An NVMe namespace that several controllers may share hangs on a virtual subsystem, which has a
  /// link to each of them (linux/drivers/nvme/host/multipath.c).
  private static func controllers(
    _ files: HostFiles, ofNamespace path: String
  ) -> Set<PCIAddress> {
    let parts = path.split(separator: "/")
    guard
      let index = parts.firstIndex(where: {
        $0.hasPrefix("nvme-subsys") && $0.last?.isNumber == true
      })
    else { return [] }
    let subsystem = "/" + parts[...index].joined(separator: "/")
    return files.names(in: subsystem).filter { $0.hasPrefix("nvme") }
      .compactMap { files.resolved(subsystem + "/" + $0) }
      .reduce(into: []) { $0.formUnion(functions(in: $1)) }
  }

  /// What the host needs `address` for; empty if it can spare it.
  func uses(of address: PCIAddress) -> [HostUse] {
    var uses: [HostUse] = []
    for use in diskUses() + interfaceUses() where use.functions.contains(address) {
      if !uses.contains(use.use) { uses.append(use.use) }
    }
    return uses
  }

  private typealias Found = (use: HostUse, functions: Set<PCIAddress>)

  // MARK: Disks

  private func diskUses() -> [Found] {
    let mounts = mountUses()
    let swaps = swapUses()
    let named = Set((mounts + swaps).flatMap { diskNames(of: $0.use) })
    return mounts + swaps + holdingUses(except: named)
  }

  private func diskNames(of use: HostUse) -> [String] {
    switch use {
    case .mounted(let disk, _), .swap(let disk): allBelow(disk).sorted()
    default: []
    }
  }

  /// Field 3 of mountinfo is the device's number, field 5 the place, and after a lone dash come type
  /// and source (proc(5)). File systems of several disks have a number of their own: for them the
  /// source counts, and btrfs says what else belongs to it.
  private func mountUses() -> [Found] {
    let lines = files.text(files.proc + "/self/mountinfo")?.split(separator: "\n") ?? []
    return lines.flatMap { line -> [Found] in
      let fields = line.split(separator: " ")
      guard fields.count > 5, let dash = fields.firstIndex(of: "-"), fields.count > dash + 2
      else { return [] }
      let point = Self.unescaped(fields[4])
      var names: Set<String> = []
      if let name = files.linkTarget(files.sys + "/dev/block/\(fields[2])") { names.insert(name) }
      if let name = blockName(Self.unescaped(fields[dash + 2])) {
        names.formUnion(btrfsSiblings(of: name))
        names.insert(name)
      }
      return names.sorted().map { (.mounted(disk: $0, at: point), functions(below: $0)) }
    }
  }

  private func swapUses() -> [Found] {
    let lines = files.text(files.proc + "/swaps")?.split(separator: "\n").dropFirst() ?? []
    return lines.compactMap { line in
      let path = line.prefix { $0 != " " && $0 != "\t" }
      guard let name = blockName(Self.unescaped(path)) else { return nil }
      return (.swap(disk: name), functions(below: name))
    }
  }

  /// Disks that somebody uses without a mount or swap that we know of.
  private func holdingUses(except known: Set<String>) -> [Found] {
    disks.keys.sorted().compactMap { name in
      guard let owners = disks[name], !owners.isEmpty, !known.contains(name) else { return nil }
      let holders = files.names(in: files.sys + "/class/block/\(name)/holders")
      if let holder = holders.first(where: { !known.contains($0) }) {
        return (.held(disk: name, by: holder), owners)
      }
      let partitions = files.names(in: files.sys + "/class/block/\(name)").filter {
        $0.hasPrefix(name)
      }
      // A disk counts as held when a partition is; then the partition is what is named.
      guard partitions.isEmpty, probes.isHeld(files.dev + "/" + name) else { return nil }
      return (.held(disk: name, by: "another program"), owners)
    }
  }

  /// The functions that the block device `name` hangs on, through whatever it is made of.
  private func functions(below name: String) -> Set<PCIAddress> {
    allBelow(name).reduce(into: []) { $0.formUnion(disks[$1] ?? []) }
  }

  /// `name` and all block devices that it is made of.
  private func allBelow(_ name: String) -> Set<String> {
    var found: Set<String> = []
    var next: Set<String> = [name]
    for _ in 0..<Self.maximumDepth where !next.isEmpty {
      found.formUnion(next)
      let below = next.flatMap { name in
        let directory = files.sys + "/class/block/\(name)"
        return files.names(in: directory + "/slaves")
      }
      next = Set(below).subtracting(found)
    }
    return found
  }

  private func btrfsSiblings(of name: String) -> Set<String> {
    let directory = files.sys + "/fs/btrfs"
    for volume in files.names(in: directory) {
      let devices = files.names(in: directory + "/\(volume)/devices")
      if devices.contains(name) { return Set(devices) }
    }
    return []
  }

  /// The kernel's name of the block device at a path such as `/dev/mapper/root`.
  private func blockName(_ path: String) -> String? {
    guard path.hasPrefix("/dev/") else { return nil }
    let own = files.dev + path.dropFirst("/dev".utf8.count)
    let name = files.linkTarget(own) ?? path.split(separator: "/").last.map(String.init)
    return name.flatMap { disks[$0] == nil ? nil : $0 }
  }

  /// Blanks and the like are written as a backslash and three octal digits.
  private static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3).map { Int($0) - 0x30 }
      if byte == UInt8(ascii: "\\"), digits.count == 3, digits.allSatisfy({ (0...7).contains($0) })
      {
        bytes.append(UInt8(truncatingIfNeeded: digits[0] << 6 | digits[1] << 3 | digits[2]))
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  // MARK: Interfaces

  private func interfaceUses() -> [Found] {
    let routes = defaultRoutes().sorted().map { HostUse.defaultRoute(interface: $0) }
    let addresses = probes.addresses().map {
      HostUse.networkAddress(interface: $0.interface, address: $0.address)
    }
    return (routes + addresses).map { use in
      switch use {
      case .defaultRoute(let name), .networkAddress(let name, _):
        (use, functionsOfInterface(name))
      default: (use, [])
      }
    }
  }

  /// Interfaces of default routes: of IPv4 by destination and mask 0, of IPv6 by destination ::/0
  /// that is not a rejecting route (those are on `lo`).
  private func defaultRoutes() -> Set<String> {
    var found: Set<String> = []
    let lines4 = files.text(files.proc + "/net/route")?.split(separator: "\n").dropFirst() ?? []
    for line in lines4 {
      let fields = line.split { $0 == "\t" || $0 == " " }
      if fields.count > 7, fields[1] == "00000000", fields[7] == "00000000" {
        found.insert(String(fields[0]))
      }
    }
    for line in files.text(files.proc + "/net/ipv6_route")?.split(separator: "\n") ?? [] {
      let fields = line.split(separator: " ")
      if fields.count > 9, fields[0].allSatisfy({ $0 == "0" }), fields[1] == "00" {
        found.insert(String(fields[9]))
      }
    }
    return found.subtracting(["lo"])
  }

  /// The functions below an interface, through bridges, bonds and VLANs.
  private func functionsOfInterface(_ name: String) -> Set<PCIAddress> {
    var found: Set<String> = []
    var next: Set<String> = [name]
    for _ in 0..<Self.maximumDepth where !next.isEmpty {
      found.formUnion(next)
      let below = next.flatMap { name in
        files.names(in: files.sys + "/class/net/\(name)")
          .filter { $0.hasPrefix("lower_") }.map { String($0.dropFirst("lower_".utf8.count)) }
      }
      next = Set(below).subtracting(found)
    }
    return found.reduce(into: []) { $0.formUnion(interfaces[$1] ?? []) }
  }
}
