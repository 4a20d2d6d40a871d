// SPDX-License-Identifier: Apache-2.0
import Glibc

/// An error number with what failed.
struct SystemError: Error, CustomStringConvertible {
  var call: String
  var number: Int32

  init(_ call: String, _ number: Int32 = errno) {
    self.call = call
    self.number = number
  }

  var description: String { unsafe "\(call): \(String(cString: strerror(number)))" }
}

/// Reads once, at most `limit` bytes; empty at the end of the stream, nil when nothing is there yet.
func readSome(_ descriptor: Int32, limit: Int) throws(SystemError) -> [UInt8]? {
  var failure: Int32 = 0
  let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
    // SAFETY: the kernel writes at most `limit` bytes, the capacity of `buffer`.
    let got = unsafe read(descriptor, buffer.baseAddress, limit)
    failure = got < 0 ? errno : 0
    count = max(got, 0)
  }
  switch failure {
  case 0: return bytes
  case EAGAIN, EINTR: return nil
  default: throw SystemError("read", failure)
  }
}

/// How long to wait for room before looking again: see `Agent.idleMilliseconds`.
private let roomMilliseconds: Int32 = 500

/// Writes all of `bytes`, waiting where the descriptor is not ready.
func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) throws(SystemError) {
  var rest = bytes[...]
  while !rest.isEmpty {
    // SAFETY: the buffer outlives the call and the count is its own.
    let sent = unsafe rest.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
    if sent >= 0 {
      rest = rest.dropFirst(sent)
    } else if errno == EAGAIN {
      var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      // SAFETY: one entry, which outlives the call.
      _ = unsafe poll(&ready, 1, roomMilliseconds)
      if ready.revents & Int16(POLLHUP) != 0 { throw SystemError("write", EPIPE) }
    } else if errno != EINTR {
      throw SystemError("write")
    }
  }
}

/// A pipe's two ends, closed on exec.
func makePipe() throws(SystemError) -> (read: Int32, write: Int32) {
  var ends: [Int32] = [-1, -1]
  // SAFETY: the array has the two entries that pipe fills.
  guard unsafe pipe(&ends) == 0 else { throw SystemError("pipe") }
  // One thread and no fork in between: nothing can inherit them before this.
  for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  return (ends[0], ends[1])
}

func setNonBlocking(_ descriptor: Int32) {
  _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
}
