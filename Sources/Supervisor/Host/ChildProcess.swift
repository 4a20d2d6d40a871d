// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem
import SystemPackage

/// Starts a program with exactly the descriptors it is meant to have.
enum ChildProcess {
  /// Where a program finds the one descriptor that it is started with.
  static let passedDescriptor: Int32 = 3

  /// Starts `arguments[0]`, a path.
  ///
  /// - Parameters:
  ///   - passed: becomes descriptor 3. Nothing above it is passed, whatever we inherited.
  ///   - output: becomes standard output and standard error; standard input is /dev/null.
  ///   - newSession: detach from the terminal (setsid(2)).
  static func spawn(
    _ arguments: [String], passed: Int32, output: Int32, newSession: Bool
  ) throws(SystemCallError) -> Int32 {
    closeOnExecAll()
    var actions = unsafe posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    // SAFETY: both are locals that are initialised here and destroyed before they go.
    unsafe posix_spawn_file_actions_init(&actions)
    unsafe posix_spawnattr_init(&attributes)
    defer {
      unsafe posix_spawn_file_actions_destroy(&actions)
      unsafe posix_spawnattr_destroy(&attributes)
    }
    // SAFETY: the objects were initialised above; paths are copied by the calls. A dup2 onto the
    // same number clears close-on-exec (glibc 2.29).
    unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    unsafe posix_spawn_file_actions_adddup2(&actions, output, 1)
    unsafe posix_spawn_file_actions_adddup2(&actions, output, 2)
    unsafe posix_spawn_file_actions_adddup2(&actions, passed, passedDescriptor)
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    let flags = Int32(POSIX_SPAWN_SETSIGMASK) | (newSession ? spawnSetsid : 0)
    unsafe posix_spawnattr_setflags(&attributes, Int16(flags))

    var pid: pid_t = 0
    // SAFETY: the argument vector is NULL-terminated and lives until the call returns.
    let result = unsafe withArgumentVector(arguments) { vector in
      unsafe posix_spawn(&pid, arguments[0], &actions, &attributes, vector, environ)
    }
    guard result == 0 else {
      throw SystemCallError("start \(arguments[0])", errno: Errno(rawValue: result))
    }
    return pid
  }

  /// The two ends of a pipe.
  struct Pipe: ~Copyable {
    let read: OwnedDescriptor
    let write: OwnedDescriptor
  }

  /// A pipe for a program's output; both ends are close-on-exec.
  static func pipe() throws(SystemCallError) -> Pipe {
    var numbers: [Int32] = [-1, -1]
    // SAFETY: the call fills two entries, which the array has.
    guard unsafe Glibc.pipe(&numbers) == 0 else {
      throw SystemCallError("create a pipe", errno: currentErrno())
    }
    let pipe = Pipe(
      read: OwnedDescriptor(owning: numbers[0]), write: OwnedDescriptor(owning: numbers[1]))
    try pipe.read.setCloseOnExec(true)
    try pipe.write.setCloseOnExec(true)
    return pipe
  }

  /// Our own descriptors are close-on-exec from the start; those that we inherited may not be.
  private static func closeOnExecAll() {
    for number in directoryEntries("/proc/self/fd").compactMap({ Int32($0) }) where number > 2 {
      _ = fcntl(number, F_SETFD, FD_CLOEXEC)
    }
  }

  /// POSIX_SPAWN_SETSID of glibc's spawn.h, hidden behind a feature macro.
  private static let spawnSetsid: Int32 = 0x80

  private static func withArgumentVector(
    _ arguments: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Int32
  ) -> Int32 {
    var vector = unsafe arguments.map { unsafe strdup($0) }
    defer {
      // SAFETY: each was made by strdup and is freed once.
      unsafe vector.forEach { unsafe free($0) }
    }
    unsafe vector.append(nil)
    // SAFETY: an array's buffer lives while its closure runs.
    return unsafe vector.withUnsafeBufferPointer { buffer in
      guard let start = buffer.baseAddress else { return EINVAL }
      return unsafe body(start)
    }
  }
}

/// Finds the programs that belong to this one: in $VOS_LIBEXEC, or beside it.
public enum Companion {
  /// The path of `name`; `nil` if it is nowhere.
  public static func path(of name: String) -> String? {
    // SAFETY: the result is copied at once; nothing here changes the environment.
    if let directory = unsafe getenv("VOS_LIBEXEC").map({ unsafe String(cString: $0) }) {
      return executable(directory + "/" + name)
    }
    guard let own = ownPath(), let slash = own.lastIndex(of: "/") else { return nil }
    return executable(own[..<slash] + "/" + name)
      ?? executable(own[..<slash] + "/../libexec/vos/" + name)
  }

  private static func executable(_ path: String) -> String? {
    // SAFETY: the string outlives the call.
    unsafe access(path, X_OK) == 0 ? path : nil
  }

  private static func ownPath() -> String? {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    // SAFETY: the call writes at most the count that it is given.
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count - 1)
    guard count > 0 else { return nil }
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
