// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import DeviceModel
internal import Devices
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// The first serial line's way out: what the guest prints goes to a stream socket, whole lines at
/// once, and never makes a CPU wait. What a slow reader does not take in time is dropped and counted.
final class ConsoleOutput: ByteSink, Sendable {
  /// Bytes that wait for a slow reader.
  private static let queueLimit = 32 << 10
  /// So many bytes are sent without waiting for the line's end.
  private static let burst = 1024
  /// A line that does not end is sent after so many nanoseconds.
  private static let patience = 5_000_000
  private static let lineFeed: UInt8 = 0x0A

  private struct State {
    var queue = ByteQueue(limit: queueLimit)
    var isTimerSet = false
    var isBlocked = false
    var dropped: UInt64 = 0
  }

  let socket: OwnedDescriptor
  /// Readable when bytes have waited long enough: then `flush`.
  let timer: OwnedDescriptor
  private let state = Mutex(State())

  /// Takes a connected stream socket.
  init(_ socket: consuming OwnedDescriptor) throws(SystemCallError) {
    timer = OwnedDescriptor(
      owning: try retrying("create the console's timer") {
        timerfd_create(CLOCK_MONOTONIC, Int32(TFD_CLOEXEC | TFD_NONBLOCK))
      })
    self.socket = socket
  }

  /// Bytes that were dropped so far.
  var dropped: UInt64 { state.withLock { $0.dropped } }

  func put(_ byte: UInt8) {
    state.withLock { state in
      guard state.queue.append(byte) else {
        state.dropped &+= 1
        return
      }
      guard !state.isBlocked else { return }
      if byte == Self.lineFeed || state.queue.count >= Self.burst {
        send(&state)
      } else if !state.isTimerSet {
        state.isTimerSet = true
        setTimer()
      }
    }
  }

  /// Sends what waits, as much as the reader takes now. Returns whether nothing is left.
  @discardableResult
  func flush() -> Bool {
    state.withLock { state in
      var expirations: UInt64 = 0
      // SAFETY: the call writes at most eight bytes to a local of that size.
      _ = unsafe read(timer.rawValue, &expirations, 8)
      state.isTimerSet = false
      send(&state)
      return state.queue.isEmpty
    }
  }

  private func send(_ state: inout State) {
    state.isBlocked = false
    while !state.queue.isEmpty {
      let sent = state.queue.withFirstStretch { span in
        // SAFETY: the span lives through the call, which reads no more than its count.
        unsafe span.withUnsafeBytes { bytes in
          unsafe Glibc.send(
            socket.rawValue, bytes.baseAddress, bytes.count,
            Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
        }
      }
      if sent > 0 {
        state.queue.removeFirst(sent)
      } else if clinux_errno() == EINTR {
        continue
      } else if clinux_errno() == EAGAIN {
        state.isBlocked = true
        return
      } else {
        // The reader is gone: nobody will ever read this.
        state.dropped &+= UInt64(state.queue.count)
        state.queue.removeAll()
      }
    }
  }

  private func setTimer() {
    var when = itimerspec()
    when.it_value.tv_nsec = Self.patience
    // SAFETY: the call reads a local of its type.
    _ = unsafe timerfd_settime(timer.rawValue, 0, &when, nil)
  }

  /// Receives at most `maximum` bytes from the outside; empty if there are none now.
  func receive(maximum: Int) -> [UInt8] {
    // SAFETY: the call fills at most `maximum` bytes and says how many.
    unsafe [UInt8](unsafeUninitializedCapacity: maximum) { buffer, count in
      let got = unsafe recv(
        socket.rawValue, buffer.baseAddress, maximum, Int32(MSG_DONTWAIT))
      count = max(0, got)
    }
  }
}
