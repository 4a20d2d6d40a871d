// SPDX-License-Identifier: Apache-2.0
internal import CLinux

/// A model-specific register and its value.
public struct ModelSpecificRegister: Equatable, Sendable {
  public let number: UInt32
  public var value: UInt64

  public init(_ number: UInt32, _ value: UInt64) {
    self.number = number
    self.value = value
  }

  /// What firmware would leave behind (Intel SDM volume 4).
  ///
  /// Memory is write-back unless the page tables say otherwise: without the default type Linux maps
  /// even prefetchable BARs uncached.
  public static let afterFirmware: [ModelSpecificRegister] = [
    ModelSpecificRegister(0x2FF, 0x806),  // IA32_MTRR_DEF_TYPE: enabled, write-back
    ModelSpecificRegister(0x1A0, 1),  // IA32_MISC_ENABLE: fast strings
    ModelSpecificRegister(0x277, 0x0007_0406_0007_0406),  // IA32_PAT: its reset value
    ModelSpecificRegister(0x174, 0),  // IA32_SYSENTER_CS
    ModelSpecificRegister(0x175, 0),  // IA32_SYSENTER_ESP
    ModelSpecificRegister(0x176, 0),  // IA32_SYSENTER_EIP
    ModelSpecificRegister(0xC000_0081, 0),  // IA32_STAR
    ModelSpecificRegister(0xC000_0082, 0),  // IA32_LSTAR
    ModelSpecificRegister(0xC000_0083, 0),  // IA32_CSTAR
    ModelSpecificRegister(0xC000_0084, 0),  // IA32_FMASK
    ModelSpecificRegister(0xC000_0102, 0),  // IA32_KERNEL_GS_BASE
  ]
}

/// `struct kvm_msrs`: a count and padding before the entries.
private let headerByteCount = 8
private let entryByteCount = 16

extension VirtualCPU {
  /// Sets `registers`, in order.
  public func set(_ registers: [ModelSpecificRegister]) throws(KVMError) {
    let accepted = try exchange(registers, CLINUX_KVM_SET_MSRS).accepted
    guard accepted == registers.count else {
      throw .modelSpecificRegister(
        msr: registers[min(accepted, registers.count - 1)].number, accepted: accepted,
        offered: registers.count)
    }
  }

  /// The value of register `number`.
  public func modelSpecificRegister(_ number: UInt32) throws(KVMError) -> UInt64 {
    let answer = try exchange([ModelSpecificRegister(number, 0)], CLINUX_KVM_GET_MSRS)
    guard answer.accepted == 1, let value = answer.values.first else {
      throw .modelSpecificRegister(msr: number, accepted: 0, offered: 1)
    }
    return value
  }

  private func exchange(
    _ registers: [ModelSpecificRegister], _ request: UInt
  ) throws(KVMError) -> (accepted: Int, values: [UInt64]) {
    let byteCount = headerByteCount + registers.count * entryByteCount
    // SAFETY: the table has room for the header and exactly these entries (16 bytes: index,
    // reserved, value).
    return try unsafe withKernelBytes(byteCount) { bytes throws(KVMError) in
      unsafe bytes.storeBytes(of: UInt32(registers.count), as: UInt32.self)
      for (index, register) in registers.enumerated() {
        let entry = kvm_msr_entry(index: register.number, reserved: 0, data: register.value)
        unsafe bytes.storeBytes(
          of: entry, toByteOffset: headerByteCount + index * entryByteCount,
          as: kvm_msr_entry.self)
      }
      let accepted = try kvmCall("exchange \(registers.count) MSRs of CPU \(identifier)") {
        unsafe clinux_ioctl_pointer(descriptor.rawValue, request, bytes.baseAddress)
      }
      let values = registers.indices.map { index in
        unsafe bytes.loadUnaligned(
          fromByteOffset: headerByteCount + index * entryByteCount, as: kvm_msr_entry.self
        ).data
      }
      return (Int(accepted), values)
    }
  }
}
