// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc

/// Options and ioctls. Those that hold a pointer or a descriptor would name memory and files of
/// this process, not of the caller's: they are refused, whatever level they are on.
extension SocketService {
  /// Levels that a client may reach: IP, socket, TCP, UDP, IPv6, ICMPv6, raw, UDP-Lite, packet,
  /// netlink.
  private static let levels: Set<Int32> = [0, 1, 6, 17, 41, 58, 255, 136, 263, 270]
  private static let socketLevel: Int32 = 1
  private static let tcpLevel: Int32 = 6
  private static let packetLevel: Int32 = 263

  /// SO_ATTACH_FILTER (and SO_GET_FILTER), SO_LOCK_FILTER, SO_ATTACH_BPF and the two of
  /// SO_REUSEPORT: a pointer or a descriptor. SO_ZEROCOPY and SO_INCOMING_NAPI_ID: nobody to tell.
  private static let refusedOfSocket: Set<Int32> = [26, 44, 50, 51, 52, 60]
  /// TCP_REPAIR and friends rewrite state; TCP_ULP and TCP_ZEROCOPY_RECEIVE name memory.
  private static let refusedOfTCP: Set<Int32> = [19, 20, 21, 22, 29, 31, 35]
  /// PACKET_RX_RING, PACKET_VERSION, PACKET_HDRLEN, PACKET_TX_RING: rings in memory, which cannot be
  /// shared; PACKET_FANOUT_DATA: a pointer or a descriptor.
  private static let refusedOfPacket: Set<Int32> = [5, 10, 11, 13, 22]
  /// SO_ATTACH_FILTER: here the value is the program itself.
  private static let attachFilter: Int32 = 26
  /// struct sock_filter (include/uapi/linux/filter.h).
  private static let instructionBytes = 8
  /// From here on options belong to the packet filter (include/uapi/linux/in.h).
  private static let firstFilterOption: Int32 = 64

  private static let valueLimit = 4096

  private func isAllowed(_ level: Int32, _ option: Int32) -> Bool {
    guard Self.levels.contains(level), option >= 0 else { return false }
    switch level {
    case Self.socketLevel: return !Self.refusedOfSocket.contains(option)
    case Self.tcpLevel: return !Self.refusedOfTCP.contains(option)
    case Self.packetLevel: return !Self.refusedOfPacket.contains(option)
    case 0, 41: return option < Self.firstFilterOption || Self.modernIPv6(level, option)
    default: return true
    }
  }

  /// IPv6 options above the filter's: 64 to 71 are its, 72 to 80 are plain again.
  private static func modernIPv6(_ level: Int32, _ option: Int32) -> Bool {
    level == 41 && (66...80).contains(option) && option != 68
  }

  func setOption(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let level = Int32(truncatingIfNeeded: call.arguments.0)
    let option = Int32(truncatingIfNeeded: call.arguments.1)
    let length = Int(call.data.length)
    if level == Self.socketLevel, option == Self.attachFilter {
      // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
      return unsafe attachFilter(socket, bytes, length)
    }
    guard isAllowed(level, option) else { return Reply(Failure.noProtocolOption) }
    guard length <= Self.valueLimit else { return Reply(Failure.invalid) }
    // SAFETY: the kernel reads `length` bytes, which `ServiceCompleter` checked the window to have.
    return unsafe Reply(
      kernel(
        Int(SYS_setsockopt), Int(socket.descriptor.number), Int(level), Int(option),
        address(bytes.baseAddress), length))
  }

  /// A classic packet filter; the structure with the pointer is made here, and the kernel copies
  /// the program before it checks it.
  private func attachFilter(
    _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer, _ length: Int
  ) -> Reply {
    guard let count = UInt16(exactly: length / Self.instructionBytes),
      length % Self.instructionBytes == 0
    else { return Reply(Failure.invalid) }
    // struct sock_fprog: count, padding, pointer.
    var program: (UInt16, UInt16, UInt32, Int) = unsafe (count, 0, 0, address(bytes.baseAddress))
    // SAFETY: the kernel reads `length` bytes, which the window has; the program is a local that
    // outlives the call.
    return unsafe withUnsafeMutableBytes(of: &program) {
      unsafe Reply(
        kernel(
          Int(SYS_setsockopt), Int(socket.descriptor.number), Int(Self.socketLevel),
          Int(Self.attachFilter), address($0.baseAddress), $0.count))
    }
  }

  func getOption(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let level = Int32(truncatingIfNeeded: call.arguments.0)
    let option = Int32(truncatingIfNeeded: call.arguments.1)
    guard isAllowed(level, option) else { return Reply(Failure.noProtocolOption) }
    var length = socklen_t(min(Int(call.data.capacity), Self.valueLimit))
    let room = length
    // SAFETY: the kernel writes at most `length` bytes, which is at most the window's capacity.
    let result = unsafe kernel(
      Int(SYS_getsockopt), Int(socket.descriptor.number), Int(level), Int(option),
      address(bytes.baseAddress), address(&length))
    return Reply(result, bytes: result < 0 ? 0 : Int(min(length, room)))
  }

  private static let questionsOfInteger: Set<UInt64> = [0x541B, 0x5411, 0x894B, 0x8905]
  /// SIOCGIF*: NAME, FLAGS, ADDR, DSTADDR, BRDADDR, NETMASK, METRIC, MTU, HWADDR, INDEX, MAP,
  /// TXQLEN. They read `struct ifreq`, which holds no pointer for them.
  private static let questionsOfInterface: Set<UInt64> = [
    0x8910, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8970, 0x8942,
  ]
  private static let interfaceList: UInt64 = 0x8912
  /// SIOCGSTAMPNS_OLD: struct timespec.
  private static let lastStamp: UInt64 = 0x8907
  // SAFETY: only a size is asked.
  private static let interfaceBytes = unsafe MemoryLayout<ifreq>.size

  func control(_ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer) -> Reply {
    let number = Int(socket.descriptor.number)
    let request = call.arguments.0
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    if request == Self.interfaceList { return unsafe interfaces(call, number, bytes) }
    let size: Int
    if Self.questionsOfInteger.contains(request) {
      size = MemoryLayout<Int32>.size
    } else if request == Self.lastStamp {
      size = MemoryLayout<timespec>.size
    } else if Self.questionsOfInterface.contains(request), call.data.length >= Self.interfaceBytes {
      size = Self.interfaceBytes
    } else {
      // This domain alone configures its interfaces.
      return Reply(Failure.notPermitted)
    }
    guard Int(call.data.capacity) >= size else { return Reply(Failure.invalid) }
    // SAFETY: `size` bytes are what this command reads and writes; the window has them, checked
    // above.
    let result = unsafe kernel(Int(SYS_ioctl), number, Int(request), address(bytes.baseAddress))
    return Reply(result, bytes: result < 0 ? 0 : size)
  }

  /// The bare array of `struct ifreq`; the structure with the pointer is made here.
  private func interfaces(
    _ call: Call, _ number: Int, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let room = Int(call.data.capacity) / Self.interfaceBytes * Self.interfaceBytes
    // struct ifconf: length, padding, pointer.
    // SAFETY: `room` is at most the window's capacity, and the kernel writes no more than it is
    // told; the list is a local.
    var list: (Int32, Int32, Int) = unsafe (Int32(clamping: room), 0, address(bytes.baseAddress))
    let result = unsafe withUnsafeMutableBytes(of: &list) {
      unsafe kernel(
        Int(SYS_ioctl), number, Int(Self.interfaceList), address($0.baseAddress))
    }
    return Reply(result, bytes: result < 0 ? 0 : min(Int(list.0), room))
  }
}
