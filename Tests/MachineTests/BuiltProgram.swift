// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import LinuxSystem

/// A program of this build, started.
struct BuiltProgram: ~Copyable {
  let process: PidDescriptor

  /// Where this build's programs are: beside the program that runs the tests.
  private static let directory: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: own).deletingLastPathComponent().path
  }()

  static func isThere(_ name: String) -> Bool {
    FileManager.default.isExecutableFile(atPath: directory + "/" + name)
  }

  /// Starts `name`; `errors` becomes standard error and output, `passed` descriptor 3.
  init(
    _ name: String, _ arguments: [String], environment: [String] = [], passed: Int32? = nil,
    errors: Int32
  ) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, errors, 1)
    posix_spawn_file_actions_adddup2(&actions, errors, 2)
    if let passed { posix_spawn_file_actions_adddup2(&actions, passed, 3) }
    let path = Self.directory + "/" + name
    let vector = ([path] + arguments).map { strdup($0) } + [nil]
    let inherited = ProcessInfo.processInfo.environment.map { "\($0)=\($1)" }
    let variables = (inherited + environment).map { strdup($0) } + [nil]
    defer { for string in vector + variables { free(string) } }
    var number: pid_t = 0
    let failure = posix_spawn(&number, path, &actions, nil, vector, variables)
    guard failure == 0 else {
      throw SystemCallError("start \(path)", errno: .init(rawValue: failure))
    }
    process = try PidDescriptor(number)
  }

  /// Waits for its end.
  consuming func wait() throws -> PidDescriptor.Exit? { try process.reap(block: true) }
}
