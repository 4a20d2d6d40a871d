// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc
import Synchronization

/// Serves the control channel: programs run for the host, and the power-off.
///
/// A call that cannot be answered yet is parked; the epoll thread answers it when its pipe or
/// process has something to say. At most `limit` processes are remembered, at most one call of a
/// kind is parked on each, and at most `leavingLimit` more run on that the host has forgotten, so
/// nothing grows with what it does.
final class Agent: ServiceHandler {
  static let limit = 64
  static let leavingLimit = 128

  /// What an epoll token is about: the kind in the low bits, the object above.
  enum Watched: UInt64 {
    case output = 0
    case errors = 1
    case input = 2
    case exit = 3
  }

  /// A program that was started.
  final class Process: @unchecked Sendable {
    // @unchecked: all of it is under the table's lock.
    let pid: Int32
    let end: Descriptor
    var input: Descriptor?
    var output: Descriptor?
    var errors: Descriptor?
    /// As wait4 gives it.
    var status: Int32?
    var parked: [Watched: Request] = [:]
    let started: UInt64

    init(_ child: guest_child, started: UInt64) {
      pid = Int32(child.pid)
      end = Descriptor(owning: child.pidfd)
      input = Descriptor(owning: child.input)
      output = Descriptor(owning: child.output)
      errors = Descriptor(owning: child.errors)
      self.started = started
    }
  }

  struct State {
    var processes: ObjectTable<Process>
    /// Forgotten while they run: kept so that somebody takes their exit status.
    var leaving = ObjectTable<Process>(limit: Agent.leavingLimit, generation: 0)
    var order: UInt64 = 0
    var isPoweringOff = false
    var loop: ServiceLoop?
  }

  let state: Mutex<State>
  private let epoll: Descriptor

  init?() {
    guard let epoll = Descriptor(kernel(Int(SYS_epoll_create1), Int(O_CLOEXEC))) else {
      return nil
    }
    self.epoll = epoll
    state = Mutex(
      State(
        processes: ObjectTable(
          limit: Self.limit, generation: UInt32(truncatingIfNeeded: System.random()))))
  }

  /// Starts to answer parked calls.
  func start(_ loop: ServiceLoop) {
    state.withLock { $0.loop = loop }
    System.startThread { self.watch() }
  }

  /// A program may lie on a file system whose service is gone.
  func mayBlock(_ call: Call) -> Bool { UInt32(call.number) == VOS_CALL_EXEC }

  func adopted(_ slice: Int, generation: UInt32) {}

  /// The host is gone, or another took its place: what it started ends.
  func died(_ slice: Int, generation: UInt32) {
    state.withLock { state in
      for number in state.processes.numbers { forget(number, &state, killing: true) }
    }
  }

  func handle(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply? {
    guard request.slice == 0 else { return Reply(Failure.notPermitted) }
    let call = request.call
    switch UInt32(call.number) {
    case VOS_CALL_NULL: return Reply(result: 0)
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    case VOS_CALL_EXEC: return unsafe execute(call, bytes)
    case VOS_CALL_POWEROFF: return powerOff()
    default: break
    }
    return state.withLock { state -> Reply? in
      guard let process = state.processes[call.object] else { return Reply(Failure.badDescriptor) }
      switch UInt32(call.number) {
      // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
      case VOS_CALL_EXEC_READ: return unsafe read(request, process, bytes)
      case VOS_CALL_EXEC_WRITE: return unsafe write(request, process, bytes)
      case VOS_CALL_EXEC_WAIT: return wait(request, process)
      case VOS_CALL_EXEC_SIGNAL: return signal(call, process)
      case VOS_CALL_CLOSE:
        forget(call.object, &state, killing: false)
        return Reply(result: 0)
      default: return Reply(Failure.notImplemented)
      }
    }
  }

  private func powerOff() -> Reply {
    let isFirst = state.withLock { state in
      defer { state.isPoweringOff = true }
      return !state.isPoweringOff
    }
    // Process 1 reads SIGUSR2 as the order to power off, as busybox does. The answer goes first.
    if isFirst { sendPowerOff() }
    return Reply(result: 0)
  }

  private func sendPowerOff() {
    System.startThread {
      System.sleep(milliseconds: 50)
      _ = kill(getpid() == 1 ? 0 : 1, SIGUSR2)
    }
  }

  // MARK: Starting programs

  private func execute(_ call: Call, _ bytes: UnsafeMutableRawBufferPointer) -> Reply {
    // SAFETY: the window holds `length` bytes; `Program` copies them before it looks.
    guard let program = unsafe Program(bytes, length: Int(call.data.length)) else {
      return Reply(Failure.invalid)
    }
    guard makeRoom() else { return Reply(Failure.tryAgain) }
    var child = guest_child()
    let error = program.start(&child)
    guard error == 0 else { return Reply(error) }
    return state.withLock { state in
      state.order += 1
      let process = Process(child, started: state.order)
      guard let number = state.processes.insert(process) else {
        letGo(process, &state, killing: true)
        return Reply(Failure.tryAgain)
      }
      arm(process.end.number, .exit, number)
      return Reply(result: Int64(number))
    }
  }

  /// Forgets the oldest program that has ended, if the table is full. False if all still run.
  private func makeRoom() -> Bool {
    state.withLock { state in
      // As many as are remembered could be forgotten next.
      guard state.leaving.count + state.processes.count < Self.leavingLimit else { return false }
      if state.processes.count < Self.limit { return true }
      let ended = state.processes.numbers.filter { state.processes[$0]?.status != nil }
      let oldest = ended.min {
        state.processes[$0]!.started < state.processes[$1]!.started
      }
      guard let oldest else { return false }
      forget(oldest, &state, killing: false)
      return true
    }
  }

  /// Lets go of a program: its pipes close, its parked calls fail.
  private func forget(_ number: UInt64, _ state: inout State, killing: Bool) {
    guard let process = state.processes.remove(number) else { return }
    for (_, request) in process.parked { state.loop?.finish(request, Reply(Failure.badDescriptor)) }
    letGo(process, &state, killing: killing)
  }

  /// Somebody must take its exit status, or it stays as a zombie.
  private func letGo(_ process: Process, _ state: inout State, killing: Bool) {
    guard process.status == nil else { return }
    if killing { _ = kill(-process.pid, SIGKILL) }
    (process.input, process.output, process.errors) = (nil, nil, nil)
    process.parked = [:]
    guard let number = state.leaving.insert(process) else { return }
    arm(process.end.number, .exit, number | Self.leavingMark)
  }

  /// In a token: the number is one of `State.leaving`. Above all numbers of objects, which have 31
  /// bits.
  private static let leavingMark: UInt64 = 1 << 40

  // MARK: Talking to programs

  private func read(
    _ request: Request, _ process: Process, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply? {
    let isErrors = request.call.arguments.0 == 2
    guard isErrors || request.call.arguments.0 == 1, request.call.data.capacity > 0 else {
      return Reply(Failure.invalid)
    }
    guard let pipe = isErrors ? process.errors : process.output else { return Reply(result: 0) }
    // SAFETY: the kernel writes at most `capacity` bytes, which `ServiceCompleter` checked the
    // window to have.
    let count = unsafe kernelRetrying(
      Int(SYS_read), Int(pipe.number), address(bytes.baseAddress),
      Int(request.call.data.capacity))
    if count == Failure.tryAgain {
      return park(request, process, isErrors ? .errors : .output, pipe.number)
    }
    return Reply(count, bytes: count)
  }

  private func write(
    _ request: Request, _ process: Process, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply? {
    guard request.call.data.length > 0 else {
      process.input = nil
      return Reply(result: 0)
    }
    guard let pipe = process.input else { return Reply(Failure.brokenPipe) }
    // SAFETY: the kernel reads `length` bytes, which `ServiceCompleter` checked the window to have.
    let count = unsafe kernelRetrying(
      Int(SYS_write), Int(pipe.number), address(bytes.baseAddress), Int(request.call.data.length))
    return count == Failure.tryAgain ? park(request, process, .input, pipe.number) : Reply(count)
  }

  private func wait(_ request: Request, _ process: Process) -> Reply? {
    takeStatus(process)
    if let status = process.status { return Reply(result: Int64(status)) }
    return park(request, process, .exit, process.end.number)
  }

  private func signal(_ call: Call, _ process: Process) -> Reply {
    guard (1...64).contains(call.arguments.0) else { return Reply(Failure.invalid) }
    if process.status != nil { return Reply(-3) }  // ESRCH: the number may be another's
    return Reply(kernel(Int(SYS_kill), Int(-process.pid), Int(call.arguments.0)))
  }

  /// As wait4 gives it, for a program whose end somebody else was told of: exit code 255.
  private static let unknownStatus: Int32 = 255 << 8

  private func takeStatus(_ process: Process) {
    guard process.status == nil else { return }
    var status: Int32 = 0
    // SAFETY: a local of the type that the call fills, which outlives it.
    let error = unsafe guest_wait_status(process.end.number, &status)
    // Anything else will not be told later either: asking again would never end.
    if error == Failure.tryAgain { return }
    process.status = error == 0 ? status : Self.unknownStatus
  }

  /// One call of a kind at a time waits.
  private func park(
    _ request: Request, _ process: Process, _ kind: Watched, _ descriptor: Int32
  ) -> Reply? {
    guard process.parked[kind] == nil else { return Reply(Failure.busy) }
    let error = arm(descriptor, kind, request.call.object)
    guard error == 0 else { return Reply(error) }
    process.parked[kind] = request
    return nil
  }

  /// Asks for one event; 0 or minus an errno.
  @discardableResult
  private func arm(_ descriptor: Int32, _ kind: Watched, _ number: UInt64) -> Int {
    let events: UInt32 = kind == .input ? 0x4 : 0x1
    // SAFETY: makes a value; the union in it is written as the 64-bit token that `watch` reads.
    var event = unsafe guest_event(events | EPOLLONESHOT.rawValue, number << 2 | kind.rawValue)
    var result = 0
    for operation in [EPOLL_CTL_MOD, EPOLL_CTL_ADD] {
      // SAFETY: the kernel copies the event, a local, before it returns.
      result = unsafe kernel(
        Int(SYS_epoll_ctl), Int(epoll.number), Int(operation), Int(descriptor), address(&event))
      if result == 0 { break }
    }
    return result
  }

  private func watch() {
    // SAFETY: all zero is a valid event.
    var event = unsafe epoll_event()
    while true {
      // SAFETY: room for one event, and the kernel is told of one.
      let count = unsafe kernel(
        Int(SYS_epoll_wait), Int(epoll.number), address(&event), 1, -1)
      var isOfUse = count == 1 || count == Failure.interrupted
      if count == 1 {
        // SAFETY: the kernel filled the event; its token is the one that `arm` gave it.
        let token = unsafe guest_event_token(&event)
        if let kind = Watched(rawValue: token & 3) { isOfUse = resume(token >> 2, kind) }
      }
      // A program may take its output out of its own pipe again: ready for ever, and never
      // anything there.
      if !isOfUse { System.sleep(milliseconds: 1) }
    }
  }

  /// Tries a parked call again, now that there is something to tell. False if there was nothing.
  private func resume(_ number: UInt64, _ kind: Watched) -> Bool {
    state.withLock { state in
      if number & Self.leavingMark != 0 { return bury(number & ~Self.leavingMark, &state) }
      guard let process = state.processes[number] else { return true }
      if kind == .exit { takeStatus(process) }
      guard let request = process.parked.removeValue(forKey: kind), let loop = state.loop else {
        return true
      }
      // SAFETY: the request is parked, not answered: its window is still the call's.
      let bytes = unsafe loop.bytes(request)
      let reply =
        switch kind {
        // SAFETY: the window of a request that is not answered yet, as checked when it came.
        case .output, .errors: unsafe read(request, process, bytes)
        case .input: unsafe write(request, process, bytes)
        case .exit: wait(request, process)
        }
      if let reply { loop.finish(request, reply) }
      return reply != nil
    }
  }

  /// Takes the exit status of a forgotten program; false if it has none yet.
  private func bury(_ number: UInt64, _ state: inout State) -> Bool {
    guard let process = state.leaving[number] else { return true }
    takeStatus(process)
    guard process.status == nil else { return state.leaving.remove(number) != nil }
    arm(process.end.number, .exit, number | Self.leavingMark)
    return false
  }
}
