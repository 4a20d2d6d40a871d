// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc

/// Moving bytes and addresses: the kernel reads and writes the arena directly, so payload is
/// copied once; whatever is looked at here is copied first.
extension SocketService {
  /// Flags that a client may send with, and receive with (include/linux/socket.h).
  private static let sendFlags: UInt32 = 0x1 | 0x4 | 0x80 | 0x800 | 0x8000 | 0x2000_0000
  private static let receiveFlags: UInt32 = 0x1 | 0x2 | 0x20 | 0x2000
  private static let dontWait = 0x40  // MSG_DONTWAIT
  // MSG_DONTWAIT, MSG_NOSIGNAL; packet sockets know the latter only in sending.
  private static let always = 0x40 | 0x4000
  private static let truncate: UInt32 = 0x20
  /// struct vos_message, then control.
  private static let headBytes = MemoryLayout<vos_message>.size
  private static let controlLimit = 64 << 10

  /// Moves the hot form of recv: payload alone.
  func receive(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let flags = UInt32(truncatingIfNeeded: call.arguments.0) & Self.receiveFlags
    let room = Int(call.data.capacity)
    // SAFETY: the kernel writes at most `room` bytes, which is the window's checked capacity.
    let count = unsafe kernel(
      Int(SYS_recvfrom), Int(socket.descriptor.number), address(bytes.baseAddress), room,
      Int(flags) | Self.dontWait)
    return Reply(count, bytes: min(count, room))
  }

  func send(_ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer) -> Reply {
    let flags = UInt32(truncatingIfNeeded: call.arguments.0) & Self.sendFlags
    // SAFETY: the kernel reads `length` bytes, which `ServiceCompleter` checked the window to have.
    return unsafe Reply(
      kernel(
        Int(SYS_sendto), Int(socket.descriptor.number), address(bytes.baseAddress),
        Int(call.data.length), Int(flags) | Self.always))
  }

  /// A message's head, checked: its parts lie within `room` bytes.
  private struct Head {
    var message: vos_message
    let controlOffset = SocketService.headBytes
    let payloadOffset: Int

    init?(_ bytes: UnsafeMutableRawBufferPointer, length: Int, room: Int) {
      guard length >= SocketService.headBytes, room >= SocketService.headBytes else { return nil }
      // Copied once; the copy is what counts.
      // SAFETY: `length` and `room` are at least the structure's size.
      message = unsafe bytes.loadUnaligned(as: vos_message.self)
      // 64-bit sums of 32-bit numbers: nothing overflows.
      let control = (Int(message.control_length) + 7) & ~7
      payloadOffset = SocketService.headBytes + control
      guard message.name_length <= VOS_ADDRESS_BYTES,
        Int(message.control_length) <= SocketService.controlLimit, payloadOffset <= room,
        Int(message.payload_length) <= room - payloadOffset
      else { return nil }
    }
  }

  func sendMessage(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let length = Int(call.data.length)
    // SAFETY: the window holds `length` bytes.
    guard let base = bytes.baseAddress, var head = unsafe Head(bytes, length: length, room: length)
    else {
      return Reply(Failure.invalid)
    }
    let nameLength = head.message.name_length
    let flags = Int(head.message.flags & Self.sendFlags) | Self.always
    // SAFETY: `Head` checked that the payload lies within the window.
    var part = unsafe iovec(
      iov_base: base + head.payloadOffset, iov_len: Int(head.message.payload_length))
    // SAFETY: name, vector and message are locals that outlive the call; control and payload lie
    // within the window, as `Head` checked.
    let result = unsafe withUnsafeMutablePointer(to: &head.message.name) { name in
      unsafe withUnsafeMutablePointer(to: &part) { part in
        var message = unsafe msghdr()
        unsafe message.msg_name = nameLength > 0 ? UnsafeMutableRawPointer(name) : nil
        unsafe message.msg_namelen = nameLength
        unsafe message.msg_iov = unsafe part
        unsafe message.msg_iovlen = 1
        if head.message.control_length > 0 {
          unsafe message.msg_control = unsafe base + head.controlOffset
          unsafe message.msg_controllen = Int(head.message.control_length)
        }
        return unsafe kernel(
          Int(SYS_sendmsg), Int(socket.descriptor.number), address(&message), flags)
      }
    }
    return Reply(result)
  }

  func receiveMessage(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    // SAFETY: the window holds `length` bytes to read and `capacity` to write.
    guard let base = bytes.baseAddress,
      let head = unsafe Head(bytes, length: Int(call.data.length), room: Int(call.data.capacity))
    else { return Reply(Failure.invalid) }
    var out = vos_message()
    let flags = Int(head.message.flags & Self.receiveFlags) | Self.dontWait
    let room = Int(head.message.payload_length)
    // SAFETY: `Head` checked that the payload lies within the window; all zero is a valid message.
    var part = unsafe iovec(iov_base: base + head.payloadOffset, iov_len: room)
    var message = unsafe msghdr()
    // SAFETY: name, vector and message are locals that outlive the call; control and payload lie
    // within the window, as `Head` checked.
    let result = unsafe withUnsafeMutablePointer(to: &out.name) { name in
      unsafe withUnsafeMutablePointer(to: &part) { part in
        unsafe message.msg_name = UnsafeMutableRawPointer(name)
        unsafe message.msg_namelen = VOS_ADDRESS_BYTES
        unsafe message.msg_iov = unsafe part
        unsafe message.msg_iovlen = 1
        if head.message.control_length > 0 {
          unsafe message.msg_control = unsafe base + head.controlOffset
          unsafe message.msg_controllen = Int(head.message.control_length)
        }
        return unsafe kernel(
          Int(SYS_recvmsg), Int(socket.descriptor.number), address(&message), flags)
      }
    }
    guard result >= 0 else { return Reply(result) }
    // SAFETY: the kernel filled the message.
    out.flags = unsafe UInt32(bitPattern: message.msg_flags)
    out.name_length =
      unsafe head.message.name_length == 0 ? 0 : min(message.msg_namelen, VOS_ADDRESS_BYTES)
    out.control_length = unsafe UInt32(message.msg_controllen)
    out.payload_length = UInt32(min(result, room))
    // SAFETY: `Head` refused windows shorter than the structure.
    unsafe bytes.storeBytes(of: out, as: vos_message.self)
    return Reply(result, bytes: head.payloadOffset + min(result, room))
  }

  /// BIND and CONNECT.
  func giveAddress(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let length = Int(call.data.length)
    guard length <= Int(VOS_ADDRESS_BYTES) else { return Reply(Failure.invalid) }
    let number = UInt32(call.number) == VOS_CALL_BIND ? Int(SYS_bind) : Int(SYS_connect)
    // SAFETY: the kernel reads `length` bytes, which the window has.
    return unsafe Reply(
      kernel(number, Int(socket.descriptor.number), address(bytes.baseAddress), length))
  }

  /// GETSOCKNAME and GETPEERNAME.
  func takeAddress(
    _ number: Int, _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    // Not the window's count, which may be that of a longer request.
    var length = socklen_t(min(Int(call.data.capacity), Int(VOS_ADDRESS_BYTES)))
    let room = length
    // SAFETY: the kernel writes at most `length` bytes, which is at most the window's capacity.
    let result = unsafe kernel(
      number, Int(socket.descriptor.number), address(bytes.baseAddress), address(&length))
    return Reply(result, bytes: result < 0 ? 0 : Int(min(length, room)))
  }

  func accept(_ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer) -> Reply {
    var length = socklen_t(min(Int(call.data.capacity), Int(VOS_ADDRESS_BYTES)))
    let room = length
    let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    // SAFETY: the kernel writes at most `length` bytes, which is at most the window's capacity.
    let result = unsafe kernel(
      Int(SYS_accept4), Int(socket.descriptor.number), address(bytes.baseAddress),
      address(&length), Int(flags))
    var reply = add(result, cookie: call.arguments.2)
    if reply.result >= 0 { reply.dataLength = min(length, room) }
    return reply
  }
}
