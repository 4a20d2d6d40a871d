// SPDX-License-Identifier: Apache-2.0
public import Foundation
import Synchronization

/// POSIX_SPAWN_SETSID of spawn.h, which hides it behind _GNU_SOURCE.
private let spawnNewSession: Int16 = 0x80

/// A program started by this one, as the leader of a process group of its own.
///
/// Every child is known to `Interrupts` until it has been waited for: ^C ends its whole group.
public struct Child: Sendable {
  public let process: pid_t

  /// Where a standard stream of a child leads.
  public enum Stream: Sendable {
    case null
    case inherited
    case descriptor(Int32)
  }

  /// Starts `arguments[0]`, found along PATH.
  ///
  /// - Parameter detached: a session of its own, which outlives this program: ^C does not end it.
  public init(
    _ arguments: [String], directory: URL? = nil, environment: [String: String] = [:],
    input: Stream = .null, output: Stream = .inherited, errors: Stream = .inherited,
    detached: Bool = false
  ) throws {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    // SAFETY: the actions were initialised above; paths are copied by the calls.
    for (number, stream) in [input, output, errors].enumerated() {
      switch stream {
      case .inherited: break
      case .null:
        unsafe posix_spawn_file_actions_addopen(&actions, Int32(number), "/dev/null", O_RDWR, 0)
      case .descriptor(let descriptor):
        unsafe posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(number))
      }
    }
    process = try unsafe Child.spawn(
      (directory.map { ["env", "-C", $0.path] } ?? []) + arguments,
      environment: ProcessInfo.processInfo.environment.merging(environment) { $1 },
      actions: &actions, detached: detached)
    if !detached { Interrupts.register(process) }
  }

  private static func spawn(
    _ arguments: [String], environment: [String: String],
    actions: inout posix_spawn_file_actions_t, detached: Bool
  ) throws -> pid_t {
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    let group = detached ? spawnNewSession : Int16(POSIX_SPAWN_SETPGROUP)
    unsafe posix_spawnattr_setflags(&attributes, group | Int16(POSIX_SPAWN_SETSIGMASK))
    var vector = unsafe arguments.map { unsafe strdup($0) } + [nil]
    var variables = unsafe environment.map { unsafe strdup("\($0)=\($1)") } + [nil]
    defer {
      unsafe vector.forEach { unsafe free($0) }
      unsafe variables.forEach { unsafe free($0) }
    }
    var process: pid_t = 0
    // SAFETY: both vectors end with nil, and every argument outlives the call.
    let failure = unsafe posix_spawnp(
      &process, arguments[0], &actions, &attributes, &vector, &variables)
    guard failure == 0 else { throw systemFailure("start \(arguments[0])", failure) }
    return process
  }

  /// Waits for the child's end; a signal's number counts as 128 + number, as in a shell.
  public func wait() throws -> Int32 {
    var status: Int32 = 0
    // SAFETY: `status` outlives the call.
    while unsafe waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { throw systemFailure("wait for process \(process)") }
    }
    Interrupts.unregister(process)
    if Interrupts.raised { throw Failure("interrupted") }
    return exitCode(status)
  }

  /// The exit code if the child has ended, else nil.
  public func poll() -> Int32? {
    var status: Int32 = 0
    // SAFETY: `status` outlives the call.
    guard unsafe waitpid(process, &status, WNOHANG) == process else { return nil }
    Interrupts.unregister(process)
    return exitCode(status)
  }

  /// Whether the child has ended; its exit code can be asked for afterwards.
  var hasEnded: Bool {
    var information = unsafe siginfo_t()
    // SAFETY: the structure outlives the call, which leaves it zero while the child runs.
    let result = unsafe waitid(
      P_PID, id_t(process), &information, Int32(WEXITED | WNOHANG | WNOWAIT))
    return unsafe result != 0 || information.si_signo != 0
  }

  public func signal(_ number: Int32) { kill(-process, number) }

  /// Ends the child's group: asks first, then insists; returns when the child is gone.
  public func end(graceSeconds: Double = 3) {
    signal(SIGTERM)
    let deadline = Date().addingTimeInterval(graceSeconds)
    while Date() < deadline {
      if poll() != nil { return }
      usleep(20_000)
    }
    signal(SIGKILL)
    while poll() == nil && kill(process, 0) == 0 { usleep(20_000) }
  }
}

/// The exit code of a wait status; 128 + number for a signal.
public func exitCode(_ status: Int32) -> Int32 {
  let signal = status & 0x7f
  return signal == 0 ? (status >> 8) & 0xff : 128 + signal
}

/// ^C and its relatives: ends what this program has started, by process group.
public enum Interrupts {
  private static let state = Mutex<(children: Set<pid_t>, raised: Bool)>(([], false))

  public static var raised: Bool { state.withLock { $0.raised } }

  /// Takes SIGINT, SIGTERM and SIGHUP on a thread of its own. Call first, before other threads start.
  public static func install() {
    signal(SIGPIPE, SIG_IGN)
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    for number in [SIGINT, SIGTERM, SIGHUP] { unsafe sigaddset(&signals, number) }
    // SAFETY: the set outlives the call.
    _ = unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    let watched = signals
    Thread.detachNewThread {
      var watched = watched
      var number: Int32 = 0
      // SAFETY: both outlive the call.
      while unsafe sigwait(&watched, &number) == 0 { Interrupts.take(number) }
    }
  }

  /// The first time children are asked to end; the second time they are killed, and so is this.
  private static func take(_ number: Int32) {
    let (children, again) = state.withLock { state in
      defer { state.raised = true }
      return (state.children, state.raised)
    }
    for child in children { kill(-child, again ? SIGKILL : SIGTERM) }
    if again { _exit(128 + number) }
  }

  static func register(_ child: pid_t) {
    let late = state.withLock { state in
      state.children.insert(child)
      return state.raised
    }
    if late { kill(-child, SIGTERM) }
  }

  static func unregister(_ child: pid_t) { _ = state.withLock { $0.children.remove(child) } }
}
