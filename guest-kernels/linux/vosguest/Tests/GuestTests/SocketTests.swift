// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Foundation
import Testing

@testable import Guest

/// Sockets of the service, used as the client's kernel would, over loopback.
@Suite(.serialized) struct SocketTests {
  private let served: Served<SocketService>
  private let caller: Caller
  private var events: EventConsumer

  init() throws {
    guard let channel = MemoryChannel(carries: VOS_CARRIES_SOCKETS) else { throw Missing() }
    channel.giveOut(0)
    served = try Served(channel) { SocketService(region: $0) }
    events = EventConsumer(region: channel.region)
    let loop = served.loop
    served.handler.start { loop.post($0) }
    caller = Caller(channel)
  }

  private func socket(
    _ type: Int32 = Int32(SOCK_STREAM.rawValue), cookie: UInt64 = 0
  ) throws -> UInt64 {
    let answer = try caller.call(
      VOS_CALL_SOCKET, 0, (UInt64(AF_INET) << 32 | UInt64(type), 0, cookie))
    #expect(answer.result >= 0)
    return UInt64(answer.result)
  }

  private func loopback(port: UInt16) -> [UInt8] {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafeBytes(of: &address) { Array($0) }
  }

  private func port(of object: UInt64) throws -> UInt16 {
    let name = try caller.call(VOS_CALL_GETSOCKNAME, object, room: 128)
    #expect(name.bytes.count == 16)
    return UInt16(name.bytes[2]) << 8 | UInt16(name.bytes[3])
  }

  /// A listening socket and its port.
  private func listener(cookie: UInt64 = 0) throws -> (UInt64, UInt16) {
    let object = try socket(cookie: cookie)
    #expect(try caller.call(VOS_CALL_BIND, object, data: loopback(port: 0)).result == 0)
    #expect(try caller.call(VOS_CALL_LISTEN, object, (16, 0, 0)).result == 0)
    return (object, try port(of: object))
  }

  /// Two connected sockets.
  private func pair() throws -> (UInt64, UInt64) {
    let (listener, port) = try listener()
    let near = try socket()
    let connected = try caller.call(VOS_CALL_CONNECT, near, data: loopback(port: port))
    #expect(connected.result == 0 || connected.result == -115)
    var accepted = try caller.call(VOS_CALL_ACCEPT4, listener, (0, 0, 9), room: 128)
    while accepted.result == -11 {
      accepted = try caller.call(VOS_CALL_ACCEPT4, listener, (0, 0, 9), room: 128)
    }
    #expect(accepted.bytes.count == 16)
    #expect(try caller.call(VOS_CALL_CLOSE, listener).result == 0)
    return (near, UInt64(accepted.result))
  }

  /// The next readiness event.
  private mutating func nextEvent() -> ChannelEvent? {
    for _ in 0..<50000 {
      if let event = events.next(), case .ready = event { return event }
      usleep(100)
    }
    return nil
  }

  @Test func bytesGoThereAndBack() throws {
    defer { served.stop() }
    let (near, far) = try pair()
    #expect(try caller.call(VOS_CALL_READ, near, room: 10).result == -11)
    #expect(try caller.call(VOS_CALL_WRITE, near, data: Array("hello".utf8)).result == 5)
    var answer = try caller.call(VOS_CALL_READ, far, room: 100)
    while answer.result == -11 { answer = try caller.call(VOS_CALL_READ, far, room: 100) }
    #expect(answer.bytes == Array("hello".utf8))
    #expect(try caller.call(VOS_CALL_SHUTDOWN, near, (1, 0, 0)).result == 0)
    #expect(try caller.call(VOS_CALL_READ, far, room: 10).result == 0)
    #expect(try caller.call(VOS_CALL_CLOSE, near).result == 0)
    #expect(try caller.call(VOS_CALL_READ, near, room: 10).result == -9)
    #expect(try caller.call(VOS_CALL_CLOSE, near).result == -9)
  }

  @Test mutating func readinessIsToldOnce() throws {
    defer { served.stop() }
    let (listener, port) = try listener(cookie: 77)
    #expect(try caller.call(VOS_CALL_POLL, listener, (1, 1, 0)).result == 0)
    let near = try socket(cookie: 78)
    _ = try caller.call(VOS_CALL_CONNECT, near, data: loopback(port: port))
    #expect(nextEvent() == .ready(cookie: 77, readiness: 1))
    #expect(try caller.call(VOS_CALL_POLL, listener, (1, 0, 0)).result == 1)
    #expect(try caller.call(VOS_CALL_POLL, near, (1, 1, 0)).result == 0)
    // Who is answered at once is not told again.
    #expect(try caller.call(VOS_CALL_POLL, near, (4, 1, 0)).result == 4)
    let accepted = try caller.call(VOS_CALL_ACCEPT4, listener, (0, 0, 9), room: 128)
    #expect(accepted.result >= 0)
    #expect(events.next() == nil)
    #expect(try caller.call(VOS_CALL_WRITE, UInt64(accepted.result), data: [1]).result == 1)
    #expect(nextEvent() == .ready(cookie: 78, readiness: 1))
    #expect(events.next() == nil)
  }

  @Test func datagramsKeepTheirSender() throws {
    defer { served.stop() }
    let near = try socket(Int32(SOCK_DGRAM.rawValue))
    let far = try socket(Int32(SOCK_DGRAM.rawValue))
    #expect(try caller.call(VOS_CALL_BIND, near, data: loopback(port: 0)).result == 0)
    #expect(try caller.call(VOS_CALL_BIND, far, data: loopback(port: 0)).result == 0)
    let target = loopback(port: try port(of: far))
    var head = vos_message()
    head.name_length = 16
    head.payload_length = 3
    withUnsafeMutableBytes(of: &head.name) { $0.copyBytes(from: target) }
    let message = withUnsafeBytes(of: &head) { Array($0) } + [7, 8, 9]
    #expect(try caller.call(VOS_CALL_SENDMSG, near, data: message).result == 3)
    var want = vos_message()
    want.name_length = 128
    want.payload_length = 2
    let ask = withUnsafeBytes(of: &want) { Array($0) }
    let answer = try caller.call(VOS_CALL_RECVMSG, far, data: ask, room: 144 + 2)
    #expect(answer.result == 2)
    let got = answer.bytes.withUnsafeBytes { $0.loadUnaligned(as: vos_message.self) }
    #expect(got.name_length == 16 && got.payload_length == 2 && got.flags & 0x20 != 0)
    #expect(Array(answer.bytes[144...]) == [7, 8])
  }

  @Test func messagesThatLieAreRefused() throws {
    defer { served.stop() }
    let near = try socket(Int32(SOCK_DGRAM.rawValue))
    for change: (inout vos_message) -> Void in [
      { $0.name_length = 129 }, { $0.payload_length = .max }, { $0.control_length = .max },
      {
        $0.control_length = 8; $0.payload_length = 1
      }, { $0.payload_length = 1 },
    ] {
      var head = vos_message()
      change(&head)
      let bytes = withUnsafeBytes(of: &head) { Array($0) }
      #expect(try caller.call(VOS_CALL_SENDMSG, near, data: bytes).result == -22)
      #expect(try caller.call(VOS_CALL_RECVMSG, near, data: bytes, room: 144).result == -22)
    }
    #expect(try caller.call(VOS_CALL_SENDMSG, near, data: [1, 2, 3]).result == -22)
  }

  @Test func whatReachesThisDomainIsRefused() throws {
    defer { served.stop() }
    let near = try socket()
    let option = [UInt8](repeating: 0, count: 16)
    // SO_ATTACH_FILTER, SO_ATTACH_BPF, TCP_REPAIR, IPT_SO_SET_REPLACE, an unknown level.
    for (level, name): (UInt64, UInt64) in [(1, 26), (1, 50), (6, 19), (0, 64), (270, 1)] {
      #expect(
        try caller.call(VOS_CALL_SETSOCKOPT, near, (level, name, 0), data: option).result == -92)
    }
    #expect(try caller.call(VOS_CALL_GETSOCKOPT, near, (6, 35, 0), room: 64).result == -92)
    let one: [UInt8] = [1, 0, 0, 0]
    #expect(try caller.call(VOS_CALL_SETSOCKOPT, near, (1, 2, 0), data: one).result == 0)
    #expect(try caller.call(VOS_CALL_GETSOCKOPT, near, (1, 2, 0), room: 4).bytes == one)
    // SIOCSIFFLAGS; SIOCETHTOOL; FIONREAD with too little room.
    let interface = Array("lo".utf8) + [UInt8](repeating: 0, count: 38)
    #expect(
      try caller.call(VOS_CALL_IOCTL, near, (0x8914, 0, 0), data: interface, room: 40).result == -1)
    #expect(
      try caller.call(VOS_CALL_IOCTL, near, (0x8946, 0, 0), data: interface, room: 40).result == -1)
    #expect(try caller.call(VOS_CALL_IOCTL, near, (0x541B, 0, 0), room: 3).result == -22)
    let index = try caller.call(VOS_CALL_IOCTL, near, (0x8933, 0, 0), data: interface, room: 40)
    #expect(index.result == 0 && index.bytes.count == 40)
    let list = try caller.call(VOS_CALL_IOCTL, near, (0x8912, 0, 0), room: 400)
    #expect(list.result == 0 && list.bytes.count % 40 == 0)
    #expect(try caller.call(VOS_CALL_SOCKET, 0, (UInt64(AF_UNIX) << 32 | 1, 0, 0)).result == -97)
    #expect(try caller.call(0x999, near).result == -38)
  }

  @Test func aSliceReachesOnlyWhatWasAttached() throws {
    defer { served.stop() }
    let (near, far) = try pair()
    served.channel.giveOut(1, generation: 3, uid: 1000)
    let process = Caller(served.channel, slice: 1)
    #expect(try process.call(VOS_CALL_WRITE, near, data: [1]).result == -9)
    #expect(try process.call(VOS_CALL_SOCKET, 0, (UInt64(AF_INET) << 32 | 1, 0, 0)).result == -1)
    #expect(try caller.call(VOS_CALL_ATTACH, near, (99, 0, 0)).result == -22)
    #expect(try caller.call(VOS_CALL_ATTACH, near, (1, 0, 0)).result == 0)
    #expect(try process.call(VOS_CALL_WRITE, near, data: [1]).result == 1)
    #expect(try process.call(VOS_CALL_CLOSE, near).result == -1)
    #expect(try process.call(VOS_CALL_ATTACH, near, (1, 0, 0)).result == -1)
    #expect(try process.call(VOS_CALL_WRITE, far, data: [1]).result == -9)
    #expect(try caller.call(VOS_CALL_DETACH, near).result == 0)
    #expect(try process.call(VOS_CALL_WRITE, near, data: [1]).result == -9)
    #expect(try caller.call(VOS_CALL_ATTACH, near, (1, 0, 0)).result == 0)
    // The process dies; the slice's next owner has nothing.
    served.channel.region.publish(SliceEntry(state: .dead, generation: 3), slice: 1)
    served.channel.ringService()
    while served.channel.region.releasedGeneration(slice: 1) != 3 { usleep(1000) }
    served.channel.giveOut(1, generation: 4, uid: 1000)
    #expect(
      try Caller(served.channel, slice: 1).call(VOS_CALL_WRITE, near, data: [1]).result == -9)
  }

  /// The kernel checks rights for control data; a slice goes past it.
  @Test func controlDataComesFromTheKernelAlone() throws {
    defer { served.stop() }
    let near = try socket(Int32(SOCK_DGRAM.rawValue))
    let far = try socket(Int32(SOCK_DGRAM.rawValue))
    #expect(try caller.call(VOS_CALL_BIND, far, data: loopback(port: 0)).result == 0)
    let target = loopback(port: try port(of: far))
    #expect(try caller.call(VOS_CALL_CONNECT, near, data: target).result == 0)
    served.channel.giveOut(1, generation: 3, uid: 1000)
    #expect(try caller.call(VOS_CALL_ATTACH, near, (1, 0, 0)).result == 0)
    // One item: 20 bytes, SOL_SOCKET, SO_MARK, 5; rounded up to 24.
    let mark: [UInt8] = [20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 36, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
    func message(_ control: [UInt8]) -> [UInt8] {
      var head = vos_message()
      head.control_length = UInt32(control.count)
      head.payload_length = 1
      return withUnsafeBytes(of: &head) { Array($0) } + control + [7]
    }
    let process = Caller(served.channel, slice: 1)
    #expect(try process.call(VOS_CALL_SENDMSG, near, data: message(mark)).result == -1)
    #expect(try process.call(VOS_CALL_SENDMSG, near, data: message([])).result == 1)
    #expect(try caller.call(VOS_CALL_SENDMSG, near, data: message(mark)).result == 1)
  }

  @Test func theClientsDeathClosesEverything() throws {
    defer { served.stop() }
    for _ in 0..<100 { _ = try pair() }
    #expect(served.handler.table.withLock { $0.count } == 200)
    served.channel.giveOut(0, generation: 2)
    while served.channel.region.releasedGeneration(slice: 0) != 1 { usleep(1000) }
    #expect(served.handler.table.withLock { $0.count } == 0)
  }
}
