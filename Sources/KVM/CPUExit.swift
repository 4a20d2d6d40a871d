// SPDX-License-Identifier: Apache-2.0

/// Why a virtual CPU stopped running.
public enum CPUExit: Equatable, Sendable {
  /// The guest accessed a port.
  case port(PortAccess)
  /// The guest accessed memory that no slot backs, or wrote to a read-only slot.
  case memory(MemoryAccess)
  /// The guest halted, and no interrupt controller in the kernel waits for it.
  case halted
  /// Triple fault.
  case shutdown
  /// A signal, or `requestExit`.
  case interrupted
  /// KVM gave up, mostly on an instruction that it cannot emulate.
  case internalError(suberror: UInt32)
  /// The processor refused the guest's state.
  case entryFailed(reason: UInt64)
  /// The guest asked its platform for something.
  case systemEvent(type: UInt32)
  /// Any other reason (KVM_EXIT_*).
  case unknown(reason: UInt32)
  /// `KVM_RUN` itself failed.
  case failed(errno: Int32)
}

/// One port instruction: `count` items, each of `width` bytes, one after the other at one port.
public struct PortAccess: Equatable, Sendable {
  public let isWrite: Bool
  public let port: UInt16
  /// 1, 2 or 4.
  public let width: Int
  /// More than one for string instructions.
  public let count: Int
  /// Where the items lie in the run area.
  let dataOffset: Int
}

/// One access to a guest-physical address.
public struct MemoryAccess: Equatable, Sendable {
  public let isWrite: Bool
  public let address: UInt64
  /// 1 to 8.
  public let width: Int
  /// What is written; 0 for a read.
  public let value: UInt64
}
