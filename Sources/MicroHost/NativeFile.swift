// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// A file of the host in tmpfs, as long as the guests' one, and a buffer to read it into.
@safe
struct NativeFile: ~Copyable {
  private let file: OwnedDescriptor
  @unsafe private let buffer: UnsafeMutableRawPointer

  private static let pageBytes = 4096

  /// An unnamed file of `CopyPage.fileBytes`, in the tmpfs that every kernel has mounted for itself
  /// (memfd_create(2)).
  init() throws(MicroHostError) {
    file = try asSystem { () throws(SystemCallError) in
      try OwnedDescriptor.sharedMemory(
        name: "vos-native", containing: [UInt8](repeating: 0x5A, count: CopyPage.fileBytes))
    }
    unsafe buffer = .allocate(byteCount: CopyPage.maximumBlockBytes, alignment: Self.pageBytes)
  }

  deinit {
    // SAFETY: allocated by `init`, used by nobody else.
    unsafe buffer.deallocate()
  }

  /// Nanoseconds of one transfer in blocks of `block` bytes, a power of two: the median.
  borrowing func measure(_ block: Int, transfers: Int) throws(MicroHostError) -> Double {
    var times: [Double] = []
    for _ in 0..<transfers {
      let start = monotonicNanoseconds()
      for offset in stride(from: 0, to: CopyPage.fileBytes, by: block) {
        // SAFETY: the buffer has room for the longest block.
        guard unsafe pread(file.rawValue, buffer, block, offset) == block else {
          throw .system(.last("read \(block) bytes at \(offset) of a file in tmpfs"))
        }
      }
      times.append(Double(monotonicNanoseconds() - start))
    }
    return median(times)
  }
}
