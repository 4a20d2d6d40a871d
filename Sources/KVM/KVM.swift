// SPDX-License-Identifier: Apache-2.0
internal import CLinux
public import LinuxSystem

/// Why KVM could not do what was asked.
public enum KVMError: Error, Equatable, CustomStringConvertible {
  /// A call failed.
  case call(SystemCallError)
  /// `/dev/kvm` speaks another version of the interface than 12.
  case version(Int)
  /// The kernel lacks a capability.
  case missing(capability: String)
  /// KVM took only the first `accepted` of `offered` MSRs; `msr` is the one it refused.
  case modelSpecificRegister(msr: UInt32, accepted: Int, offered: Int)
  /// More of something than KVM offers.
  case tooMany(what: String, count: Int, limit: Int)
  /// KVM's own structure does not have the documented shape.
  case malformed(String)

  public var description: String {
    switch self {
    case .call(let error): "\(error)"
    case .version(let version): "/dev/kvm speaks version \(version), expected 12"
    case .missing(let capability): "/dev/kvm lacks \(capability)"
    case .modelSpecificRegister(let msr, let accepted, let offered):
      "KVM refused MSR 0x\(String(msr, radix: 16)), \(accepted) of \(offered) set"
    case .tooMany(let what, let count, let limit): "\(count) \(what), at most \(limit) possible"
    case .malformed(let what): "KVM gave \(what) of an unknown shape"
    }
  }
}

/// An open `/dev/kvm`.
public struct KVMSystem: ~Copyable, Sendable {
  let descriptor: OwnedDescriptor
  /// Bytes of a virtual CPU's run area.
  let runAreaByteCount: Int

  /// What the monitor cannot do without.
  private static let required: [(number: Int32, name: String)] = [
    (KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"), (KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"),
    (KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"), (KVM_CAP_IRQFD, "KVM_CAP_IRQFD"),
    (KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"), (KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"),
    (KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"), (KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"),
    (KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE"),
  ]

  /// Takes an open `/dev/kvm` and checks that it offers what the monitor needs.
  public init(owning descriptor: consuming OwnedDescriptor) throws(KVMError) {
    let version = try kvmCall("ask /dev/kvm for its version") { [number = descriptor.rawValue] in
      clinux_ioctl(number, CLINUX_KVM_GET_API_VERSION, 0)
    }
    guard version == KVM_API_VERSION else { throw KVMError.version(Int(version)) }
    for capability in Self.required
    where clinux_ioctl(
      descriptor.rawValue, CLINUX_KVM_CHECK_EXTENSION, UInt(capability.number)) <= 0
    {
      throw KVMError.missing(capability: capability.name)
    }
    let bytes = try kvmCall("ask for the run area's size") { [number = descriptor.rawValue] in
      clinux_ioctl(number, CLINUX_KVM_GET_VCPU_MMAP_SIZE, 0)
    }
    runAreaByteCount = Int(bytes)
    self.descriptor = descriptor
  }

  /// Opens `/dev/kvm`.
  public static func open() throws(KVMError) -> KVMSystem {
    do {
      return try KVMSystem(owning: try OwnedDescriptor.open("/dev/kvm", flags: 2 /* O_RDWR */))
    } catch let error as SystemCallError {
      throw .call(error)
    } catch let error as KVMError {
      throw error
    } catch {
      throw .malformed("an error")
    }
  }

  /// Whether the kernel offers a capability, or how much of it; 0 is "no".
  func capability(_ number: Int32) -> Int {
    Int(max(0, clinux_ioctl(descriptor.rawValue, CLINUX_KVM_CHECK_EXTENSION, UInt(number))))
  }

  /// Whether local APIC timers have the TSC-deadline mode.
  public var hasTSCDeadlineTimer: Bool { capability(KVM_CAP_TSC_DEADLINE_TIMER) > 0 }

  /// Whether virtual machines and CPUs have binary statistics.
  public var hasBinaryStatistics: Bool { capability(KVM_CAP_BINARY_STATS_FD) > 0 }

  /// A new virtual machine without memory, interrupt controllers or CPUs.
  public func createVirtualMachine() throws(KVMError) -> VirtualMachine {
    let number = try kvmCall("create a virtual machine") {
      clinux_ioctl(descriptor.rawValue, CLINUX_KVM_CREATE_VM, 0)
    }
    return VirtualMachine(
      descriptor: OwnedDescriptor(owning: number), runAreaByteCount: runAreaByteCount)
  }
}

/// Runs `call` until it is not interrupted; a negative result is an error.
@discardableResult
func kvmCall(
  _ operation: @autoclosure () -> String, _ call: () -> Int32
) throws(KVMError) -> Int32 {
  do {
    return try retrying(operation(), call)
  } catch {
    throw .call(error)
  }
}

/// Calls `body` with `byteCount` zero bytes, aligned for any of KVM's structures.
func withKernelBytes<Result>(
  _ byteCount: Int, _ body: (UnsafeMutableRawBufferPointer) throws(KVMError) -> Result
) throws(KVMError) -> Result {
  let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 16)
  // SAFETY: the bytes are this call's own until it returns.
  defer { unsafe bytes.deallocate() }
  unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
  return try unsafe body(bytes)
}
