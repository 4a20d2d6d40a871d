// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A first look at the files a domain boots from, so that mistakes show before anything is started.
/// The monitor checks again and in full when it loads them.
enum KernelFile {
  private static let headBytes = 64 << 10

  /// What is wrong with the kernel at `path`, as the rest of a sentence; `nil` if nothing is.
  static func problem(of path: String) -> String? {
    guard let file = RegularFile(path) else { return RegularFile.problem(of: path) }
    let head = file.bytes(at: 0, maximum: headBytes)
    if head.starts(with: [0x7f, 0x45, 0x4c, 0x46]) { return elfProblem(head, file.byteCount) }
    if word(head, 0x1fe, 2) == 0xaa55, word(head, 0x202, 4) == 0x5372_6448 {
      return bzImageProblem(head, file.byteCount)
    }
    return "is neither a bzImage nor a PVH ELF file; expected a Linux kernel such as "
      + "/boot/vmlinuz-6.1.0-…-amd64"
  }

  /// What is wrong with the initrd at `path`.
  static func initrdProblem(of path: String, memoryBytes: UInt64) -> String? {
    guard let file = RegularFile(path) else { return RegularFile.problem(of: path) }
    if file.byteCount == 0 { return "is empty; expected a cpio archive, compressed or not" }
    if memoryBytes > 0, UInt64(file.byteCount) >= memoryBytes {
      return "has \(file.byteCount) bytes and does not fit the domain's memory of "
        + "\(formatByteCount(memoryBytes)); give the domain more"
    }
    return InitrdFile.problem(of: file, memoryBytes: memoryBytes)
  }

  /// Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, syssize (16-byte units) at 0x1f4,
  /// version at 0x206, xloadflags at 0x236 (bit 0: 64-bit entry).
  private static func bzImageProblem(_ head: [UInt8], _ byteCount: Int) -> String? {
    guard let sectors = word(head, 0x1f1, 1), let units = word(head, 0x1f4, 4),
      let version = word(head, 0x206, 2), let flags = word(head, 0x236, 2)
    else { return "is truncated: it ends within its header; copy it again" }
    guard version >= 0x020c, flags & 1 == 1 else {
      return "is a bzImage without 64-bit entry; expected an x86-64 kernel of Linux 3.8 or later"
    }
    let expected = (UInt64(sectors == 0 ? 4 : sectors) + 1) * 512 + UInt64(units) * 16
    if UInt64(byteCount) < expected {
      return "is truncated: it has \(byteCount) bytes, its header says \(expected); copy it again"
    }
    return nil
  }

  /// System V gABI, program headers; the PVH entry is ELF note 18 of "Xen" in a PT_NOTE segment.
  private static func elfProblem(_ head: [UInt8], _ byteCount: Int) -> String? {
    guard head.count >= 64 else { return "is truncated: it ends within its header; copy it again" }
    guard head[4] == 2, head[5] == 1, word(head, 18, 2) == 62 else {
      return "is an ELF file for another machine; expected a 64-bit x86-64 PVH kernel"
    }
    guard let table = word(head, 32, 8), let size = word(head, 54, 2),
      let count = word(head, 56, 2),
      size >= 56, count >= 1
    else { return "has no program headers; expected a PVH ELF kernel" }
    var hasNote = false
    for index in 0..<min(count, 128) {
      let (start, overflow) = table.addingReportingOverflow(index * size)
      guard !overflow, start < UInt64(head.count), let type = word(head, Int(start), 4),
        let offset = word(head, Int(start) + 8, 8), let length = word(head, Int(start) + 32, 8)
      else { return "is truncated: its program headers are cut off; copy it again" }
      let end = offset.addingReportingOverflow(length)
      if end.overflow || end.partialValue > UInt64(byteCount) {
        return
          "is truncated: it has \(byteCount) bytes, segment \(index) lies beyond; copy it again"
      }
      hasNote = hasNote || type == 4
    }
    return hasNote
      ? nil : "is an ELF file without a PVH note; expected a PVH ELF kernel or a bzImage"
  }

  /// `width` bytes at `offset`, little endian; `nil` beyond the end.
  private static func word(_ bytes: [UInt8], _ offset: Int, _ width: Int) -> UInt64? {
    guard offset >= 0, offset <= bytes.count - width else { return nil }
    return (0..<width).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
  }
}
