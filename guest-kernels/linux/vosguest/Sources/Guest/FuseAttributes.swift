// SPDX-License-Identifier: Apache-2.0
import CGuest
import Glibc

/// Attributes, plain and extended. Run as root: the client's kernel has checked the caller.
extension FuseService {
  func giveAttributes(_ node: FuseNode, _ reply: inout FuseReply) -> Int {
    var out = fuse_attr_out()
    let error = node.attributes(&out.attr)
    out.attr_valid = belief(in: node, out.attr)
    return error < 0 ? error : reply.put(out)
  }

  func setAttributes(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply
  ) -> Int {
    guard let what = request.take(fuse_setattr_in.self) else { return Failure.invalid }
    var error = 0
    if what.valid & UInt32(FATTR_MODE) != 0 { error = setMode(node, what.mode) }
    if error == 0, what.valid & UInt32(FATTR_UID | FATTR_GID) != 0 { error = setOwner(node, what) }
    if error == 0, what.valid & UInt32(FATTR_SIZE) != 0 { error = setSize(node, what) }
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

  private func setSize(_ node: FuseNode, _ what: fuse_setattr_in) -> Int {
    guard node.isRegular, let size = Int(exactly: what.size) else { return Failure.invalid }
    // A file that was opened for writing may be cut whatever its mode is now.
    let error: Int
    if what.valid & UInt32(FATTR_FH) != 0, let handle = find(what.fh, node) {
      error = kernelRetrying(Int(SYS_ftruncate), Int(handle.descriptor.number), size)
    } else {
      // SAFETY: the string is NUL-terminated and outlives the call.
      error = unsafe node.path.withCString {
        unsafe kernelRetrying(Int(SYS_truncate), address($0), size)
      }
    }
    if error == 0, what.valid & UInt32(FATTR_KILL_SUIDGID) != 0 { dropSetIdentity(node) }
    return error
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
    guard let mode = node.mode else { return }
    var kept = mode & ~0o4000
    // Without group execution the bit means something else.
    if mode & 0o010 != 0 { kept &= ~0o2000 }
    if kept != mode { _ = setMode(node, kept) }
  }

  // MARK: Extended attributes

  /// What a client may name: its users' own and file capabilities. Others (trusted, POSIX lists,
  /// security modules) mean something to this domain's kernel.
  private func isAllowed(_ name: [CChar]) -> Bool {
    let text = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.hasPrefix("user.") || text == "security.capability"
  }

  func setExtended(_ node: FuseNode, _ request: inout FuseRequest) -> Int {
    // Without FUSE_SETXATTR_EXT the structure is its first eight bytes.
    guard let size = request.take(UInt32.self), let flags = request.take(UInt32.self),
      let name = request.takeString(), let value = request.takeBytes(Int(size))
    else { return Failure.invalid }
    guard isAllowed(name) else { return Failure.notSupported }
    return withPath(node, name) { path, name in
      // SAFETY: the kernel reads as many bytes as the array has; path and name are `withPath`'s,
      // NUL-terminated.
      unsafe value.withUnsafeBytes {
        unsafe kernelRetrying(
          Int(SYS_setxattr), path, name, address($0.baseAddress), $0.count, Int(flags & 3))
      }
    }
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
    return withPath(node, [0]) { path, _ in
      sized(what.size, &reply) { buffer, size in
        kernelRetrying(Int(SYS_listxattr), path, buffer, size)
      }
    }
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
