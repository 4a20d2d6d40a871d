// SPDX-License-Identifier: Apache-2.0
import CGuest
import Glibc
import Synchronization

/// A file, directory or other object of the export, held by an `O_PATH` descriptor.
final class FuseNode: Sendable {
  let descriptor: Descriptor
  let number: UInt64
  /// Open files that a process uses directly: then nothing about it may be cached.
  let attachments = Atomic<Int>(0)
  /// Writes on the fast path, so that two within one tick of the clock look different.
  let fastWrites = Atomic<UInt32>(0)

  init(_ descriptor: Descriptor, number: UInt64) {
    self.descriptor = descriptor
    self.number = number
  }

  /// The path that leads to the object itself, whatever its names are now.
  var path: String { "/proc/self/fd/\(descriptor.number)" }

  /// Its attributes as the client shall see them, or minus an errno.
  func attributes(_ out: inout fuse_attr) -> Int {
    // SAFETY: a local of the type that the call fills, which outlives it.
    let result = unsafe Int(guest_attributes(descriptor.number, &out))
    out.mtimensec = skewed(out.mtimensec)
    return result
  }

  /// The nanoseconds of the last change as they are shown.
  func skewed(_ nanoseconds: UInt32) -> UInt32 {
    let skew = fastWrites.load(ordering: .relaxed) % 1000
    return nanoseconds < 999_999_000 ? nanoseconds + skew : nanoseconds
  }

  var mode: UInt32? {
    var attributes = fuse_attr()
    // SAFETY: a local of the type that the call fills, which outlives it.
    return unsafe guest_attributes(descriptor.number, &attributes) == 0 ? attributes.mode : nil
  }

  var isRegular: Bool { mode.map { $0 & S_IFMT == S_IFREG } ?? false }

  /// Opens the object itself. Only for files and directories: opening a device node or a pipe
  /// here would reach this domain's devices.
  func open(_ flags: Int32) -> Int {
    // SAFETY: the string is NUL-terminated and outlives the call.
    unsafe path.withCString {
      unsafe kernelRetrying(
        Int(SYS_openat), Int(AT_FDCWD), address($0), Int(flags | O_CLOEXEC | O_NOCTTY), 0)
    }
  }
}

/// The export's objects by their FUSE node number.
///
/// Where the file system offers 8-byte handles (ext4) and the export is a whole mount, the number
/// *is* the handle: a new life of this service finds every object again, and descriptors that the
/// client holds stay good. Elsewhere numbers are counted, and live as long as the service.
final class FuseNodes: Sendable {
  private struct State {
    var nodes: [UInt64: FuseNode] = [:]
    /// Those with attachments, which are neither evicted nor made twice.
    var pinned: [UInt64: FuseNode] = [:]
    // Only where numbers are counted:
    var byInode: [Inode: UInt64] = [:]
    var inodes: [UInt64: (inode: Inode, lookups: UInt64)] = [:]
    var next: UInt64 = 2
  }

  /// Not used again for another file while a node's descriptor holds it.
  private struct Inode: Hashable {
    let device: UInt64
    let number: UInt64
  }

  /// Most objects held open where they can be found again.
  private static let cacheLimit = 16384
  static let rootNumber: UInt64 = 1

  private let state: Mutex<State>
  let root: FuseNode
  private let mount: Descriptor
  /// The type of the handles; `nil` where numbers are counted.
  private let handleType: Int32?

  /// Whether descriptors survive a restart of the service.
  var areLasting: Bool { handleType != nil }

  init?(export path: String) {
    guard
      let root = Descriptor.open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW).descriptor,
      let mount = Descriptor.open(path, O_RDONLY | O_DIRECTORY).descriptor
    else { return nil }
    self.mount = mount
    self.root = FuseNode(root, number: Self.rootNumber)
    var handle: UInt64 = 0
    var type: Int32 = 0
    // SAFETY: two locals that the call fills; the descriptor is open.
    let hasHandles =
      unsafe guest_is_mount_root(root.number) == 1
      && guest_handle_of(root.number, &handle, &type) == 0
      && Self.opens(mount, handle, type)
    handleType = hasHandles ? type : nil
    state = Mutex(State())
  }

  private static func opens(_ mount: Descriptor, _ handle: UInt64, _ type: Int32) -> Bool {
    Descriptor(Int(guest_open_handle(mount.number, handle, type, O_PATH | O_CLOEXEC))) != nil
  }

  /// The node with this number; `nil` if there is none (any more).
  func find(_ number: UInt64) -> FuseNode? {
    if number == Self.rootNumber { return root }
    if let node = state.withLock({ $0.nodes[number] ?? $0.pinned[number] }) { return node }
    guard let handleType, Identity.root() == 0,
      let descriptor = Descriptor(
        Int(guest_open_handle(mount.number, number, handleType, O_PATH | O_CLOEXEC)))
    else { return nil }
    return remember(FuseNode(descriptor, number: number))
  }

  /// Makes a node of what `name` leads to in `parent`, a symbolic link for itself.
  func look(_ name: [CChar], in parent: FuseNode) -> (node: FuseNode?, error: Int) {
    // SAFETY: `takeName` ends the name with a zero; it outlives the call.
    let result = unsafe name.withUnsafeBufferPointer {
      unsafe kernelRetrying(
        Int(SYS_openat), Int(parent.descriptor.number), address($0.baseAddress),
        Int(O_PATH | O_NOFOLLOW | O_CLOEXEC), 0)
    }
    guard let descriptor = Descriptor(result) else { return (nil, result) }
    return adopt(descriptor)
  }

  /// Makes a node of what an `O_PATH` descriptor leads to.
  func adopt(_ descriptor: consuming Descriptor) -> (node: FuseNode?, error: Int) {
    if let handleType {
      var handle: UInt64 = 0
      var type: Int32 = 0
      // SAFETY: two locals that the call fills.
      let error = unsafe Int(guest_handle_of(descriptor.number, &handle, &type))
      guard error == 0, type == handleType, handle != Self.rootNumber else {
        // Another file system is mounted there: it is not part of the export.
        return (nil, error < 0 ? error : Failure.notSupported)
      }
      return (remember(FuseNode(descriptor, number: handle)), 0)
    }
    return count(descriptor)
  }

  private func remember(_ node: FuseNode) -> FuseNode {
    // The evicted one closes outside the lock: that may wait for the disk, if its file was removed.
    let (kept, evicted): (FuseNode, FuseNode?) = state.withLock { state in
      if let known = state.nodes[node.number] ?? state.pinned[node.number] { return (known, nil) }
      let isFull = state.nodes.count >= Self.cacheLimit
      let evicted = isFull ? state.nodes.remove(at: state.nodes.startIndex).value : nil
      state.nodes[node.number] = node
      return (node, evicted)
    }
    withExtendedLifetime(evicted) {}
    return kept
  }

  private func count(_ descriptor: Descriptor) -> (node: FuseNode?, error: Int) {
    var status = stat()
    // SAFETY: a local of the type that the call fills, which outlives it.
    let error = unsafe kernel(Int(SYS_fstat), Int(descriptor.number), address(&status))
    guard error == 0 else { return (nil, error) }
    let inode = Inode(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
    let node: FuseNode? = state.withLock { state in
      if let number = state.byInode[inode] {
        state.inodes[number]?.lookups += 1
        return state.nodes[number]
      }
      let node = FuseNode(descriptor, number: state.next)
      state.byInode[inode] = state.next
      state.inodes[state.next] = (inode, 1)
      state.nodes[state.next] = node
      state.next += 1
      return node
    }
    return (node, node == nil ? Failure.stale : 0)
  }

  /// A process may use the node directly from now on.
  func attach(_ node: FuseNode) {
    state.withLock { state in
      node.attachments.add(1, ordering: .sequentiallyConsistent)
      state.pinned[node.number] = node
    }
  }

  /// The reverse of `attach`.
  func detach(_ node: FuseNode) {
    state.withLock { state in
      let left = node.attachments.subtract(1, ordering: .sequentiallyConsistent).newValue
      if left == 0 { state.pinned[node.number] = nil }
    }
  }

  /// The client's kernel forgot so many of the answers in which it was told this number.
  func forget(_ number: UInt64, _ lookups: UInt64) {
    let gone: FuseNode? = state.withLock { state in
      // What can be found again need not be counted.
      if handleType != nil { return state.nodes.removeValue(forKey: number) }
      guard let known = state.inodes[number] else { return nil }
      if known.lookups > lookups {
        state.inodes[number]?.lookups -= lookups
        return nil
      }
      state.inodes[number] = nil
      state.byInode[known.inode] = nil
      return state.nodes.removeValue(forKey: number)
    }
    withExtendedLifetime(gone) {}  // closes outside the lock, as in `remember`
  }

  /// How many objects are held open.
  var heldCount: Int { state.withLock { $0.nodes.count } }
}
