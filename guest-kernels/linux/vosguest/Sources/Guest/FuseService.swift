// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc
import Synchronization

/// An open file or directory of the export.
final class FuseHandle: @unchecked Sendable {
  // @unchecked: the variables are only touched under the table's lock.
  let descriptor: Descriptor
  let node: FuseNode
  /// Held while a directory is listed.
  let listing = Mutex<Void>(())
  /// The slice that may use it directly.
  var granted: (slice: Int, generation: UInt32)?

  /// Its number of this life, if an earlier one gave it and it was attached since.
  var alias: UInt64?
  let isWritable: Bool
  /// Direct calls under way.
  let directCalls = Atomic<Int>(0)

  init(_ descriptor: Descriptor, _ node: FuseNode, isWritable: Bool) {
    self.descriptor = descriptor
    self.node = node
    self.isWritable = isWritable
  }
}

/// Who has a file open. A file that two opens share, one of them for writing, is used through the
/// client's kernel alone: only that knows whether one of them is mapped, and keeps mappings, other
/// opens' reads and watchers in step with writes. An open lasts as long as its mappings.
struct FuseOpens {
  var count = 0
  var writable = 0
  /// Those that a slice uses directly.
  var granted: [FuseHandle] = []

  var isShared: Bool { count > 1 && writable > 0 }
}

/// Serves the files of one directory: FUSE messages from the client's file system, and reads and
/// writes of attached files from its processes.
///
/// The client's kernel checks permissions (it mounts with `default_permissions` and knows
/// supplementary groups); new files get the caller's owner. So FUSE messages are taken only from
/// slices of root.
final class FuseService: ServiceHandler {
  static let handleLimit = 60000
  /// Who has no name and no group (include/linux/highuid.h).
  private static let nobody: UInt32 = 65534
  /// How long the client may believe names and attributes: nobody but it changes the export. The
  /// attributes of attached files change past its kernel: those are never believed.
  static let beliefSeconds: UInt64 = 3600

  struct Tables {
    var handles: ObjectTable<FuseHandle>
    /// Handles of an earlier life of this service, opened again, by their old number.
    var revived: [UInt64: FuseHandle] = [:]
    /// Regular files that are open, by node.
    var opens: [UInt64: FuseOpens] = [:]
    /// Slices whose process is root's, with the generation for which that holds.
    var privileged: [Int: UInt32] = [:]
  }

  let nodes: FuseNodes
  let tables: Mutex<Tables>
  /// Marks this life's handle numbers.
  let life: UInt64
  private let space = FuseSpace()
  private let region: ChannelRegion

  /// `nil` if the directory cannot be opened.
  init?(region: ChannelRegion, export path: String) {
    guard let nodes = FuseNodes(export: path) else { return nil }
    self.nodes = nodes
    self.region = region
    let random = System.random()
    life = random & 0xffff
    tables = Mutex(
      Tables(
        handles: ObjectTable(
          limit: Self.handleLimit, generation: UInt32(truncatingIfNeeded: random >> 16))))
    var limit = rlimit(rlim_cur: 1 << 17, rlim_max: 1 << 17)
    // SAFETY: a local, which the call reads.
    unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  func mayBlock(_ call: Call) -> Bool {
    switch UInt32(call.number) {
    case VOS_CALL_NULL, VOS_CALL_CLOSE: false
    default: true
    }
  }

  func adopted(_ slice: Int, generation: UInt32) {
    let entry = region.sliceEntry(slice)
    guard slice == 0 || entry.uid == 0, entry.generation == generation else { return }
    tables.withLock { $0.privileged[slice] = generation }
  }

  func died(_ slice: Int, generation: UInt32) {
    // Slice 0 is the client's kernel: its mount is gone, and every file with it. The forwarder's
    // slice may die alone: the mount lives on, and another forwarder takes it over.
    let gone: [FuseHandle] = tables.withLock { tables in
      if tables.privileged[slice] == generation { tables.privileged[slice] = nil }
      for number in tables.handles.numbers {
        guard let handle = tables.handles[number], let granted = handle.granted else { continue }
        if slice == 0 || granted.slice == slice { grant(handle, to: nil, &tables) }
      }
      guard slice == 0 else { return [] }
      let revived = Array(tables.revived.values)
      tables.revived = [:]
      tables.opens = [:]
      return tables.handles.removeAll() + revived
    }
    // The last close of a file that was removed may wait for the disk; the caller polls.
    if !gone.isEmpty { System.startThread { withExtendedLifetime(gone) {} } }
  }

  /// Lets a slice use a handle directly, or nobody. Under the tables' lock.
  func grant(
    _ handle: FuseHandle, to slice: (slice: Int, generation: UInt32)?, _ tables: inout Tables
  ) {
    if handle.granted == nil, slice != nil {
      nodes.attach(handle.node)
      tables.opens[handle.node.number]?.granted.append(handle)
    }
    if handle.granted != nil, slice == nil {
      nodes.detach(handle.node)
      tables.opens[handle.node.number]?.granted.removeAll { $0 === handle }
    }
    handle.granted = slice
  }

  /// Counts a new open. Those that used the file directly and may do so no longer are returned:
  /// they find their object gone, and go on through the client's kernel.
  func opened(_ handle: FuseHandle, _ tables: inout Tables) -> [FuseHandle] {
    var opens = tables.opens[handle.node.number] ?? FuseOpens()
    opens.count += 1
    if handle.isWritable { opens.writable += 1 }
    tables.opens[handle.node.number] = opens
    guard opens.isShared else { return [] }
    for other in opens.granted { grant(other, to: nil, &tables) }
    return opens.granted
  }

  /// The reverse of `opened`.
  func closed(_ handle: FuseHandle, _ tables: inout Tables) {
    guard var opens = tables.opens[handle.node.number] else { return }
    opens.count -= 1
    if handle.isWritable { opens.writable -= 1 }
    tables.opens[handle.node.number] = opens.count > 0 ? opens : nil
  }

  /// Waits until no direct call of handles that were taken back is under way: whoever maps the file
  /// now sees all that they wrote.
  func drain(_ handles: [FuseHandle]) {
    for handle in handles {
      while handle.directCalls.load(ordering: .sequentiallyConsistent) != 0 {
        System.sleep(milliseconds: 1)
      }
    }
  }

  func handle(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply? {
    switch UInt32(request.call.number) {
    case VOS_CALL_NULL: return Reply(result: 0)
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    case VOS_CALL_FUSE: return unsafe message(request, bytes)
    case VOS_CALL_PREAD64, VOS_CALL_PWRITE64, VOS_CALL_FSYNC, VOS_CALL_FDATASYNC,
      VOS_CALL_FTRUNCATE, VOS_CALL_FALLOCATE:
      return unsafe direct(request, bytes)
    default: return Reply(Failure.notImplemented)
    }
  }

  /// Whose a slice is now; `nil` if it is nobody's. Should it change hands meanwhile, the copy has
  /// the new process with the old generation, of which no call is served any more.
  func liveEntry(_ slice: Int) -> SliceEntry? {
    guard slice > 0, slice < region.geometry.sliceCount else { return nil }
    let entry = region.sliceEntry(slice)
    return entry.state == .live ? entry : nil
  }

  private func isPrivileged(_ request: Request) -> Bool {
    tables.withLock { $0.privileged[request.slice] == request.generation }
  }

  private func message(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply {
    guard isPrivileged(request) else { return Reply(Failure.notPermitted) }
    let call = request.call
    // SAFETY: the window holds `length` and `capacity` bytes; both refuse more.
    guard let message = unsafe FuseRequest(bytes, length: Int(call.data.length)),
      var reply = unsafe FuseReply(bytes, capacity: Int(call.data.capacity))
    else { return Reply(Failure.invalid) }
    space.note(message.head.opcode)
    let result = space.awaited {
      var (message, room) = (message, reply)
      defer { reply = room }
      return perform(&message, &room)
    }
    guard let error = result else { return Reply(result: 0) }
    return Reply(0, bytes: reply.finish(unique: message.head.unique, error: error))
  }

  /// A call of a process on a file that is attached to its slice.
  private func direct(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply {
    let call = request.call
    let handle: FuseHandle? = tables.withLock { tables in
      guard let handle = tables.handles[call.object], let granted = handle.granted,
        granted.slice == request.slice, granted.generation == request.generation
      else { return nil }
      // Counted in the same moment in which it is found to be granted.
      handle.directCalls.add(1, ordering: .sequentiallyConsistent)
      return handle
    }
    guard let handle else { return Reply(Failure.badDescriptor) }
    defer { handle.directCalls.subtract(1, ordering: .sequentiallyConsistent) }
    let number = Int(handle.descriptor.number)
    switch UInt32(call.number) {
    case VOS_CALL_FSYNC: return Reply(kernelRetrying(Int(SYS_fsync), number))
    case VOS_CALL_FDATASYNC: return Reply(kernelRetrying(Int(SYS_fdatasync), number))
    case VOS_CALL_PREAD64:
      guard let offset = Int(exactly: call.arguments.0) else { return Reply(Failure.invalid) }
      // SAFETY: the kernel writes at most `capacity` bytes, which `ServiceCompleter` checked the
      // window to have.
      let count = unsafe kernelRetrying(
        Int(SYS_pread64), number, address(bytes.baseAddress), Int(call.data.capacity), offset)
      return Reply(count, bytes: count)
    default: break
    }
    // Before and after: whoever looks in between must see a change as well.
    let refused = Identity.writer(liveEntry(request.slice)?.uid ?? Self.nobody, Self.nobody)
    guard refused == 0 else { return Reply(refused) }
    handle.node.fastWrites.add(1, ordering: .relaxed)
    defer { handle.node.fastWrites.add(1, ordering: .relaxed) }
    return Reply(space.awaited { unsafe change(call, number, bytes) } ?? Failure.inputOutput)
  }

  /// What changes an attached file; numbers are the client's.
  private func change(
    _ call: Call, _ file: Int, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Int {
    let numbers = call.arguments
    guard let first = Int(exactly: numbers.0), let second = Int(exactly: numbers.1),
      let third = Int(exactly: numbers.2)
    else { return Failure.invalid }
    switch UInt32(call.number) {
    case VOS_CALL_FTRUNCATE: return kernelRetrying(Int(SYS_ftruncate), file, first)
    case VOS_CALL_FALLOCATE:
      guard first & ~Int(VOS_FALLOCATE_MODES) == 0 else { return Failure.notSupported }
      return kernelRetrying(Int(SYS_fallocate), file, first, second, third)
    default:
      // SAFETY: the kernel reads `length` bytes, which `ServiceCompleter` checked the window to have.
      return unsafe kernelRetrying(
        Int(SYS_pwrite64), file, address(bytes.baseAddress), Int(call.data.length), first)
    }
  }
}
