// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MicroHost

/// Measurements that need nothing but /dev/kvm.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vosbench", abstract: "Measures vos on this machine.", subcommands: [Calls.self])
}

struct Calls: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures null calls between two micro guests, both spinning in ring 3.",
    discussion: """
      Two virtual machines share a channel, each pinned to a processor. The client makes calls as \
      a program would; in the same run one cache line is sent to and fro as the floor. Exits are \
      KVM's own count over both machines while the calls ran.
      """)

  @Flag(help: "Print one JSON object and nothing else.")
  var json = false

  @Option(help: "The folder with the guests' ELF files, as guest-kernels/micro/build prints it.")
  var guests = "guest-kernels/micro/.build/x86_64-unknown-none-elf/release"

  func run() throws {
    let figures = try CallsBenchmark(guestFolder: guests).run()
    print(json ? figures.json : figures.table)
  }
}

Bench.main()
