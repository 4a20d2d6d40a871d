// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc

/// Open files. A handle's number holds the life of the service that gave it and the flags of the
/// open: a later life opens the file again by its node.
extension FuseService {
  /// Flags of an open that reach the file; O_CREAT, O_EXCL and O_DIRECT stay with the client. So
  /// does O_APPEND: it may change, and pages of a mapping are written to their place; each write
  /// says whether it appends.
  private static let openFlags = O_ACCMODE | O_TRUNC | O_DSYNC | O_SYNC | O_NOATIME
  private static let keptFlags = O_ACCMODE | O_DSYNC | O_SYNC
  private static let directoryMark: UInt64 = 1 << 47

  private func number(_ object: UInt64, _ flags: Int32, isDirectory: Bool = false) -> UInt64 {
    // O_SYNC is 04010000: its bit beyond O_DSYNC has no room. Each write says it, too.
    let open = UInt64(UInt32(bitPattern: flags & Self.keptFlags)) & 0x3fff
    return object | open << 32 | (isDirectory ? Self.directoryMark : 0) | life << 48
  }

  /// Makes a handle of an opened descriptor and puts its number into `out`.
  private func add(
    _ result: Int, _ node: FuseNode, _ flags: Int32, isDirectory: Bool = false,
    _ out: inout fuse_open_out
  ) -> Int {
    guard let descriptor = Descriptor(result) else { return result }
    return add(descriptor, node, flags, isDirectory: isDirectory, &out)
  }

  private func add(
    _ descriptor: Descriptor, _ node: FuseNode, _ flags: Int32, isDirectory: Bool = false,
    _ out: inout fuse_open_out
  ) -> Int {
    let handle = FuseHandle(descriptor, node, isWritable: flags & O_ACCMODE != O_RDONLY)
    var ended: [FuseHandle] = []
    let object: UInt64? = tables.withLock { tables in
      guard let object = tables.handles.insert(handle) else { return nil }
      if !isDirectory { ended = opened(handle, &tables) }
      return object
    }
    guard let object else { return Failure.tooManyOpen }
    drain(ended)
    out.fh = number(object, flags, isDirectory: isDirectory)
    return 0
  }

  /// The handle with this number, opened again if an earlier life gave it.
  func find(_ number: UInt64, _ node: FuseNode) -> FuseHandle? {
    let isOurs = number >> 48 == life
    let known = tables.withLock {
      isOurs ? $0.handles[number & 0x7fff_ffff] : $0.revived[number]
    }
    if known != nil || isOurs { return known?.node.number == node.number ? known : nil }
    return revive(number, node)
  }

  private func revive(_ number: UInt64, _ node: FuseNode) -> FuseHandle? {
    guard nodes.areLasting, number != 0, Identity.root() == 0 else { return nil }
    var flags = Int32(truncatingIfNeeded: number >> 32 & 0x3fff)
    if number & Self.directoryMark != 0 {
      flags = O_RDONLY | O_DIRECTORY
    } else if !node.isRegular {
      return nil
    }
    guard let descriptor = Descriptor(node.open(flags)) else { return nil }
    let handle = FuseHandle(descriptor, node, isWritable: flags & O_ACCMODE != O_RDONLY)
    var ended: [FuseHandle] = []
    let kept: FuseHandle? = tables.withLock { tables in
      guard tables.revived.count < Self.handleLimit else { return nil }
      if let known = tables.revived[number] { return known }
      tables.revived[number] = handle
      if number & Self.directoryMark == 0 { ended = opened(handle, &tables) }
      return handle
    }
    drain(ended)
    return kept
  }

  /// A handle of a directory.
  func addDirectory(_ result: Int, _ node: FuseNode, _ out: inout fuse_open_out) -> Int {
    add(result, node, O_RDONLY, isDirectory: true, &out)
  }

  func open(_ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply) -> Int {
    guard let what = request.take(fuse_open_in.self) else { return Failure.invalid }
    guard node.isRegular else { return Failure.inputOutput }
    let flags = Int32(bitPattern: what.flags)
    if what.open_flags & UInt32(FUSE_OPEN_KILL_SUIDGID) != 0 { dropSetIdentity(node) }
    var out = fuse_open_out()
    let error = add(node.open(flags & Self.openFlags), node, flags, &out)
    return error < 0 ? error : reply.put(out)
  }

  func create(_ parent: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply) -> Int {
    guard let what = request.take(fuse_create_in.self), let name = request.takeName() else {
      return Failure.invalid
    }
    let flags = Int32(bitPattern: what.flags)
    let how = flags & (Self.openFlags | O_EXCL) | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK
    let result = making(request.head, umask: what.umask) {
      // SAFETY: `takeName` ends the name with a zero; it outlives the call.
      unsafe name.withUnsafeBufferPointer {
        unsafe kernelRetrying(
          Int(SYS_openat), Int(parent.descriptor.number), address($0.baseAddress), Int(how),
          Int(what.mode & 0o7777))
      }
    }
    guard let descriptor = Descriptor(result) else { return result }
    return finishCreate(descriptor, name, parent, flags, &reply)
  }

  /// O_TMPFILE: a file that has no name yet.
  func createUnnamed(
    _ parent: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_create_in.self) else { return Failure.invalid }
    let flags = Int32(bitPattern: what.flags)
    let how = flags & (Self.openFlags | O_EXCL) | O_TMPFILE | O_CLOEXEC
    let result = making(request.head, umask: what.umask) {
      // SAFETY: the string is NUL-terminated and outlives the call.
      unsafe parent.path.withCString {
        unsafe kernelRetrying(
          Int(SYS_openat), Int(AT_FDCWD), address($0), Int(how), Int(what.mode & 0o7777))
      }
    }
    guard let descriptor = Descriptor(result) else { return result }
    // SAFETY: the string is NUL-terminated and outlives the call.
    let place = unsafe "/proc/self/fd/\(descriptor.number)".withCString {
      unsafe kernelRetrying(Int(SYS_openat), Int(AT_FDCWD), address($0), Int(O_PATH | O_CLOEXEC), 0)
    }
    guard let itself = Descriptor(place) else { return place }
    let (found, error) = nodes.adopt(itself)
    guard let found else { return error }
    var entry = fuse_entry_out()
    var out = fuse_open_out()
    var failure = fill(&entry, found)
    if failure == 0 { failure = add(descriptor, found, flags, &out) }
    if failure == 0 { failure = min(reply.put(entry), reply.put(out)) }
    return failure
  }

  /// What was opened must be what the name leads to, and a regular file.
  private func finishCreate(
    _ descriptor: Descriptor, _ name: [CChar], _ parent: FuseNode, _ flags: Int32,
    _ reply: inout FuseReply
  ) -> Int {
    let (found, error) = answer(name, in: parent, &reply)
    guard error == 0, let found else { return min(error, Failure.notPermitted) }
    guard isSame(descriptor, found), found.isRegular else {
      nodes.forget(found.number, 1)
      return Failure.inputOutput
    }
    var out = fuse_open_out()
    let copy = kernel(
      Int(SYS_fcntl), Int(descriptor.number), Int(F_DUPFD_CLOEXEC), 3)
    let failure = add(copy, found, flags, &out)
    return failure < 0 ? failure : reply.put(out)
  }

  private func isSame(_ descriptor: Descriptor, _ node: FuseNode) -> Bool {
    var ours = stat()
    var theirs = stat()
    // SAFETY: locals of the type that fstat fills.
    return unsafe fstat(descriptor.number, &ours) == 0
      && fstat(node.descriptor.number, &theirs) == 0
      && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino
  }

  func read(_ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply) -> Int {
    guard let what = request.take(fuse_read_in.self), let offset = Int(exactly: what.offset) else {
      return Failure.invalid
    }
    guard let handle = find(what.fh, node) else { return Failure.stale }
    // SAFETY: the kernel writes at most the room's count.
    let room = unsafe reply.room
    let count = unsafe kernelRetrying(
      Int(SYS_pread64), Int(handle.descriptor.number), address(room.baseAddress),
      min(Int(what.size), room.count), offset)
    reply.advance(count)
    return min(count, 0)
  }

  func write(_ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply) -> Int {
    // SAFETY: only a count is asked.
    guard let what = request.take(fuse_write_in.self), let offset = Int(exactly: what.offset),
      unsafe Int(what.size) <= request.payload.count
    else { return Failure.invalid }
    guard let handle = find(what.fh, node) else { return Failure.stale }
    let refused = Identity.writer(request.head.uid, request.head.gid)
    guard refused == 0 else { return refused }
    // SAFETY: `size` is at most the payload's count, checked above.
    var piece = unsafe iovec(
      iov_base: UnsafeMutableRawBufferPointer(mutating: request.payload).baseAddress,
      iov_len: Int(what.size))
    // SAFETY: one piece, a local that outlives the call, which only reads it.
    let count = unsafe kernelRetrying(
      Int(SYS_pwritev2), Int(handle.descriptor.number), address(&piece), 1, offset, 0,
      writeFlags(what))
    guard count >= 0 else { return count }
    if what.write_flags & UInt32(FUSE_WRITE_KILL_SUIDGID) != 0 { dropSetIdentity(node) }
    return reply.put(fuse_write_out(size: UInt32(count), padding: 0))
  }

  /// How a write differs from a plain one (RWF_*, include/uapi/linux/fs.h).
  private func writeFlags(_ what: fuse_write_in) -> Int {
    let flags = Int32(bitPattern: what.flags)
    let (dataSync, sync, append) = (0x02, 0x04, 0x10)
    var how = 0
    if flags & O_SYNC == O_SYNC { how |= sync } else if flags & O_DSYNC != 0 { how |= dataSync }
    // A page of a mapping has its place, whatever the descriptor says.
    let isPage = what.write_flags & UInt32(FUSE_WRITE_CACHE) != 0
    if flags & O_APPEND != 0, !isPage { how |= append }
    return how
  }

  /// A close of one of the client's descriptors: what a later write-back would report, now.
  func flush(_ node: FuseNode, _ request: inout FuseRequest) -> Int {
    guard let what = request.take(fuse_flush_in.self) else { return Failure.invalid }
    guard let handle = find(what.fh, node) else { return Failure.stale }
    let copy = kernel(Int(SYS_fcntl), Int(handle.descriptor.number), Int(F_DUPFD_CLOEXEC), 3)
    return copy < 0 ? copy : kernel(Int(SYS_close), copy)
  }

  func release(_ request: inout FuseRequest) -> Int {
    guard let what = request.take(fuse_release_in.self) else { return Failure.invalid }
    let gone = tables.withLock { tables in
      let isOurs = what.fh >> 48 == life
      let handle =
        isOurs
        ? tables.handles.remove(what.fh & 0x7fff_ffff)
        : tables.revived.removeValue(forKey: what.fh)
      if let alias = handle?.alias { _ = tables.handles.remove(alias) }
      if let handle {
        grant(handle, to: nil, &tables)
        if what.fh & Self.directoryMark == 0 { closed(handle, &tables) }
      }
      return handle
    }
    withExtendedLifetime(gone) {}
    return 0
  }

  func sync(_ node: FuseNode, _ request: inout FuseRequest) -> Int {
    guard let what = request.take(fuse_fsync_in.self) else { return Failure.invalid }
    guard let handle = find(what.fh, node) else { return Failure.stale }
    var number = what.fsync_flags & 1 != 0 ? Int(SYS_fdatasync) : Int(SYS_fsync)
    // The client's kernel has no request for syncfs: the root's fsync is it.
    if node === nodes.root { number = Int(SYS_syncfs) }
    return kernelRetrying(number, Int(handle.descriptor.number))
  }

  func allocate(_ node: FuseNode, _ request: inout FuseRequest) -> Int {
    guard let what = request.take(fuse_fallocate_in.self), let offset = Int(exactly: what.offset),
      let length = Int(exactly: what.length)
    else { return Failure.invalid }
    guard let handle = find(what.fh, node) else { return Failure.stale }
    let refused = Identity.writer(request.head.uid, request.head.gid)
    guard refused == 0 else { return refused }
    return kernelRetrying(
      Int(SYS_fallocate), Int(handle.descriptor.number), Int(what.mode), offset, length)
  }

  func seek(_ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply) -> Int {
    guard let what = request.take(fuse_lseek_in.self) else { return Failure.invalid }
    // A negative one, which the kernel passes on, is like one beyond the end.
    guard let offset = Int(exactly: what.offset) else { return Failure.noAddress }
    guard let handle = find(what.fh, node) else { return Failure.stale }
    // Only SEEK_DATA and SEEK_HOLE come here, which do not hang on the descriptor's own offset.
    guard what.whence == 3 || what.whence == 4 else { return Failure.invalid }
    let result = kernelRetrying(
      Int(SYS_lseek), Int(handle.descriptor.number), offset, Int(what.whence))
    return result < 0 ? result : reply.put(fuse_lseek_out(offset: UInt64(result)))
  }

  func copyRange(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_copy_file_range_in.self) else { return Failure.invalid }
    guard let target = nodes.find(what.nodeid_out), let from = find(what.fh_in, node),
      let to = find(what.fh_out, target)
    else { return Failure.stale }
    guard var source = Int(exactly: what.off_in), var destination = Int(exactly: what.off_out),
      let length = Int(exactly: what.len)
    else { return Failure.invalid }
    let refused = Identity.writer(request.head.uid, request.head.gid)
    guard refused == 0 else { return refused }
    // One answer must not take minutes: a short copy is a valid one.
    // SAFETY: two offsets, locals that outlive the call.
    let count = unsafe kernelRetrying(
      Int(SYS_copy_file_range), Int(from.descriptor.number), address(&source),
      Int(to.descriptor.number), address(&destination), min(length, 64 << 20), 0)
    return count < 0
      ? count : reply.put(fuse_write_out(size: UInt32(count), padding: 0))
  }
}
