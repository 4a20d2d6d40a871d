// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc
import Synchronization

/// The primary's end of a files channel: carries FUSE messages between the kernel and the service.
///
/// Messages pass through memory of this process, because /dev/fuse pins the pages that it reads and
/// writes, which device memory has none of. When the service goes away, requests that may safely be
/// asked again wait for its next life; the others fail with EIO, because nobody knows whether they
/// were done. Nothing waits for ever.
final class FileForwarder: @unchecked Sendable {
  // @unchecked: everything is constant but the atomics; slots have one holder each.

  /// How long a request waits for a service to come back.
  static let outageMilliseconds: UInt64 = 60000

  private let device: any ClientDevice
  private let client: SliceClient
  private let fuse: Descriptor
  private let path: String
  private let policy: SpinPolicy
  private let ended = Atomic<Bool>(false)
  private let running = Atomic<Int>(0)
  private let outage: UInt64

  /// - Parameter outageMilliseconds: how long to wait for a service that is gone.
  init(
    _ device: any ClientDevice, fuse: Descriptor, mountedAt path: String,
    policy: SpinPolicy = SpinPolicy(spins: 2000, yields: 20),
    outageMilliseconds: UInt64 = FileForwarder.outageMilliseconds
  ) {
    self.device = device
    self.fuse = fuse
    self.path = path
    self.policy =
      sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1 ? policy : SpinPolicy(spins: 0, yields: 50)
    outage = outageMilliseconds
    // SAFETY: the device maps the slice as long as it lives, and this object holds it.
    client = unsafe SliceClient(slice: device.slice, shape: device.shape)
  }

  /// Opens /dev/fuse and mounts it; the mount ends with the descriptor's last holder.
  static func mount(at path: String, name: String) -> Descriptor.Result {
    let opened = Descriptor.open("/dev/fuse", O_RDWR)
    guard case .success(let fuse) = opened else { return opened }
    let options =
      "fd=\(fuse.number),rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    // SAFETY: all strings are NUL-terminated and outlive the call, which copies them.
    let result = unsafe path.withCString { path in
      unsafe name.withCString { name in
        unsafe "fuse.vos".withCString { type in
          unsafe options.withCString {
            unsafe kernel(
              Int(SYS_mount), address(name), address(path), address(type),
              Int(MS_NOSUID | MS_NODEV), address($0))
          }
        }
      }
    }
    return result < 0 ? .failure(result) : .success(fuse)
  }

  /// Takes what is mounted at `path` out of sight, if it is a mount of ours.
  static func unmount(_ path: String) {
    var status = statfs()
    // SAFETY: the string is NUL-terminated and outlives the call. The kernel fills a local.
    let error = unsafe path.withCString {
      unsafe kernel(Int(SYS_statfs), address($0), address(&status))
    }
    // ENOTCONN: its forwarder is gone.
    guard error == Failure.notConnected || (error == 0 && status.f_type == fuseMagic) else {
      return
    }
    // SAFETY: the string is NUL-terminated and outlives the call.
    _ = unsafe path.withCString { unsafe kernel(Int(SYS_umount2), address($0), Int(MNT_DETACH)) }
  }

  /// FUSE_SUPER_MAGIC, include/uapi/linux/magic.h.
  static let fuseMagic = 0x6573_5546

  /// Forwards until the mount is gone.
  func run(threads: Int) {
    // Each thread holds a slot, so its part of the arena is its own.
    let count = min(threads, device.shape.slotCount)
    for _ in 1..<max(count, 1) {
      running.add(1, ordering: .relaxed)
      if !System.startThread({ self.forward() }) { running.subtract(1, ordering: .relaxed) }
    }
    running.add(1, ordering: .relaxed)
    forward()
    while running.load(ordering: .acquiring) > 0 { System.sleep(milliseconds: 5) }
  }

  /// A thread's own memory: the request as it came, and its reply.
  @safe
  private final class Buffers {
    let request: UnsafeMutableRawBufferPointer
    let reply: UnsafeMutableRawBufferPointer

    init(byteCount: Int) {
      let page = Int(VOS_PAGE_BYTES)
      // SAFETY: fresh memory, given back by `deinit`; a thread keeps it to itself.
      unsafe request = .allocate(byteCount: byteCount, alignment: page)
      unsafe reply = .allocate(byteCount: byteCount, alignment: page)
    }

    deinit {
      // SAFETY: allocated by `init`; the thread that used them has ended.
      unsafe request.deallocate()
      unsafe reply.deallocate()
    }
  }

  private func forward() {
    defer { running.subtract(1, ordering: .releasing) }
    guard let slot = client.takeSlot() else { return }
    let window = window(of: slot)
    let buffers = Buffers(byteCount: Int(window.capacity))
    while !ended.load(ordering: .acquiring) {
      // SAFETY: the buffer is this thread's own, and the kernel is told its length.
      let count = unsafe kernelRetrying(
        Int(SYS_read), Int(fuse.number), address(buffers.request.baseAddress),
        buffers.request.count)
      guard count > 0 else {
        // The request was interrupted before we had it.
        if count == Failure.noEntry || count == Failure.tryAgain { continue }
        // ENODEV: unmounted.
        if count != Failure.noDevice { System.log("reading /dev/fuse: errno \(-count)") }
        ended.store(true, ordering: .releasing)
        break
      }
      serve(slot, window, buffers, count)
    }
    client.giveBack(slot)
  }

  /// The arena split among the slots, on page borders where they are that large.
  private func window(of slot: Int) -> DataWindow {
    let even = client.window(of: slot)
    let bytes = Int(even.capacity) & ~(Int(VOS_PAGE_BYTES) - 1)
    guard bytes > 0 else { return even }
    return DataWindow(offset: UInt32(slot * bytes), length: 0, capacity: UInt32(bytes))
  }

  private func serve(_ slot: Int, _ window: DataWindow, _ buffers: Buffers, _ count: Int) {
    // SAFETY: the kernel gives whole requests, which begin with a head; the buffer is longer.
    let head = unsafe buffers.request.loadUnaligned(as: fuse_in_header.self)
    if head.opcode == FUSE_IOCTL.rawValue { nameProcess(head, buffers, count) }
    let isTaken = carry(head, slot, window, buffers, count)
    // A mount whose first message fails is of no use ever after: better none.
    if head.opcode == FUSE_INIT.rawValue, !isTaken { abort() }
  }

  /// The kernel names the thread that attaches a file; slices belong to processes. The thread waits
  /// for this very request and cannot end before it is answered: its number is nobody else's.
  private func nameProcess(_ head: fuse_in_header, _ buffers: Buffers, _ count: Int) {
    let headBytes = MemoryLayout<fuse_in_header>.size
    guard count >= headBytes + MemoryLayout<fuse_ioctl_in>.size else { return }
    // SAFETY: both structures lie within the `count` bytes of this thread's buffer.
    let what = unsafe buffers.request.loadUnaligned(
      fromByteOffset: headBytes, as: fuse_ioctl_in.self)
    guard what.cmd == VOS_IOC_ATTACH else { return }
    var named = head
    named.pid = Self.process(ofThread: head.pid)
    // SAFETY: the head is the buffer's first bytes.
    unsafe buffers.request.storeBytes(of: named, as: fuse_in_header.self)
  }

  /// The process of a thread; 0, which is nobody, if /proc does not tell.
  private static func process(ofThread thread: UInt32) -> UInt32 {
    guard thread != 0, let status = Descriptor.contents(of: "/proc/\(thread)/status") else {
      return 0
    }
    let prefix = Array("Tgid:\t".utf8)
    guard let line = status.split(separator: 10).first(where: { $0.starts(with: prefix) }) else {
      return 0
    }
    return UInt32(String(decoding: line.dropFirst(prefix.count), as: UTF8.self)) ?? 0
  }

  /// Carries one request, again if its service was lost and asking again is safe. False if the
  /// kernel was given an error of ours, or would not have the reply.
  private func carry(
    _ head: fuse_in_header, _ slot: Int, _ window: DataWindow, _ buffers: Buffers, _ count: Int
  ) -> Bool {
    let deadline = System.milliseconds() + outage
    var data = window
    data.length = UInt32(count)
    // SAFETY: the kernel wrote `count` bytes, at most the buffer's own count.
    let message = unsafe UnsafeRawBufferPointer(rebasing: buffers.request[..<count])
    while let life = awaitService(until: deadline) {
      // SAFETY: the window is this slot's part of the arena, and the buffer is as long as it.
      unsafe client.bytes(data).copyMemory(from: message)
      switch ask(slot, data, life) {
      case .answered(let length): return finish(head, data, buffers, length)
      case .refused(let error): return refuse(head, error)
      case .untouched: continue
      case .lost where Self.canRepeat(head.opcode) && !appends(head, buffers, count): continue
      case .lost: return refuse(head, Failure.inputOutput)
      }
    }
    return refuse(head, Failure.inputOutput)
  }

  /// Whether this is a write to wherever the file ends: done twice it leaves two.
  private func appends(_ head: fuse_in_header, _ buffers: Buffers, _ count: Int) -> Bool {
    let headBytes = MemoryLayout<fuse_in_header>.size
    guard head.opcode == FUSE_WRITE.rawValue,
      count >= headBytes + MemoryLayout<fuse_write_in>.size
    else { return false }
    // SAFETY: both structures lie within the `count` bytes of this thread's buffer.
    let what = unsafe buffers.request.loadUnaligned(
      fromByteOffset: headBytes, as: fuse_write_in.self)
    return what.flags & UInt32(O_APPEND) != 0
      && what.write_flags & UInt32(FUSE_WRITE_CACHE) == 0
  }

  /// Ends the mount and all that waits on it; the threads then find it gone.
  private func abort() {
    // SAFETY: the string is NUL-terminated and outlives the call.
    _ = unsafe path.withCString {
      unsafe kernel(Int(SYS_umount2), address($0), Int(MNT_FORCE | MNT_DETACH))
    }
  }

  private enum Outcome {
    case answered(Int)
    case refused(Int)
    /// The service died before it took the request.
    case untouched
    /// The service died, and the request may have been executed.
    case lost
  }

  private func ask(_ slot: Int, _ data: DataWindow, _ life: UInt32) -> Outcome {
    let call = Call(UInt16(VOS_CALL_FUSE), data: data)
    let ticket = client.submit(call, in: slot)
    if client.mustRing { device.ring() }
    if let reply = client.spin(ticket, policy, yield: { sched_yield() }) {
      return outcome(reply, life)
    }
    return sleep(ticket, call, life)
  }

  private func outcome(_ reply: Reply, _ life: UInt32) -> Outcome {
    // A slot that makes no sense once its life is over was made new with its channel.
    if reply.isLost || (reply == .protocolError && device.serviceLife != life) { return .lost }
    // The service is allowed to say that it cannot carry the call, not that it did not answer.
    return reply.result < 0 ? .refused(Int(reply.result)) : .answered(Int(reply.dataLength))
  }

  /// Looks at most every millisecond once the service has woken us that often for nothing.
  private static let patienceWithWakes = 16

  private func sleep(_ ticket: Ticket, _ call: Call, _ life: UInt32) -> Outcome {
    var wakes = 0
    while true {
      if let reply = client.poll(ticket) { return outcome(reply, life) }
      guard device.serviceLife == life else { return giveUp(ticket, life) }
      // Who changed what only we write may never answer it.
      guard client.isIntact(ticket, call) else { return outcome(.protocolError, life) }
      guard let state = client.announceWaiter(ticket) else { continue }
      wakes += 1
      if wakes > Self.patienceWithWakes { System.sleep(milliseconds: 1) }
      _ = device.wait(slot: ticket.slot, state: state, milliseconds: 500)
    }
  }

  private func giveUp(_ ticket: Ticket, _ life: UInt32) -> Outcome {
    switch client.withdraw(ticket) {
    case .untouched: .untouched
    case .lost: .lost
    case .answered(let reply): outcome(reply, life)
    }
  }

  /// The life of the service, waiting for one; `nil` after the deadline or after the mount's end.
  private func awaitService(until deadline: UInt64) -> UInt32? {
    while !ended.load(ordering: .acquiring) {
      if let life = device.serviceLife { return life }
      if System.milliseconds() >= deadline { return nil }
      System.sleep(milliseconds: 20)
    }
    return nil
  }

  /// Hands the reply to the kernel, which checks it against its request.
  private func finish(
    _ head: fuse_in_header, _ data: DataWindow, _ buffers: Buffers, _ length: Int
  ) -> Bool {
    guard length > 0 else {
      // FORGET has no reply; anything else must not hang.
      return refuse(head, Failure.inputOutput)
    }
    // A file that was attached changes past the kernel: what it believes of it ends first.
    if head.opcode == FUSE_IOCTL.rawValue { disbelieve(head.nodeid) }
    // Copied once: the kernel sees what was checked, whatever the service writes meanwhile.
    // SAFETY: `length` is at most the capacity asked for (`SliceClient`), which is the length of
    // both the window and the buffer.
    unsafe buffers.reply.copyMemory(
      from: UnsafeRawBufferPointer(rebasing: client.bytes(data)[..<length]))
    // The reply is this request's, whatever the service says.
    // SAFETY: `unique` lies at byte 8 of a head; the buffer is longer than that.
    unsafe buffers.reply.storeBytes(of: head.unique, toByteOffset: 8, as: UInt64.self)
    // SAFETY: the kernel reads `length` bytes of this thread's buffer, which has them.
    let result = unsafe kernelRetrying(
      Int(SYS_write), Int(fuse.number), address(buffers.reply.baseAddress), length)
    // EINVAL: it is no reply. ENOENT: the request was interrupted meanwhile.
    if result == Failure.invalid { return refuse(head, Failure.inputOutput) }
    return head.opcode != FUSE_INIT.rawValue || Self.isWelcome(buffers, length)
  }

  /// Whether a reply to FUSE_INIT makes a mount: no error, and a protocol that the kernel speaks.
  private static func isWelcome(_ buffers: Buffers, _ length: Int) -> Bool {
    let headBytes = MemoryLayout<fuse_out_header>.size
    guard length >= headBytes + 2 * MemoryLayout<UInt32>.size else { return false }
    // SAFETY: the buffer holds `length` bytes of this thread's own, and both are within.
    let head = unsafe buffers.reply.loadUnaligned(as: fuse_out_header.self)
    let major = unsafe buffers.reply.loadUnaligned(fromByteOffset: headBytes, as: UInt32.self)
    return head.error == 0 && major == UInt32(FUSE_KERNEL_VERSION)
  }

  /// Makes the kernel ask for a node's attributes again; replies on their way count as old.
  private func disbelieve(_ node: UInt64) {
    let length =
      MemoryLayout<fuse_out_header>.size
      + MemoryLayout<fuse_notify_inval_inode_out>.size
    var notice = (
      fuse_out_header(
        len: UInt32(length), error: Int32(FUSE_NOTIFY_INVAL_INODE.rawValue), unique: 0),
      // A negative offset: the attributes alone.
      fuse_notify_inval_inode_out(ino: node, off: -1, len: 0)
    )
    // SAFETY: both structures lie one behind the other without a gap: 16 bytes and 24.
    _ = unsafe withUnsafeBytes(of: &notice) {
      unsafe kernelRetrying(
        Int(SYS_write), Int(fuse.number), address($0.baseAddress), length)
    }
  }

  /// Answers with an error; false, for `carry`.
  @discardableResult
  private func refuse(_ head: fuse_in_header, _ error: Int) -> Bool {
    guard Self.hasReply(head.opcode) else { return false }
    // The kernel takes no others (fs/fuse/dev.c), and then the caller would wait for ever.
    let known = (-Int(VOS_ERRNO_LIMIT) + 1..<0).contains(error) ? error : Failure.inputOutput
    var reply = fuse_out_header(
      len: UInt32(MemoryLayout<fuse_out_header>.size), error: Int32(known), unique: head.unique)
    // SAFETY: the kernel reads the bytes of a local.
    _ = unsafe withUnsafeBytes(of: &reply) {
      unsafe kernelRetrying(Int(SYS_write), Int(fuse.number), address($0.baseAddress), $0.count)
    }
    return false
  }

  private static func hasReply(_ opcode: UInt32) -> Bool {
    opcode != FUSE_FORGET.rawValue && opcode != FUSE_BATCH_FORGET.rawValue
      && opcode != FUSE_INTERRUPT.rawValue
  }

  /// Whether asking twice does what asking once does. A handle that only the lost service knew is
  /// left behind by its death; names that were made or removed tell differently the second time.
  private static func canRepeat(_ opcode: UInt32) -> Bool {
    switch fuse_opcode(opcode) {
    case FUSE_LOOKUP, FUSE_GETATTR, FUSE_SETATTR, FUSE_READLINK, FUSE_OPEN, FUSE_READ, FUSE_WRITE,
      FUSE_STATFS, FUSE_RELEASE, FUSE_FSYNC, FUSE_GETXATTR, FUSE_LISTXATTR, FUSE_FLUSH, FUSE_INIT,
      FUSE_OPENDIR, FUSE_READDIR, FUSE_READDIRPLUS, FUSE_RELEASEDIR, FUSE_FSYNCDIR, FUSE_ACCESS,
      FUSE_LSEEK, FUSE_FORGET, FUSE_BATCH_FORGET, FUSE_IOCTL:
      true
    default: false
    }
  }
}
