// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import HostDevices
import Supervisor

/// A PCI function as `devices --json` shows it.
struct DeviceEntry: Encodable {
  var address: String
  var vendor: String
  var device: String
  var classCode: String
  var kind: String
  var driver: String?
  var group: Int?
  /// Whether a domain could have it now.
  var available: Bool
  /// Why not; or who has it.
  var reason: String?
  /// `system/domain`
  var owner: String?
}

struct DevicesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "devices", abstract: "Shows the host's PCI functions and who may have them.",
    discussion: """
      FREE says whether a domain could own the function now; otherwise the last column says why \
      not: it backs a mounted file system, carries the default route, shares its IOMMU group with \
      something that the host uses, or belongs to a domain already.
      """)

  @Option(help: "Directory above the systems' runtime directories.")
  var runtimeDirectory = RuntimeDirectory.standardRoot()

  @Flag(help: "Print JSON for programs; docs/vosctl.md names the keys.")
  var json = false

  func run() throws {
    let host = HostPCI()
    let owners = owners()
    let functions = host.inventory()
    let entries = functions.map { entry($0, host, owners) }
    if json { return try printJSON(entries) }
    var rows = [["ADDRESS", "ID", "KIND", "DRIVER", "GROUP", "FREE", "WHY"]]
    rows += entries.map {
      [
        $0.address, "\($0.vendor):\($0.device)", $0.kind, $0.driver ?? "-",
        $0.group.map { "\($0)" } ?? "-", $0.available ? "yes" : "no",
        $0.owner.map { "owned by \($0)" } ?? $0.reason ?? "",
      ]
    }
    for line in table(rows) { Terminal.print(line) }
  }

  private func entry(
    _ function: HostPCIFunction, _ host: HostPCI, _ owners: [String: String]
  ) -> DeviceEntry {
    let address = function.address.description
    let owner = owners[address]
    var reason: String?
    if owner == nil {
      do throws(HostDeviceError) {
        _ = try host.examine(function.address)
      } catch {
        reason = "\(error)"
      }
    }
    return DeviceEntry(
      address: address, vendor: hexadecimal(UInt32(function.vendor), 4),
      device: hexadecimal(UInt32(function.device), 4),
      classCode: hexadecimal(function.classCode, 6), kind: function.kind, driver: function.driver,
      group: function.group, available: owner == nil && reason == nil, reason: reason, owner: owner)
  }

  /// Which domain has which device, as the journals of all systems say.
  private func owners() -> [String: String] {
    var owners: [String: String] = [:]
    for system in RuntimeDirectory.systems(root: runtimeDirectory) {
      let directory = RuntimeDirectory.path(root: runtimeDirectory, system: system)
      guard let record = (try? Journal(directory: directory).read()) ?? nil else { continue }
      for device in record.devices { owners[device.address] = "\(system)/\(device.domain)" }
    }
    return owners
  }

  private func hexadecimal(_ number: UInt32, _ digits: Int) -> String {
    let text = String(number, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }
}
