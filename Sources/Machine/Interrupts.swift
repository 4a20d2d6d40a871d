// SPDX-License-Identifier: Apache-2.0
internal import DeviceModel
internal import KVM
internal import LinuxSystem
internal import Synchronization

/// The virtual machine, shared by all that acts on it.
final class SharedVM: Sendable {
  let vm: VirtualMachine
  private let routing = Mutex(InterruptRouting())

  init(_ vm: consuming VirtualMachine) {
    self.vm = vm
  }

  /// Gives out an interrupt for messages.
  func allocateInterrupt() throws(KVMError) -> UInt32 {
    try routing.withLock { routing throws(KVMError) in try routing.allocate() }
  }

  /// Has `gsi` lead where `message` says.
  func route(_ gsi: UInt32, to message: InterruptMessage) throws(KVMError) {
    try routing.withLock { routing throws(KVMError) in
      let wanted = InterruptRouting.Message(address: message.address, data: message.data)
      // Replacing all routes waits for every CPU; guests mask and unmask far more often than they move.
      let old = routing[gsi]
      guard old != wanted else { return }
      routing[gsi] = wanted
      do throws(KVMError) { try vm.set(routing) } catch {
        // What KVM refused would spoil every later table.
        routing[gsi] = old
        throw error
      }
    }
  }
}

/// A pin of the I/O APIC.
final class PinInterrupt: InterruptLine {
  private let vm: SharedVM
  private let gsi: UInt32
  private let log: Log

  init(_ vm: SharedVM, gsi: UInt32, log: Log) {
    self.vm = vm
    self.gsi = gsi
    self.log = log
  }

  func set(level: Bool) {
    do throws(KVMError) { try vm.vm.setLine(gsi, level: level) } catch {
      log.warn("\(error)")
    }
  }
}

/// One device's message-signalled interrupts: an eventfd and a GSI per vector.
///
/// While a vector is masked its eventfd is tied to no GSI: it keeps what rings, and tying it again
/// delivers that.
final class MessageVectors: MessageInterruptSink {
  private struct Vector: ~Copyable {
    let event: EventDescriptor
    let gsi: UInt32
    var isTied = false
  }

  private let vm: SharedVM
  private let log: Log
  private var vectors: [Box] = []

  private final class Box {
    var vector: Vector
    init(_ vector: consuming Vector) { self.vector = vector }
  }

  init(_ vm: SharedVM, log: Log) {
    self.vm = vm
    self.log = log
  }

  /// Adds the next vector, rung by `event`.
  func append(_ event: consuming EventDescriptor) throws(KVMError) {
    vectors.append(Box(Vector(event: event, gsi: try vm.allocateInterrupt())))
  }

  /// The eventfd of each vector, for those who ring it.
  var eventNumbers: [Int32] { vectors.map { $0.vector.event.descriptor.rawValue } }

  func configure(vector index: Int, message: InterruptMessage?) {
    guard vectors.indices.contains(index) else { return }
    let box = vectors[index]
    do throws(KVMError) {
      if let message {
        try vm.route(box.vector.gsi, to: message)
        guard !box.vector.isTied else { return }
        try vm.vm.attach(box.vector.event.descriptor, gsi: box.vector.gsi)
        box.vector.isTied = true
      } else if box.vector.isTied {
        try vm.vm.detach(box.vector.event.descriptor, gsi: box.vector.gsi)
        box.vector.isTied = false
      }
    } catch {
      log.warn("vector \(index): \(error)")
    }
  }

  func raise(vector index: Int) {
    guard vectors.indices.contains(index) else { return }
    vectors[index].vector.event.ring()
  }
}
