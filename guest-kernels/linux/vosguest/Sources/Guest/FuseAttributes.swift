// SPDX-License-Identifier: Apache-2.0
import CGuest
import Glibc

/// Attributes, plain and extended. Run as root: the client's kernel has checked the caller.
extension FuseService {
  func giveAttributes(_ node: FuseNode, _ reply: inout FuseReply) -> Int {
    var out = fuse_attr_out()
    let error = node.attributes(&out.attr)
    out.attr_valid = belief(in: node, mode: out.attr.mode)
    return error < 0 ? error : reply.put(out)
  }

  /// FUSE_STATX: GETATTR with the time of birth. Linux 6.6 and later ask for it.
  func giveStatus(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(guest_statx_in.self) else { return Failure.invalid }
    var out = guest_statx_out()
    // SAFETY: a local of the type that the call fills, which outlives it.
    let error = unsafe Int(guest_statx(node.descriptor.number, what.sx_mask, &out.stat))
    out.stat.mtime.nanoseconds = node.skewed(out.stat.mtime.nanoseconds)
    out.attr_valid = belief(in: node, mode: UInt32(out.stat.mode))
    return error < 0 ? error : reply.put(out)
  }

  func setAttributes(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_setattr_in.self) else { return Failure.invalid }
    var error = 0
    if what.valid & UInt32(FATTR_MODE) != 0 { error = setMode(node, what.mode) }
    if error == 0, what.valid & UInt32(FATTR_UID | FATTR_GID) != 0 { error = setOwner(node, what) }
    if error == 0, what.valid & UInt32(FATTR_SIZE) != 0 {
      error = setSize(node, what, request.head)
    }
    if error == 0, what.valid & UInt32(FATTR_ATIME | FATTR_MTIME) != 0 {
      error = setTimes(node, what)
    }
    return error == 0 ? giveAttributes(node, &reply) : error
  }

  private func setMode(_ node: FuseNode, _ mode: UInt32) -> Int {
    guard let now = node.mode, now & S_IFMT != S_IFLNK else { return Failure.notSupported }
    // SAFETY: the string is NUL-terminated and outlives the call.
    return unsafe node.path.withCString {
      unsafe kernelRetrying(Int(SYS_fchmodat), Int(AT_FDCWD), address($0), Int(mode & 0o7777))
    }
  }

  private func setOwner(_ node: FuseNode, _ what: fuse_setattr_in) -> Int {
    let uid = what.valid & UInt32(FATTR_UID) != 0 ? Int(what.uid) : -1
    let gid = what.valid & UInt32(FATTR_GID) != 0 ? Int(what.gid) : -1
    let empty: CChar = 0
    // SAFETY: an empty string, a local that outlives the call.
    return unsafe withUnsafePointer(to: empty) {
      unsafe kernelRetrying(
        Int(SYS_fchownat), Int(node.descriptor.number), address($0), uid, gid,
        Int(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
    }
  }

  private func setSize(
    _ node: FuseNode, _ what: fuse_setattr_in, _ head: fuse_in_header
  ) -> Int {
    guard node.isRegular, let size = Int(exactly: what.size) else { return Failure.invalid }
    // A file that was opened for writing may be cut whatever its mode is now.
    let error: Int
    if what.valid & UInt32(FATTR_FH) != 0, let handle = find(what.fh, node) {
      error = cut(handle.descriptor, size, head)
    } else {
      let opened = node.open(O_WRONLY)
      guard let descriptor = Descriptor(opened) else { return opened }
      error = cut(descriptor, size, head)
    }
    if error == 0, what.valid & UInt32(FATTR_KILL_SUIDGID) != 0 { dropSetIdentity(node) }
    return error
  }

  private func cut(_ file: borrowing Descriptor, _ size: Int, _ head: fuse_in_header) -> Int {
    let refused = Identity.writer(head.uid, head.gid)
    guard refused == 0 else { return refused }
    let result = kernelRetrying(Int(SYS_ftruncate), Int(file.number), size)
    let error = Identity.root()
    return error < 0 ? error : result
  }

  private func setTimes(_ node: FuseNode, _ what: fuse_setattr_in) -> Int {
    let omit = timespec(tv_sec: 0, tv_nsec: 0x3fff_fffe)  // UTIME_OMIT
    let now = timespec(tv_sec: 0, tv_nsec: 0x3fff_ffff)  // UTIME_NOW
    var times = (omit, omit)
    if what.valid & UInt32(FATTR_ATIME_NOW) != 0 {
      times.0 = now
    } else if what.valid & UInt32(FATTR_ATIME) != 0 {
      times.0 = timespec(tv_sec: Int(bitPattern: UInt(what.atime)), tv_nsec: Int(what.atimensec))
    }
    if what.valid & UInt32(FATTR_MTIME_NOW) != 0 {
      times.1 = now
    } else if what.valid & UInt32(FATTR_MTIME) != 0 {
      times.1 = timespec(tv_sec: Int(bitPattern: UInt(what.mtime)), tv_nsec: Int(what.mtimensec))
    }
    // What somebody set is shown as it was set.
    if what.valid & UInt32(FATTR_MTIME) != 0 { node.fastWrites.store(0, ordering: .relaxed) }
    let empty: CChar = 0
    // SAFETY: an empty string and two times, locals that outlive the call.
    return unsafe withUnsafePointer(to: empty) {
      unsafe kernelRetrying(
        Int(SYS_utimensat), Int(node.descriptor.number), address($0), address(&times),
        Int(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
    }
  }

  /// Somebody without the right to keep them wrote to a file with set-user-id or set-group-id.
  func dropSetIdentity(_ node: FuseNode) {
    guard let mode = node.mode, mode & 0o6000 != 0, Identity.root() == 0 else { return }
    var kept = mode & ~0o4000
    // Without group execution the bit means something else.
    if mode & 0o010 != 0 { kept &= ~0o2000 }
    if kept != mode { _ = setMode(node, kept) }
  }

  // MARK: Extended attributes

  /// What a client may name: all that a local file system keeps. Nothing on the export is run in
  /// this domain, so file capabilities and labels of security modules mean nothing here. Of those
  /// of the system only lists: others may be commands to a file system.
  private func isAllowed(_ name: [CChar]) -> Bool {
    let text = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return ["user.", "trusted.", "security."].contains { text.hasPrefix($0) }
      || text == Self.accessList || text == "system.posix_acl_default"
  }

  private static let accessList = "system.posix_acl_access"

  func setExtended(_ node: FuseNode, _ request: inout FuseRequest) -> Int {
    guard let what = request.take(fuse_setxattr_in.self), let name = request.takeString(),
      let value = request.takeBytes(Int(what.size))
    else { return Failure.invalid }
    guard isAllowed(name) else { return Failure.notSupported }
    let error = withPath(node, name) { path, name in
      // SAFETY: the kernel reads as many bytes as the array has; path and name are `withPath`'s,
      // NUL-terminated.
      unsafe value.withUnsafeBytes {
        unsafe kernelRetrying(
          Int(SYS_setxattr), path, name, address($0.baseAddress), $0.count, Int(what.flags & 3))
      }
    }
    // The caller is not of the file's group: the client's kernel knows, this one does not.
    let isToLose = what.setxattr_flags & UInt32(FUSE_SETXATTR_ACL_KILL_SGID) != 0
    if error == 0, isToLose, let mode = node.mode, mode & 0o2000 != 0 {
      return setMode(node, mode & ~0o2000)
    }
    return error
  }

  func getExtended(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_getxattr_in.self), let name = request.takeString() else {
      return Failure.invalid
    }
    guard isAllowed(name) else { return Failure.notSupported }
    return withPath(node, name) { path, name in
      sized(what.size, &reply) { buffer, size in
        kernelRetrying(Int(SYS_getxattr), path, name, buffer, size)
      }
    }
  }

  func listExtended(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_getxattr_in.self) else { return Failure.invalid }
    var names = [UInt8](repeating: 0, count: Self.listLimit)
    let count = withPath(node, [0]) { path, _ in
      // SAFETY: the kernel writes at most the array's count.
      unsafe names.withUnsafeMutableBytes {
        unsafe kernelRetrying(Int(SYS_listxattr), path, address($0.baseAddress), $0.count)
      }
    }
    guard count >= 0 else { return count }
    let shown = visible(names.prefix(count), to: request.head.uid)
    guard what.size > 0 else {
      return reply.put(fuse_getxattr_out(size: UInt32(shown.count), padding: 0))
    }
    guard shown.count <= Int(what.size) else { return Failure.range }
    // SAFETY: the bytes are alive during the call.
    return unsafe shown.withUnsafeBytes { unsafe reply.put(bytes: $0) }
  }

  /// XATTR_LIST_MAX, include/uapi/linux/limits.h.
  private static let listLimit = 65536

  /// The names without those that a local file system shows to administrators alone.
  private func visible(_ names: ArraySlice<UInt8>, to uid: UInt32) -> [UInt8] {
    guard uid != 0 else { return Array(names) }
    let hidden = Array("trusted.".utf8)
    return names.split(separator: 0).filter { !$0.starts(with: hidden) }.flatMap { $0 + [0] }
  }

  func removeExtended(_ node: FuseNode, _ request: inout FuseRequest) -> Int {
    guard let name = request.takeString() else { return Failure.invalid }
    guard isAllowed(name) else { return Failure.notSupported }
    return withPath(node, name) { path, name in
      kernelRetrying(Int(SYS_removexattr), path, name)
    }
  }

  private func withPath(_ node: FuseNode, _ name: [CChar], _ body: (Int, Int) -> Int) -> Int {
    // SAFETY: both strings are NUL-terminated and live until `body` returns.
    unsafe node.path.withCString { path in
      unsafe name.withUnsafeBufferPointer { unsafe body(address(path), address($0.baseAddress)) }
    }
  }

  /// A size of zero asks how much there is; else the bytes themselves are the answer.
  private func sized(_ size: UInt32, _ reply: inout FuseReply, _ call: (Int, Int) -> Int) -> Int {
    guard size > 0 else {
      let count = call(0, 0)
      guard count >= 0 else { return count }
      return reply.put(fuse_getxattr_out(size: UInt32(count), padding: 0))
    }
    // SAFETY: the kernel writes at most the room's count.
    let room = unsafe reply.room
    let count = unsafe call(address(room.baseAddress), min(Int(size), room.count))
    reply.advance(count)
    return min(count, 0)
  }
}
