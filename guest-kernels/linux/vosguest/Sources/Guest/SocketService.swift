// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc
import Synchronization

/// Serves sockets: calls come from the client's kernel over slice 0, and from processes over
/// slices to which a socket was attached. Sockets never block; readiness is told by events.
///
/// Calls are executed with the caller's rights (`Rights`). What could reach this domain's memory or
/// configuration is refused here, whoever asks.
final class SocketService: ServiceHandler {
  /// Most sockets at a time.
  static let limit = 16384

  /// One socket; `granted`, `armed` and `edges` change under the table's lock.
  final class Socket: @unchecked Sendable {
    // @unchecked: the variables are only touched under the table's lock.
    let descriptor: Descriptor
    let cookie: UInt64
    /// Asks about this domain's network, and may do no more, whoever asks.
    let isNetlink: Bool
    var granted: (slice: Int, generation: UInt32)?
    /// Events of which the client wants to be told once.
    var armed: UInt32 = 0
    /// Events of which the client wants to be told of each edge.
    var edges: UInt32 = 0
    var isWatched = false

    init(_ descriptor: Descriptor, cookie: UInt64, isNetlink: Bool) {
      self.descriptor = descriptor
      self.cookie = cookie
      self.isNetlink = isNetlink
    }
  }

  let table: Mutex<ObjectTable<Socket>>
  private let epoll: Descriptor
  private let region: ChannelRegion
  /// Tells the client's kernel. In an object: each look at a bare function within a generic box would
  /// wrap it in one more layer, until a call of it has no stack left.
  private final class Messenger: Sendable {
    let post: @Sendable ([ChannelEvent]) -> Void
    init(_ post: @escaping @Sendable ([ChannelEvent]) -> Void) { self.post = post }
  }

  /// Set once, before the first call.
  private let messenger = Mutex<Messenger?>(nil)

  init?(region: ChannelRegion) {
    guard let epoll = Descriptor(kernel(Int(SYS_epoll_create1), Int(O_CLOEXEC))) else {
      return nil
    }
    self.epoll = epoll
    self.region = region
    table = Mutex(
      ObjectTable(limit: Self.limit, generation: UInt32(truncatingIfNeeded: System.random())))
  }

  /// Starts to watch for readiness.
  func start(post: @escaping @Sendable ([ChannelEvent]) -> Void) {
    messenger.withLock { $0 = Messenger(post) }
    System.startThread { self.watch() }
  }

  func mayBlock(_ call: Call) -> Bool { false }

  func adopted(_ slice: Int, generation: UInt32) {}

  func died(_ slice: Int, generation: UInt32) {
    // Slice 0 is the client's kernel: all sockets are its.
    let gone: [Socket] = table.withLock { table in
      if slice == 0 { return table.removeAll() }
      for number in table.numbers where table[number]?.granted?.slice == slice {
        table[number]?.granted = nil
      }
      return []
    }
    for socket in gone { close(socket) }
  }

  func handle(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply? {
    let call = request.call
    // Before anything else: what is called from here on has no other rights.
    guard Rights(of: request).assume() else { return Reply(Failure.notPermitted) }
    switch UInt32(call.number) {
    case VOS_CALL_NULL: return Reply(result: 0)
    case VOS_CALL_SOCKET: return request.slice == 0 ? open(call) : Reply(Failure.notPermitted)
    case VOS_CALL_NET_TABLE:
      // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
      return request.slice == 0 ? unsafe readTable(call, bytes) : Reply(Failure.notPermitted)
    default: break
    }
    guard let socket = socket(call.object, for: request) else {
      return Reply(Failure.badDescriptor)
    }
    guard !socket.isNetlink || Rights([]).assume() else { return Reply(Failure.notPermitted) }
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    if let reply = unsafe transfer(request, socket, bytes) { return reply }
    guard request.slice == 0 else { return Reply(Failure.notPermitted) }
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    return unsafe manage(call, socket, bytes)
  }

  /// The socket, if the caller's slice may use it.
  private func socket(_ number: UInt64, for request: Request) -> Socket? {
    table.withLock { table in
      guard let socket = table[number] else { return nil }
      if request.slice == 0 { return socket }
      guard let granted = socket.granted, granted.slice == request.slice,
        granted.generation == request.generation
      else { return nil }
      return socket
    }
  }

  /// What a process may do with a socket that is attached to its slice.
  private func transfer(
    _ request: Request, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply? {
    let call = request.call
    return switch UInt32(call.number) {
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    case VOS_CALL_READ: unsafe receive(call, socket, bytes)
    case VOS_CALL_WRITE: unsafe send(call, socket, bytes)
    case VOS_CALL_SENDMSG:
      unsafe sendMessage(call, socket, bytes)
    case VOS_CALL_RECVMSG: unsafe receiveMessage(call, socket, bytes)
    case VOS_CALL_POLL: poll(call, socket)
    default: nil
    }
  }

  /// What only the client's kernel may ask.
  private func manage(
    _ call: Call, _ socket: Socket, _ bytes: UnsafeMutableRawBufferPointer
  ) -> Reply {
    let number = Int(socket.descriptor.number)
    switch UInt32(call.number) {
    case VOS_CALL_CLOSE: return remove(call.object)
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    case VOS_CALL_BIND, VOS_CALL_CONNECT: return unsafe giveAddress(call, socket, bytes)
    case VOS_CALL_LISTEN:
      return Reply(
        kernel(Int(SYS_listen), number, Int(Int32(truncatingIfNeeded: call.arguments.0))))
    case VOS_CALL_SHUTDOWN:
      return Reply(
        kernel(Int(SYS_shutdown), number, Int(Int32(truncatingIfNeeded: call.arguments.0))))
    // SAFETY: passed on as it came from `ServiceCompleter`, which checked the window.
    case VOS_CALL_ACCEPT4: return unsafe accept(call, socket, bytes)
    case VOS_CALL_GETSOCKNAME: return unsafe takeAddress(Int(SYS_getsockname), call, socket, bytes)
    case VOS_CALL_GETPEERNAME: return unsafe takeAddress(Int(SYS_getpeername), call, socket, bytes)
    case VOS_CALL_SETSOCKOPT: return unsafe setOption(call, socket, bytes)
    case VOS_CALL_GETSOCKOPT: return unsafe getOption(call, socket, bytes)
    case VOS_CALL_IOCTL: return unsafe control(call, socket, bytes)
    case VOS_CALL_FSTAT: return unsafe attributes(call, socket, bytes)
    case VOS_CALL_ATTACH: return attach(call, socket)
    case VOS_CALL_DETACH:
      table.withLock { _ in socket.granted = nil }
      return Reply(result: 0)
    default: return Reply(Failure.notImplemented)
    }
  }

  private func open(_ call: Call) -> Reply {
    let family = Int32(truncatingIfNeeded: call.arguments.0 >> 32)
    let type = Int32(truncatingIfNeeded: call.arguments.0 & 0xf)
    let networkProtocol = Int32(truncatingIfNeeded: call.arguments.1)
    guard isOffered(family, networkProtocol) else { return Reply(Failure.familyNotSupported) }
    let isNetlink = family == AF_NETLINK
    guard !isNetlink || Rights([]).assume() else { return Reply(Failure.notPermitted) }
    let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let result = kernel(
      Int(SYS_socket), Int(family), Int(type | flags), Int(networkProtocol))
    return add(result, cookie: call.arguments.2, isNetlink: isNetlink)
  }

  /// NETLINK_ROUTE and NETLINK_SOCK_DIAG (include/uapi/linux/netlink.h); the other protocols of
  /// netlink have nothing to do with the network, or change it.
  private static let netlinkProtocols: Set<Int32> = [0, 4]

  private func isOffered(_ family: Int32, _ networkProtocol: Int32) -> Bool {
    switch family {
    case AF_INET, AF_INET6, AF_PACKET: true
    case AF_NETLINK: Self.netlinkProtocols.contains(networkProtocol)
    default: false
    }
  }

  /// Makes a socket call's result an object.
  func add(_ result: Int, cookie: UInt64, isNetlink: Bool = false) -> Reply {
    guard let descriptor = Descriptor(result) else { return Reply(result) }
    let socket = Socket(descriptor, cookie: cookie, isNetlink: isNetlink)
    guard let number = table.withLock({ $0.insert(socket) }) else {
      return Reply(Failure.tooManyOpen)
    }
    return Reply(result: Int64(number))
  }

  private func remove(_ number: UInt64) -> Reply {
    guard let socket = table.withLock({ $0.remove(number) }) else {
      return Reply(Failure.badDescriptor)
    }
    close(socket)
    return Reply(result: 0)
  }

  /// The descriptor closes when the last holder lets go; one that lingers would hold the poll, so
  /// that is a thread's.
  private func close(_ socket: Socket) {
    var linger = linger()
    var size = socklen_t(MemoryLayout<linger>.size)
    // SAFETY: locals of the type and size that the option has.
    let lingers =
      unsafe getsockopt(socket.descriptor.number, SOL_SOCKET, SO_LINGER, &linger, &size) == 0
      && linger.l_onoff != 0 && linger.l_linger > 0
    if lingers { System.startThread { withExtendedLifetime(socket) {} } }
  }

  private func attach(_ call: Call, _ socket: Socket) -> Reply {
    guard let slice = Int(exactly: call.arguments.0), slice > 0,
      slice < region.geometry.sliceCount
    else { return Reply(Failure.invalid) }
    let entry = region.sliceEntry(slice)
    guard entry.state == .live else { return Reply(Failure.invalid) }
    table.withLock { _ in socket.granted = (slice, entry.generation) }
    return Reply(result: 0)
  }

  // MARK: Readiness

  private func poll(_ call: Call, _ socket: Socket) -> Reply {
    let wanted = UInt32(truncatingIfNeeded: call.arguments.0) & Self.pollable
    // First the edges, then the look: what comes between is told twice, and nothing is lost.
    if call.arguments.1 == UInt64(VOS_POLL_EDGES) {
      let refused = watchEdges(call.object, socket, wanted)
      guard refused == 0 else { return Reply(refused) }
    }
    var interest = pollfd(
      fd: socket.descriptor.number, events: Int16(truncatingIfNeeded: wanted), revents: 0)
    // SAFETY: one `pollfd`, a local.
    let result = unsafe kernel(Int(SYS_poll), address(&interest), 1, 0)
    guard result >= 0 else { return Reply(result) }
    let ready = UInt32(UInt16(bitPattern: interest.revents))
    // Armed only if the caller does not know already: else an edge would be told twice.
    let known = wanted | EPOLLERR.rawValue | EPOLLHUP.rawValue
    if call.arguments.1 == UInt64(VOS_POLL_ONCE), ready & known == 0 {
      // Who is not told later must know it now.
      let refused = arm(call.object, socket, wanted)
      guard refused == 0 else { return Reply(refused) }
    }
    return Reply(result: Int64(ready))
  }

  /// IN, PRI, OUT, ERR, HUP, RDNORM, RDBAND, WRNORM, WRBAND, RDHUP: the low 14 bits.
  private static let pollable: UInt32 = 0x27df

  /// Asks for one event when the socket becomes ready; 0, or minus an errno.
  private func arm(_ number: UInt64, _ socket: Socket, _ events: UInt32) -> Int {
    table.withLock { _ in
      if socket.edges != 0 { return addEdges(number, socket, events) }
      socket.armed |= events
      return control(number, socket, socket.armed | EPOLLONESHOT.rawValue)
    }
  }

  /// With the table's lock held. 0, or minus an errno.
  private func addEdges(_ number: UInt64, _ socket: Socket, _ events: UInt32) -> Int {
    guard socket.edges | events != socket.edges else { return 0 }
    let error = control(number, socket, socket.edges | events | EPOLLET.rawValue)
    if error == 0 { socket.edges |= events }
    return error
  }

  /// With the table's lock held. 0, or minus an errno.
  private func control(_ number: UInt64, _ socket: Socket, _ events: UInt32) -> Int {
    // SAFETY: makes a value; the union in it is written as the 64-bit token that `tell` reads.
    var event = unsafe guest_event(events, number)
    let operation = socket.isWatched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD
    // SAFETY: the kernel copies the event, a local, before it returns.
    let result = unsafe kernel(
      Int(SYS_epoll_ctl), Int(epoll.number), Int(operation), Int(socket.descriptor.number),
      address(&event))
    if result == 0 { socket.isWatched = true }
    return result
  }

  /// From now on the client is told of each edge of these events. 0, or minus an errno.
  private func watchEdges(_ number: UInt64, _ socket: Socket, _ events: UInt32) -> Int {
    let (isNew, error) = table.withLock { _ in
      (socket.edges | events != socket.edges, addEdges(number, socket, events))
    }
    guard error == 0 else { return error }
    // What is ready already is reported once as if it came now. The caller sees it by itself: if
    // the watching thread has not taken that report yet, it is taken here.
    guard isNew else { return 0 }
    // SAFETY: all zero is a valid event.
    var pending = unsafe [epoll_event](repeating: epoll_event(), count: 64)
    // SAFETY: an array of all-zero events, which are valid.
    let count = unsafe take(&pending, milliseconds: 0)
    // SAFETY: the kernel filled `count` of them.
    unsafe tell(count, of: &pending, but: number)
    return 0
  }

  /// How many events there are, of which the first are in `events` then.
  private func take(_ events: inout [epoll_event], milliseconds: Int) -> Int {
    // SAFETY: the kernel writes at most the array's count.
    let count = unsafe events.withUnsafeMutableBufferPointer {
      unsafe kernel(
        Int(SYS_epoll_wait), Int(epoll.number), address($0.baseAddress), $0.count, milliseconds)
    }
    if count < 0, count != Failure.interrupted { System.sleep(milliseconds: 10) }
    return max(count, 0)
  }

  private func watch() {
    // SAFETY: all zero is a valid event.
    var events = unsafe [epoll_event](repeating: epoll_event(), count: 64)
    while true {
      // SAFETY: an array of all-zero events, which are valid.
      let count = unsafe take(&events, milliseconds: -1)
      // SAFETY: the kernel filled `count` of them.
      unsafe tell(count, of: &events)
    }
  }

  /// Tells the client of the first `count` events, and rings once for all of them.
  private func tell(_ count: Int, of events: inout [epoll_event], but known: UInt64? = nil) {
    let told = (0..<count).compactMap { index -> ChannelEvent? in
      // SAFETY: the kernel filled the event; its token is the one that `control` gave it.
      let number = unsafe guest_event_token(&events[index])
      let ready = unsafe events[index].events
      return number == known ? nil : event(of: number, ready)
    }
    if !told.isEmpty { messenger.withLock { $0 }?.post(told) }
  }

  private func event(of number: UInt64, _ ready: UInt32) -> ChannelEvent? {
    table.withLock { table in
      guard let socket = table[number] else { return nil }
      socket.armed = 0
      return .ready(cookie: socket.cookie, readiness: ready)
    }
  }
}

extension Reply {
  /// What a system call returned, with bytes of reply.
  init(_ result: Int, bytes: Int = 0) {
    self.init(result: Int64(result), dataLength: UInt32(truncatingIfNeeded: max(bytes, 0)))
  }
}
