// SPDX-License-Identifier: Apache-2.0
public import Boot
public import Ivshmem
public import KVM
public import LinuxSystem
public import PCI

/// Why a domain could not be put together.
public enum MachineError: Error, CustomStringConvertible {
  case kvm(KVMError)
  case system(SystemCallError)
  case boot(BootError)
  case pci(PCIError)
  case ivshmem(slot: Int, IvshmemError)
  case vfio(address: String, reason: String)
  /// A descriptor of the plan is not what the plan says.
  case descriptor(String)
  /// Two devices claim the same addresses.
  case overlap(String)
  /// The guest's physical addresses are too narrow for RAM and the PCI windows.
  case addressWidth(bits: Int)

  public var description: String {
    switch self {
    case .kvm(let error): "\(error)"
    case .system(let error): "\(error)"
    case .boot(let error): "\(error)"
    case .pci(let error): "\(error)"
    case .ivshmem(let slot, let error): "channel in slot \(slot): \(error)"
    case .vfio(let address, let reason): "device \(address): \(reason)"
    case .descriptor(let reason): reason
    case .overlap(let what): "two devices claim \(what)"
    case .addressWidth(let bits):
      "this machine's guests have \(bits) bits of physical address, too few for the memory asked for"
    }
  }
}

/// Runs `body`, whose error becomes a `MachineError`.
func asKVM<R: ~Copyable>(_ body: () throws(KVMError) -> R) throws(MachineError) -> R {
  do throws(KVMError) { return try body() } catch { throw .kvm(error) }
}

/// Runs `body`, whose error becomes a `MachineError`.
func asSystem<R: ~Copyable>(_ body: () throws(SystemCallError) -> R) throws(MachineError) -> R {
  do throws(SystemCallError) { return try body() } catch { throw .system(error) }
}
