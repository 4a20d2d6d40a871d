// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// The storage of user-level threads: libc's descriptor with the static thread-local storage below
/// it, and stacks. Both are kept when a thread ends.
///
/// libc knows our descriptors (they stand in its list of user stacks), because dlopen fills in the
/// thread-local storage of every thread there is. They are therefore never unmapped.
enum Storage {
  private static let slab = 16
  private static let stacksKept: UInt32 = 512
  private static let anonymousStack: Int32 = 0x2_4022  // PRIVATE ANONYMOUS NORESERVE STACK
  /// What of an ended thread's stack stays in memory.
  private static let warmBytes = 32 * 1024
  private static let adviseDontNeed: Int32 = 4
  /// libc's own thread-local storage is some 150 bytes.
  static let libraryLimit = 512

  // SAFETY (all below): mappings of ours; libc's structures are written as its pthread_create
  // does, before another thread can see them, or under its lock.

  /// A descriptor that no thread uses; nil if there is no memory.
  static func takeDescriptor() -> UnsafeMutablePointer<mn_descriptor>? {
    Scheduler.enter()
    let all = unsafe mn_all()
    let kept = unsafe all.pointee.free_threads
    if let kept = unsafe kept { unsafe all.pointee.free_threads = unsafe kept.pointee.next_free }
    Scheduler.leave()
    if let kept = unsafe kept, let base = unsafe kept.pointee.base {
      return unsafe mn_descriptor_of(base)
    }
    guard makeSlab() else { return nil }
    return unsafe takeDescriptor()
  }

  private static func makeSlab() -> Bool {
    var bytes = 0
    var alignment = 0
    unsafe _dl_get_tls_static_info(&bytes, &alignment)
    alignment = max(alignment, 64)
    let stride = (bytes &+ 2 &* alignment &+ alignment &- 1) & ~(alignment &- 1)
    let place = unsafe mmap(nil, stride &* slab, 3, anonymousStack, -1, 0)
    guard let place = unsafe place, UInt(bitPattern: place) != UInt.max else { return false }
    for index in 0..<slab {
      let end = UInt(bitPattern: place) &+ UInt(stride &* (index &+ 1))
      let base = (end &- UInt(MN_DESCRIPTOR_BYTES)) & ~UInt(alignment &- 1)
      guard let base = unsafe UnsafeMutableRawPointer(bitPattern: base) else { return false }
      let thread = unsafe Thread(mn_thread_of(base))
      unsafe thread.pointer.pointee.base = unsafe base
      unsafe link(mn_descriptor_of(base))
      Scheduler.enter()
      putBack(thread)
      Scheduler.leave()
    }
    return true
  }

  /// Lock held.
  static func putBack(_ thread: Thread) {
    let all = unsafe mn_all()
    unsafe thread.pointer.pointee.kind = MN_FOREIGN
    unsafe thread.pointer.pointee.next_free = unsafe all.pointee.free_threads
    unsafe all.pointee.free_threads = unsafe thread.pointer
  }

  /// Into libc's list of threads on stacks that are not libc's, under its lock (lowlevellock.h).
  private static func link(_ descriptor: UnsafeMutablePointer<mn_descriptor>) {
    let head = unsafe mn_stack_list()
    let lock = unsafe mn_stack_lock()
    while unsafe vos_compare_exchange32(lock, 0, 1) == 0 { Kernel.yield() }
    let list = unsafe mn_descriptor_list(descriptor)
    unsafe list.pointee.next = unsafe head.pointee.next
    unsafe list.pointee.previous = unsafe head
    unsafe head.pointee.next?.pointee.previous = unsafe list
    unsafe head.pointee.next = unsafe list
    if unsafe vos_exchange32(lock, 0) == 2 { unsafe Kernel.wakeSleeper(on: lock) }
  }

  /// Makes a descriptor as new, but for what libc's allocator keeps in its thread-local storage:
  /// that goes on, as if one thread had done both threads' work.
  static func renew(_ descriptor: UnsafeMutablePointer<mn_descriptor>) -> Bool {
    let all = unsafe mn_all()
    let raw = UnsafeMutableRawPointer(descriptor)
    let library = unsafe raw + all.pointee.libc_tls
    let bytes = unsafe all.pointee.libc_tls_bytes
    let isUsed = unsafe descriptor.pointee.dtv != nil
    var kept = InlineArray<64, UInt64>(repeating: 0)
    unsafe withUnsafeMutableBytes(of: &kept) { place in
      unsafe place.baseAddress?.copyMemory(from: library, byteCount: min(bytes, libraryLimit))
    }
    if isUsed { unsafe _dl_deallocate_tls(raw, false) }
    let listAt = 704
    let afterList = 720
    unsafe (raw).initializeMemory(as: UInt8.self, repeating: 0, count: listAt)
    unsafe (raw + afterList).initializeMemory(
      as: UInt8.self, repeating: 0, count: Int(MN_DESCRIPTOR_BYTES) &- afterList)
    guard unsafe _dl_allocate_tls(raw) != nil else { return false }
    if isUsed {
      unsafe withUnsafeBytes(of: kept) { place in
        if let base = place.baseAddress {
          unsafe library.copyMemory(from: base, byteCount: min(bytes, libraryLimit))
        }
      }
    }
    return true
  }

  /// What libc's functions look at; `model` is a thread that libc made.
  static func fill(_ descriptor: UnsafeMutablePointer<mn_descriptor>, _ thread: Thread) {
    let model = unsafe mn_descriptor_of(mn_thread_pointer()).pointee
    let raw = UnsafeMutableRawPointer(descriptor)
    unsafe descriptor.pointee.tcb = unsafe raw
    unsafe descriptor.pointee.own = unsafe raw
    unsafe descriptor.pointee.multiple_threads = 1
    unsafe descriptor.pointee.sysinfo = unsafe model.sysinfo
    unsafe descriptor.pointee.stack_guard = unsafe model.stack_guard
    unsafe descriptor.pointee.pointer_guard = unsafe model.pointer_guard
    unsafe descriptor.pointee.number = mn_add32(mn_next_number(), 1)
    let robust = unsafe UnsafeMutableRawPointer(mn_robust_list(descriptor))
    unsafe descriptor.pointee.robust_previous = unsafe robust
    unsafe descriptor.pointee.robust_list = unsafe robust
    unsafe descriptor.pointee.robust_offset = unsafe model.robust_offset
    unsafe mn_first_block(descriptor)
    unsafe descriptor.pointee.user_stack = 1
    unsafe descriptor.pointee.setxid_futex = UInt32.max
    unsafe descriptor.pointee.stack = unsafe thread.pointer.pointee.stack
    unsafe descriptor.pointee.stack_bytes = unsafe thread.pointer.pointee.stack_bytes
    unsafe descriptor.pointee.guard_bytes = unsafe thread.pointer.pointee.guard_bytes
    unsafe descriptor.pointee.reported_guard_bytes = unsafe thread.pointer.pointee.guard_bytes
    unsafe descriptor.pointee.cpu = MN_RSEQ_FAILED
    unsafe (raw + mn_all().pointee.resp).storeBytes(
      of: UInt(bitPattern: mn_resolver(descriptor)), as: UInt.self)
  }

  /// A stack with `guardBytes` of it out of bounds; nil if there is no memory.
  static func takeStack(_ bytes: Int, _ guardBytes: Int) -> UnsafeMutableRawPointer? {
    let all = unsafe mn_all()
    Scheduler.enter()
    let isUsual =
      unsafe bytes == all.pointee.default_stack && guardBytes == all.pointee.default_guard
    let kept = isUsual ? unsafe all.pointee.free_stacks : nil
    if let kept = unsafe kept {
      unsafe all.pointee.free_stacks = unsafe link(of: kept, bytes).pointee
      unsafe all.pointee.free_stack_count &-= 1
    }
    let doomed = unsafe all.pointee.doomed_stacks
    unsafe all.pointee.doomed_stacks = nil
    Scheduler.leave()
    unsafe unmap(doomed)
    if let kept = unsafe kept { return unsafe kept }
    let place = unsafe mmap(nil, bytes, 3, anonymousStack, -1, 0)
    guard let place = unsafe place, UInt(bitPattern: place) != UInt.max else { return nil }
    if guardBytes > 0, unsafe mprotect(place, guardBytes, 0) != 0 {
      _ = unsafe munmap(place, bytes)
      return nil
    }
    return unsafe place
  }

  /// Where a stack without owner keeps the next one's address, and its size.
  private static func link(
    of stack: UnsafeMutableRawPointer, _ bytes: Int
  ) -> UnsafeMutablePointer<UnsafeMutableRawPointer?> {
    unsafe (stack + bytes - 16).assumingMemoryBound(to: UnsafeMutableRawPointer?.self)
  }

  /// Doomed stacks have one size each, which stands behind the link of a list of their tops.
  private static func unmap(_ first: UnsafeMutableRawPointer?) {
    var next = unsafe first
    while let top = unsafe next {
      let words = unsafe (top - 16).assumingMemoryBound(to: UInt.self)
      unsafe next = unsafe UnsafeMutableRawPointer(bitPattern: words[0])
      let bytes = unsafe Int(words[1])
      _ = unsafe munmap(top - bytes, bytes)
    }
  }

  /// The thread has ended and been joined, or was detached. Lock held; it may still be running its
  /// last lines, until it releases the lock by switching away.
  static func recycle(_ thread: Thread) {
    let all = unsafe mn_all()
    let bytes = unsafe thread.pointer.pointee.stack_bytes
    if unsafe thread.pointer.pointee.owns_stack != 0,
      let stack = unsafe thread.pointer.pointee.stack
    {
      let isUsual =
        unsafe bytes == all.pointee.default_stack
        && thread.pointer.pointee.guard_bytes == all.pointee.default_guard
      if isUsual, unsafe all.pointee.free_stack_count < stacksKept {
        unsafe link(of: stack, bytes).pointee = unsafe all.pointee.free_stacks
        unsafe all.pointee.free_stacks = unsafe stack
        unsafe all.pointee.free_stack_count &+= 1
      } else {
        let words = unsafe (stack + bytes - 16).assumingMemoryBound(to: UInt.self)
        unsafe words[0] = unsafe UInt(bitPattern: all.pointee.doomed_stacks)
        unsafe words[1] = UInt(bytes)
        unsafe all.pointee.doomed_stacks = unsafe stack + bytes
      }
    }
    unsafe thread.pointer.pointee.alive = 0
    putBack(thread)
  }

  /// The depth of an ending thread's stack goes back to the kernel.
  static func cool(_ thread: Thread) {
    let place = unsafe thread.pointer.pointee
    let kept = unsafe warmBytes &+ place.guard_bytes
    guard unsafe place.owns_stack != 0, unsafe place.stack_bytes > kept,
      let stack = unsafe place.stack
    else { return }
    _ = unsafe madvise(
      stack + place.guard_bytes, place.stack_bytes &- kept, adviseDontNeed)
  }
}
