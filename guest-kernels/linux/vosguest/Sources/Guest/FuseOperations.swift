// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Glibc

/// The operations of the FUSE protocol, 7.36 (include/uapi/linux/fuse.h). Each returns 0 or minus
/// an errno; the table returns `nil` where the protocol has no reply.
extension FuseService {
  func perform(_ request: inout FuseRequest, _ reply: inout FuseReply) -> Int? {
    switch fuse_opcode(request.head.opcode) {
    case FUSE_FORGET: return forget(&request)
    case FUSE_BATCH_FORGET: return forgetBatch(&request)
    case FUSE_INTERRUPT: return nil
    case FUSE_INIT: return initialize(&request, &reply)
    case FUSE_DESTROY: return 0
    case FUSE_STATFS: return fileSystem(&reply)
    default: break
    }
    // Reads and writes take the identity that they need themselves, if any.
    if request.head.opcode != FUSE_READ.rawValue, request.head.opcode != FUSE_WRITE.rawValue {
      let error = Identity.root()
      guard error == 0 else { return error }
    }
    guard let node = nodes.find(request.head.nodeid) else { return Failure.stale }
    return onNode(node, &request, &reply) ?? onHandle(node, &request, &reply)
      ?? Failure.notImplemented
  }

  /// Operations on names and attributes.
  private func onNode(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int? {
    switch fuse_opcode(request.head.opcode) {
    case FUSE_LOOKUP: look(node, &request, &reply)
    case FUSE_GETATTR: giveAttributes(node, &reply)
    case FUSE_SETATTR: setAttributes(node, &request, &reply)
    case FUSE_READLINK: readLink(node, &reply)
    case FUSE_SYMLINK: makeLink(node, &request, &reply)
    case FUSE_MKNOD: makeNode(node, &request, &reply)
    case FUSE_MKDIR: makeDirectory(node, &request, &reply)
    case FUSE_UNLINK: remove(node, &request, flags: 0)
    case FUSE_RMDIR: remove(node, &request, flags: Int(AT_REMOVEDIR))
    case FUSE_RENAME, FUSE_RENAME2: rename(node, &request)
    case FUSE_LINK: hardLink(node, &request, &reply)
    case FUSE_ACCESS: 0  // the client's kernel checks
    case FUSE_SETXATTR: setExtended(node, &request)
    case fuse_opcode(UInt32(GUEST_FUSE_STATX)): giveStatus(node, &request, &reply)
    case FUSE_GETXATTR: getExtended(node, &request, &reply)
    case FUSE_LISTXATTR: listExtended(node, &request, &reply)
    case FUSE_REMOVEXATTR: removeExtended(node, &request)
    default: nil
    }
  }

  /// Operations on open files.
  private func onHandle(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int? {
    switch fuse_opcode(request.head.opcode) {
    case FUSE_OPEN: open(node, &request, &reply)
    case FUSE_CREATE: create(node, &request, &reply)
    case FUSE_TMPFILE: createUnnamed(node, &request, &reply)
    case FUSE_READ: read(node, &request, &reply)
    case FUSE_WRITE: write(node, &request, &reply)
    case FUSE_FLUSH: flush(node, &request)
    case FUSE_RELEASE, FUSE_RELEASEDIR: release(&request)
    case FUSE_FSYNC, FUSE_FSYNCDIR: sync(node, &request)
    case FUSE_OPENDIR: openDirectory(node, &reply)
    case FUSE_READDIR: list(node, &request, &reply, withAttributes: false)
    case FUSE_READDIRPLUS: list(node, &request, &reply, withAttributes: true)
    case FUSE_FALLOCATE: allocate(node, &request)
    case FUSE_LSEEK: seek(node, &request, &reply)
    case FUSE_COPY_FILE_RANGE: copyRange(node, &request, &reply)
    case FUSE_IOCTL: control(node, &request, &reply)
    default: nil
    }
  }

  // MARK: The mount

  private static let minorVersion: UInt32 = 36
  /// Features that are served; each only if the kernel offers it.
  private static let features =
    UInt32(FUSE_ASYNC_READ) | UInt32(FUSE_ATOMIC_O_TRUNC) | UInt32(FUSE_BIG_WRITES)
    | UInt32(FUSE_AUTO_INVAL_DATA) | UInt32(FUSE_DO_READDIRPLUS) | UInt32(FUSE_READDIRPLUS_AUTO)
    | UInt32(FUSE_ASYNC_DIO) | UInt32(FUSE_PARALLEL_DIROPS) | UInt32(FUSE_MAX_PAGES)
    | UInt32(FUSE_HANDLE_KILLPRIV_V2) | needed
  /// What every kernel that we serve offers, and requests are read by: the umask is ours to apply,
  /// because a directory's default list takes its place; SETXATTR in its longer form.
  private static let needed =
    UInt32(FUSE_POSIX_ACL) | UInt32(FUSE_DONT_MASK) | UInt32(FUSE_SETXATTR_EXT)

  private func initialize(_ request: inout FuseRequest, _ reply: inout FuseReply) -> Int {
    guard let asked = request.take(fuse_init_in.self), asked.major == 7,
      asked.flags & Self.needed == Self.needed
    else { return Failure.protocolBroken }
    // A write's head and a read's head share the window with the data.
    let page = Int(VOS_PAGE_BYTES)
    // SAFETY: only a count is asked.
    let room = unsafe (reply.length + reply.room.count - page) & ~(page - 1)
    guard room >= page else { return Failure.noMemory }
    let pages = min(room / page, 256)
    var out = fuse_init_out()
    out.major = 7
    out.minor = Self.minorVersion
    out.max_readahead = min(asked.max_readahead, UInt32(pages * page))
    out.flags = asked.flags & Self.features
    out.max_background = 32
    out.congestion_threshold = 24
    out.max_write = UInt32(pages * page)
    out.time_gran = 1
    out.max_pages = UInt16(pages)
    return reply.put(out)
  }

  private func fileSystem(_ reply: inout FuseReply) -> Int {
    var status = statfs()
    // SAFETY: a local of the type that the call fills, which outlives it.
    let error = unsafe kernelRetrying(
      Int(SYS_fstatfs), Int(nodes.root.descriptor.number), address(&status))
    guard error == 0 else { return error }
    var out = fuse_statfs_out()
    out.st.blocks = UInt64(status.f_blocks)
    out.st.bfree = UInt64(status.f_bfree)
    out.st.bavail = UInt64(status.f_bavail)
    out.st.files = UInt64(status.f_files)
    out.st.ffree = UInt64(status.f_ffree)
    out.st.bsize = UInt32(truncatingIfNeeded: status.f_bsize)
    out.st.namelen = UInt32(truncatingIfNeeded: status.f_namelen)
    out.st.frsize = UInt32(truncatingIfNeeded: status.f_frsize)
    return reply.put(out)
  }

  private func forget(_ request: inout FuseRequest) -> Int? {
    if let what = request.take(fuse_forget_in.self) {
      nodes.forget(request.head.nodeid, what.nlookup)
    }
    return nil
  }

  private func forgetBatch(_ request: inout FuseRequest) -> Int? {
    guard let batch = request.take(fuse_batch_forget_in.self) else { return nil }
    for _ in 0..<batch.count {
      guard let one = request.take(fuse_forget_one.self) else { break }
      nodes.forget(one.nodeid, one.nlookup)
    }
    return nil
  }

  // MARK: Names

  /// Answers with the node that `name` leads to.
  func answer(
    _ name: [CChar], in parent: FuseNode, _ reply: inout FuseReply
  ) -> (node: FuseNode?, error: Int) {
    let (found, error) = nodes.look(name, in: parent)
    guard let found else { return (nil, error) }
    var entry = fuse_entry_out()
    let failure = fill(&entry, found)
    return failure == 0 ? (found, reply.put(entry)) : (nil, failure)
  }

  /// How long the client may believe the attributes of the node, with this mode. A write takes set-user-id bits
  /// away, here and not in the client's kernel: a mode with them is not believed.
  func belief(in node: FuseNode, mode: UInt32) -> UInt64 {
    let isAttached = node.attachments.load(ordering: .sequentiallyConsistent) != 0
    return isAttached || mode & 0o6000 != 0 ? 0 : Self.beliefSeconds
  }

  func fill(_ entry: inout fuse_entry_out, _ node: FuseNode) -> Int {
    entry.nodeid = node.number
    entry.entry_valid = Self.beliefSeconds
    let error = node.attributes(&entry.attr)
    entry.attr_valid = belief(in: node, mode: entry.attr.mode)
    return error
  }

  private func look(
    _ parent: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let name = request.takeName() else { return Failure.invalid }
    return answer(name, in: parent, &reply).error
  }

  private func readLink(_ node: FuseNode, _ reply: inout FuseReply) -> Int {
    // SAFETY: the kernel writes at most the room's count; the path is an empty string, a local.
    let room = unsafe reply.room
    let empty: CChar = 0
    let count = unsafe withUnsafePointer(to: empty) {
      unsafe kernelRetrying(
        Int(SYS_readlinkat), Int(node.descriptor.number), address($0), address(room.baseAddress),
        min(room.count, Int(PATH_MAX)))
    }
    reply.advance(count)
    return min(count, 0)
  }

  /// Runs a call that makes something, as its future owner, then answers with it.
  private func make(
    _ name: [CChar], in parent: FuseNode, _ request: FuseRequest, _ reply: inout FuseReply,
    umask: UInt32 = 0, _ call: (Int, Int) -> Int
  ) -> Int {
    let error = making(request.head, umask: umask) {
      // SAFETY: `takeName` ends the name with a zero; it outlives the call.
      unsafe name.withUnsafeBufferPointer {
        unsafe call(Int(parent.descriptor.number), address($0.baseAddress))
      }
    }
    return error < 0 ? error : answer(name, in: parent, &reply).error
  }

  /// Runs `body` as who asks, with its umask; as root again afterwards.
  func making(_ head: fuse_in_header, umask: UInt32, _ body: () -> Int) -> Int {
    let refused = min(Identity.maker(head.uid, head.gid), Int(guest_mask_modes(umask)))
    let result = refused < 0 ? refused : body()
    let error = Identity.root()
    return error < 0 ? error : result
  }

  private func makeLink(
    _ parent: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let name = request.takeName(), let target = request.takeString() else {
      return Failure.invalid
    }
    return make(name, in: parent, request, &reply) { directory, name in
      // SAFETY: `takeString` ends the target with a zero; `make` gives a name that is alive.
      unsafe target.withUnsafeBufferPointer {
        unsafe kernelRetrying(Int(SYS_symlinkat), address($0.baseAddress), directory, name)
      }
    }
  }

  private func makeNode(
    _ parent: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_mknod_in.self), let name = request.takeName() else {
      return Failure.invalid
    }
    return make(name, in: parent, request, &reply, umask: what.umask) { directory, name in
      kernelRetrying(Int(SYS_mknodat), directory, name, Int(what.mode), Int(what.rdev))
    }
  }

  private func makeDirectory(
    _ parent: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_mkdir_in.self), let name = request.takeName() else {
      return Failure.invalid
    }
    return make(name, in: parent, request, &reply, umask: what.umask) { directory, name in
      kernelRetrying(Int(SYS_mkdirat), directory, name, Int(what.mode & 0o7777))
    }
  }

  private func remove(_ parent: FuseNode, _ request: inout FuseRequest, flags: Int) -> Int {
    guard let name = request.takeName() else { return Failure.invalid }
    // SAFETY: `takeName` ends the name with a zero; it outlives the call.
    return unsafe name.withUnsafeBufferPointer {
      unsafe kernelRetrying(
        Int(SYS_unlinkat), Int(parent.descriptor.number), address($0.baseAddress), flags)
    }
  }

  private func rename(_ parent: FuseNode, _ request: inout FuseRequest) -> Int {
    let isOld = request.head.opcode == FUSE_RENAME.rawValue
    let what =
      isOld
      ? request.take(fuse_rename_in.self).map { ($0.newdir, UInt32(0)) }
      : request.take(fuse_rename2_in.self).map { ($0.newdir, $0.flags) }
    guard let (number, flags) = what, let from = request.takeName(), let to = request.takeName()
    else { return Failure.invalid }
    guard let target = nodes.find(number) else { return Failure.stale }
    // SAFETY: `takeName` ends both names with a zero; they outlive the call.
    return unsafe from.withUnsafeBufferPointer { from in
      unsafe to.withUnsafeBufferPointer { to in
        unsafe kernelRetrying(
          Int(SYS_renameat2), Int(parent.descriptor.number), address(from.baseAddress),
          Int(target.descriptor.number), address(to.baseAddress), Int(flags))
      }
    }
  }

  private func hardLink(
    _ parent: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_link_in.self), let name = request.takeName() else {
      return Failure.invalid
    }
    guard let old = nodes.find(what.oldnodeid) else { return Failure.stale }
    // By the descriptor itself, so that a name that changes meanwhile changes nothing here.
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let error = unsafe old.path.withCString { path in
      unsafe name.withUnsafeBufferPointer {
        unsafe kernelRetrying(
          Int(SYS_linkat), Int(AT_FDCWD), address(path), Int(parent.descriptor.number),
          address($0.baseAddress), Int(AT_SYMLINK_FOLLOW))
      }
    }
    return error < 0 ? error : answer(name, in: parent, &reply).error
  }
}
