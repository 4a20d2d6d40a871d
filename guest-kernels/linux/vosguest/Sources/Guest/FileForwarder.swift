// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc
import Synchronization

/// The primary's end of a files channel: carries FUSE messages between the kernel and the service.
///
/// A request is read from /dev/fuse straight into the arena and its reply written from there. When
/// the service goes away, requests that may safely be asked again wait for its next life; the
/// others fail with EIO, because nobody knows whether they were done. Nothing waits for ever.
final class FileForwarder: @unchecked Sendable {
  // @unchecked: everything is constant but the atomics; slots have one holder each.

  /// How long a request waits for a service to come back.
  static let outageMilliseconds: UInt64 = 60000

  private let device: any ClientDevice
  private let client: SliceClient
  private let fuse: Descriptor
  private let policy: SpinPolicy
  private let ended = Atomic<Bool>(false)
  private let running = Atomic<Int>(0)
  private let outage: UInt64

  /// - Parameter outageMilliseconds: how long to wait for a service that is gone.
  init(
    _ device: any ClientDevice, fuse: Descriptor,
    policy: SpinPolicy = SpinPolicy(spins: 2000, yields: 20),
    outageMilliseconds: UInt64 = FileForwarder.outageMilliseconds
  ) {
    self.device = device
    self.fuse = fuse
    self.policy = sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1 ? policy : SpinPolicy(spins: 0, yields: 50)
    outage = outageMilliseconds
    client = SliceClient(slice: device.slice, shape: device.shape)
  }

  /// Opens /dev/fuse and mounts it; the mount ends with the descriptor's last holder.
  static func mount(at path: String, name: String) -> Descriptor.Result {
    let opened = Descriptor.open("/dev/fuse", O_RDWR)
    guard case .success(let fuse) = opened else { return opened }
    let options =
      "fd=\(fuse.number),rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    let result = path.withCString { path in
      name.withCString { name in
        "fuse.vos".withCString { type in
          options.withCString {
            kernel(
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
    let error = path.withCString { kernel(Int(SYS_statfs), address($0), address(&status)) }
    // ENOTCONN: its forwarder is gone.
    guard error == Failure.notConnected || (error == 0 && status.f_type == fuseMagic) else { return }
    _ = path.withCString { kernel(Int(SYS_umount2), address($0), Int(MNT_DETACH)) }
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

  private func forward() {
    defer { running.subtract(1, ordering: .releasing) }
    guard var slot = client.takeSlot() else { return }
    while !ended.load(ordering: .acquiring) {
      let window = window(of: slot)
      let bytes = client.bytes(window)
      let count = kernelRetrying(
        Int(SYS_read), Int(fuse.number), address(bytes.baseAddress), bytes.count)
      guard count > 0 else {
        if count == Failure.noEntry || count == Failure.tryAgain { continue }
        // ENODEV: unmounted.
        ended.store(true, ordering: .releasing)
        break
      }
      slot = serve(slot, window, count) ?? slot
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

  /// Carries one request; another slot if this one could not be got back.
  private func serve(_ slot: Int, _ window: DataWindow, _ count: Int) -> Int? {
    let bytes = client.bytes(window)
    let head = bytes.loadUnaligned(as: fuse_in_header.self)
    // Requests are kept until they are answered, to be asked again: the reply overwrites them.
    let canRepeat = Self.canRepeat(head.opcode)
    let copy = canRepeat ? Array(UnsafeRawBufferPointer(rebasing: bytes[..<count])) : []
    // A mount whose first message fails is of no use ever after: that one waits.
    let isFirst = head.opcode == FUSE_INIT.rawValue
    let deadline = isFirst ? .max : System.milliseconds() + outage
    var data = window
    data.length = UInt32(count)
    while true {
      guard let life = awaitService(until: deadline) else { break }
      switch ask(slot, data, life) {
      case .answered(let length):
        finish(head, bytes, length)
        return nil
      case .refused(let error):
        refuse(head, error)
        return nil
      case .lost where canRepeat:
        bytes.copyBytes(from: copy)
      case .lost:
        refuse(head, Failure.inputOutput)
        return nil
      }
    }
    refuse(head, Failure.inputOutput)
    return nil
  }

  private enum Outcome {
    case answered(Int)
    case refused(Int)
    case lost
  }

  private func ask(_ slot: Int, _ data: DataWindow, _ life: UInt32) -> Outcome {
    let ticket = client.submit(Call(UInt16(VOS_CALL_FUSE), data: data), in: slot)
    if client.mustRing { device.ring() }
    let early = client.spin(ticket, policy) { sched_yield() }
    guard let reply = early ?? sleep(ticket, life) else { return .lost }
    // The service is allowed to say that it cannot carry the call, not that it did not answer.
    return reply.result < 0 ? .refused(Int(reply.result)) : .answered(Int(reply.dataLength))
  }

  private func sleep(_ ticket: Ticket, _ life: UInt32) -> Reply? {
    while true {
      if let reply = client.poll(ticket) { return reply }
      guard device.serviceLife == life else { return client.withdraw(ticket) }
      guard let state = client.announceWaiter(ticket) else {
        // Neither waiting nor done: the service scribbled over the slot. Give it up in time.
        if client.poll(ticket) == nil { System.sleep(milliseconds: 1) }
        continue
      }
      _ = device.wait(slot: ticket.slot, state: state, milliseconds: 500)
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
    _ head: fuse_in_header, _ bytes: UnsafeMutableRawBufferPointer, _ length: Int
  ) {
    guard length > 0 else {
      // FORGET has no reply; anything else must not hang.
      if Self.hasReply(head.opcode) { refuse(head, Failure.inputOutput) }
      return
    }
    let result = kernelRetrying(
      Int(SYS_write), Int(fuse.number), address(bytes.baseAddress), length)
    // EINVAL: the reply is not one. ENOENT: the request was interrupted meanwhile.
    if result == Failure.invalid { refuse(head, Failure.inputOutput) }
  }

  private func refuse(_ head: fuse_in_header, _ error: Int) {
    guard Self.hasReply(head.opcode) else { return }
    var reply = fuse_out_header(
      len: UInt32(MemoryLayout<fuse_out_header>.size), error: Int32(error), unique: head.unique)
    _ = withUnsafeBytes(of: &reply) {
      kernelRetrying(Int(SYS_write), Int(fuse.number), address($0.baseAddress), $0.count)
    }
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
