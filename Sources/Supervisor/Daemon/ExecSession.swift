// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Glibc

/// One program run in a domain for one client: moves its input, output and end between the control
/// channel and the client's frames.
final class ExecSession {
  private enum State {
    case starting
    case running(object: UInt64)
    case ended
  }

  /// Standard output and error, as VOS_CALL_EXEC_READ numbers them.
  private enum Stream: UInt64, CaseIterable {
    case output = 1
    case error = 2
    var frame: Frame.Kind { self == .output ? .output : .error }
  }

  /// How a stream stands.
  private enum Reading {
    case idle(until: Seconds)
    case waiting
    case ended
  }

  /// An agent that has nothing says so with EAGAIN, and a slot may not be free: ask again after this
  /// time.
  private static let retryDelay: Seconds = 0.02
  private static var later: Reading { .idle(until: EventLoop.now() + retryDelay) }
  /// Input that waits for the program; the client is not read while there is more.
  private static let inputLimit = 64 << 10

  private let control: ControlCaller
  private weak var client: ClientConnection?
  private var state = State.starting
  private var reading: [Stream: Reading] = [:]
  private var waiting = Reading.idle(until: 0)
  private var status: Int64?
  private var input: [UInt8] = []
  private var inputEnded: Bool
  private var writing = Reading.idle(until: 0)

  init(control: ControlCaller, client: ClientConnection, hasInput: Bool) {
    self.control = control
    self.client = client
    inputEnded = !hasInput
  }

  /// Starts the program.
  func start(_ execution: Execution) {
    guard let data = execution.encoded(maximum: control.windowBytes) else {
      return fail(
        .badRequest,
        "arguments and environment exceed \(control.windowBytes) bytes or hold a NUL")
    }
    let posted = control.call(VOS_CALL_EXEC, data: data) { [self] result, _ in
      started(result, execution)
    }
    if !posted {
      fail(
        .failed,
        "too many programs run in domain \"\(execution.domain)\" already; wait for one to end")
    }
  }

  private func started(_ result: Int64, _ execution: Execution) {
    guard result >= 0 else {
      let program = execution.arguments.first ?? ""
      let name = "\"\(program)\" in domain \"\(execution.domain)\""
      switch Int32(-result) {
      case ENOENT:
        return fail(.notFound, "there is no program \(name); give its path in the domain")
      case EACCES, ENOEXEC, EPERM:
        return fail(.notExecutable, "\(name) cannot be executed; check its mode and kind")
      case let number:
        return fail(
          .failed,
          "cannot run \(name): \(errnoText(number)); see \"vosctl logs \(execution.domain)\"")
      }
    }
    state = .running(object: UInt64(result))
    for stream in Stream.allCases { reading[stream] = .idle(until: 0) }
    // The client went away meanwhile.
    if client == nil { hangUp() }
  }

  /// Whether the client should be read now.
  var wantsInput: Bool { input.count < Self.inputLimit }

  /// Takes bytes for standard input; none: the end.
  func takeInput(_ bytes: [UInt8]) {
    guard !inputEnded else { return }
    if bytes.isEmpty { inputEnded = true }
    input += bytes
  }

  func signal(_ number: Int32) {
    guard case .running(let object) = state, (1...64).contains(number) else { return }
    _ = control.call(VOS_CALL_EXEC_SIGNAL, object: object, argument: UInt64(number)) { _, _ in }
  }

  /// The client is gone: the program is told as a terminal would tell it, and let go of.
  func hangUp() {
    signal(SIGHUP)
    end()
  }

  /// When `advance` has something to do without any event.
  func deadline(now: Seconds) -> Seconds? {
    guard case .running = state else { return nil }
    var times: [Seconds] = []
    let all = Array(reading.values) + [waiting] + (needsWrite ? [writing] : [])
    for entry in all {
      if case .idle(let until) = entry { times.append(until) }
    }
    if client?.isCongested == true { return nil }
    return times.min()
  }

  /// Posts whatever can be posted now.
  func advance(now: Seconds) {
    guard case .running(let object) = state, let client else { return }
    for stream in Stream.allCases {
      if case .idle(let until) = reading[stream], until <= now, !client.isCongested {
        read(stream, object)
      }
    }
    if case .idle(let until) = writing, until <= now, needsWrite { write(object) }
    if case .idle(let until) = waiting, until <= now { wait(object) }
    finishIfDone()
  }

  private var needsWrite: Bool { !input.isEmpty || inputEnded }

  private func read(_ stream: Stream, _ object: UInt64) {
    let posted = control.call(
      VOS_CALL_EXEC_READ, object: object, argument: stream.rawValue, capacity: control.windowBytes
    ) { [self] result, data in
      reading[stream] = taken(stream, result, data)
      finishIfDone()
    }
    reading[stream] = posted ? .waiting : Self.later
  }

  private func taken(_ stream: Stream, _ result: Int64, _ data: [UInt8]) -> Reading {
    if result == -Int64(EAGAIN) { return Self.later }
    // An agent that says there is something and gives nothing would be asked for ever.
    guard result > 0, !data.isEmpty else { return .ended }
    let bytes = Array(data.prefix(Int(clamping: result)))
    for frame in Frame.cutting(bytes, stream.frame) { client?.send(frame) }
    return .idle(until: 0)
  }

  private func write(_ object: UInt64) {
    let part = Array(input.prefix(control.windowBytes))
    let posted = control.call(VOS_CALL_EXEC_WRITE, object: object, data: part) { [self] result, _ in
      if result == -Int64(EAGAIN) || result == 0 && !part.isEmpty {
        writing = Self.later
      } else if result < 0 || part.isEmpty {
        // Its standard input is closed: what else is typed goes nowhere.
        input = []
        inputEnded = true
        writing = .ended
      } else {
        input.removeFirst(min(input.count, min(part.count, Int(result))))
        writing = .idle(until: 0)
      }
    }
    writing = posted ? .waiting : Self.later
  }

  private func wait(_ object: UInt64) {
    let posted = control.call(VOS_CALL_EXEC_WAIT, object: object) { [self] result, _ in
      if result == -Int64(EAGAIN) {
        waiting = Self.later
      } else {
        status = result
        waiting = .ended
        finishIfDone()
      }
    }
    waiting = posted ? .waiting : Self.later
  }

  private func finishIfDone() {
    guard case .running = state, let status,
      reading.values.allSatisfy({ if case .ended = $0 { true } else { false } })
    else { return }
    if status >= 0 {
      client?.finish(.done(code: exitCode(ofWaitStatus: status)))
      end()
    } else {
      fail(.failed, "the domain ended before the program did; see \"vosctl ps\" for why")
    }
  }

  private func fail(_ kind: Failure.Kind, _ message: String) {
    client?.finish(.failure(Failure(kind, message)))
    end()
  }

  private func end() {
    if case .running(let object) = state {
      _ = control.call(VOS_CALL_CLOSE, object: object) { _, _ in }
    }
    state = .ended
  }
}

/// The system's text for an errno.
func errnoText(_ number: Int32) -> String {
  // SAFETY: strerror returns a NUL-terminated text, copied at once; one thread calls it.
  unsafe strerror(number).map { unsafe String(cString: $0) } ?? "error \(number)"
}
