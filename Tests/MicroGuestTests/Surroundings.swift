// SPDX-License-Identifier: Apache-2.0
import Foundation

/// What the machine that runs the tests offers.
enum Surroundings {
  private static let environment = ProcessInfo.processInfo.environment

  /// Whether tests with KVM run. `REQUIRE_KVM=1` runs them where they must fail, too.
  static let hasKVM: Bool = {
    if environment["REQUIRE_KVM"] == "1" { return true }
    let descriptor = open("/dev/kvm", O_RDWR | O_CLOEXEC)
    if descriptor >= 0 {
      close(descriptor)
      return true
    }
    print("SKIPPED: /dev/kvm cannot be opened, micro guests are not run on it")
    return false
  }()

  static let qemu = "/usr/bin/qemu-system-x86_64"

  /// Whether tests with QEMU's software emulation run.
  static let hasQEMU: Bool = {
    if FileManager.default.isExecutableFile(atPath: qemu) { return true }
    print("SKIPPED: \(qemu) is missing (package qemu-system-x86), micro guests are not run on it")
    return environment["REQUIRE_LAB"] == "1"
  }()

  private static let root = URL(filePath: #filePath)
    .deletingLastPathComponent().appending(path: "../..").standardizedFileURL

  /// The path of the micro guest `name`, built if need be; `VOS_MICRO_GUESTS` names the folder of
  /// ready ones.
  static func guest(_ name: String) throws -> String { try folder.get() + "/" + name }

  private static let folder: Result<String, any Error> = Result {
    if let folder = environment["VOS_MICRO_GUESTS"] { return folder }
    let build = root.appending(path: "guest-kernels/micro/build").path
    let output = try run(build, [], seconds: 600)
    return output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// A tool that failed, with all that it wrote.
  struct ToolFailure: Error, CustomStringConvertible {
    let description: String
  }

  /// What `tool` writes to standard output.
  static func run(_ tool: String, _ arguments: [String], seconds: Double) throws -> String {
    let process = Process()
    process.executableURL = URL(filePath: tool)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let number = process.processIdentifier
    let watchdog = DispatchWorkItem { kill(number, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + seconds, execute: watchdog)
    let output = String(
      decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    watchdog.cancel()
    guard process.terminationStatus == 0 else {
      throw ToolFailure(
        description: "\(tool) ended with status \(process.terminationStatus):\n\(output)")
    }
    return output
  }
}
