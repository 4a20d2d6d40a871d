// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem
public import Manifest

/// A connection to a vosd, as vosctl uses it.
public final class ControlClient {
  /// What comes back.
  public enum Incoming: Equatable, Sendable {
    case reply(Reply)
    case output([UInt8])
    case error([UInt8])
    /// vosd closed the connection, or died.
    case closed
  }

  private let socket: OwnedDescriptor
  private var decoder = FrameDecoder()

  /// The descriptor to poll for what comes.
  public var descriptor: Int32 { socket.rawValue }

  init(_ socket: consuming OwnedDescriptor) {
    self.socket = socket
  }

  /// Connects to the vosd of the system in `directory`.
  public convenience init(directory: String, system: String) throws(Failure) {
    do throws(SystemCallError) {
      self.init(try UnixSocket.connect(RuntimeDirectory.socketPath(in: directory)))
    } catch {
      guard exists(directory) else {
        throw Failure(
          .notRunning, "system \"\(system)\" is not running; start it with \"vosctl up MANIFEST\"")
      }
      switch error.errno {
      case .noSuchFileOrDirectory, .connectionRefused:
        if Self.isHeld(directory) {
          throw Failure(
            .notRunning, "the vosd of system \"\(system)\" starts or ends just now; try again")
        }
        throw Failure(
          .notRunning,
          "the vosd of system \"\(system)\" has died and left things behind; "
            + "run \"vosctl down\" to clean up")
      default: throw Failure(.failed, error.sentence)
      }
    }
  }

  /// Whether a vosd, or a vosctl that repairs, has the directory's lock.
  private static func isHeld(_ directory: String) -> Bool {
    do throws(RuntimeDirectoryError) {
      _ = try RuntimeDirectory(existing: directory)
      return false
    } catch {
      return error == .inUse(path: directory)
    }
  }

  /// Sends the request; one connection carries one.
  public func send(_ command: Request.Command) { send(Wire.frame(Request(command))) }

  public func send(_ message: ClientMessage) { send(Wire.frame(message)) }

  /// Sends bytes for standard input or a console; none: the end.
  public func send(input: [UInt8]) {
    if input.isEmpty { return send(Frame(.input, [])) }
    for frame in Frame.cutting(input, .input) { send(frame) }
  }

  private func send(_ frame: Frame) {
    var rest = frame.bytes[...]
    while !rest.isEmpty {
      switch socket.sendAvailable(rest) {
      case .bytes(let count): rest = rest.dropFirst(count)
      case .wouldBlock: waitUntil(POLLOUT)
      // What vosd had to say before it closed is found by `receive`.
      case .closed: return
      }
    }
  }

  private func waitUntil(_ event: Int32) {
    var entry = pollfd(fd: socket.rawValue, events: Int16(event), revents: 0)
    // SAFETY: the call reads and writes one local entry.
    _ = unsafe poll(&entry, 1, -1)
  }

  /// Says that nothing more is sent, and waits until vosd has taken what was. A plain close could
  /// reach vosd, by its own writes, before it has read the rest.
  public func leave() {
    guard shutdown(socket.rawValue, Int32(SHUT_WR)) == 0 else { return }
    while fill() { while next() != nil {} }
  }

  /// Whether a vosd is there that lives: it answers, or is too busy to hang up. One that was just
  /// killed still takes connections for a moment, and then drops them.
  func isAnswered(timeoutMilliseconds: Int32 = 2000) -> Bool {
    send(.status)
    var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
    // SAFETY: the call reads and writes one local entry.
    guard unsafe poll(&entry, 1, timeoutMilliseconds) > 0 else { return true }
    return fill()
  }

  /// The next piece that has come already; `nil` if none is complete.
  public func next() -> Incoming? {
    do throws(FrameError) {
      guard let frame = try decoder.next() else { return nil }
      switch frame.kind {
      case .output: return .output(frame.payload)
      case .error: return .error(frame.payload)
      case .input: return .closed
      case .message:
        return Wire.decode(Reply.self, frame).map(Incoming.reply)
          ?? .reply(
            .failure(
              Failure(
                .failed,
                "vosd sent a reply that this vosctl does not know; use the one that came with vosd")
            ))
      }
    } catch {
      return .reply(
        .failure(
          Failure(.failed, "vosd broke the protocol: \(error); use the one that came with vosctl")))
    }
  }

  /// Reads once, blocking; false when the connection is closed.
  public func fill() -> Bool {
    var bytes: [UInt8] = []
    switch socket.readAvailable(into: &bytes, maximum: 64 << 10) {
    case .bytes:
      decoder.append(bytes)
      return true
    case .wouldBlock: return true
    case .closed: return false
    }
  }

  /// The next piece, waited for.
  public func receive() -> Incoming {
    while true {
      if let incoming = next() { return incoming }
      if !fill() { return .closed }
    }
  }
}

extension ControlClient {
  /// Starts a vosd for `manifest` and connects to it.
  ///
  /// - Parameter extra: further arguments for vosd.
  public static func launch(
    manifest: Manifest, runtimeRoot: String, extra: [String]
  ) throws(Failure) -> ControlClient {
    guard let daemon = Companion.path(of: "vosd") else {
      throw Failure(
        .failed, "vosd is neither beside vosctl nor in $VOS_LIBEXEC; build or install it")
    }
    do throws(SystemCallError) {
      let pair = try UnixSocket.pair()
      let pid = try ChildProcess.spawn(
        [
          daemon, "--manifest", manifest.path, "--runtime-directory", runtimeRoot, "--launched",
        ] + extra, passed: pair.theirs.rawValue, output: STDERR_FILENO, newSession: true)
      _ = pid
      return ControlClient(pair.ours)
    } catch {
      throw Failure(.failed, "vosd cannot be started: \(error.sentence)")
    }
  }
}

/// The connection on which a vosctl waits for `up`, as vosd has it.
public final class LauncherConnection {
  private var socket: OwnedDescriptor?

  /// Takes the descriptor that `ControlClient.launch` passed.
  public init() {
    let descriptor = OwnedDescriptor(owning: ChildProcess.passedDescriptor)
    try? descriptor.setCloseOnExec(true)
    socket = consume descriptor
  }

  /// Tells the launcher something before the daemon runs.
  public func report(_ reply: Reply) {
    try? socket?.write(all: Wire.frame(reply).bytes)
  }

  /// Gives the connection away; once.
  func take() -> OwnedDescriptor? { socket.take() }
}
