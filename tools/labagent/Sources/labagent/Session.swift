// SPDX-License-Identifier: Apache-2.0
import Glibc

/// One command of the client, in a process group of its own.
struct Session {
  let process: pid_t
  private(set) var input: Int32
  private(set) var output: Int32
  private(set) var errors: Int32

  /// Starts `arguments`, found along PATH.
  init(arguments: [String]) throws(SystemError) {
    let (inputEnd, ownInput) = try makePipe()
    let (ownOutput, outputEnd) = try makePipe()
    let (ownErrors, errorsEnd) = try makePipe()
    defer { [inputEnd, outputEnd, errorsEnd].forEach { close($0) } }
    do {
      process = try spawn(arguments, descriptors: [inputEnd, outputEnd, errorsEnd])
    } catch {
      [ownInput, ownOutput, ownErrors].forEach { close($0) }
      throw error
    }
    [ownOutput, ownErrors].forEach(setNonBlocking)
    (input, output, errors) = (ownInput, ownOutput, ownErrors)
  }

  /// Gives bytes to the command's standard input; none close it. A command that left is no error.
  ///
  /// Waits while the pipe is full: clients send what fits a pipe (64 KiB) before they read.
  mutating func feed(_ bytes: [UInt8]) {
    guard input >= 0 else { return }
    do {
      if !bytes.isEmpty { return try writeAll(input, bytes) }
    } catch {}
    close(input)
    input = -1
  }

  func signal(_ number: Int32) { kill(-process, number) }

  /// The wait status once the command has ended.
  func reap() -> Int32? {
    var status: Int32 = 0
    // SAFETY: `status` outlives the call.
    return unsafe waitpid(process, &status, WNOHANG) == process ? status : nil
  }

  /// What the command has written since the last call; ends of streams are closed as they are met.
  mutating func drain() -> (output: [UInt8], errors: [UInt8]) {
    (Session.take(&output), Session.take(&errors))
  }

  mutating func closeAll() {
    for descriptor in [input, output, errors] where descriptor >= 0 { close(descriptor) }
    (input, output, errors) = (-1, -1, -1)
  }

  private static func take(_ descriptor: inout Int32) -> [UInt8] {
    guard descriptor >= 0 else { return [] }
    // Half of a frame's limit: a reply always fits.
    guard let result = try? readSome(descriptor, limit: 1 << 15) else { return [] }
    if result.isEmpty {
      close(descriptor)
      descriptor = -1
    }
    return result
  }
}

/// Starts a program as the leader of a new process group, with three standard descriptors.
private func spawn(_ arguments: [String], descriptors: [Int32]) throws(SystemError) -> pid_t {
  guard let program = arguments.first else { throw SystemError("empty command", EINVAL) }
  var actions = unsafe posix_spawn_file_actions_t()
  var attributes = posix_spawnattr_t()
  unsafe posix_spawn_file_actions_init(&actions)
  unsafe posix_spawnattr_init(&attributes)
  defer {
    unsafe posix_spawn_file_actions_destroy(&actions)
    unsafe posix_spawnattr_destroy(&attributes)
  }
  for (standard, descriptor) in descriptors.enumerated() {
    unsafe posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(standard))
  }
  var defaults = sigset_t()
  // The agent ignores SIGPIPE; its commands shall not.
  unsafe sigemptyset(&defaults)
  unsafe sigaddset(&defaults, SIGPIPE)
  unsafe posix_spawnattr_setsigdefault(&attributes, &defaults)
  unsafe posix_spawnattr_setflags(
    &attributes, Int16(POSIX_SPAWN_SETPGROUP) | Int16(POSIX_SPAWN_SETSIGDEF))
  var vector = unsafe arguments.map { unsafe strdup($0) } + [nil]
  defer { unsafe vector.forEach { unsafe free($0) } }
  var process: pid_t = 0
  // SAFETY: the vector ends with nil, and all arguments outlive the call.
  let failure = unsafe posix_spawnp(&process, program, &actions, &attributes, &vector, environ)
  guard failure == 0 else { throw SystemError(program, failure) }
  return process
}
