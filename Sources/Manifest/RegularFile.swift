// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A file that exists, is a regular one and can be read, seen through a window that moves over it.
final class RegularFile {
  let byteCount: Int
  private let handle: FileHandle
  /// What was read last, from `windowStart` on.
  private var window: [UInt8] = []
  private var windowStart = 0

  private static let windowBytes = 64 << 10

  init?(_ path: String) {
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: Self.target(of: path)),
      attributes[.type] as? FileAttributeType == .typeRegular,
      let size = attributes[.size] as? NSNumber, let handle = FileHandle(forReadingAtPath: path)
    else { return nil }
    byteCount = size.intValue
    self.handle = handle
  }

  /// The byte at `offset`; `nil` beyond the end.
  func byte(at offset: Int) -> UInt8? {
    if offset >= windowStart, offset - windowStart < window.count {
      return window[offset - windowStart]
    }
    guard offset >= 0, offset < byteCount else { return nil }
    window = bytes(at: offset, maximum: Self.windowBytes)
    windowStart = offset
    return window.first
  }

  /// At most `maximum` bytes from `offset` on; fewer at the end.
  func bytes(at offset: Int, maximum: Int) -> [UInt8] {
    guard (try? handle.seek(toOffset: UInt64(offset))) != nil else { return [] }
    return [UInt8]((try? handle.read(upToCount: maximum)) ?? Data())
  }

  private static func target(of path: String) -> String {
    URL(fileURLWithPath: path).resolvingSymlinksInPath().path
  }

  /// Why `init` refuses `path`, as the rest of a sentence.
  static func problem(of path: String) -> String {
    guard FileManager.default.fileExists(atPath: path) else {
      return "does not exist; check the path (relative paths start at the manifest's directory)"
    }
    return FileManager.default.isReadableFile(atPath: path)
      ? "is not a regular file; expected a file" : "cannot be read; check its permissions"
  }
}
