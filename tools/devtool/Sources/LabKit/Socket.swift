// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A connected UNIX socket, closed with its owner.
struct Socket: ~Copyable {
  let descriptor: Int32

  /// Connects to the socket at `path`; however long the path is.
  init(connectingTo path: URL) throws {
    // An address holds 107 bytes; a path through the folder's descriptor is always short enough.
    // SAFETY: the string outlives the call.
    let folder = unsafe open(
      path.deletingLastPathComponent().path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { throw systemFailure("open the folder of \(path.path)") }
    defer { close(folder) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let short = "/proc/self/fd/\(folder)/\(path.lastPathComponent)"
    // SAFETY: the path is shorter than sun_path, which was zeroed: it stays NUL-terminated.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: short.utf8) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(AF_UNIX, kind, 0)
    guard descriptor >= 0 else { throw systemFailure("socket") }
    // SAFETY: sockaddr_un begins with the family, as every socket address does.
    let result = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(descriptor, $0, size)
      }
    }
    guard result == 0 else {
      let number = errno
      close(descriptor)
      throw systemFailure("connect to \(path.path)", number)
    }
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      // SAFETY: the buffer outlives the call and the count is its own.
      let sent = unsafe rest.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
      guard sent >= 0 || errno == EINTR else { throw systemFailure("write to the lab") }
      rest = rest.dropFirst(max(sent, 0))
    }
  }

  /// Some bytes; none when the other side has closed, nil when none came within the time.
  func receive(withinMilliseconds timeout: Int32) throws -> [UInt8]? {
    var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    // SAFETY: one entry, which outlives the call.
    guard unsafe poll(&ready, 1, timeout) > 0 else { return nil }
    let limit = 1 << 16
    return try unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
      // SAFETY: the kernel writes at most `limit` bytes, the capacity of `buffer`.
      let got = unsafe read(descriptor, buffer.baseAddress, limit)
      count = max(got, 0)
      guard got >= 0 || errno == ECONNRESET else { throw systemFailure("read from the lab") }
    }
  }
}
