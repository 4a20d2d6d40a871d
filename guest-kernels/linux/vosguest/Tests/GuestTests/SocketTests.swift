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

  /// Telling costs the thousandth event no more stack and time than the first.
  @Test mutating func eventsWithoutEnd() throws {
    defer { served.stop() }
    let (near, far) = try pair()
    for number in 0..<20_000 {
      let armed = try caller.call(VOS_CALL_POLL, far, (1, UInt64(VOS_POLL_ONCE), 0))
      #expect(armed.result == 0)
      #expect(try caller.call(VOS_CALL_WRITE, near, data: [1]).result == 1)
      try #require(nextEvent() == .ready(cookie: 9, readiness: 1), "event \(number)")
      #expect(try caller.call(VOS_CALL_READ, far, room: 16).result == 1)
    }
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

  @Test mutating func everyEdgeIsTold() throws {
    defer { served.stop() }
    let (near, far) = try pair()
    #expect(try caller.call(VOS_CALL_CLOSE, near).result == 0)
    #expect(try caller.call(VOS_CALL_CLOSE, far).result == 0)
    let datagrams = try socket(Int32(SOCK_DGRAM.rawValue), cookie: 79)
    #expect(try caller.call(VOS_CALL_BIND, datagrams, data: loopback(port: 0)).result == 0)
    #expect(try caller.call(VOS_CALL_POLL, datagrams, (1, UInt64(VOS_POLL_EDGES), 0)).result == 0)
    let sender = try socket(Int32(SOCK_DGRAM.rawValue))
    let target = loopback(port: try port(of: datagrams))
    #expect(try caller.call(VOS_CALL_CONNECT, sender, data: target).result == 0)
    // Nobody reads, nobody asks again: each arrival is told all the same.
    for _ in 0..<3 {
      #expect(try caller.call(VOS_CALL_WRITE, sender, data: [1]).result == 1)
      #expect(nextEvent() == .ready(cookie: 79, readiness: 1))
    }
    #expect(events.next() == nil)
  }

  /// A question of netlink: struct nlmsghdr, struct ifinfomsg; to the kernel.
  private func netlinkMessage(type: UInt32, flags: UInt32) -> [UInt8] {
    var head = vos_message()
    head.payload_length = 32
    let question = word(32) + word(type | flags << 16) + word(5) + word(0)
    let interface = word(0) + word(1) + word(0) + word(1)
    return withUnsafeBytes(of: &head) { Array($0) } + question + interface
  }

  /// Looking at this domain's network is all that a client can do, whoever asks.
  @Test func netlinkIsForLooking() throws {
    defer { served.stop() }
    let all = UInt64(VOS_RIGHTS_ALL)
    let route = try caller.call(
      VOS_CALL_SOCKET, 0, (UInt64(AF_NETLINK) << 32 | 3, all << 32, 0))
    let object = UInt64(route.result)
    #expect(route.result >= 0)
    // RTM_GETLINK, as a dump: the first answer is RTM_NEWLINK.
    let dump = netlinkMessage(type: 18, flags: 0x301)
    #expect(try caller.call(VOS_CALL_SENDMSG, object, (0, 0, all), data: dump).result == 32)
    let answer = try caller.call(VOS_CALL_READ, object, room: 4096)
    #expect(answer.bytes.count > 32 && answer.bytes[4] == 16)
    while try caller.call(VOS_CALL_READ, object, room: 4096).result > 0 {}
    // RTM_NEWLINK of lo, going down: NLMSG_ERROR says EPERM.
    let down = netlinkMessage(type: 16, flags: 5)
    #expect(try caller.call(VOS_CALL_SENDMSG, object, (0, 0, all), data: down).result == 32)
    let refusal = try caller.call(VOS_CALL_READ, object, room: 4096)
    #expect(refusal.bytes[4] == 2 && Array(refusal.bytes[16..<20]) == word(UInt32(bitPattern: -1)))
    // NETLINK_NETFILTER is none of them.
    let filter = try caller.call(
      VOS_CALL_SOCKET, 0, (UInt64(AF_NETLINK) << 32 | 3, all << 32 | 12, 0))
    #expect(filter.result == -97)
  }

  @Test func aFilterIsGivenAsItIs() throws {
    defer { served.stop() }
    let (near, far) = (
      try socket(Int32(SOCK_DGRAM.rawValue)), try socket(Int32(SOCK_DGRAM.rawValue))
    )
    #expect(try caller.call(VOS_CALL_BIND, far, data: loopback(port: 0)).result == 0)
    let target = loopback(port: try port(of: far))
    #expect(try caller.call(VOS_CALL_CONNECT, near, data: target).result == 0)
    let attach = (UInt64(1), UInt64(26), UInt64(0))
    // BPF_RET of nothing; then programs that are cut off, empty, or without an end.
    let drop: [UInt8] = [6, 0, 0, 0, 0, 0, 0, 0]
    #expect(try caller.call(VOS_CALL_SETSOCKOPT, far, attach, data: drop).result == 0)
    for bad in [Array(drop.dropLast()), [], [UInt8](repeating: 0, count: 16)] {
      #expect(try caller.call(VOS_CALL_SETSOCKOPT, far, attach, data: bad).result == -22)
    }
    #expect(try caller.call(VOS_CALL_WRITE, near, data: [1]).result == 1)
    #expect(try caller.call(VOS_CALL_READ, far, room: 10).result == -11)
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
    // SO_ATTACH_BPF, TCP_REPAIR, IPT_SO_SET_REPLACE, PACKET_RX_RING, an unknown level.
    for (level, name): (UInt64, UInt64) in [(1, 50), (6, 19), (0, 64), (263, 5), (271, 1)] {
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

  @Test func theNetworkIsShownToTheClientsKernel() throws {
    defer { served.stop() }
    func table(_ name: String, at offset: UInt64 = 0, room: Int = 8192) throws -> Caller.Answer {
      try caller.call(VOS_CALL_NET_TABLE, 0, (offset, 0, 0), data: Array(name.utf8), room: room)
    }
    let whole = try table("dev")
    #expect(whole.result == whole.bytes.count)
    #expect(String(decoding: whole.bytes, as: UTF8.self).contains("lo:"))
    #expect(try table("dev", room: 100).bytes == Array(whole.bytes.prefix(100)))
    #expect(try table("dev", at: 10, room: 50).bytes == Array(whole.bytes[10..<60]))
    #expect(try table("dev", at: 1 << 20).result == 0)
    for name in ["", "nosuch", "../../etc/passwd", "tcp\0", "stat/nf_conntrack"] {
      #expect(try table(name).result < 0, "\(name)")
    }
    #expect(try table("dev", at: .max).result == -22)
    served.channel.giveOut(1, generation: 3, uid: 1000)
    let process = Caller(served.channel, slice: 1)
    let name = Array("dev".utf8)
    #expect(try process.call(VOS_CALL_NET_TABLE, 0, data: name, room: 100).result == -1)
    let object = try socket()
    let attributes = try caller.call(VOS_CALL_FSTAT, object, room: 144)
    // struct stat: the inode number is the second word of 64 bits.
    #expect(attributes.bytes.count == 144 && attributes.bytes[8..<16].contains { $0 != 0 })
    #expect(try caller.call(VOS_CALL_FSTAT, object, room: 143).result == -22)
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

  private struct Privileged {
    let what: String
    let right: Rights
    /// Makes the call with rights; its result.
    let call: (Rights) throws -> Int
    var refusal = -1
    init(_ what: String, _ right: Rights, refusal: Int = -1, call: @escaping (Rights) throws -> Int)
    {
      self.what = what
      self.right = right
      self.refusal = refusal
      self.call = call
    }
  }

  private func option(
    _ what: String, _ object: UInt64, _ level: UInt64, _ name: UInt64, _ value: [UInt8],
    _ right: Rights, refusal: Int = -1
  ) -> Privileged {
    Privileged(what, right, refusal: refusal) {
      try caller.call(
        VOS_CALL_SETSOCKOPT, object, (level, name, UInt64($0.rawValue)), data: value
      ).result
    }
  }

  /// One byte of payload behind one item of control data.
  private func message(_ level: UInt32, _ type: UInt32, _ value: [UInt8]) -> [UInt8] {
    var head = vos_message()
    let control =
      word(UInt32(16 + value.count)) + word(0) + word(level) + word(type) + value
    let padding = [UInt8](repeating: 0, count: -control.count & 7)
    head.control_length = UInt32(control.count)
    head.payload_length = 1
    return withUnsafeBytes(of: &head) { Array($0) } + control + padding + [7]
  }

  private func word(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }

  /// A datagram socket of IPv6, connected to another.
  private func pairOf6() throws -> UInt64 {
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_addr = in6addr_loopback
    let any = withUnsafeBytes(of: &address) { Array($0) }
    let ends = try (0..<2).map { _ in
      UInt64(try caller.call(VOS_CALL_SOCKET, 0, (UInt64(AF_INET6) << 32 | 2, 0, 0)).result)
    }
    #expect(try caller.call(VOS_CALL_BIND, ends[1], data: any).result == 0)
    let name = try caller.call(VOS_CALL_GETSOCKNAME, ends[1], room: 128).bytes
    #expect(try caller.call(VOS_CALL_CONNECT, ends[0], data: name).result == 0)
    return ends[0]
  }

  /// Next header, length, then PadN over the rest: eight bytes of hop-by-hop options.
  private static let hopOptions: [UInt8] = [0, 0, 1, 4, 0, 0, 0, 0]

  private func privilegedOptions() throws -> [Privileged] {
    let four = try socket()
    let six = try pairOf6()
    let one = word(1)
    return [
      option("SO_MARK", four, 1, 36, one, .raw),
      option("SO_MARK", four, 1, 36, one, .admin),
      option("SO_PRIORITY", four, 1, 12, word(7), .admin),
      option("SO_RCVBUFFORCE", four, 1, 33, word(65536), .admin),
      option("IP_TRANSPARENT", four, 0, 19, one, .raw),
      option("IP_OPTIONS: stream id", four, 0, 4, [0x88, 4, 0, 0], .raw, refusal: -22),
      option("IPV6_TRANSPARENT", six, 41, 75, one, .admin),
      option("IPV6_HOPOPTS", six, 41, 54, Self.hopOptions, .raw),
      option("IPV6_RTHDRDSTOPTS", six, 41, 55, Self.hopOptions, .raw),
      option("IPV6_DSTOPTS", six, 41, 59, Self.hopOptions, .raw),
    ]
  }

  private func privilegedCalls() throws -> [Privileged] {
    let datagram = try socket(Int32(SOCK_DGRAM.rawValue))
    let (six, other) = (try pairOf6(), try socket(Int32(SOCK_DGRAM.rawValue)))
    let target = loopback(
      port: try { () throws -> UInt16 in
        #expect(try caller.call(VOS_CALL_BIND, other, data: loopback(port: 0)).result == 0)
        return try port(of: other)
      }())
    #expect(try caller.call(VOS_CALL_CONNECT, datagram, data: target).result == 0)
    func send(_ what: String, _ object: UInt64, _ bytes: [UInt8]) -> Privileged {
      Privileged(what, .raw) {
        try caller.call(VOS_CALL_SENDMSG, object, (0, 0, UInt64($0.rawValue)), data: bytes).result
      }
    }
    return [
      Privileged("SOCK_RAW", .raw) {
        try caller.call(
          VOS_CALL_SOCKET, 0, (UInt64(AF_INET) << 32 | 3, UInt64($0.rawValue) << 32 | 1, 0)
        ).result
      },
      Privileged("a low port", .bindService, refusal: -13) {
        let new = try socket()
        return try caller.call(
          VOS_CALL_BIND, new, (0, 0, UInt64($0.rawValue)), data: loopback(port: 1017)
        ).result
      },
      send("SO_MARK beside data", datagram, message(1, 36, word(5))),
      send("IPV6_HOPOPTS beside data", six, message(41, 54, Self.hopOptions)),
      send("IPV6_DSTOPTS beside data", six, message(41, 59, Self.hopOptions)),
    ]
  }

  /// The daemon is root; its callers are what the client's kernel says that they are.
  @Test(
    .enabled(
      if: geteuid() == 0 && access("/proc/net/if_inet6", R_OK) == 0, "needs root and IPv6"))
  func callsHaveTheirCallersRights() throws {
    defer { served.stop() }
    for it in try privilegedOptions() + privilegedCalls() {
      #expect(try it.call([]) == it.refusal, "\(it.what) without rights")
      let others = Rights(rawValue: VOS_RIGHTS_ALL).subtracting([.raw, .admin, it.right])
      #expect(try it.call(others) == it.refusal, "\(it.what) with another right")
      #expect(try it.call(it.right) >= 0, "\(it.what) with its right")
      // Rights are a call's, not the thread's that executed it.
      #expect(try it.call([]) == it.refusal, "\(it.what) afterwards")
    }
  }

  /// Nobody vouches for what a process posts itself.
  @Test(.enabled(if: geteuid() == 0, "needs root"))
  func aSliceHasNoRights() throws {
    defer { served.stop() }
    let near = try socket(Int32(SOCK_DGRAM.rawValue))
    let far = try socket(Int32(SOCK_DGRAM.rawValue))
    #expect(try caller.call(VOS_CALL_BIND, far, data: loopback(port: 0)).result == 0)
    let target = loopback(port: try port(of: far))
    #expect(try caller.call(VOS_CALL_CONNECT, near, data: target).result == 0)
    served.channel.giveOut(1, generation: 3, uid: 0)
    #expect(try caller.call(VOS_CALL_ATTACH, near, (1, 0, 0)).result == 0)
    let process = Caller(served.channel, slice: 1)
    let mark = message(1, 36, word(5))
    let all = (UInt64(0), UInt64(0), UInt64(VOS_RIGHTS_ALL))
    #expect(try process.call(VOS_CALL_SENDMSG, near, all, data: mark).result == -1)
    #expect(try caller.call(VOS_CALL_SENDMSG, near, all, data: mark).result == 1)
    #expect(try process.call(VOS_CALL_SENDMSG, near, all, data: mark).result == -1)
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
