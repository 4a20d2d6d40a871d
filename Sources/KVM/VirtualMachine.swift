// SPDX-License-Identifier: Apache-2.0
internal import CLinux
public import LinuxSystem

/// A virtual machine: its memory slots, interrupt routing and doorbells.
public struct VirtualMachine: ~Copyable, Sendable {
  let descriptor: OwnedDescriptor
  let runAreaByteCount: Int

  /// Three pages that Intel hosts want for the real-mode task state, out of the way of RAM and PCI.
  private static let taskStateAddress: UInt = 0xFFFB_D000
  /// One page that Intel hosts want for the identity map.
  private static let identityMapAddress: UInt64 = 0xFFFB_C000

  // MARK: Memory

  /// Where and how a stretch of host memory appears in the guest.
  public struct MemorySlot: Equatable, Sendable {
    /// The slot's number; slots are independent of each other.
    public let number: UInt32
    /// First guest-physical address, page-aligned.
    public let guestAddress: UInt64
    /// Bytes, whole pages; 0 removes the slot.
    public let byteCount: UInt64
    /// Whether a guest's write exits instead of changing memory.
    public let isReadOnly: Bool

    public init(number: UInt32, guestAddress: UInt64, byteCount: UInt64, isReadOnly: Bool = false) {
      self.number = number
      self.guestAddress = guestAddress
      self.byteCount = byteCount
      self.isReadOnly = isReadOnly
    }
  }

  /// Backs `slot` with host memory at `hostAddress`.
  ///
  /// The memory must stay mapped until the slot is removed or the machine is gone.
  @unsafe
  public func set(
    _ slot: MemorySlot, hostAddress: UnsafeMutableRawPointer
  ) throws(KVMError) {
    try setRegion(slot, userAddress: UInt64(UInt(bitPattern: hostAddress)))
  }

  /// Removes slot `number`.
  public func removeMemorySlot(_ number: UInt32) throws(KVMError) {
    try setRegion(MemorySlot(number: number, guestAddress: 0, byteCount: 0), userAddress: 0)
  }

  private func setRegion(_ slot: MemorySlot, userAddress: UInt64) throws(KVMError) {
    var region = kvm_userspace_memory_region()
    region.slot = slot.number
    region.flags = slot.isReadOnly ? UInt32(1 << 1) /* KVM_MEM_READONLY */ : 0
    region.guest_phys_addr = slot.guestAddress
    region.memory_size = slot.byteCount
    region.userspace_addr = userAddress
    try kvmCall("set memory slot \(slot)") {
      // SAFETY: the call reads a local of the type it expects.
      unsafe clinux_ioctl_pointer(
        descriptor.rawValue, CLINUX_KVM_SET_USER_MEMORY_REGION, &region)
    }
  }

  // MARK: CPUs and interrupt controllers

  /// Creates the interrupt controllers (local APICs, I/O APIC, legacy PICs); before any CPU.
  public func createInterruptControllers() throws(KVMError) {
    try kvmCall("set the task state's address") {
      clinux_ioctl(descriptor.rawValue, CLINUX_KVM_SET_TSS_ADDR, Self.taskStateAddress)
    }
    var identityMap = Self.identityMapAddress
    try kvmCall("set the identity map's address") {
      // SAFETY: the call reads eight bytes of a local of that size.
      unsafe clinux_ioctl_pointer(
        descriptor.rawValue, CLINUX_KVM_SET_IDENTITY_MAP_ADDR, &identityMap)
    }
    try kvmCall("create the interrupt controllers") {
      clinux_ioctl(descriptor.rawValue, CLINUX_KVM_CREATE_IRQCHIP, 0)
    }
  }

  /// Creates the CPU whose local APIC has id `identifier`.
  public func createCPU(_ identifier: UInt32) throws(KVMError) -> VirtualCPU {
    let number = try kvmCall("create virtual CPU \(identifier)") {
      clinux_ioctl(descriptor.rawValue, CLINUX_KVM_CREATE_VCPU, UInt(identifier))
    }
    return try VirtualCPU(
      identifier: identifier, owning: OwnedDescriptor(owning: number),
      runAreaByteCount: runAreaByteCount)
  }

  // MARK: Interrupts

  /// Replaces all interrupt routes.
  public func set(_ routing: InterruptRouting) throws(KVMError) {
    // SAFETY: the kernel only reads the table, and only during the call.
    try unsafe routing.withKernelTable { table throws(KVMError) in
      try kvmCall("set \(routing.count) interrupt routes") {
        // SAFETY: the table holds as many entries as its header says.
        unsafe clinux_ioctl_pointer(descriptor.rawValue, CLINUX_KVM_SET_GSI_ROUTING, table)
      }
    }
  }

  /// Has every ring of `event` raise `gsi` once (an edge).
  public func attach(_ event: borrowing OwnedDescriptor, gsi: UInt32) throws(KVMError) {
    try irqfd(event.rawValue, gsi: gsi, flags: 0, resample: 0)
  }

  /// Has every ring of `event` hold `gsi` until the guest ends the interrupt; then the line falls
  /// and `resample` is rung (a level-triggered line).
  public func attach(
    _ event: borrowing OwnedDescriptor, resample: borrowing OwnedDescriptor, gsi: UInt32
  ) throws(KVMError) {
    try irqfd(
      event.rawValue, gsi: gsi, flags: 1 << 1 /* KVM_IRQFD_FLAG_RESAMPLE */,
      resample: resample.rawValue)
  }

  /// Ends what `attach` began; rings from now on stay in the eventfd.
  public func detach(_ event: borrowing OwnedDescriptor, gsi: UInt32) throws(KVMError) {
    try irqfd(
      event.rawValue, gsi: gsi, flags: 1 << 0 /* KVM_IRQFD_FLAG_DEASSIGN */, resample: 0)
  }

  private func irqfd(
    _ event: Int32, gsi: UInt32, flags: UInt32, resample: Int32
  ) throws(KVMError) {
    var request = kvm_irqfd()
    request.fd = UInt32(bitPattern: event)
    request.gsi = gsi
    request.flags = flags
    request.resamplefd = UInt32(bitPattern: resample)
    try kvmCall("change the event of interrupt \(gsi)") {
      // SAFETY: the call reads a local of the type it expects.
      unsafe clinux_ioctl_pointer(descriptor.rawValue, CLINUX_KVM_IRQFD, &request)
    }
  }

  /// Drives interrupt line `gsi`.
  public func setLine(_ gsi: UInt32, level: Bool) throws(KVMError) {
    var request = kvm_irq_level()
    request.irq = gsi
    request.level = level ? 1 : 0
    try kvmCall("drive interrupt line \(gsi)") {
      // SAFETY: the call reads a local of the type it expects.
      unsafe clinux_ioctl_pointer(descriptor.rawValue, CLINUX_KVM_IRQ_LINE, &request)
    }
  }

  // MARK: Doorbells

  /// An access that rings an eventfd inside the kernel, without an exit to the monitor.
  public struct Doorbell: Equatable, Sendable {
    /// Where: a guest-physical address or a port.
    public enum Place: Equatable, Sendable {
      case memory(UInt64)
      case port(UInt16)
    }

    public let place: Place
    /// Bytes of the access: 1, 2, 4 or 8.
    public let width: Int
    /// The value that must be written; any if `nil`.
    public let value: UInt64?

    public init(place: Place, width: Int, value: UInt64?) {
      self.place = place
      self.width = width
      self.value = value
    }
  }

  /// Has each write that fits `doorbell` ring `event`.
  public func attach(
    _ event: borrowing OwnedDescriptor, doorbell: Doorbell
  ) throws(KVMError) {
    try ioeventfd(event.rawValue, doorbell, removing: false)
  }

  /// Ends what `attach` began.
  public func detach(
    _ event: borrowing OwnedDescriptor, doorbell: Doorbell
  ) throws(KVMError) {
    try ioeventfd(event.rawValue, doorbell, removing: true)
  }

  private func ioeventfd(
    _ event: Int32, _ doorbell: Doorbell, removing: Bool
  ) throws(KVMError) {
    var request = kvm_ioeventfd()
    request.fd = event
    request.len = UInt32(truncatingIfNeeded: doorbell.width)
    if let value = doorbell.value {
      request.datamatch = value
      request.flags |= 1 << UInt32(kvm_ioeventfd_flag_nr_datamatch)
    }
    switch doorbell.place {
    case .memory(let address): request.addr = address
    case .port(let port):
      request.addr = UInt64(port)
      request.flags |= 1 << UInt32(kvm_ioeventfd_flag_nr_pio)
    }
    if removing { request.flags |= 1 << UInt32(kvm_ioeventfd_flag_nr_deassign) }
    try kvmCall("change the doorbell \(doorbell)") {
      // SAFETY: the call reads a local of the type it expects.
      unsafe clinux_ioctl_pointer(descriptor.rawValue, CLINUX_KVM_IOEVENTFD, &request)
    }
  }

  // MARK: Statistics

  /// The machine's own statistics.
  public func statistics() throws(KVMError) -> Statistics {
    try Statistics(of: descriptor)
  }
}
