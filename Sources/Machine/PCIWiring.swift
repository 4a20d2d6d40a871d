// SPDX-License-Identifier: Apache-2.0
internal import DeviceModel
internal import KVM
internal import LinuxSystem
internal import PCI

/// What lies behind the memory and the doorbells of one function's BARs.
protocol BARBacking: AnyObject {
  /// Where `range` of BAR `bar` lies in this process; `nil` if it is not mapped. It stays mapped while
  /// the backing lives.
  @unsafe func hostAddress(ofBAR bar: Int, _ range: DirectRange) -> UnsafeMutableRawPointer?
  /// The event that `doorbell` of BAR `bar` rings.
  func event(ofBAR bar: Int, _ doorbell: PCI.Doorbell) -> SharedEvent?
}

/// An eventfd with several users in this process.
final class SharedEvent: Sendable {
  let event: EventDescriptor

  init(_ event: consuming EventDescriptor) {
    self.event = event
  }
}

/// Keeps KVM's memory slots and doorbells where the guest has put the BARs.
///
/// Called with the PCI bus locked, which guards all state here.
final class BARWiring: BARMapper {
  private struct Place: Hashable {
    let slot: Int
    let bar: Int
  }

  private struct Wired {
    var memorySlots: [UInt32] = []
    var doorbells: [(VirtualMachine.Doorbell, SharedEvent)] = []
  }

  private let vm: SharedVM
  private let log: Log
  private var backings: [Int: any BARBacking] = [:]
  private var wired: [Place: Wired] = [:]
  private var nextMemorySlot: UInt32
  private var freeMemorySlots: [UInt32] = []

  /// - Parameter firstMemorySlot: memory slots from here on are given out.
  init(_ vm: SharedVM, firstMemorySlot: UInt32, log: Log) {
    self.vm = vm
    nextMemorySlot = firstMemorySlot
    self.log = log
  }

  /// Tells what lies behind the function in `slot`.
  func setBacking(_ backing: any BARBacking, ofSlot slot: Int) {
    backings[slot] = backing
  }

  func map(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    guard decoded.bar.kind != .io, let backing = backings[slot] else { return }
    let bar = decoded.bar.index
    var new = Wired()
    for range in function.directRanges(ofBAR: bar) {
      // SAFETY: the address goes to KVM only, and the backing outlives the slot.
      guard let host = unsafe backing.hostAddress(ofBAR: bar, range) else { continue }
      let number = takeMemorySlot()
      attempt("memory of BAR \(bar) of slot \(slot)") { () throws(KVMError) in
        // SAFETY: as above.
        unsafe try vm.vm.set(
          VirtualMachine.MemorySlot(
            number: number, guestAddress: decoded.address &+ range.offset,
            byteCount: range.byteCount, isReadOnly: range.isReadOnly),
          hostAddress: host)
        new.memorySlots.append(number)
      }
      if new.memorySlots.last != number { freeMemorySlots.append(number) }
    }
    for doorbell in function.doorbells(ofBAR: bar) {
      guard let event = backing.event(ofBAR: bar, doorbell) else { continue }
      let place = VirtualMachine.Doorbell(
        place: .memory(decoded.address &+ doorbell.offset), width: doorbell.width,
        value: doorbell.value)
      attempt("doorbell of BAR \(bar) of slot \(slot)") { () throws(KVMError) in
        try vm.vm.attach(event.event.descriptor, doorbell: place)
        new.doorbells.append((place, event))
      }
    }
    wired[Place(slot: slot, bar: bar)] = new
  }

  func unmap(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    let place = Place(slot: slot, bar: decoded.bar.index)
    guard let old = wired.removeValue(forKey: place) else { return }
    for number in old.memorySlots {
      attempt("memory slot \(number)") { () throws(KVMError) in
        try vm.vm.removeMemorySlot(number)
        freeMemorySlots.append(number)
      }
    }
    for (doorbell, event) in old.doorbells {
      attempt("doorbell") { () throws(KVMError) in
        try vm.vm.detach(event.event.descriptor, doorbell: doorbell)
      }
    }
  }

  private func takeMemorySlot() -> UInt32 {
    if let number = freeMemorySlots.popLast() { return number }
    defer { nextMemorySlot += 1 }
    return nextMemorySlot
  }

  /// A failure leaves that part of the BAR to the function's own model: slower or empty, never fatal.
  private func attempt(_ what: @autoclosure () -> String, _ body: () throws(KVMError) -> Void) {
    do throws(KVMError) { try body() } catch { log.warn("\(what()): \(error)") }
  }
}
