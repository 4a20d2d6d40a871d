// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem
import SystemPackage

@testable import HostDevices

/// A host made of files: sysfs, procfs and /dev below a temporary directory, and a writer that does
/// with drivers what the kernel would.
final class FakeHost: AttributeWriter {
  let root: String
  var trace: [String] = []
  /// Attributes to which writes fail, as a kill at that point would leave it.
  var failing: Set<String> = []
  /// Drivers that do not take what they are offered.
  var unwilling: Set<String> = []
  var held: Set<String> = []
  var addresses: [(interface: String, address: String)] = []
  private var paths: [String: String] = [:]

  init() {
    var template = Array("/tmp/vos-host-XXXXXX".utf8CString)
    root = String(cString: mkdtemp(&template))
    for driver in ["vfio-pci", "e1000e", "ahci", "pcieport", "lpc_ich", "nvme"] {
      makeDirectory("sys/bus/pci/drivers/\(driver)")
    }
    makeDirectory("sys/bus/pci/devices")
    makeDirectory("sys/class/block")
    makeDirectory("sys/class/net")
    makeDirectory("sys/dev/block")
    makeDirectory("proc/self")
    makeDirectory("proc/net")
    makeDirectory("dev/vfio")
    put("proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n")
    put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
    put("proc/net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n")
  }

  deinit { _ = system("rm -rf '\(root)'") }

  var host: HostPCI {
    HostPCI(
      HostFiles(sys: root + "/sys", proc: root + "/proc", dev: root + "/dev", writer: self),
      probes: HostProbes(
        isHeld: { [root] in self.held.contains(String($0.dropFirst(root.utf8.count))) },
        addresses: { self.addresses }))
  }

  // MARK: Files

  func makeDirectory(_ path: String) {
    var partial = root
    for part in path.split(separator: "/") {
      partial += "/" + part
      mkdir(partial, 0o755)
    }
  }

  func put(_ path: String, _ text: String) {
    if let slash = path.lastIndex(of: "/") { makeDirectory(String(path[..<slash])) }
    let descriptor = open(root + "/" + path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    let bytes = Array(text.utf8)
    _ = Glibc.write(descriptor, bytes, bytes.count)
    close(descriptor)
  }

  func link(_ path: String, to target: String) {
    if let slash = path.lastIndex(of: "/") { makeDirectory(String(path[..<slash])) }
    unlink(root + "/" + path)
    symlink(root + "/" + target, root + "/" + path)
  }

  // MARK: Things on the host

  /// Adds a function. `parent` is the path of the bridge above it, from `devices/pci0000:00` on.
  func addFunction(
    _ address: String, classCode: UInt32, driver: String?, group: Int?, below parent: String = "",
    identity: (String, String) = ("0x8086", "0x10d3")
  ) {
    let path = "sys/devices/pci0000:00/" + (parent.isEmpty ? "" : parent + "/") + address
    paths[address] = path
    put(path + "/vendor", identity.0 + "\n")
    put(path + "/device", identity.1 + "\n")
    put(path + "/class", "0x" + String(classCode, radix: 16) + "\n")
    put(path + "/driver_override", "(null)\n")
    put(path + "/numa_node", "-1\n")
    put(path + "/config", "\u{06}\u{01}")
    link("sys/bus/pci/devices/" + address, to: path)
    if let driver { bind(address, driver) }
    guard let group else { return }
    link("sys/kernel/iommu_groups/\(group)/devices/" + address, to: path)
    link(path + "/iommu_group", to: "sys/kernel/iommu_groups/\(group)")
  }

  func path(_ address: String) -> String { paths[address] ?? "" }

  func addDisk(_ name: String, below address: String, number: String, partition: String? = nil) {
    let disk = path(address) + "/ata1/block/" + name
    let directory = partition.map { disk + "/" + $0 } ?? disk
    makeDirectory(directory + "/slaves")
    makeDirectory(directory + "/holders")
    link("sys/class/block/" + (partition ?? name), to: directory)
    link("sys/dev/block/" + number, to: directory)
    put("dev/" + (partition ?? name), "")
  }

  /// A device-mapper or RAID device over others.
  func addStacked(_ name: String, over parts: [String], number: String) {
    let directory = "sys/devices/virtual/block/" + name
    makeDirectory(directory)
    link("sys/class/block/" + name, to: directory)
    link("sys/dev/block/" + number, to: directory)
    put("dev/" + name, "")
    for part in parts {
      link(directory + "/slaves/" + part, to: "sys/class/block/" + part)
      link("sys/class/block/" + part + "/holders/" + name, to: directory)
    }
  }

  func addInterface(_ name: String, below address: String) {
    let directory = path(address) + "/net/" + name
    makeDirectory(directory)
    link("sys/class/net/" + name, to: directory)
  }

  /// A bridge or bond over interfaces.
  func addStackedInterface(_ name: String, over parts: [String]) {
    let directory = "sys/devices/virtual/net/" + name
    makeDirectory(directory)
    link("sys/class/net/" + name, to: directory)
    for part in parts { link(directory + "/lower_" + part, to: "sys/class/net/" + part) }
  }

  func mount(_ number: String, at point: String, source: String, type: String = "ext4") {
    let old = HostFiles().text(root + "/proc/self/mountinfo") ?? ""
    put(
      "proc/self/mountinfo",
      old + "\n36 22 \(number) / \(point) rw,relatime shared:1 - \(type) \(source) rw\n")
  }

  // MARK: The kernel's part

  func bind(_ address: String, _ driver: String) {
    link(path(address) + "/driver", to: "sys/bus/pci/drivers/" + driver)
  }

  func driver(_ address: String) -> String? {
    HostFiles().linkTarget(root + "/" + path(address) + "/driver")
  }

  func write(_ text: String, to path: String) throws(SystemCallError) {
    let short = String(path.dropFirst(root.utf8.count + "/sys/bus/pci/".utf8.count))
    let text = text.hasSuffix("\n") ? String(text.dropLast()) : text
    trace.append("\(short) = \(text)")
    if failing.contains(short) { throw SystemCallError("write \(short)", errno: .ioError) }
    let parts = short.split(separator: "/").map(String.init)
    switch parts.last {
    case "driver_override":
      put(self.path(parts[1]) + "/driver_override", (text.isEmpty ? "(null)" : text) + "\n")
    case "unbind":
      guard driver(text) == parts[1] else {
        throw SystemCallError("write \(short)", errno: .noSuchAddressOrDevice)
      }
      unlink(root + "/" + self.path(text) + "/driver")
    case "drivers_probe":
      let wanted = HostFiles().text(root + "/" + self.path(text) + "/driver_override")
      if let wanted, wanted != "(null)", !unwilling.contains(wanted) { bind(text, wanted) }
    case "bind":
      if !unwilling.contains(parts[1]) { bind(text, parts[1]) }
    default:
      throw SystemCallError("write \(short)", errno: .noSuchFileOrDirectory)
    }
  }
}

extension FakeHost {
  /// The lab's host: a network controller behind a root port, an AHCI alone in its group, and the
  /// chipset's AHCI with the LPC bridge.
  static func lab() -> FakeHost {
    let host = FakeHost()
    host.addFunction("0000:00:00.0", classCode: 0x06_0000, driver: nil, group: 0)
    host.addFunction("0000:00:03.0", classCode: 0x06_0400, driver: "pcieport", group: 2)
    host.addFunction(
      "0000:01:00.0", classCode: 0x02_0000, driver: "e1000e", group: 2, below: "0000:00:03.0")
    host.addFunction("0000:00:05.0", classCode: 0x01_0601, driver: "ahci", group: 3)
    host.addFunction("0000:00:1f.0", classCode: 0x06_0100, driver: "lpc_ich", group: 9)
    host.addFunction("0000:00:1f.2", classCode: 0x01_0601, driver: "ahci", group: 9)
    host.addDisk("sda", below: "0000:00:1f.2", number: "8:0")
    host.addDisk("sda", below: "0000:00:1f.2", number: "8:1", partition: "sda1")
    host.addDisk("sdb", below: "0000:00:05.0", number: "8:16")
    host.addDisk("sdb", below: "0000:00:05.0", number: "8:17", partition: "sdb1")
    host.addInterface("enp1s0", below: "0000:01:00.0")
    return host
  }
}
