// SPDX-License-Identifier: Apache-2.0
public import Channel
import Glibc
public import KVM
import LaunchPlan
import LinuxSystem
import Machine
import Synchronization

/// A micro guest in a machine of this process, run on a thread of its own.
///
/// `start` once, then `finish` once.
public final class MicroGuest: @unchecked Sendable {
  // @unchecked: the machine is used by the one thread that runs it.

  public let name: String
  /// KVM's statistics of its one CPU, live.
  public let statistics: Statistics
  private let machine: Machine
  private let console: OwnedDescriptor
  private let supervisor: Mutex<MessageSocket?>
  /// The host's end of the launch socket.
  private let link: MessageSocket
  private let ended: EventDescriptor
  private let outcome = Mutex<Result<Outcome, MicroHostError>?>(nil)
  private let thread = Mutex<pthread_t?>(nil)

  /// Puts the machine together: `name` is for people, `kernel` the path of an ELF.
  public init(
    _ name: String, kernel: String, commandLine: String = "", deviceTree: [UInt8] = [],
    memoryBytes: UInt64 = 32 << 20, channel: (MicroChannel, ChannelSide)? = nil
  ) throws(MicroHostError) {
    self.name = name
    do {
      let ram = try OwnedDescriptor.sharedMemory(
        name: "vos-ram-" + name, byteCount: Int(memoryBytes))
      let kvm = try OwnedDescriptor.open("/dev/kvm", flags: O_RDWR)
      let image = try OwnedDescriptor.open(kernel)
      let tree = try OwnedDescriptor.sharedMemory(name: "vos-dtb", containing: deviceTree)
      let consoles = try Self.streamPair()
      var numbers: [Int32] = []
      func add(_ number: Int32) -> Int {
        numbers.append(number)
        return numbers.count - 1
      }
      var plan = LaunchPlan(
        domain: name, vcpuCount: 1, memoryBytes: memoryBytes, memory: add(ram.rawValue),
        kvm: add(kvm.rawValue), kernel: add(image.rawValue), commandLine: commandLine,
        console: add(consoles.machine.rawValue))
      if !deviceTree.isEmpty { plan.deviceTree = add(tree.rawValue) }
      if let (channel, side) = channel { plan.ivshmem = [channel.plan(side, add: add)] }
      machine = try Self.makeMachine(plan, numbers)
      guard let opened = try machine.statistics(ofCPU: 0) else {
        throw MachineError.descriptor("the machine has no CPU")
      }
      statistics = opened
      console = consoles.host
      let pair = try MessageSocket.pair()
      link = pair.first
      supervisor = Mutex(pair.second)
      ended = try EventDescriptor()
    } catch let error as SystemCallError {
      throw .system(error)
    } catch let error as MachineError {
      throw .machine(error)
    } catch {
      throw .badRun(guest: name, reason: "\(error)", console: [])
    }
  }

  /// Sends plan and descriptors through a socket, as they would come from the supervisor.
  private static func makeMachine(_ plan: LaunchPlan, _ numbers: [Int32]) throws -> Machine {
    let pair = try MessageSocket.pair()
    let log = Log(domain: plan.domain)
    try pair.first.send(Array(plan.text.utf8), descriptors: numbers)
    guard let message = try pair.second.receive() else {
      throw MachineError.descriptor("the plan did not arrive")
    }
    let decoded = try LaunchPlan(
      decoding: message.bytes, descriptorCount: message.descriptors.count)
    return try Machine(decoded, message.descriptors, log: log)
  }
}

/// Two connected ends of a stream.
private struct StreamPair: ~Copyable {
  var host: OwnedDescriptor
  var machine: OwnedDescriptor
}

extension MicroGuest {
  private static func streamPair() throws(SystemCallError) -> StreamPair {
    var numbers: [Int32] = [-1, -1]
    // SAFETY: the call fills two entries, which the array has.
    let failure = unsafe socketpair(
      AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &numbers)
    guard failure == 0 else { throw .last("create a console") }
    let pair = StreamPair(
      host: OwnedDescriptor(owning: numbers[0]), machine: OwnedDescriptor(owning: numbers[1]))
    try pair.host.setNonBlocking(true)
    return pair
  }

  /// Starts the guest; its CPU's thread runs on `processor` alone, before others there, if one is
  /// given.
  public func start(on processor: Int? = nil) throws(MicroHostError) {
    // SAFETY: the thread takes the reference over; if there is no thread it is released here.
    let start = unsafe Unmanaged.passRetained(Start(guest: self, processor: processor))
    var number = pthread_t()
    // SAFETY: the thread takes the retained object over.
    guard unsafe pthread_create(&number, nil, guestThreadMain, start.toOpaque()) == 0 else {
      unsafe start.release()
      throw .system(.last("start the thread of guest \(name)"))
    }
    thread.withLock { $0 = number }
  }

  fileprivate func main(on processor: Int?) {
    // Threads inherit their starter's processors: the guest's CPU will. Before others first: where
    // another guest spins a normal thread would hardly ever run.
    if let processor {
      prefer(RealTime.guest)
      pinThread(to: processor)
    }
    let socket = supervisor.withLock { $0.take() }
    guard let socket else { return }
    let result: Result<Outcome, MicroHostError>
    do throws(MachineError) {
      result = .success(try machine.run(supervisor: socket))
    } catch {
      result = .failure(.machine(error))
    }
    outcome.withLock { $0 = result }
    ended.ring()
  }

  /// Waits for the guest's own end, `seconds` at most, and returns what it wrote, by lines.
  ///
  /// - Throws: if it did not power off by itself, or any of its checks failed.
  public func finish(seconds: Int) throws(MicroHostError) -> [String] {
    let hasEnded = waitForEnd(seconds: seconds)
    if !hasEnded {
      try asSystem { () throws(SystemCallError) in try link.send(Array("stop".utf8)) }
    }
    if let number = thread.withLock({ $0 }) { pthread_join(number, nil) }
    let lines = try asSystem { () throws(SystemCallError) in try consoleLines() }
    guard hasEnded else { throw .notEnded(guest: name, seconds: seconds, console: lines) }
    guard let result = outcome.withLock({ $0 }) else {
      throw .badRun(guest: name, reason: "it was not started", console: lines)
    }
    let outcome = try result.get()
    guard outcome == .powerOff else {
      throw .badRun(guest: name, reason: "it ended with \(outcome)", console: lines)
    }
    if let failure = lines.first(where: { $0.hasPrefix("FAIL ") }) {
      throw .badRun(guest: name, reason: failure, console: lines)
    }
    guard lines.last == "DONE" else {
      throw .badRun(guest: name, reason: "it did not say DONE", console: lines)
    }
    return lines
  }

  private func waitForEnd(seconds: Int) -> Bool {
    var watched = pollfd(fd: ended.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    // SAFETY: one entry, a local.
    return unsafe poll(&watched, 1, Int32(seconds * 1000)) == 1
  }

  /// What the console holds; the machine has written all of it by now.
  private func consoleLines() throws(SystemCallError) -> [String] {
    var bytes: [UInt8] = []
    while true {
      var piece = [UInt8](repeating: 0, count: 4096)
      // SAFETY: the call writes at most the buffer's size.
      let count = unsafe read(console.rawValue, &piece, piece.count)
      if count <= 0 { break }
      bytes += piece.prefix(count)
    }
    return bytes.split(separator: 10).map { line in
      String(decoding: line.filter { $0 != 13 }, as: UTF8.self)
    }
  }
}

/// What the guest's thread is handed.
private final class Start {
  let guest: MicroGuest
  let processor: Int?

  init(guest: MicroGuest, processor: Int?) {
    self.guest = guest
    self.processor = processor
  }
}

private func guestThreadMain(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context = unsafe context else { return nil }
  // SAFETY: `start` retained a Start for this thread.
  let start = unsafe Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
  start.guest.main(on: start.processor)
  return nil
}
