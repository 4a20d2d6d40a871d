// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc

/// What this domain's kernel tells of its sockets and its network, for the client's kernel to show
/// as its own.
extension SocketService {
  /// What may be read of /proc/net: tables of sockets, interfaces, routes, neighbours and counters.
  private static let tables: Set<String> = [
    "tcp", "tcp6", "udp", "udp6", "raw", "raw6", "route", "fib_trie", "fib_triestat", "arp",
    "if_inet6", "snmp", "netstat", "sockstat", "dev", "softnet_stat", "ptype", "wireless",
  ]
  private static let tableNameLimit = 16

  func attributes(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let size = MemoryLayout<stat>.size
    guard Int(call.data.capacity) >= size else { return Reply(Failure.invalid) }
    // SAFETY: the kernel writes one `struct stat`, for which the window has room.
    let result = unsafe kernel(
      Int(SYS_fstat), Int(socket.descriptor.number), address(bytes.baseAddress))
    return Reply(result, bytes: result < 0 ? 0 : size)
  }

  /// A part of a table's text. It may change between two parts, as between two reads of the file.
  func readTable(_ call: Call, _ bytes: UnsafeMutableRawBufferPointer) -> Reply {
    let length = Int(call.data.length)
    let capacity = Int(call.data.capacity)
    guard length <= Self.tableNameLimit, let offset = Int(exactly: call.arguments.0) else {
      return Reply(Failure.invalid)
    }
    // Copied once: the client may change its bytes at any time.
    // SAFETY: the window has `length` bytes.
    let name = unsafe String(decoding: bytes.prefix(length), as: UTF8.self)
    guard Self.tables.contains(name),
      let file = Descriptor.open("/proc/net/\(name)", O_RDONLY).descriptor
    else { return Reply(Failure.noEntry) }
    var filled = 0
    while filled < capacity {
      // SAFETY: the kernel writes at most what is left of the window's capacity.
      let count = unsafe kernelRetrying(
        Int(SYS_pread64), Int(file.number), address(bytes.baseAddress.map { unsafe $0 + filled }),
        capacity - filled, offset &+ filled)
      guard count > 0 else { return filled > 0 ? Reply(filled, bytes: filled) : Reply(count) }
      filled += count
    }
    return Reply(filled, bytes: filled)
  }
}
