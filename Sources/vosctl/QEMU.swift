// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Supervisor

struct QEMUArgumentsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "qemu-args",
    abstract: "Prints the QEMU options that make a machine an external domain.",
    discussion: """
      For a domain of a running system that has "monitor: external" in its manifest; one option a \
      line. Everything else about the machine is yours to say.

        qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 512M -kernel vmlinuz \\
          -initrd primary.cpio -append console=ttyS0 -nographic $(vosctl qemu-args primary)

      The device tree goes in with -kernel only; docs/manifest.md says what else there is.
      """)

  @OptionGroup var target: SystemOptions

  @Argument(help: "An external domain.")
  var domain: String

  func run() throws {
    let client = try target.connect()
    client.send(.status)
    switch client.receive() {
    case .reply(.status(let status)):
      for line in try options(of: status) { Terminal.print(line) }
    case .reply(.failure(let failure)): throw failure
    default: throw connectionLost
    }
  }

  private func options(of status: SystemStatus) throws(Failure) -> [String] {
    guard let found = status.domains.first(where: { $0.name == domain }) else {
      let names = status.domains.map(\.name).joined(separator: ", ")
      throw Failure(
        .badRequest,
        "there is no domain \"\(domain)\" in system \"\(status.system)\"; choose one of \(names)")
    }
    guard let external = found.external else {
      throw Failure(
        .badRequest,
        "domain \"\(domain)\" is run by vosd; give it \"monitor: external\" in the manifest to run "
          + "it in a QEMU of your own")
    }
    return external.qemuOptions
  }
}
