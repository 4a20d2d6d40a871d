// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import LaunchPlan
import LinuxSystem
import Machine
import Testing

/// Whether the tests may run here; on an ordinary machine without KVM they are skipped.
let kvmIsHere: Bool = {
  if let descriptor = try? OwnedDescriptor.open("/dev/kvm", flags: O_RDWR) {
    _ = consume descriptor
    return true
  }
  if ProcessInfo.processInfo.environment["REQUIRE_KVM"] == "1" { return true }
  print("skipped: /dev/kvm cannot be opened; REQUIRE_KVM=1 makes this a failure")
  return false
}()

/// A PVH ELF whose 32-bit entry is `code`, loaded at 1 MiB.
func pvhKernel(_ code: [UInt8]) -> [UInt8] {
  let entry: UInt32 = 0x10_0000
  func le<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
  // Program header 0 is the note, 1 the code; both follow the ELF header and the headers.
  let noteOffset: UInt32 = 52 + 2 * 32
  let note = le(UInt32(4)) + le(UInt32(4)) + le(UInt32(18)) + Array("Xen\0".utf8) + le(entry)
  let codeOffset: UInt32 = 0x1000
  var image: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 1, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
  image += le(UInt16(2)) + le(UInt16(3)) + le(UInt32(1)) + le(entry) + le(UInt32(52))
  image += le(UInt32(0)) + le(UInt32(0)) + le(UInt16(52)) + le(UInt16(32)) + le(UInt16(2))
  image += le(UInt16(40)) + le(UInt16(0)) + le(UInt16(0))
  func header(_ type: UInt32, _ offset: UInt32, _ address: UInt32, _ count: UInt32) -> [UInt8] {
    le(type) + le(offset) + le(address) + le(address) + le(count) + le(count) + le(UInt32(7))
      + le(UInt32(4))
  }
  image += header(4, noteOffset, 0, UInt32(note.count))
  image += header(1, codeOffset, entry, UInt32(code.count))
  image += note
  image += [UInt8](repeating: 0, count: Int(codeOffset) - image.count)
  return image + code
}

/// What a domain is made of, whoever runs it, and what one can see of it from outside.
final class DomainParts {
  let console: OwnedDescriptor
  let memory: SharedMapping
  let plan: LaunchPlan
  private var numbers: [Int32]

  /// A domain whose kernel is `code`. `adjust` may change the plan and add descriptors.
  init(
    _ code: [UInt8], cpus: Int, memoryBytes: Int,
    adjust: (inout LaunchPlan, inout [Int32]) throws -> Void
  ) throws {
    var numbers: [Int32] = []
    func add(_ descriptor: consuming OwnedDescriptor) -> Int {
      numbers.append(descriptor.release())
      return numbers.count - 1
    }
    var ends: [Int32] = [-1, -1]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    // A small buffer is soon full, for the test of a reader that does not read.
    var small: Int32 = 4096
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, 4)
    console = OwnedDescriptor(owning: ends[0])
    try console.setNonBlocking(true)
    let ram = try OwnedDescriptor.sharedMemory(name: "ram", byteCount: memoryBytes)
    memory = try SharedMapping(ram, byteCount: memoryBytes)
    var plan = LaunchPlan(
      domain: "test", vcpuCount: cpus, memoryBytes: UInt64(memoryBytes), memory: add(ram),
      kvm: add(try OwnedDescriptor.open("/dev/kvm", flags: O_RDWR)),
      kernel: add(
        try OwnedDescriptor.sharedMemory(name: "kernel", containing: pvhKernel(code))),
      commandLine: "test", console: add(OwnedDescriptor(owning: ends[1])))
    try adjust(&plan, &numbers)
    self.plan = plan
    self.numbers = numbers
  }

  /// Sends the plan with its descriptors, as a supervisor does; once.
  func send(over socket: borrowing MessageSocket) throws {
    try socket.send(Array(plan.text.utf8), descriptors: numbers)
    for number in numbers { close(number) }
    numbers = []
  }

  /// What the guest has printed so far.
  func printed() -> String {
    var text: [UInt8] = []
    while let bytes = try? console.read(maximum: 4096), !bytes.isEmpty { text += bytes }
    return String(decoding: text, as: UTF8.self)
  }
}

/// A domain that is run in this process, and what one can see of it from outside.
final class Domain: @unchecked Sendable {
  // @unchecked: the test thread and the running thread use different members, and join.
  static let log = Log(domain: "test")

  private let parts: DomainParts
  var console: OwnedDescriptor { _read { yield parts.console } }
  var supervisor: MessageSocket { _read { yield supervisorEnd! } }
  var memory: SharedMapping { _read { yield parts.memory } }
  private let machine: Machine
  private var link: MessageSocket?
  private var supervisorEnd: MessageSocket?
  private var outcome: Result<Outcome, any Error>?
  private var thread = pthread_t()

  /// Builds a domain whose kernel is `code`. `adjust` may change the plan and add descriptors.
  init(
    _ code: [UInt8], cpus: Int = 1, memoryBytes: Int = 4 << 20,
    adjust: (inout LaunchPlan, inout [Int32]) throws -> Void = { _, _ in }
  ) throws {
    parts = try DomainParts(code, cpus: cpus, memoryBytes: memoryBytes, adjust: adjust)
    // The plan takes the way it takes in life: as a message with descriptors.
    let pair = try MessageSocket.pair()
    try parts.send(over: pair.first)
    guard let message = try pair.second.receive() else {
      throw LaunchPlanError(line: 0, reason: "no message")
    }
    let decoded = try LaunchPlan(
      decoding: message.bytes, descriptorCount: message.descriptors.count)
    #expect(decoded == parts.plan)
    machine = try Machine(decoded, message.descriptors, log: Self.log)
    let ends2 = try MessageSocket.pair()
    supervisorEnd = MessageSocket(owning: try ends2.first.descriptor.duplicate())
    link = MessageSocket(owning: try ends2.second.descriptor.duplicate())
  }

  /// Starts the domain on a thread of its own.
  func start() {
    let me = Unmanaged.passRetained(self).toOpaque()
    pthread_create(
      &thread, nil,
      { pointer in
        let domain = Unmanaged<Domain>.fromOpaque(pointer!).takeRetainedValue()
        domain.outcome = Result { try domain.machine.run(supervisor: domain.link.take()!) }
        return nil
      }, me)
  }

  /// Waits for the end.
  func wait() throws -> Outcome {
    pthread_join(thread, nil)
    return try #require(outcome).get()
  }

  /// Closes the supervisor's end.
  func dropSupervisor() { supervisorEnd = nil }

  /// Starts, waits, and gives the outcome.
  func run() throws -> Outcome {
    start()
    return try wait()
  }

  /// The next report to the supervisor.
  func nextReport() throws -> String? {
    guard let message = try supervisor.receive() else { return nil }
    return String(decoding: message.bytes, as: UTF8.self)
  }

  /// What the guest has printed so far.
  func printed() -> String { parts.printed() }

  /// The 32-bit word at guest-physical `address`.
  func word(_ address: Int) -> UInt32 {
    (memory.copy(from: address, count: 4) ?? []).reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }
}

/// A tiny assembler for 32-bit protected mode: what the tests' guests need, one line each.
struct Code {
  var bytes: [UInt8] = []

  private mutating func emit(_ opcode: [UInt8], _ words: UInt32...) {
    bytes += opcode
    for word in words { withUnsafeBytes(of: word.littleEndian) { bytes += Array($0) } }
  }

  /// out port, al
  mutating func out(_ port: UInt16, _ value: UInt8) {
    emit([0x66, 0xBA, UInt8(port & 0xFF), UInt8(port >> 8)])  // mov dx, port
    emit([0xB0, value, 0xEE])  // mov al, value; out dx, al
  }
  /// mov eax, [address]; mov [to], eax
  mutating func copy(_ address: UInt32, to: UInt32) {
    emit([0xA1], address)
    emit([0xA3], to)
  }
  /// mov dword [address], value
  mutating func store(_ address: UInt32, _ value: UInt32) { emit([0xC7, 0x05], address, value) }
  /// out 0xCF8, eax; in eax, 0xCFC; mov [to], eax
  mutating func readConfiguration(slot: UInt32, offset: UInt32, to: UInt32) {
    selectConfiguration(slot, offset)
    emit([0x66, 0xBA, 0xFC, 0x0C, 0xED])  // mov dx, 0xcfc; in eax, dx
    emit([0xA3], to)
  }
  mutating func writeConfiguration(slot: UInt32, offset: UInt32, _ value: UInt32) {
    selectConfiguration(slot, offset)
    emit([0x66, 0xBA, 0xFC, 0x0C])  // mov dx, 0xcfc
    emit([0xB8], value)  // mov eax, value
    emit([0xEF])  // out dx, eax
  }
  private mutating func selectConfiguration(_ slot: UInt32, _ offset: UInt32) {
    emit([0x66, 0xBA, 0xF8, 0x0C])  // mov dx, 0xcf8
    emit([0xB8], 0x8000_0000 | slot << 11 | offset)  // mov eax, …
    emit([0xEF])  // out dx, eax
  }
  /// Waits until the word at `address` is `value`.
  mutating func wait(_ address: UInt32, for value: UInt32) {
    emit([0x81, 0x3D], address, value)  // cmp dword [address], value
    emit([0x75, 0xF4])  // jne back
  }
  mutating func raw(_ bytes: UInt8...) { self.bytes += bytes }
  mutating func halt() { raw(0xF4, 0xEB, 0xFD) }  // hlt; jmp back
  /// The ACPI way to power off.
  mutating func powerOff() {
    out(0x600, 0x34)
    halt()
  }
}

func guest(_ build: (inout Code) -> Void) -> [UInt8] {
  var code = Code()
  build(&code)
  return code.bytes
}
