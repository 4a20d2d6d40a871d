// SPDX-License-Identifier: Apache-2.0
public import CLinux
internal import Glibc
internal import LinuxSystem

/// A virtual CPU: its registers, and running it.
///
/// One thread runs it and asks for its registers; any thread may call `requestExit`.
@safe
public struct VirtualCPU: ~Copyable, @unchecked Sendable {
  // @unchecked: the run area is the running thread's, except for `immediate_exit`, one byte that
  // other threads set and the kernel reads.

  /// The local APIC's id.
  public let identifier: UInt32
  let descriptor: OwnedDescriptor
  private let runArea: SharedMapping

  init(
    identifier: UInt32, owning descriptor: consuming OwnedDescriptor, runAreaByteCount: Int
  ) throws(KVMError) {
    guard runAreaByteCount >= MemoryLayout<kvm_run>.size else {
      throw .malformed("a run area of \(runAreaByteCount) bytes")
    }
    let runArea = try Self.map(descriptor, byteCount: runAreaByteCount)
    self.identifier = identifier
    self.runArea = runArea
    self.descriptor = descriptor
  }

  private static func map(
    _ descriptor: borrowing OwnedDescriptor, byteCount: Int
  ) throws(KVMError) -> SharedMapping {
    do {
      return try SharedMapping(descriptor, byteCount: byteCount)
    } catch {
      throw .call(error)
    }
  }

  // MARK: Running

  /// Runs the guest until it needs the monitor.
  ///
  /// A port or memory read is answered with `setPortValue` or `setMemoryValue` before the next run.
  public func run() -> CPUExit {
    if clinux_ioctl(descriptor.rawValue, CLINUX_KVM_RUN, 0) != 0 {
      switch clinux_errno() {
      case EINTR, EAGAIN: return .interrupted
      case let number: return .failed(errno: number)
      }
    }
    return decodeExit()
  }

  /// Makes the current or next `run` return `.interrupted`, once a signal gets it out of the kernel.
  public func requestExit() { setImmediateExit(1) }

  /// Takes back `requestExit`.
  public func clearExitRequest() { setImmediateExit(0) }

  private func setImmediateExit(_ value: UInt8) {
    // SAFETY: the offset lies within the run area, checked to hold a kvm_run; a one-byte store is whole.
    unsafe runArea.baseAddress.storeBytes(
      of: value, toByteOffset: CLINUX_RUN_IMMEDIATE_EXIT, as: UInt8.self)
  }

  private func field<T: BitwiseCopyable>(_ offset: Int, as type: T.Type) -> T {
    // SAFETY: offsets are those of struct kvm_run, which the run area was checked to hold.
    unsafe runArea.baseAddress.loadUnaligned(fromByteOffset: offset, as: type)
  }

  private func decodeExit() -> CPUExit {
    let reason = field(CLINUX_RUN_EXIT_REASON, as: UInt32.self)
    switch Int32(bitPattern: reason) {
    case KVM_EXIT_IO: return .port(portAccess())
    case KVM_EXIT_MMIO: return .memory(memoryAccess())
    case KVM_EXIT_HLT: return .halted
    case KVM_EXIT_SHUTDOWN: return .shutdown
    case KVM_EXIT_INTR: return .interrupted
    case KVM_EXIT_INTERNAL_ERROR:
      return .internalError(suberror: field(CLINUX_RUN_SUBERROR, as: UInt32.self))
    case KVM_EXIT_FAIL_ENTRY:
      return .entryFailed(reason: field(CLINUX_RUN_ENTRY_REASON, as: UInt64.self))
    case KVM_EXIT_SYSTEM_EVENT:
      return .systemEvent(type: field(CLINUX_RUN_SYSTEM_EVENT, as: UInt32.self))
    default: return .unknown(reason: reason)
    }
  }

  // MARK: Accesses

  private func portAccess() -> PortAccess {
    PortAccess(
      isWrite: field(CLINUX_RUN_IO_DIRECTION, as: UInt8.self) == UInt8(KVM_EXIT_IO_OUT),
      port: field(CLINUX_RUN_IO_PORT, as: UInt16.self),
      width: Int(field(CLINUX_RUN_IO_SIZE, as: UInt8.self)),
      count: Int(field(CLINUX_RUN_IO_COUNT, as: UInt32.self)),
      dataOffset: Int(
        truncatingIfNeeded: field(CLINUX_RUN_IO_DATA_OFFSET, as: UInt64.self)))
  }

  private func memoryAccess() -> MemoryAccess {
    let width = Int(field(CLINUX_RUN_MMIO_LENGTH, as: UInt32.self))
    let data = field(CLINUX_RUN_MMIO_DATA, as: UInt64.self)
    return MemoryAccess(
      isWrite: field(CLINUX_RUN_MMIO_IS_WRITE, as: UInt8.self) != 0,
      address: field(CLINUX_RUN_MMIO_ADDRESS, as: UInt64.self), width: min(width, 8),
      value: width >= 8 ? data : data & ((1 << UInt64(width * 8)) - 1))
  }

  /// The value that the guest writes with item `index` of `access`.
  public func portValue(_ access: PortAccess, item index: Int) -> UInt64 {
    let offset = access.dataOffset &+ index &* access.width
    guard runArea.covers(offset, access.width) else { return 0 }
    var value: UInt64 = 0
    // SAFETY: the range was checked to lie within the run area.
    unsafe withUnsafeMutableBytes(of: &value) { bytes in
      for byte in 0..<min(access.width, 8) {
        unsafe bytes[byte] = runArea.baseAddress.load(fromByteOffset: offset + byte, as: UInt8.self)
      }
    }
    return value
  }

  /// Answers item `index` of a port read.
  public func setPortValue(_ access: PortAccess, item index: Int, to value: UInt64) {
    let offset = access.dataOffset &+ index &* access.width
    guard runArea.covers(offset, access.width) else { return }
    for byte in 0..<min(access.width, 8) {
      // SAFETY: the range was checked to lie within the run area.
      unsafe runArea.baseAddress.storeBytes(
        of: UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)), toByteOffset: offset + byte,
        as: UInt8.self)
    }
  }

  /// Answers a memory read.
  public func setMemoryValue(_ value: UInt64) {
    // SAFETY: the field holds eight bytes and lies within the run area.
    unsafe runArea.baseAddress.storeBytes(
      of: value, toByteOffset: CLINUX_RUN_MMIO_DATA, as: UInt64.self)
  }

  // MARK: Registers

  /// General registers.
  public func registers() throws(KVMError) -> kvm_regs {
    var registers = kvm_regs()
    try get("registers", CLINUX_KVM_GET_REGS, &registers)
    return registers
  }

  public func set(_ registers: kvm_regs) throws(KVMError) {
    try put("registers", CLINUX_KVM_SET_REGS, registers)
  }

  /// Segments, control registers and descriptor tables.
  public func systemRegisters() throws(KVMError) -> kvm_sregs {
    var registers = kvm_sregs()
    try get("system registers", CLINUX_KVM_GET_SREGS, &registers)
    return registers
  }

  public func set(_ registers: kvm_sregs) throws(KVMError) {
    try put("system registers", CLINUX_KVM_SET_SREGS, registers)
  }

  /// Whether the CPU runs, sleeps or waits to be started by another.
  public func setState(_ state: CPUState) throws(KVMError) {
    try put("state", CLINUX_KVM_SET_MP_STATE, kvm_mp_state(mp_state: state.rawValue))
  }

  /// The x87 and SSE state after a reset.
  public func resetFloatingPoint() throws(KVMError) {
    var state = kvm_fpu()
    state.fcw = 0x37F  // as FNINIT leaves it
    state.mxcsr = 0x1F80  // all exceptions masked
    try put("floating-point state", CLINUX_KVM_SET_FPU, state)
  }

  /// Enables the processor state that `cpuid` offers (XCR0), for guests that manage it by XSAVE.
  ///
  /// Firmware may do so, and a guest sets it again. It is needed where KVM does not see the guest's
  /// XSETBV, as under QEMU's emulation of SVM: KVM would put the reset value back after each exit, and
  /// CPUID would give the size of another state than the processor saves.
  public func enableExtendedState(_ cpuid: CPUIDTable) throws(KVMError) {
    let mask = cpuid.extendedStateMask
    guard mask != 0 else { return }
    var registers = kvm_xcrs()
    registers.nr_xcrs = 1
    registers.xcrs.0 = kvm_xcr(xcr: 0, reserved: 0, value: mask)
    try put("extended control registers", CLINUX_KVM_SET_XCRS, registers)
  }

  /// Connects the local APIC's LINT0 to the PIC and LINT1 to NMI, as firmware leaves them.
  public func resetLocalInterrupts() throws(KVMError) {
    var state = try localAPIC()
    // SAFETY: the state is 1 KiB of registers; both offsets lie within it.
    unsafe withUnsafeMutableBytes(of: &state) { registers in
      // LINT0 is ExtINT, LINT1 is NMI.
      unsafe registers.storeBytes(of: UInt32(0x700), toByteOffset: 0x350, as: UInt32.self)
      unsafe registers.storeBytes(of: UInt32(0x400), toByteOffset: 0x360, as: UInt32.self)
    }
    try set(state)
  }

  /// The local APIC's registers, 1 KiB.
  public func localAPIC() throws(KVMError) -> kvm_lapic_state {
    var state = kvm_lapic_state()
    try get("local APIC", CLINUX_KVM_GET_LAPIC, &state)
    return state
  }

  public func set(_ state: kvm_lapic_state) throws(KVMError) {
    try put("local APIC", CLINUX_KVM_SET_LAPIC, state)
  }

  private func get<T>(_ what: String, _ request: UInt, _ value: inout T) throws(KVMError) {
    try kvmCall("get \(what) of CPU \(identifier)") {
      // SAFETY: each caller passes the structure that belongs to the request.
      unsafe withUnsafeMutableBytes(of: &value) {
        unsafe clinux_ioctl_pointer(descriptor.rawValue, request, $0.baseAddress)
      }
    }
  }

  private func put<T>(_ what: String, _ request: UInt, _ value: T) throws(KVMError) {
    var value = value
    try kvmCall("set \(what) of CPU \(identifier)") {
      // SAFETY: each caller passes the structure that belongs to the request.
      unsafe withUnsafeMutableBytes(of: &value) {
        unsafe clinux_ioctl_pointer(descriptor.rawValue, request, $0.baseAddress)
      }
    }
  }

  // MARK: Statistics

  /// The CPU's own statistics; waits while another thread runs the CPU.
  public func statistics() throws(KVMError) -> Statistics {
    try Statistics(of: descriptor)
  }
}

/// What other CPUs see of a CPU.
public enum CPUState: UInt32, Sendable {
  case runnable = 0  // KVM_MP_STATE_RUNNABLE
  /// Waits for INIT and SIPI.
  case uninitialized = 1  // KVM_MP_STATE_UNINITIALIZED
}
