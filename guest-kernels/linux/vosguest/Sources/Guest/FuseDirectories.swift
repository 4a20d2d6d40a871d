// SPDX-License-Identifier: Apache-2.0
import CGuest
import Glibc

/// Listing directories.
extension FuseService {
  private static let direntHead = MemoryLayout<fuse_dirent>.size  // 24: the name follows
  private static let entryBytes = MemoryLayout<fuse_entry_out>.size
  /// d_ino, d_off, d_reclen, d_type, then the name (linux/dirent.h).
  private static let kernelHead = 19

  func openDirectory(_ node: FuseNode, _ reply: inout FuseReply) -> Int {
    guard let mode = node.mode, mode & S_IFMT == S_IFDIR else { return Failure.invalid }
    var out = fuse_open_out()
    let result = node.open(O_RDONLY | O_DIRECTORY)
    let error = addDirectory(result, node, &out)
    return error < 0 ? error : reply.put(out)
  }

  func list(
    _ node: FuseNode, _ request: inout FuseRequest, _ reply: inout FuseReply, withAttributes: Bool
  ) -> Int {
    guard let what = request.take(fuse_read_in.self), let handle = find(what.fh, node) else {
      return Failure.stale
    }
    let number = Int(handle.descriptor.number)
    // SAFETY: only a count is asked.
    let limit = unsafe min(Int(what.size), reply.room.count)
    var buffer = [UInt8](repeating: 0, count: max(min(limit, 32 << 10), 1024))
    var offset = Int(bitPattern: UInt(what.offset))
    var left = limit
    // The directory's own offset is shared by calls of other threads: one listing at a time.
    return handle.listing.withLock { _ in
      while true {
        let place = kernel(Int(SYS_lseek), number, offset, Int(SEEK_SET))
        guard place >= 0 else { return place }
        // SAFETY: the kernel writes at most the array's count.
        let count = unsafe buffer.withUnsafeMutableBytes {
          unsafe kernelRetrying(Int(SYS_getdents64), number, address($0.baseAddress), $0.count)
        }
        guard count > 0 else { return reply.length > 16 ? 0 : count }
        // SAFETY: the kernel said that it wrote `count` bytes, of whole records.
        let isFull = unsafe buffer.withUnsafeBytes { bytes in
          unsafe put(
            UnsafeRawBufferPointer(rebasing: bytes.prefix(count)), node, &reply, &left, &offset,
            withAttributes)
        }
        if isFull { return 0 }
      }
    }
  }

  /// Puts the kernel's entries into the reply; true when it is full.
  private func put(
    _ bytes: UnsafeRawBufferPointer, _ node: FuseNode, _ reply: inout FuseReply, _ left: inout Int,
    _ offset: inout Int, _ withAttributes: Bool
  ) -> Bool {
    var at = 0
    while at + Self.kernelHead <= bytes.count {
      // SAFETY: the record's head lies within `bytes`: the loop's condition.
      let inode = unsafe bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
      let next = unsafe bytes.loadUnaligned(fromByteOffset: at + 8, as: Int.self)
      let length = unsafe Int(bytes.loadUnaligned(fromByteOffset: at + 16, as: UInt16.self))
      guard length > Self.kernelHead, at + length <= bytes.count else { return true }
      // SAFETY: the kernel writes whole records: `length` bytes lie within `bytes`, and slices
      // check it.
      let name = unsafe bytes[(at + Self.kernelHead)..<(at + length)].prefix { $0 != 0 }
      // SAFETY: only a count is asked.
      let size =
        unsafe (withAttributes ? Self.entryBytes : 0) + (Self.direntHead + name.count + 7) & ~7
      guard size <= left else { return true }
      // SAFETY: the name is a part of `bytes`, alive until we return.
      if withAttributes { _ = unsafe reply.put(entry(name, node)) }
      // struct fuse_dirent up to its name.
      _ = reply.put(inode)
      _ = reply.put(next)
      // SAFETY: the name and the type at byte 18 are within the record; `put` checks the room.
      _ = unsafe reply.put(UInt32(name.count))
      _ = unsafe reply.put(UInt32(bytes[at + 18]))
      _ = unsafe reply.put(bytes: UnsafeRawBufferPointer(rebasing: name))
      // SAFETY: only a count is asked.
      for _ in unsafe (Self.direntHead + name.count)..<((Self.direntHead + name.count + 7) & ~7) {
        _ = reply.put(UInt8(0))
      }
      left -= size
      offset = next
      at += length
    }
    return false
  }

  /// What LOOKUP would say; nothing for the two that every directory has.
  private func entry(_ name: Slice<UnsafeRawBufferPointer>, _ node: FuseNode) -> fuse_entry_out {
    var entry = fuse_entry_out()
    // SAFETY: the name is a part of the caller's buffer, copied here.
    let text = unsafe name.map { CChar(bitPattern: $0) } + [0]
    let dot = CChar(UInt8(ascii: "."))
    guard text != [dot, 0], text != [dot, dot, 0] else { return entry }
    guard let found = nodes.look(text, in: node).node, fill(&entry, found) == 0 else {
      return fuse_entry_out()
    }
    return entry
  }
}
