// SPDX-License-Identifier: Apache-2.0
internal import CLinux

/// Which interrupt line (GSI) leads where: the I/O APIC's pins, and messages.
///
/// GSIs 0 to 23 are the I/O APIC's pins and always there; the others are given out for messages.
public struct InterruptRouting: Equatable, Sendable {
  /// The I/O APIC's pins.
  public static let pinCount: UInt32 = 24
  /// Routes that KVM accepts (KVM_MAX_IRQ_ROUTES).
  public static let maximum = 4096

  /// A message as a device would write it to the local APICs.
  public struct Message: Equatable, Sendable {
    public var address: UInt64
    public var data: UInt32

    public init(address: UInt64, data: UInt32) {
      self.address = address
      self.data = data
    }
  }

  /// By GSI less `pinCount`; `nil` is given out but leads nowhere.
  private var messages: [Message?] = []

  /// The pins alone.
  public init() {}

  /// How many routes there are.
  public var count: Int { Int(Self.pinCount) + messages.reduce(0) { $0 + ($1 == nil ? 0 : 1) } }

  /// Gives out a GSI that leads nowhere yet.
  public mutating func allocate() throws(KVMError) -> UInt32 {
    let gsi = Int(Self.pinCount) + messages.count
    guard gsi < Self.maximum else {
      throw KVMError.tooMany(what: "interrupt routes", count: gsi + 1, limit: Self.maximum)
    }
    messages.append(nil)
    return UInt32(gsi)
  }

  /// Where `gsi` leads. Setting a GSI that was not given out does nothing.
  public subscript(gsi: UInt32) -> Message? {
    get { index(of: gsi).flatMap { messages[$0] } }
    set { if let index = index(of: gsi) { messages[index] = newValue } }
  }

  private func index(of gsi: UInt32) -> Int? {
    guard gsi >= Self.pinCount, gsi < Self.pinCount + UInt32(messages.count) else { return nil }
    return Int(gsi - Self.pinCount)
  }

  /// Calls `body` with a `struct kvm_irq_routing` and its entries.
  func withKernelTable(
    _ body: (UnsafeMutableRawPointer?) throws(KVMError) -> Void
  ) throws(KVMError) {
    let stride = MemoryLayout<kvm_irq_routing_entry>.stride
    let entries = entries
    // SAFETY: the bytes hold the header (nr, flags) and all entries, which are written in turn.
    try unsafe withKernelBytes(8 + entries.count * stride) { bytes throws(KVMError) in
      unsafe bytes.storeBytes(of: UInt32(entries.count), as: UInt32.self)
      for (index, entry) in entries.enumerated() {
        unsafe bytes.storeBytes(
          of: entry, toByteOffset: 8 + index * stride, as: kvm_irq_routing_entry.self)
      }
      try unsafe body(bytes.baseAddress)
    }
  }

  private var entries: [kvm_irq_routing_entry] {
    let pins = (0..<Self.pinCount).map { pin in
      var entry = kvm_irq_routing_entry()
      entry.gsi = pin
      entry.type = UInt32(KVM_IRQ_ROUTING_IRQCHIP)
      // SAFETY: `type` says which member of the union this is.
      unsafe entry.u.irqchip.irqchip = UInt32(KVM_IRQCHIP_IOAPIC)
      unsafe entry.u.irqchip.pin = pin
      return entry
    }
    let routes: [kvm_irq_routing_entry] = messages.enumerated().compactMap { index, message in
      guard let message else { return nil }
      var entry = kvm_irq_routing_entry()
      entry.gsi = Self.pinCount + UInt32(index)
      entry.type = UInt32(KVM_IRQ_ROUTING_MSI)
      // SAFETY: `type` says which member of the union this is.
      unsafe entry.u.msi.address_lo = UInt32(truncatingIfNeeded: message.address)
      unsafe entry.u.msi.address_hi = UInt32(truncatingIfNeeded: message.address >> 32)
      unsafe entry.u.msi.data = message.data
      return entry
    }
    return pins + routes
  }
}
