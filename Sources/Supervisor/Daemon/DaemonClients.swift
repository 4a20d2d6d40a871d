// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// Answering vosctl.
extension Daemon {
  /// Connections at one time; more are turned away.
  static let clientLimit = 32
  private static let readChunk = 64 << 10
  /// How far back `console` shows what was said before.
  private static let consoleBacklog: UInt64 = 1024

  /// Takes over the connection that waits for `up`.
  func adopt(_ socket: consuming OwnedDescriptor) {
    try? socket.setNonBlocking(true)
    guard let client = add(socket) else { return }
    client.isLauncher = true
    client.role = .waiting
  }

  func acceptClients(_ listener: Int32) {
    guard let socket = UnixSocket.accept(listener) else { return }
    // The directory keeps strangers out; this is the second lock.
    guard let peer = UnixSocket.credentials(of: socket), peer.uid == 0 || peer.uid == geteuid()
    else {
      log.warning("a stranger connected")
      return
    }
    guard clients.count < Self.clientLimit else {
      log.warning("more than \(Self.clientLimit) connections")
      return
    }
    _ = add(socket)
  }

  private func add(_ socket: consuming OwnedDescriptor) -> ClientConnection? {
    let client = ClientConnection(socket, at: EventLoop.now())
    do throws(SystemCallError) {
      client.watch = try loop.watch(client.socket.rawValue) {
        [unowned self, unowned client] event in
        if event.contains(.hangUp) || event.contains(.readable) { read(client) }
      }
    } catch {
      log.error("\(error)")
      return nil
    }
    clients[ObjectIdentifier(client)] = client
    return client
  }

  private func read(_ client: ClientConnection) {
    guard !client.isBroken, !client.isEnding else {
      // Its last reply may still be on the way; a hang-up ends that.
      return client.breakOff()
    }
    var bytes: [UInt8] = []
    switch client.socket.readAvailable(into: &bytes, maximum: Self.readChunk) {
    case .bytes: client.decoder.append(bytes)
    case .wouldBlock: return
    case .closed: return client.breakOff()
    }
    do throws(FrameError) {
      while let frame = try client.decoder.next() { take(frame, from: client) }
    } catch {
      client.finish(
        .failure(Failure(.badRequest, "\(error); use the vosctl that came with this vosd")))
    }
  }

  private func take(_ frame: Frame, from client: ClientConnection) {
    if client.isLauncher, Wire.decode(ClientMessage.self, frame) == .cancel {
      return perform(system.handle(.cancel))
    }
    switch client.role {
    case .new: request(frame, from: client)
    case .waiting, .status, .log: break
    case .console(let domain, _):
      if frame.kind == .input { type(frame.payload, into: domain) }
    case .exec(let session):
      if frame.kind == .input {
        session.takeInput(frame.payload)
      } else if case .signal(let number)? = Wire.decode(ClientMessage.self, frame) {
        session.signal(number)
      }
    }
  }

  private func request(_ frame: Frame, from client: ClientConnection) {
    guard let request = Wire.decode(Request.self, frame),
      request.version == Request.currentVersion
    else {
      return client.finish(
        .failure(
          Failure(
            .badRequest,
            "not a request of protocol version \(Request.currentVersion); "
              + "use the vosctl that came with this vosd")))
    }
    switch request.command {
    case .status:
      askStatistics()
      client.role = .status(until: EventLoop.now() + ClientConnection.statisticsTimeout)
    case .down:
      client.role = .waiting
      perform(system.handle(.stop))
    case .logs(let name, let follow):
      withConsole(name, client) { domain in
        client.role = .log(
          domain, position: domain.log.start, end: follow ? nil : domain.log.end)
      }
    case .console(let name):
      withConsole(name, client) { domain in
        let end = domain.log.end
        client.role = .console(
          domain, position: end > Self.consoleBacklog ? end - Self.consoleBacklog : 0)
      }
    case .deviceTree(let name):
      withDomain(name, client) { domain in sendTree(of: domain, to: client) }
    case .exec(let execution): exec(execution, client)
    }
  }

  private func withDomain(
    _ name: String, _ client: ClientConnection, _ body: (DomainRuntime) -> Void
  ) {
    if let domain = domains.first(where: { $0.name == name }) { return body(domain) }
    let names = layout.domains.map(\.domain.name).joined(separator: ", ")
    client.finish(
      .failure(
        Failure(
          .badRequest,
          "there is no domain \"\(name.prefix(40))\" in system \"\(layout.manifest.system)\"; "
            + "choose one of \(names)")))
  }

  private func withConsole(
    _ name: String, _ client: ClientConnection, _ body: (DomainRuntime) -> Void
  ) {
    withDomain(name, client) { domain in
      guard domain.external != nil else { return body(domain) }
      client.finish(
        .failure(
          Failure(
            .badRequest,
            "the console of domain \"\(name)\" is its QEMU's; look at that one's -serial")))
    }
  }

  private func sendTree(of domain: DomainRuntime, to client: ClientConnection) {
    do throws(DeviceProblem) {
      let tree = try deviceTree(of: domain.name, generation: domain.life.generation)
      for frame in Frame.cutting(tree, .output) { client.send(frame) }
      client.finish(.done(code: 0))
    } catch {
      client.finish(.failure(Failure(.failed, error.description)))
    }
  }

  private func exec(_ execution: Execution, _ client: ClientConnection) {
    withDomain(execution.domain, client) { domain in
      guard case .ready = domain.life.state else {
        return client.finish(
          .failure(
            Failure(
              .notRunning, "domain \"\(domain.name)\" is \(domain.stateName), not ready; try later")
          ))
      }
      let session = ExecSession(
        control: domain.control, client: client, hasInput: execution.input)
      client.role = .exec(session)
      session.start(execution)
    }
  }

  /// Gives a client what there is for it, and drops it when it is done with.
  func serve(_ client: ClientConnection, now: Seconds) {
    switch client.role {
    case .new where now - client.since >= ClientConnection.requestTimeout: client.breakOff()
    case .log(let domain, let position, let end):
      let next = pump(domain, from: position, until: end, to: client)
      client.role = .log(domain, position: next, end: end)
      if let end, next >= end { client.finish(.done(code: 0)) }
    case .console(let domain, let position):
      let next = pump(domain, from: position, until: nil, to: client)
      client.role = .console(domain, position: next)
    case .exec(let session): session.advance(now: now)
    case .status(let until)
    where !client.isEnding
      && (now >= until || !domains.contains { $0.monitor?.owesStatistics == true }):
      client.send(.status(status()))
      client.finish(.done(code: 0))
    case .new, .waiting, .status: break
    }
    client.flush()
    if client.isFinished { return drop(client) }
    guard let watch = client.watch else { return }
    var interest = client.interest
    if case .exec(let session) = client.role, !session.wantsInput { interest.remove(.readable) }
    loop.change(watch, to: interest)
  }

  private func pump(
    _ domain: DomainRuntime, from start: UInt64, until end: UInt64?, to client: ClientConnection
  ) -> UInt64 {
    var position = start
    while !client.isCongested, !client.isBroken, position < end ?? domain.log.end {
      let part = domain.log.bytes(from: position, maximum: Frame.maximumPayload)
      if part.bytes.isEmpty { break }
      client.send(Frame(.output, part.bytes))
      position = part.next
    }
    // A follower of a domain that is gone for good has seen everything.
    return position
  }

  private func drop(_ client: ClientConnection) {
    if case .exec(let session) = client.role { session.hangUp() }
    if let watch = client.watch { loop.remove(watch) }
    clients[ObjectIdentifier(client)] = nil
    if client.isLauncher { perform(system.handle(.cancel)) }
  }

  /// Sends a domain's state to all who wait.
  func tell(_ domain: DomainRuntime) {
    var detail: String?
    switch domain.life.state {
    case .ready(_, let seconds): detail = "after \(formatSeconds(seconds))"
    case .failed(let reason): detail = reason
    default: break
    }
    send(domain.name, domain.stateName, detail)
  }

  /// Sends news of the system to all who wait.
  func tellAll(_ state: String, _ detail: String?) {
    send(nil, state, detail)
  }

  private func send(_ domain: String?, _ state: String, _ detail: String?) {
    log.info("\(domain ?? "system"): \(state) \(detail ?? "")")
    let elapsed = EventLoop.now() - startedAt
    for client in clients.values {
      guard case .waiting = client.role else { continue }
      client.send(
        .progress(
          ProgressStep(domain: domain, state: state, detail: detail, elapsedSeconds: elapsed)))
      client.flush()
    }
  }
}

/// Seconds with one digit after the point.
public func formatSeconds(_ seconds: Double) -> String {
  let tenths = Int((max(0, min(seconds, 1e9)) * 10).rounded())
  return "\(tenths / 10).\(tenths % 10) s"
}
