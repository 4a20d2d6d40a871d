// SPDX-License-Identifier: Apache-2.0

public import CLibvos
internal import CVosABI

/// A second library that takes over the waiting place; libvos_c.h has the contract.
@safe
struct Waiter {
  private let pointer: UnsafePointer<vos_waiter>

  /// The registered one, if any.
  @inline(__always)
  static var current: Waiter? {
    // SAFETY: whoever registered it keeps it for the life of the process.
    let address = unsafe vos_load_acquire64(libvos_waiter_word())
    guard let pointer = unsafe UnsafePointer<vos_waiter>(bitPattern: UInt(address)) else {
      return nil
    }
    return unsafe Waiter(pointer: pointer)
  }

  private init(pointer: UnsafePointer<vos_waiter>) { unsafe self.pointer = unsafe pointer }

  /// False: this thread waits as libvos does alone.
  func park(_ pending: vos_pending) -> Bool {
    var pending = unsafe pending
    // SAFETY: the contract; the structure lives as long as the call.
    return unsafe pointer.pointee.park?(&pending) == 1
  }

  /// False: the real call must wait.
  func awaitReadable(_ descriptor: Int32) -> Bool {
    let readable: Int32 = 1  // POLLIN
    // SAFETY: the contract.
    return unsafe pointer.pointee.ready?(descriptor, readable) == 1
  }

  /// False: no slot is to be waited for.
  func awaitSlot(_ busy: UnsafeMutablePointer<UInt64>, _ seen: UInt64) -> Bool {
    // SAFETY: the contract; the first version's structure ends before these two.
    guard unsafe pointer.pointee.version > 1 else { return false }
    return unsafe pointer.pointee.full?(busy, seen) == 1
  }

  func tellFreed(_ busy: UnsafeMutablePointer<UInt64>) {
    // SAFETY: as above.
    if unsafe pointer.pointee.version > 1 { unsafe pointer.pointee.freed?(busy) }
  }
}

@c(vos_set_waiter)
public func setWaiter(_ waiter: UnsafePointer<vos_waiter>?) -> Int32 {
  // SAFETY: the contract: the structure is whole and lives as long as the process.
  if let version = unsafe waiter?.pointee.version,
    version == 0 || version > UInt32(VOS_WAITER_VERSION)
  {
    return -1
  }
  unsafe vos_store_release64(libvos_waiter_word(), UInt64(UInt(bitPattern: waiter)))
  return 0
}

/// Whether calls on the descriptor are libvos's, so that it asks the waiter where they would wait.
@c(vos_is_remote)
public func isRemote(_ descriptor: Int32) -> Int32 { Hot.isRemote(descriptor) ? 1 : 0 }
