// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import LinuxSystem
import MicroHost

/// Measurements that need nothing but /dev/kvm.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vosbench", abstract: "Measures vos on this machine.",
    subcommands: [Calls.self, Copy.self])
}

/// What all measurements understand.
struct Options: ParsableArguments {
  @Flag(help: "Print one JSON object and nothing else.")
  var json = false

  @Option(help: "The folder with the guests' ELF files, as guest-kernels/micro/build prints it.")
  var guests = "guest-kernels/micro/.build/x86_64-unknown-none-elf/release"
}

struct Calls: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures null calls between two micro guests, both spinning in ring 3.",
    discussion: """
      Two virtual machines share a channel, each pinned to a processor. The client makes calls as \
      a program would; in the same run one cache line is sent to and fro as the floor. Exits are \
      KVM's own count over both machines while the calls ran.
      """)

  @OptionGroup var options: Options

  func run() throws {
    let figures = try CallsBenchmark(guestFolder: options.guests).run()
    print(options.json ? figures.json : figures.table)
  }
}

struct Copy: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures reads of a file through a micro storage service, in ring 3.",
    discussion: """
      16 MiB are read in blocks of 32 B to 2 MiB, one after the other, from a file in another \
      virtual machine's memory; and in the same run, in turn, by the host's own pread from a file \
      in tmpfs. Figures are the time through the channel divided by the host's.
      """)

  @OptionGroup var options: Options

  @Option(help: "Draw the curve into this file, as SVG.")
  var plot: String?

  @Option(parsing: .upToNextOption, help: "Block sizes in bytes, instead of 32 to 2097152.")
  var blocks = CopyBenchmark.blockBytes

  func validate() throws {
    guard blocks.allSatisfy(CopyBenchmark.isBlock) else {
      throw ValidationError("a block has 8 to \(2 << 20) bytes, a power of two")
    }
  }

  func run() throws {
    let figures = try CopyBenchmark(guestFolder: options.guests).run(blocks)
    if let plot {
      let file = try OwnedDescriptor.open(plot, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
      try file.write(all: Array(CopyPlot(figures.points).svg.utf8))
    }
    print(options.json ? figures.json : figures.table)
  }
}

Bench.main()
