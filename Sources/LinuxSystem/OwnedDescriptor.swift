// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// A file descriptor that closes itself.
public struct OwnedDescriptor: ~Copyable, Sendable {
  /// The number, for calls that only borrow it.
  public let rawValue: Int32

  /// Takes ownership of `rawValue`, which must be open and owned by nobody else.
  public init(owning rawValue: Int32) {
    self.rawValue = rawValue
  }

  deinit {
    _ = close(rawValue)
  }

  /// Gives the descriptor away; the caller closes it from now on.
  public consuming func release() -> Int32 {
    let number = rawValue
    discard self
    return number
  }

  /// A second descriptor for the same open file, close-on-exec.
  public func duplicate() throws(SystemCallError) -> OwnedDescriptor {
    let number = try retrying("duplicate descriptor \(rawValue)") {
      clinux_fcntl(rawValue, F_DUPFD_CLOEXEC, 3)
    }
    return OwnedDescriptor(owning: number)
  }

  /// Opens `path`, close-on-exec; read-only if `flags` are not given.
  public static func open(
    _ path: String, flags: Int32 = 0, mode: UInt32 = 0o600
  ) throws(SystemCallError) -> OwnedDescriptor {
    let number = try retrying("open \(path)") {
      // SAFETY: the string outlives the call, which only reads it.
      unsafe clinux_open(path, flags | O_CLOEXEC, mode)
    }
    return OwnedDescriptor(owning: number)
  }

  /// Bytes in the file.
  public func byteCount() throws(SystemCallError) -> Int {
    var status = stat()
    try retrying("stat descriptor \(rawValue)") {
      // SAFETY: `status` is a local of the type the call fills.
      unsafe fstat(rawValue, &status)
    }
    return Int(status.st_size)
  }

  /// Reads at most `maximum` bytes; an empty array is the end of the file.
  public func read(maximum: Int) throws(SystemCallError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: maximum)
    let count = try retrying("read descriptor \(rawValue)") {
      // SAFETY: the call writes at most `maximum` bytes, which is the buffer's size.
      unsafe bytes.withUnsafeMutableBytes {
        unsafe readDescriptor(rawValue, $0.baseAddress, maximum)
      }
    }
    bytes.removeLast(maximum - count)
    return bytes
  }

  /// Reads at most `maximum` bytes at `offset`.
  public func read(maximum: Int, at offset: Int) throws(SystemCallError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: maximum)
    let count = try retrying("read descriptor \(rawValue) at \(offset)") {
      // SAFETY: the call writes at most `maximum` bytes, which is the buffer's size.
      unsafe bytes.withUnsafeMutableBytes { unsafe pread($0.baseAddress, maximum, offset) }
    }
    bytes.removeLast(maximum - count)
    return bytes

    func pread(_ buffer: UnsafeMutableRawPointer?, _ count: Int, _ offset: Int) -> Int {
      // SAFETY: the caller's buffer holds `count` bytes.
      unsafe Glibc.pread(rawValue, buffer, count, offset)
    }
  }

  /// Writes all of `bytes`.
  public func write(all bytes: [UInt8]) throws(SystemCallError) {
    var done = 0
    while done < bytes.count {
      done += try retrying("write descriptor \(rawValue)") {
        // SAFETY: the slice from `done` on holds the number of bytes passed.
        unsafe bytes.withUnsafeBytes { buffer in
          unsafe writeDescriptor(
            rawValue, buffer.baseAddress.map { unsafe $0 + done }, bytes.count - done)
        }
      }
    }
  }

  /// Sets or clears `O_NONBLOCK`.
  public func setNonBlocking(_ on: Bool) throws(SystemCallError) {
    let flags = try retrying("get flags of descriptor \(rawValue)") {
      clinux_fcntl(rawValue, F_GETFL, 0)
    }
    try retrying("set flags of descriptor \(rawValue)") {
      clinux_fcntl(rawValue, F_SETFL, Int(on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK))
    }
  }

  /// Sets or clears close-on-exec.
  public func setCloseOnExec(_ on: Bool) throws(SystemCallError) {
    try retrying("set close-on-exec of descriptor \(rawValue)") {
      clinux_fcntl(rawValue, F_SETFD, on ? Int(FD_CLOEXEC) : 0)
    }
  }
}

/// `read(2)`, by a name that methods called `read` do not hide.
@unsafe
private func readDescriptor(_ number: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int)
  -> Int
{
  // SAFETY: the caller's buffer holds `count` bytes.
  unsafe Glibc.read(number, buffer, count)
}

/// `write(2)`, by a name that methods called `write` do not hide.
@unsafe
private func writeDescriptor(_ number: Int32, _ buffer: UnsafeRawPointer?, _ count: Int) -> Int {
  // SAFETY: the caller's buffer holds `count` bytes.
  unsafe Glibc.write(number, buffer, count)
}
