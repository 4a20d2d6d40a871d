// SPDX-License-Identifier: Apache-2.0
import CGuest
import Glibc

/// A FUSE request, copied out of the arena but for the bytes of a write.
@safe
struct FuseRequest {
  let head: fuse_in_header
  /// What follows the head; of a WRITE only its fixed part.
  private let body: [UInt8]
  private var position = 0
  /// The arena's bytes of a WRITE, which the kernel reads once.
  let payload: UnsafeRawBufferPointer

  /// Longest request but for writes: an extended attribute of 64 KiB with its names.
  private static let bodyLimit = 72 << 10
  private static let headBytes = MemoryLayout<fuse_in_header>.size
  private static let writeBytes = MemoryLayout<fuse_write_in>.size

  /// `nil` if the message is not whole.
  init?(_ bytes: UnsafeMutableRawBufferPointer, length: Int) {
    guard length >= Self.headBytes, length <= bytes.count else { return nil }
    // SAFETY: `length` is at least a head's, and the window holds it.
    head = unsafe bytes.loadUnaligned(as: fuse_in_header.self)
    guard Int(head.len) == length else { return nil }
    // SAFETY: slices check their bounds: `length` is at most the window's count.
    let rest = unsafe UnsafeRawBufferPointer(bytes)[Self.headBytes..<length]
    if head.opcode == FUSE_WRITE.rawValue {
      guard unsafe rest.count >= Self.writeBytes else { return nil }
      body = unsafe Array(rest.prefix(Self.writeBytes))
      unsafe payload = unsafe UnsafeRawBufferPointer(rebasing: rest.dropFirst(Self.writeBytes))
    } else {
      guard unsafe rest.count <= Self.bodyLimit else { return nil }
      body = unsafe Array(rest)
      unsafe payload = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
    }
  }

  /// Takes a structure; `nil` if the request is too short. Older kernels' shorter forms are not
  /// served: the peer is Linux 6.1 or newer.
  mutating func take<T: BitwiseCopyable>(_ type: T.Type) -> T? {
    let size = MemoryLayout<T>.size
    guard body.count - position >= size else { return nil }
    defer { position += size }
    // SAFETY: `size` bytes are left behind `position`, checked above.
    return unsafe body.withUnsafeBytes {
      unsafe $0.loadUnaligned(fromByteOffset: position, as: T.self)
    }
  }

  /// Takes a string up to its zero, without it; `nil` if it does not end.
  mutating func takeString() -> [CChar]? {
    guard let end = body[position...].firstIndex(of: 0) else { return nil }
    defer { position = end + 1 }
    return body[position...end].map { CChar(bitPattern: $0) }
  }

  /// Takes the name of a directory entry: one component that leads nowhere else. That it is too
  /// long for the file system is for this domain's kernel to say.
  mutating func takeName() -> [CChar]? {
    guard let name = takeString() else { return nil }
    let dot = CChar(UInt8(ascii: "."))
    guard (2...Int(PATH_MAX)).contains(name.count), !name.contains(CChar(UInt8(ascii: "/"))),
      name != [dot, 0], name != [dot, dot, 0]
    else { return nil }
    return name
  }

  /// Takes so many bytes.
  mutating func takeBytes(_ count: Int) -> ArraySlice<UInt8>? {
    guard count >= 0, count <= body.count - position else { return nil }
    defer { position += count }
    return body[position..<position + count]
  }
}

/// The room for a FUSE reply, in the arena. The head is written last, by `finish`.
@safe
struct FuseReply {
  private let bytes: UnsafeMutableRawBufferPointer
  private(set) var length = MemoryLayout<fuse_out_header>.size
  private static let headBytes = MemoryLayout<fuse_out_header>.size

  /// `nil` if there is no room for even an error.
  init?(_ bytes: UnsafeMutableRawBufferPointer, capacity: Int) {
    guard capacity >= Self.headBytes, capacity <= bytes.count else { return nil }
    // SAFETY: `capacity` is at most the window's count.
    unsafe self.bytes = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[..<capacity])
  }

  /// Room that is left.
  var room: UnsafeMutableRawBufferPointer {
    // SAFETY: `length` never exceeds the window's count: `put` and `advance` see to it.
    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[length...])
  }

  /// Says that the kernel has written `count` bytes into the room.
  mutating func advance(_ count: Int) {
    // SAFETY: only a count is asked.
    unsafe length += max(0, min(count, bytes.count - length))
  }

  /// Appends a structure; an error if it does not fit.
  mutating func put<T: BitwiseCopyable>(_ value: T) -> Int {
    // SAFETY: the room has as many bytes as the structure, checked first.
    guard unsafe room.count >= MemoryLayout<T>.size else { return Failure.invalid }
    unsafe room.storeBytes(of: value, as: T.self)
    length += MemoryLayout<T>.size
    return 0
  }

  /// Appends bytes; an error if they do not fit.
  mutating func put(bytes source: UnsafeRawBufferPointer) -> Int {
    // SAFETY: the room has as many bytes as the source, checked first; they do not overlap, for the
    // source is this process's own.
    guard unsafe room.count >= source.count else { return Failure.range }
    unsafe room.copyMemory(from: source)
    length += source.count
    return 0
  }

  /// Writes the head; the reply's length.
  mutating func finish(unique: UInt64, error: Int) -> Int {
    if error < 0 { length = Self.headBytes }
    let head = fuse_out_header(len: UInt32(length), error: Int32(min(error, 0)), unique: unique)
    // SAFETY: `init` refused windows shorter than a head.
    unsafe bytes.storeBytes(of: head, as: fuse_out_header.self)
    return length
  }
}
