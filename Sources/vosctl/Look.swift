// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import DeviceTree
import Foundation
import Glibc
import Manifest
import Supervisor

/// Prints `value` as JSON.
func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  Terminal.print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

struct PsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ps", abstract: "Shows a system's domains.",
    discussion: """
      OVERHEAD is what the domain's monitor costs beyond the guest's RAM. CALLS are those that the \
      domain made on its channels: over shared slots without a trap, by the kernel's path, and \
      issued by its kernel itself.
      """)

  @OptionGroup var target: SystemOptions

  @Flag(help: "Print JSON for programs; docs/vosctl.md names the keys.")
  var json = false

  func run() throws {
    let client = try target.connect()
    client.send(.status)
    switch client.receive() {
    case .reply(.status(let status)): json ? try printJSON(status) : show(status)
    case .reply(.failure(let failure)): throw failure
    default: throw connectionLost
    }
  }

  private func show(_ status: SystemStatus) {
    let state = Terminal.coloured(status.state, Terminal.colour(ofState: status.state))
    Terminal.print(
      "system \(status.system): \(state), vosd \(status.pid), \(formatSeconds(status.uptimeSeconds))"
    )
    var rows = [
      [
        "DOMAIN", "ROLE", "STATE", "PID", "GEN", "CPUS", "MEMORY", "OVERHEAD", "UPTIME", "BOOT",
        "EXITS",
        "CALLS fast/kernel/own", "DEVICES",
      ]
    ]
    rows += status.domains.map(row)
    for line in table(rows) { Terminal.print(line) }
    for domain in status.domains {
      if let reason = domain.reason { Terminal.print("\(domain.name): \(reason)") }
      for channel in domain.channels {
        if let note = note(on: channel) { Terminal.print("\(domain.name): \(note)") }
      }
    }
  }

  private func note(on channel: SystemStatus.ChannelStatus) -> String? {
    if channel.state == "broken" {
      return "channel \(channel.name) is broken: client \(channel.clientState), "
        + "service \(channel.serviceState)"
    }
    let times = channel.renewals == 1 ? "once" : "\(channel.renewals) times"
    return channel.renewals == 0 ? nil : "channel \(channel.name) was broken and made new \(times)"
  }

  private func row(_ domain: SystemStatus.DomainStatus) -> [String] {
    let calls = domain.channels.map {
      "\($0.name) \($0.fastCalls)/\($0.fallbackCalls)/\($0.kernelCalls)"
    }
    return [
      domain.name, domain.role, domain.state, domain.pid.map { "\($0)" } ?? "-",
      "\(domain.generation)", domain.external == nil ? "\(domain.cpus)" : "-",
      domain.external == nil ? formatByteCount(domain.memoryBytes) : "external",
      domain.overheadKiB.map { "\($0) KiB" } ?? "-", domain.uptimeSeconds.map(formatSeconds) ?? "-",
      domain.bootSeconds.map(formatSeconds) ?? "-", domain.exits.map { "\($0.exits)" } ?? "-",
      calls.isEmpty ? "-" : calls.joined(separator: ", "),
      domain.devices.isEmpty ? "-" : domain.devices.joined(separator: ", "),
    ]
  }
}

struct ValidateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "validate", abstract: "Checks a manifest and the files it names.",
    discussion: """
      Prints every error as FILE:LINE:COLUMN: what was found and what was expected. Starts nothing \
      and takes nothing.
      """)

  @Argument(help: "The manifest.", completion: .file(extensions: ["yaml", "yml"]))
  var manifest: String

  func run() throws {
    let manifest = try loadManifest(manifest)
    let devices = manifest.domains.reduce(0) { $0 + $1.devices.count }
    Terminal.print(
      "\(manifest.path): system \(manifest.system), \(manifest.domains.count) domains, "
        + "\(manifest.channels.count) channels, \(devices) devices: fine")
  }
}

struct DeviceTreeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dtb", abstract: "Writes a domain's device tree to standard output.",
    discussion: """
      Of a running system, or as a manifest's domain would get it in its first life.

        vosctl dtb network | dtc -I dtb
        vosctl dtb vfio-configs/lab.yaml storage > storage.dtb
      """)

  @OptionGroup var target: SystemOptions

  @Argument(
    help: ArgumentHelp(
      "A domain of a running system, or a manifest and a domain.", valueName: "[manifest] domain"))
  var words: [String] = []

  func validate() throws {
    guard (1...2).contains(words.count) else {
      throw ValidationError("expected DOMAIN, or MANIFEST DOMAIN")
    }
  }

  func run() throws {
    if Terminal.isScreen(STDOUT_FILENO) {
      throw Failure(
        .badRequest, "a device tree is not text; pipe it into \"dtc -I dtb\" or into a file")
    }
    let tree = words.count == 2 ? try built(words[0], words[1]) : try fetched(words[0])
    Terminal.write(tree, to: STDOUT_FILENO)
  }

  private func built(_ path: String, _ domain: String) throws -> [UInt8] {
    let manifest = try loadManifest(path)
    guard let description = try SystemLayout(manifest).description(of: domain, generation: 1) else {
      let names = manifest.domains.map(\.name).joined(separator: ", ")
      throw Failure(
        .badRequest, "\(path) has no domain \"\(domain)\"; choose one of \(names)")
    }
    return try description.encoded()
  }

  private func fetched(_ domain: String) throws -> [UInt8] {
    let client = try target.connect()
    client.send(.deviceTree(domain: domain))
    var tree: [UInt8] = []
    while true {
      switch client.receive() {
      case .output(let bytes): tree += bytes
      case .reply(.done): return tree
      case .reply(.failure(let failure)): throw failure
      case .reply, .error: break
      case .closed: throw connectionLost
      }
    }
  }
}
