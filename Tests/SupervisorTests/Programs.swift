// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Testing

@testable import Supervisor

/// What a program left behind.
struct Outcome {
  var code: Int32
  var output: String
  var errors: String
}

/// The real vosctl and vosd over a pretended vosvmm, in directories of their own.
final class Programs {
  let scratch: Scratch
  let runtime: String
  private let libexec: String
  private var runs = 0

  /// Where this build's programs are: beside the program that runs the tests.
  static let directory: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: own).deletingLastPathComponent().path
  }()

  static var areBuilt: Bool {
    ["vosctl", "vosd", "vosfakevmm"].allSatisfy {
      FileManager.default.isExecutableFile(atPath: directory + "/" + $0)
    }
  }

  init() throws {
    scratch = try Scratch()
    runtime = scratch.path + "/run"
    libexec = scratch.path + "/libexec"
    try FileManager.default.createDirectory(atPath: libexec, withIntermediateDirectories: true)
    for (name, target) in [("vosd", "vosd"), ("vosvmm", "vosfakevmm")] {
      try FileManager.default.createSymbolicLink(
        atPath: libexec + "/" + name, withDestinationPath: Self.directory + "/" + target)
    }
    try Data(kernel()).write(to: URL(fileURLWithPath: scratch.path + "/kernel"))
    try manifest("good", other: "quiet")
  }

  deinit {
    // A test that failed may have left a system up.
    _ = try? vosctl("down", "--force")
  }

  /// The smallest file that passes for a bzImage.
  private func kernel() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    bytes[0x1f1] = 1
    bytes[0x1f4] = 2
    bytes.replaceSubrange(0x1fe..<0x200, with: [0x55, 0xaa])
    bytes.replaceSubrange(0x202..<0x208, with: Array("HdrS".utf8) + [0x0f, 0x02])
    bytes[0x236] = 1
    return bytes
  }

  /// Writes NAME.yaml, whose second domain behaves as `other` says.
  func manifest(_ name: String, other: String) throws {
    try scratch.write(
      name + ".yaml",
      """
      vos: 1
      system: toy
      domains:
        primary: {kernel: kernel, memory: 64MiB}
        other: {kernel: kernel, memory: 64MiB, cmdline: \(other)}
      """)
  }

  func path(_ name: String) -> String { scratch.path + "/" + name }

  /// A vosctl that may not have ended yet; its output goes to files, which no process can keep open
  /// against us as it could a pipe.
  struct Started {
    let process: Process
    let output: String
    let errors: String
  }

  func start(_ arguments: [String], input: String? = nil) throws -> Started {
    runs += 1
    let files = ["out", "err", "in"].map { scratch.path + "/\(runs).\($0)" }
    for file in files { _ = FileManager.default.createFile(atPath: file, contents: nil) }
    if let input { try Data(input.utf8).write(to: URL(fileURLWithPath: files[2])) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Self.directory + "/vosctl")
    process.arguments = arguments
    process.environment = [
      "VOS_RUNTIME_DIRECTORY": runtime, "VOS_LIBEXEC": libexec, "PATH": "/usr/bin:/bin",
    ]
    process.currentDirectoryURL = URL(fileURLWithPath: scratch.path)
    process.standardOutput = FileHandle(forWritingAtPath: files[0])
    process.standardError = FileHandle(forWritingAtPath: files[1])
    process.standardInput = FileHandle(forReadingAtPath: files[2])
    try process.run()
    return Started(process: process, output: files[0], errors: files[1])
  }

  func vosctl(_ arguments: String..., input: String? = nil) throws -> Outcome {
    finish(try start(arguments, input: input))
  }

  /// Waits for the end of a vosctl.
  func finish(_ started: Started) -> Outcome {
    started.process.waitUntilExit()
    return Outcome(
      code: started.process.terminationStatus,
      output: (try? String(contentsOfFile: started.output, encoding: .isoLatin1)) ?? "",
      errors: (try? String(contentsOfFile: started.errors, encoding: .utf8)) ?? "")
  }

  func up(_ name: String = "good") throws -> Outcome {
    try vosctl("up", "--boot-timeout", "20", "--kvm-device", "/dev/null", name + ".yaml")
  }

  func status() throws -> SystemStatus {
    let outcome = try vosctl("ps", "--json")
    return try JSONDecoder().decode(SystemStatus.self, from: Data(outcome.output.utf8))
  }

  /// Waits until `condition` holds; a test that waits in vain fails.
  func wait(_ what: String, _ condition: () throws -> Bool) throws {
    for _ in 0..<600 {
      if try condition() { return }
      usleep(50_000)
    }
    Issue.record("waited in vain: \(what)")
  }

  /// Nothing of the system is left: no files, and none of these processes.
  func expectClean(_ processes: [Int32] = []) throws {
    #expect((try? FileManager.default.contentsOfDirectory(atPath: runtime)) ?? [] == [])
    // A program is seen to end a moment after its sockets close.
    for pid in processes { try wait("process \(pid) to end") { ProcessIdentity(pid: pid) == nil } }
  }
}
