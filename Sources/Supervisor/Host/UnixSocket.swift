// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem
import SystemPackage

/// Stream sockets in the file system.
enum UnixSocket {
  /// Who is at the other end (unix(7), SO_PEERCRED).
  struct Credentials: Equatable {
    var pid: Int32
    var uid: UInt32
  }

  /// Listens at `path`, which must be free; only our own user may connect.
  static func listen(_ path: String) throws(SystemCallError) -> OwnedDescriptor {
    let socket = try make()
    var address = try address(of: path)
    // The mode comes from the umask at bind time; the directory is 0700 besides.
    let mask = umask(0o177)
    defer { umask(mask) }
    // SAFETY: the address is a local of the size that is passed.
    try check("listen at \(path)") {
      unsafe withSocketAddress(&address) { unsafe bind(socket.rawValue, $0, $1) }
    }
    try check("listen at \(path)") { Glibc.listen(socket.rawValue, 16) }
    try socket.setNonBlocking(true)
    return socket
  }

  /// Connects to `path`.
  static func connect(_ path: String) throws(SystemCallError) -> OwnedDescriptor {
    let socket = try make()
    var address = try address(of: path)
    // SAFETY: the address is a local of the size that is passed.
    try check("connect to \(path)") {
      unsafe withSocketAddress(&address) { unsafe Glibc.connect(socket.rawValue, $0, $1) }
    }
    return socket
  }

  /// Takes a waiting connection, non-blocking; `nil` if there is none.
  static func accept(_ listener: Int32) -> OwnedDescriptor? {
    let number = Glibc.accept(listener, nil, nil)
    guard number >= 0 else { return nil }
    let socket = OwnedDescriptor(owning: number)
    // One thread accepts and starts programs, so none can inherit the socket in between.
    guard (try? socket.setCloseOnExec(true)) != nil, (try? socket.setNonBlocking(true)) != nil
    else { return nil }
    return socket
  }

  /// Two connected ends, close-on-exec.
  static func pair() throws(SystemCallError) -> SocketPair {
    var numbers: [Int32] = [-1, -1]
    try check("create a socket pair") {
      // SAFETY: the call fills two entries, which the array has.
      unsafe socketpair(
        AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &numbers)
    }
    return SocketPair(
      ours: OwnedDescriptor(owning: numbers[0]), theirs: OwnedDescriptor(owning: numbers[1]))
  }

  static func credentials(of socket: borrowing OwnedDescriptor) -> Credentials? {
    // struct ucred is pid, uid, gid, 32 bits each; Glibc hides it behind a feature macro.
    var value: [UInt32] = [0, 0, 0]
    var size = socklen_t(12)
    // SAFETY: the call fills an array of the size that is passed.
    let result = unsafe getsockopt(socket.rawValue, SOL_SOCKET, SO_PEERCRED, &value, &size)
    return result == 0 ? Credentials(pid: Int32(bitPattern: value[0]), uid: value[1]) : nil
  }

  private static func make() throws(SystemCallError) -> OwnedDescriptor {
    let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw SystemCallError("create a socket", errno: currentErrno()) }
    return OwnedDescriptor(owning: number)
  }

  private static func address(of path: String) throws(SystemCallError) -> sockaddr_un {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard bytes.count < room, !bytes.isEmpty, !bytes.contains(0) else {
      throw SystemCallError(
        "use socket path \(path), \(room - 1) bytes at most", errno: .fileNameTooLong)
    }
    // SAFETY: the path was checked to fit with its NUL, which the zeroed struct has.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    return address
  }

  @unsafe
  private static func withSocketAddress(
    _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    // SAFETY: sockaddr_un begins as sockaddr does; its own size is passed.
    unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }

  private static func check(
    _ operation: String, _ call: () -> Int32
  ) throws(SystemCallError) {
    if call() != 0 { throw SystemCallError(operation, errno: currentErrno()) }
  }
}

/// The two ends of a new connection.
struct SocketPair: ~Copyable {
  var ours: OwnedDescriptor
  var theirs: OwnedDescriptor
}

/// The calling thread's `errno`, to be taken right after a failure.
func currentErrno() -> Errno { Errno(rawValue: errno) }

/// What a non-blocking read or write came to.
enum Transfer: Equatable {
  case bytes(Int)
  case wouldBlock
  case closed
}

private let sendFlags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)

extension OwnedDescriptor {
  /// Reads what is there.
  borrowing func readAvailable(into bytes: inout [UInt8], maximum: Int) -> Transfer {
    var buffer = [UInt8](repeating: 0, count: maximum)
    // SAFETY: the call writes at most `maximum` bytes, which is the buffer's size.
    let count = unsafe Glibc.read(rawValue, &buffer, maximum)
    if count > 0 {
      bytes += buffer.prefix(count)
      return .bytes(count)
    }
    if count < 0, errno == EAGAIN || errno == EINTR { return .wouldBlock }
    return .closed
  }

  /// Writes as much as goes now, to a socket; a broken one raises no signal.
  borrowing func sendAvailable(_ bytes: ArraySlice<UInt8>) -> Transfer {
    // SAFETY: the call reads no more than the slice holds.
    let count = unsafe bytes.withUnsafeBytes {
      unsafe send(rawValue, $0.baseAddress, $0.count, sendFlags)
    }
    if count >= 0 { return .bytes(count) }
    return errno == EAGAIN || errno == EINTR ? .wouldBlock : .closed
  }
}
