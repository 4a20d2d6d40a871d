// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// One thread's record, which lies in that thread's thread-local storage.
@safe
struct Thread: Equatable {
  let pointer: UnsafeMutablePointer<mn_thread>

  init(_ pointer: UnsafeMutablePointer<mn_thread>) { unsafe self.pointer = unsafe pointer }

  // SAFETY (all below): records live as long as their thread's storage, which is never unmapped
  // for threads of ours; fields that threads share change under the scheduler's lock.

  @inline(__always)
  static var current: Thread { unsafe Thread(mn_self()) }

  /// The thread that a pthread_t names: it is the address of the thread's descriptor.
  init?(_ number: UInt64) {
    guard let base = unsafe UnsafeMutableRawPointer(bitPattern: UInt(number)) else { return nil }
    unsafe self.init(mn_thread_of(base))
  }

  static func == (left: Thread, right: Thread) -> Bool { unsafe left.pointer == right.pointer }

  var isUser: Bool { unsafe pointer.pointee.kind == MN_USER }

  /// Whether another thread may run on this kernel thread meanwhile. Not in a signal handler: it
  /// runs with signals blocked in this kernel thread. Not within the scheduler.
  var canSwitch: Bool { isUser && (unsafe pointer.pointee.handlers) == 0 && mn_depth_now() == 0 }

  var carrier: Carrier? { unsafe pointer.pointee.carrier.map { unsafe Carrier($0) } }

  var descriptor: UnsafeMutablePointer<mn_descriptor>? {
    unsafe pointer.pointee.base.map { unsafe mn_descriptor_of($0) }
  }

  /// What mutexes call their owner: unique among the threads of this process.
  static var currentNumber: UInt32 {
    unsafe mn_descriptor_of(mn_thread_pointer()).pointee.number
  }

  var outcome: UInt32 {
    get { unsafe pointer.pointee.outcome }
    nonmutating set { unsafe pointer.pointee.outcome = newValue }
  }
  var next: Thread? {
    get { unsafe pointer.pointee.next.map { unsafe Thread($0) } }
    nonmutating set { unsafe pointer.pointee.next = unsafe newValue?.pointer }
  }
}

/// One kernel thread.
@safe
struct Carrier {
  let pointer: UnsafeMutablePointer<mn_carrier>

  init(_ pointer: UnsafeMutablePointer<mn_carrier>) { unsafe self.pointer = unsafe pointer }

  init(_ index: UInt32) { unsafe self.init(mn_carrier_at(index)) }

  // SAFETY (all below): carriers lie in a static table and change under the scheduler's lock.

  var idle: Thread? { unsafe pointer.pointee.idle.map { unsafe Thread($0) } }
  var isSpare: Bool {
    get { unsafe pointer.pointee.spare != 0 }
    nonmutating set { unsafe pointer.pointee.spare = newValue ? 1 : 0 }
  }
  var isStuck: Bool {
    get { unsafe pointer.pointee.stuck != 0 }
    nonmutating set { unsafe pointer.pointee.stuck = newValue ? 1 : 0 }
  }
  var isSleeping: Bool { unsafe vos_load_acquire32(mn_carrier_sleeping(pointer)) != 0 }
  var sleepWord: UnsafeMutablePointer<UInt32> { unsafe mn_carrier_sleeping(pointer) }
}
