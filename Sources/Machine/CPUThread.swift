// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import KVM
internal import LinuxSystem
internal import Synchronization

/// What a CPU's thread needs of the machine.
struct CPUSurroundings: Sendable {
  let ports: Bus
  let memory: Bus
  /// Takes the first outcome; every CPU stops then.
  let ending: Ending
  /// What every CPU's thread passes before it runs the guest.
  let gate = StartingGate()
}

/// A virtual CPU and the thread that runs it.
final class CPUThread: Sendable {
  /// Only ends a blocking call; its handler does nothing.
  static let stopSignal = SIGUSR1
  /// The threads' stacks; a page or two of it is ever touched.
  private static let stackByteCount = 256 << 10

  let cpu: VirtualCPU
  /// Opened before the CPU runs: while it runs its descriptor is busy. `nil` on an old kernel.
  let statistics: Statistics?
  private let thread = Mutex<pthread_t?>(nil)
  private let hasEnded = Atomic(false)

  init(_ cpu: consuming VirtualCPU) {
    statistics = try? cpu.statistics()
    self.cpu = cpu
  }

  /// Starts the thread.
  func start(_ surroundings: CPUSurroundings) throws(SystemCallError) {
    // SAFETY: the thread takes the reference over; if there is no thread it is released here.
    let start = unsafe Unmanaged.passRetained(Start(self, surroundings))
    var attributes = pthread_attr_t()
    var number = pthread_t()
    // SAFETY: the attributes are initialised, used and destroyed here; the thread takes the retained
    // object over.
    let failure = {
      unsafe pthread_attr_init(&attributes)
      unsafe pthread_attr_setstacksize(&attributes, Self.stackByteCount)
      defer { unsafe pthread_attr_destroy(&attributes) }
      return unsafe pthread_create(&number, &attributes, cpuThreadMain, start.toOpaque())
    }()
    guard failure == 0 else {
      // SAFETY: as above.
      unsafe start.release()
      throw SystemCallError(
        "start the thread of CPU \(cpu.identifier)", errno: .init(rawValue: failure))
    }
    thread.withLock { $0 = number }
  }

  /// Makes the thread come back from the guest, again and again until it has ended, and waits for it.
  func stop() {
    guard let number = thread.withLock({ $0 }) else { return }
    while !hasEnded.load(ordering: .acquiring) {
      cpu.requestExit()
      pthread_kill(number, Self.stopSignal)
      usleep(1000)
    }
    pthread_join(number, nil)
    thread.withLock { $0 = nil }
  }

  fileprivate func main(_ surroundings: CPUSurroundings) {
    Self.acceptStopSignal()
    guard surroundings.gate.pass() else {
      hasEnded.store(true, ordering: .releasing)
      return
    }
    while let outcome = step(surroundings) {
      if case .ended(let outcome) = outcome {
        surroundings.ending.end(outcome)
        break
      }
    }
    hasEnded.store(true, ordering: .releasing)
  }

  private enum Step {
    case goOn
    case ended(Outcome)
  }

  /// Runs the guest up to its next exit and answers that; `nil` when told to stop.
  private func step(_ surroundings: CPUSurroundings) -> Step? {
    let exit = cpu.run()
    switch exit {
    case .port(let access): handle(access, surroundings.ports)
    case .memory(let access): handle(access, surroundings.memory)
    case .interrupted: return surroundings.ending.isEnding ? nil : .goOn
    case .shutdown: return .ended(.reset(reason: "triple fault; " + cpu.describeRegisters()))
    case .systemEvent(let type): return .ended(outcome(ofSystemEvent: type))
    case .halted, .internalError, .entryFailed, .unknown, .failed:
      return .ended(
        .failed(reason: "CPU \(cpu.identifier): \(exit); \(cpu.describeRegisters())"))
    }
    return surroundings.ending.isEnding ? nil : .goOn
  }

  private func outcome(ofSystemEvent type: UInt32) -> Outcome {
    switch type {
    case 1: .powerOff  // KVM_SYSTEM_EVENT_SHUTDOWN
    case 2: .reset(reason: "asked for by the guest")  // KVM_SYSTEM_EVENT_RESET
    case 3: .panic  // KVM_SYSTEM_EVENT_CRASH
    default: .failed(reason: "system event \(type); \(cpu.describeRegisters())")
    }
  }

  private func handle(_ access: PortAccess, _ ports: Bus) {
    for item in 0..<access.count {
      if access.isWrite {
        let value = cpu.portValue(access, item: item)
        ports.write(UInt64(access.port), width: access.width, value: value)
      } else {
        let value = ports.read(UInt64(access.port), width: access.width)
        cpu.setPortValue(access, item: item, to: value)
      }
    }
  }

  private func handle(_ access: MemoryAccess, _ memory: Bus) {
    if access.isWrite {
      memory.write(access.address, width: access.width, value: access.value)
    } else {
      cpu.setMemoryValue(memory.read(access.address, width: access.width))
    }
  }

  private final class Start: Sendable {
    let thread: CPUThread
    let surroundings: CPUSurroundings

    init(_ thread: CPUThread, _ surroundings: CPUSurroundings) {
      self.thread = thread
      self.surroundings = surroundings
    }

    func run() { thread.main(surroundings) }
  }

  /// Installs the signal that ends `KVM_RUN`; once, before any thread.
  static func installStopSignal() throws(SystemCallError) {
    try retrying("install the stop signal") { clinux_ignore_signal_but_interrupt(stopSignal) }
  }

  /// The thread inherits its creator's mask, in which the signal may be blocked.
  private static func acceptStopSignal() {
    var set = sigset_t()
    // SAFETY: the calls work on a local of their type.
    unsafe sigemptyset(&set)
    unsafe sigaddset(&set, stopSignal)
    unsafe pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }

  fileprivate static func run(_ start: UnsafeMutableRawPointer?) {
    guard let start = unsafe start else { return }
    // SAFETY: the pointer is the retained `Start` that `start(_:)` passed, taken once.
    let object = unsafe Unmanaged<Start>.fromOpaque(start).takeRetainedValue()
    object.run()
  }
}

private func cpuThreadMain(_ start: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  // SAFETY: pthread_create passes on what `start(_:)` gave it.
  unsafe CPUThread.run(start)
  return nil
}
