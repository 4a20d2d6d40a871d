// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// Told when a BAR begins or ends to be decoded: the machine's part.
///
/// Ranges given here lie within the bus's windows and never overlap one another, whatever the guest
/// programs. Called with the bus locked: do not call the bus from here.
public protocol BARMapper: AnyObject {
  /// `decoded` of the function in `slot` answers from now on: set up memory slots for
  /// `directRanges` and ioeventfds for `doorbells` of that BAR.
  func map(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int)
  /// `decoded` does not answer any more: undo what `map` did.
  func unmap(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int)
}

/// PCI bus 0: up to 32 functions, each function 0 of its slot.
///
/// How a machine uses it:
/// 1. `PCIBus(windows:mapper:)`, `insert` each function, then `assignBARs()` once before the start.
///    Memory decoding stays off until the guest turns it on, as after a reset.
/// 2. Register four kinds of `BusDevice`: `ECAMWindow` (MMIO), `ConfigurationPorts` (0xCF8, eight
///    ports), `BARWindow(.memory32)`, `BARWindow(.memory64)` (MMIO) and `BARWindow(.io)` (ports),
///    each at the address its documentation names.
/// 3. In the mapper, map and unmap memory slots and ioeventfds.
///
/// Threats: the guest moves BARs over each other, out of the windows or over RAM. Such BARs are not
/// decoded at all until they are moved somewhere sound; of two that collide the lower slot wins.
///
/// Lock order: the bus's lock, then whatever the mapper and the interrupt sinks take.
public final class PCIBus: @unchecked Sendable {
  // @unchecked: all state is used only with `lock` held.

  /// A BAR that the mapper knows of.
  struct Mapping: Equatable {
    let slot: Int
    let decoded: DecodedBAR
  }

  /// Slots on the bus.
  public static let slotCount = 32
  /// The I/O APIC inputs that INTx is spread over: 16–23.
  public static let firstInterruptInput = 16
  public static let interruptInputCount = 8

  public let windows: PCIWindows
  private let lock = Mutex(())
  private var functions = [(any PCIFunction)?](repeating: nil, count: slotCount)
  private var mappings: [Mapping] = []
  private weak var mapper: (any BARMapper)?

  /// An empty bus. The mapper is not retained.
  public init(windows: PCIWindows, mapper: (any BARMapper)? = nil) {
    self.windows = windows
    self.mapper = mapper
  }

  /// The I/O APIC input of `pin` (1–4 for INTA–INTD) of `slot`: what `_PRT` must say.
  public static func interruptInput(slot: Int, pin: Int) -> Int {
    firstInterruptInput + (slot + pin - 1) % interruptInputCount
  }

  /// Puts `function` in `slot`.
  public func insert(_ function: any PCIFunction, slot: Int) throws(PCIError) {
    guard (0..<Self.slotCount).contains(slot) else { throw PCIError.slotOutOfRange(slot) }
    guard functions[slot] == nil else { throw PCIError.slotTaken(slot) }
    functions[slot] = function
  }

  /// Gives every BAR an address in its window.
  public func assignBARs() throws(PCIError) {
    var requests: [BARAllocator.Request] = []
    for (slot, function) in functions.enumerated() {
      for bar in function?.bars ?? [] { requests.append(.init(slot: slot, bar: bar)) }
    }
    for assignment in try BARAllocator.assign(requests, in: windows) {
      program(assignment.decoded, slot: assignment.slot)
    }
  }

  private func program(_ decoded: DecodedBAR, slot: Int) {
    let offset = PCIRegister.bar0 + 4 * decoded.bar.index
    let low = UInt32(truncatingIfNeeded: decoded.address)
    writeConfiguration(slot: slot, offset: offset, width: 4, value: low)
    guard decoded.bar.is64Bit else { return }
    let high = UInt32(truncatingIfNeeded: decoded.address >> 32)
    writeConfiguration(slot: slot, offset: offset + 4, width: 4, value: high)
  }

  /// Runs `body` while no guest access is under way: for events that come from outside the guest.
  public func withLock<R: Sendable>(_ body: () -> R) -> R {
    lock.withLock { _ in body() }
  }

  // MARK: Configuration space

  /// Reads configuration space of the function in `slot`; ones if there is none. An access that is
  /// not aligned is taken apart; what lies outside the space reads as ones.
  public func readConfiguration(slot: Int, offset: Int, width: Int) -> UInt32 {
    let ones = UInt32(truncatingIfNeeded: truncated(.max, width: width))
    guard let function = function(slot) else { return ones }
    return withLock {
      guard !Self.isWhole(offset, width) else {
        return function.readConfiguration(offset: offset, width: width)
      }
      var value: UInt32 = 0
      for index in 0..<min(width, 4) {
        let inside = Self.isWhole(offset + index, 1)
        let byte = inside ? function.readConfiguration(offset: offset + index, width: 1) : 0xFF
        value |= (byte & 0xFF) << UInt32(8 * index)
      }
      return value
    }
  }

  /// Writes configuration space of the function in `slot`; dropped if there is none.
  public func writeConfiguration(slot: Int, offset: Int, width: Int, value: UInt32) {
    guard let function = function(slot) else { return }
    withLock {
      if Self.isWhole(offset, width) {
        function.writeConfiguration(offset: offset, width: width, value: value)
      } else {
        for index in 0..<min(width, 4) where Self.isWhole(offset + index, 1) {
          let byte = (value >> UInt32(8 * index)) & 0xFF
          function.writeConfiguration(offset: offset + index, width: 1, value: byte)
        }
      }
      if Self.mayMoveBARs(offset, width) { remap() }
    }
  }

  private func function(_ slot: Int) -> (any PCIFunction)? {
    functions.indices.contains(slot) ? functions[slot] : nil
  }

  private static func isWhole(_ offset: Int, _ width: Int) -> Bool {
    let limit = ConfigurationSpace.expressByteCount
    return (width == 1 || width == 2 || width == 4) && offset >= 0 && offset % width == 0
      && offset + width <= limit
  }

  private static func mayMoveBARs(_ offset: Int, _ width: Int) -> Bool {
    func touches(_ start: Int, _ end: Int) -> Bool { offset < end && offset + width > start }
    return touches(PCIRegister.command, PCIRegister.status)
      || touches(PCIRegister.bar0, PCIRegister.cardbus)
      || touches(PCIRegister.romBAR, PCIRegister.romBAR + 4)
  }

  /// Asks every function what it decodes again, and does what is needed: for a function that
  /// changed its BARs other than by a write of the guest, such as a reset.
  public func refreshMappings() {
    withLock { remap() }
  }

  private func remap() {
    var wanted: [Mapping] = []
    for (slot, function) in functions.enumerated() {
      for decoded in function?.decodedBARs ?? [] where windows.contain(decoded) {
        guard !wanted.contains(where: { $0.decoded.overlaps(decoded) }) else { continue }
        wanted.append(Mapping(slot: slot, decoded: decoded))
      }
    }
    let gone = mappings.filter { !wanted.contains($0) }
    let new = wanted.filter { !mappings.contains($0) }
    mappings = wanted
    for mapping in gone { tell(mapping) { $0.unmap($1, of: $2, slot: $3) } }
    for mapping in new { tell(mapping) { $0.map($1, of: $2, slot: $3) } }
  }

  private func tell(
    _ mapping: Mapping,
    _ call: (any BARMapper, DecodedBAR, any PCIFunction, Int) -> Void
  ) {
    guard let mapper, let function = functions[mapping.slot] else { return }
    call(mapper, mapping.decoded, function, mapping.slot)
  }

  // MARK: BARs

  /// Reads at `address` (a port if `io`); ones where no BAR answers.
  public func read(address: UInt64, width: Int, io: Bool) -> UInt64 {
    withLock {
      guard let (function, bar, offset) = target(address, width, io) else {
        return truncated(.max, width: width)
      }
      return truncated(function.readBAR(bar, offset: offset, width: width), width: width)
    }
  }

  /// Writes at `address` (a port if `io`); dropped where no BAR answers.
  public func write(address: UInt64, width: Int, value: UInt64, io: Bool) {
    withLock {
      guard let (function, bar, offset) = target(address, width, io) else { return }
      function.writeBAR(
        bar, offset: offset, width: width, value: truncated(value, width: width))
    }
  }

  private func target(
    _ address: UInt64, _ width: Int, _ io: Bool
  ) -> (any PCIFunction, Int, UInt64)? {
    for mapping in mappings where (mapping.decoded.bar.kind == .io) == io {
      guard
        let offset = mapping.decoded.offset(of: address, width: width),
        let function = functions[mapping.slot]
      else { continue }
      return (function, mapping.decoded.bar.index, offset)
    }
    return nil
  }
}
