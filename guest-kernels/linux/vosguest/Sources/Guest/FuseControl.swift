// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc

/// What is said about an open file by ioctl.
extension FuseService {
  /// An ioctl on an open file: VOS_IOC_ATTACH and VOS_IOC_DETACH, whether a slice may use it
  /// directly; flags of the file (lsattr, chattr).
  func control(_ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply) -> Int {
    guard let what = request.take(fuse_ioctl_in.self) else { return Failure.invalid }
    guard let handle = find(what.fh, node) else { return Failure.badDescriptor }
    var result = 0
    switch what.cmd {
    case UInt32(VOS_IOC_ATTACH) where node.isRegular:
      result = attach(handle, what, request.head.pid)
    case UInt32(VOS_IOC_DETACH) where node.isRegular: result = detach(handle)
    case Self.getFlags: return giveFlags(handle, &reply)
    case Self.setFlags: result = setFlags(handle, &request)
    case Self.getExtendedFlags: return giveExtendedFlags(handle, &reply)
    default: return Failure.notTerminal
    }
    guard result >= 0 else { return result }
    return reply.put(fuse_ioctl_out(result: Int32(result), flags: 0, in_iovs: 0, out_iovs: 0))
  }

  // MARK: Flags of a file

  /// FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, include/uapi/linux/fs.h.
  private static let getFlags: UInt32 = 0x8008_6601
  private static let setFlags: UInt32 = 0x4008_6602
  /// FS_IOC_FSGETXATTR: the same flags in another form, by which the client's kernel judges changes.
  private static let getExtendedFlags: UInt32 = 0x801c_581f
  private static let extendedFlagsBytes = 28
  /// FS_*_FL that a client may change, its kernel willing: SYNC, IMMUTABLE, APPEND, NODUMP,
  /// NOATIME, DIRSYNC, TOPDIR. The others are about how the file system keeps the file.
  private static let flagsToChange: UInt32 = 0x0003_00f8

  private func flags(_ handle: FuseHandle, _ flags: inout UInt32) -> Int {
    // SAFETY: a local to which the kernel writes 4 bytes.
    unsafe kernelRetrying(
      Int(SYS_ioctl), Int(handle.descriptor.number), Int(Self.getFlags), address(&flags))
  }

  private func giveFlags(_ handle: FuseHandle, _ reply: inout FuseReply) -> Int {
    var now: UInt32 = 0
    let error = flags(handle, &now)
    guard error == 0 else { return error }
    let head = reply.put(fuse_ioctl_out(result: 0, flags: 0, in_iovs: 0, out_iovs: 0))
    return min(head, reply.put(now))
  }

  private func giveExtendedFlags(_ handle: FuseHandle, _ reply: inout FuseReply) -> Int {
    var bytes = [UInt8](repeating: 0, count: Self.extendedFlagsBytes)
    // SAFETY: the kernel writes a struct fsxattr, which has as many bytes as the array.
    let error = unsafe bytes.withUnsafeMutableBytes {
      unsafe kernelRetrying(
        Int(SYS_ioctl), Int(handle.descriptor.number), Int(Self.getExtendedFlags),
        address($0.baseAddress))
    }
    guard error == 0 else { return error }
    let head = reply.put(fuse_ioctl_out(result: 0, flags: 0, in_iovs: 0, out_iovs: 0))
    // SAFETY: the bytes are alive during the call.
    return unsafe bytes.withUnsafeBytes { unsafe min(head, reply.put(bytes: $0)) }
  }

  private func setFlags(_ handle: FuseHandle, _ request: inout FuseRequest) -> Int {
    guard var wanted = request.take(UInt32.self) else { return Failure.invalid }
    var now: UInt32 = 0
    let error = flags(handle, &now)
    guard error == 0 else { return error }
    guard (wanted ^ now) & ~Self.flagsToChange == 0 else { return Failure.notSupported }
    // SAFETY: a local of which the kernel reads 4 bytes.
    return unsafe kernelRetrying(
      Int(SYS_ioctl), Int(handle.descriptor.number), Int(Self.setFlags), address(&wanted))
  }

  // MARK: Direct use

  private func detach(_ handle: FuseHandle) -> Int {
    tables.withLock { grant(handle, to: nil, &$0) }
    return 0
  }

  /// Only the process that has the slice may ask for it: a descriptor that was inherited or lent
  /// must not let a stranger in, nor put one in the place of whoever has the file now. The slice
  /// table is the client's kernel's word, `process` that of its forwarder, which knows threads.
  private func attach(_ handle: FuseHandle, _ what: fuse_ioctl_in, _ process: UInt32) -> Int {
    guard let slice = Int(exactly: what.arg), let owner = liveEntry(slice) else {
      return Failure.invalid
    }
    guard process != 0, owner.pid == process else { return Failure.notPermitted }
    let generation = owner.generation
    return tables.withLock { tables in
      guard tables.opens[handle.node.number]?.isShared == false else { return Failure.busy }
      grant(handle, to: (slice, generation), &tables)
      if what.fh >> 48 == life { return Int(what.fh & 0x7fff_ffff) }
      // One that was opened again: it needs a number of this life.
      if handle.alias == nil { handle.alias = tables.handles.insert(handle) }
      return handle.alias.map { Int($0) } ?? Failure.tooManyOpen
    }
  }
}
