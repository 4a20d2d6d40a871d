// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

extension LabCommand {
  /// Programs of Debian, and other people's test suites, under the channel.
  struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run a command in a primary domain that is a whole Debian.",
      discussion: """
        Starts a lab of its own, brings up a primary, a network and a storage domain in it, runs the \
        command in the primary, and ends the lab. What the command writes to standard output and \
        standard error comes out here as it is written; progress goes to standard error; the exit \
        code is the command's (128 + the number of a signal that ended it, 124 after the time-out, \
        126 or 127 if it cannot be executed, 130 after ^C, 1 if the lab failed).

          tools/lab run --packages python3 -- python3 -c 'print(2 ** 64)'
          tools/lab run --share tests --packages "gcc make" -- sh -c 'cp -r /share t && make -C t check'

        What the command finds: it is root, in /root, with LANG=C.UTF-8 and libvos.so preloaded; \
        standard input is empty. Sockets of AF_INET and AF_INET6 are the network domain's, loopback \
        included; its address is 10.0.2.15, and http://10.0.2.100/ answers outside; there is no name \
        server. /storage is the storage domain's ext4. / is a disk with 4 GiB free; /tmp and /dev/shm \
        are in memory, at most half of it each. There is one processor. Nothing is kept.

        A list of packages is installed once (about a minute) and kept in out/cache. Programs run in \
        a machine that is emulated: expect a tenth of the usual speed or less.
        """)

    @Option(
      help: ArgumentHelp(
        "Show this folder at /share, read-only, as it is now; at most 4 GiB.", valueName: "dir"))
    var share: String?
    @Option(
      parsing: .singleValue,
      help: ArgumentHelp(
        "Debian 12's packages to install, with all they depend on; comma or space between.",
        valueName: "list"))
    var packages: [String] = []
    @Option(
      name: [.customShort("e"), .long], parsing: .singleValue,
      help: ArgumentHelp(
        "Set a variable of its environment. VOS_FAST=0 leaves libvos out.",
        valueName: "name=value"))
    var env: [String] = []
    @Option(
      help: ArgumentHelp("Start in this folder of the primary.", valueName: "path"))
    var directory = "/root"
    @Option(help: ArgumentHelp("Seconds the command may take.", valueName: "seconds"))
    var timeout = 1800.0
    @Option(help: ArgumentHelp("Memory of the primary, 512 to 8192 MiB.", valueName: "mib"))
    var memory = ProgramLab.Options.defaultMemoryMiB
    @Option(help: ArgumentHelp("Size of /storage, 16 to 65536 MiB.", valueName: "mib"))
    var storage = ProgramLab.Options.defaultStorageMiB
    @Flag(help: "Use what is in out/ as it is.") var noBuild = false
    @Argument(parsing: .postTerminator, help: "The command and its arguments, after --.")
    var command: [String] = []

    func validate() throws {
      guard !command.isEmpty else { throw ValidationError("name a command after --") }
      guard (512...8192).contains(memory), memory % 2 == 0 else {
        throw ValidationError("--memory is \(memory): expected an even number from 512 to 8192")
      }
      guard (16...65536).contains(storage) else {
        throw ValidationError("--storage is \(storage): expected 16 to 65536")
      }
      guard timeout > 0 else { throw ValidationError("--timeout is \(timeout): expected seconds") }
      for entry in env where !entry.contains("=") || entry.hasPrefix("=") {
        throw ValidationError("--env is \"\(entry)\": expected NAME=VALUE")
      }
    }

    func run() throws {
      let workspace = try Workspace()
      var options = ProgramLab.Options()
      options.packages = packages.flatMap {
        $0.split { $0 == "," || $0.isWhitespace }.map(String.init)
      }
      options.share = share.map { URL(fileURLWithPath: $0) }
      options.memoryMiB = memory
      options.storageMiB = storage
      try ProgramLab.check(workspace, options)
      if !noBuild { try BuildCommand.buildAll(workspace) }
      let lab = try ProgramLab.start(workspace, options)
      let code: Int32
      do {
        code = try lab.run(
          command, directory: directory, variables: env, withinSeconds: timeout, sink: Run.pass)
      } catch {
        try? lab.stop()
        throw error
      }
      try Console.shared.step("stop the lab") { try lab.stop() }
      throw ExitCode(code)
    }

    private static func pass(_ bytes: [UInt8], _ isError: Bool) {
      (isError ? FileHandle.standardError : .standardOutput).write(Data(bytes))
    }
  }
}
