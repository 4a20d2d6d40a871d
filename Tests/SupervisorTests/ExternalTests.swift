// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Foundation
import Glibc
import LinuxSystem
import Testing

@testable import Supervisor

@Suite struct IvshmemSessionTests {
  private func all(_ peer: UInt32) -> [IvshmemMessage] {
    var session = IvshmemSession(peer: peer)
    var messages: [IvshmemMessage] = []
    while let message = session.next {
      messages.append(message)
      session.advance()
    }
    return messages
  }

  @Test func theOrderIsTheProtocols() {
    // docs/specs/ivshmem-spec: version, own id, memory, other peers, own doorbells.
    let messages = all(VOS_PEER_SERVICE)
    #expect(messages.map(\.number) == [0, 1, -1, 0, 2, 1])
    #expect(
      messages.map(\.attachment) == [
        nil, nil, .region, .bell(VOS_PEER_CLIENT), .bell(VOS_PEER_HOST), .bell(VOS_PEER_SERVICE),
      ])
    #expect(all(VOS_PEER_CLIENT).map(\.number) == [0, 0, -1, 1, 2, 0])
  }

  @Test func numbersAreLittleEndian() {
    #expect(IvshmemMessage(number: 0x0102).bytes == [2, 1, 0, 0, 0, 0, 0, 0])
    #expect(IvshmemMessage(number: -1).bytes == [UInt8](repeating: 0xff, count: 8))
  }

  @Test func whatWasNotSentStaysNext() {
    var session = IvshmemSession(peer: VOS_PEER_CLIENT)
    #expect(session.next == session.next)
    for _ in 0..<6 { session.advance() }
    #expect(session.next == nil)
    session.advance()
    #expect(session.next == nil)
  }
}

@Suite struct ExternalLifeTests {
  private func awaited() -> DomainLifeCycle {
    var life = DomainLifeCycle(limits: .init(boot: 60, powerOff: 30), isExternal: true)
    #expect(life.handle(.start, at: 0) == [.expect(generation: 1)])
    return life
  }

  private func ready() -> DomainLifeCycle {
    var life = awaited()
    #expect(life.handle(.joined, at: 5) == [.admit(generation: 1)])
    #expect(life.handle(.announced, at: 9) == [.becameReady(bootSeconds: 4)])
    return life
  }

  @Test func itComesAndGoesByItself() {
    var life = ready()
    #expect(life.handle(.left, at: 10) == [.dismiss, .announceAbsence, .expect(generation: 2)])
    #expect(life.state == .awaited)
    #expect(life.handle(.left, at: 10) == [])
    #expect(life.handle(.joined, at: 11) == [.admit(generation: 2)])
    #expect(life.handle(.joined, at: 11) == [])
    #expect(life.generation == 2)
  }

  @Test func nobodyHurriesIt() {
    var life = awaited()
    #expect(life.deadline == nil)
    _ = life.handle(.joined, at: 5)
    #expect(life.deadline == nil)
    #expect(life.handle(.tick, at: 1e6) == [])
  }

  @Test func itIsAskedToPowerOffAndThenLeft() {
    var life = ready()
    #expect(life.handle(.stop, at: 20) == [.askPowerOff])
    var willing = life
    #expect(willing.handle(.left, at: 21) == [.dismiss, .announceAbsence])
    #expect(willing.state == .stopped)
    #expect(life.handle(.tick, at: 49) == [])
    #expect(life.handle(.tick, at: 50) == [.dismiss, .announceAbsence])
    #expect(life.state == .stopped)
    #expect(life.handle(.joined, at: 51) == [])
  }

  @Test func oneThatNeverCameIsStoppedAtOnce() {
    var life = awaited()
    #expect(life.handle(.stop, at: 1) == [.dismiss, .announceAbsence])
    #expect(life.state == .stopped)
  }

  @Test func aSystemDoesNotWaitForIt() {
    var system = SystemLifeCycle(domains: ["desk", "net"], primary: "desk")
    _ = system.handle(.prepared)
    #expect(system.handle(.domain("desk", .awaited)) == [])
    #expect(system.handle(.domain("net", .ready)) == [.announceUp])
    #expect(system.handle(.domain("desk", .awaited)) == [])
    #expect(system.handle(.stop) == [.stop(["desk"])])
    #expect(system.handle(.domain("desk", .gone)) == [.stop(["net"])])
  }
}

/// A client of an ivshmem server, as QEMU's device is one.
private final class Client {
  let socket: MessageSocket
  private(set) var numbers: [Int64] = []
  private(set) var region: ChannelRegion?
  private var mapping: SharedMapping?
  private var bells: [Int64: Int32] = [:]

  deinit {
    for bell in bells.values { close(bell) }
  }

  func ringHost() {
    var one: UInt64 = 1
    if let bell = bells[Int64(VOS_PEER_HOST)] { write(bell, &one, 8) }
  }

  /// How often `peer` was rung since the last question.
  func rings(of peer: UInt32) -> UInt64 {
    var count: UInt64 = 0
    if let bell = bells[Int64(peer)] { read(bell, &count, 8) }
    return count
  }

  /// Connects and takes what the server says; fewer numbers than six if it hangs up.
  init(_ path: String) throws {
    socket = MessageSocket(owning: try UnixSocket.connect(path))
    while numbers.count < 6, let message = try? socket.receive(maximum: 8) {
      let number = message.bytes.enumerated().reduce(Int64(0)) {
        $0 | Int64($1.element) << (8 * $1.offset)
      }
      numbers.append(number)
      guard let descriptor = message.descriptors.take(0) else { continue }
      try take(number, descriptor)
    }
  }

  private func take(_ number: Int64, _ descriptor: consuming OwnedDescriptor) throws {
    guard number == -1 else {
      bells[number] = descriptor.release()
      return
    }
    var status = stat()
    #expect(fstat(descriptor.rawValue, &status) == 0)
    let mapping = try SharedMapping(descriptor, byteCount: Int(status.st_size))
    region = try ChannelRegion(mappedAt: mapping.baseAddress, byteCount: mapping.byteCount)
    self.mapping = consume mapping
  }
}

/// The real vosctl and vosd, with a domain that nobody but the test runs.
@Suite(
  .serialized,
  .enabled(if: Programs.areBuilt, "vosctl, vosd and vosfakevmm are not beside the tests"))
struct ExternalDomainTests {
  static let manifest = """
    vos: 1
    system: toy
    domains:
      primary: {kernel: kernel, memory: 64MiB}
      other: {monitor: external, serves: files, storage: {source: /dev/sda}}
    """

  private func start() throws -> Programs {
    let programs = try Programs()
    try programs.scratch.write("external.yaml", Self.manifest)
    let up = try programs.up("external")
    #expect(up.code == 0, "\(up)")
    return programs
  }

  @Test func aPeerThatJoinsAndLeavesIsSeen() throws {
    let programs = try start()
    #expect(try programs.other().state == "awaited")
    #expect(try programs.status().state == "degraded")
    let sockets = try #require(try programs.other().external?.sockets)
    #expect(sockets.map(\.channel) == ["control", "other"])
    #expect(sockets.map(\.slot) == [3, 4])
    for socket in sockets {
      let attributes = try FileManager.default.attributesOfItem(atPath: socket.path)
      #expect((attributes[.posixPermissions] as? Int) == 0o600)
    }
    let control = try Client(sockets[0].path)
    let files = try Client(sockets[1].path)
    #expect(control.numbers == [0, 1, -1, 0, 2, 1])
    #expect(files.numbers == control.numbers)
    let region = try #require(files.region)
    #expect(region.life(of: .service) == .alive && region.generation(of: .service) == 1)
    #expect(region.geometry.carries == VOS_CARRIES_FILES)
    #expect(try programs.other().state == "booting")
    #expect(try programs.other().pid == getpid())
    // Its agent announces itself, and rings the host.
    try #require(control.region).page(of: .service).announce(.ready, generation: 1)
    control.ringHost()
    try programs.wait("ready") { try programs.other().state == "ready" }
    #expect(try programs.status().state == "running")
    // A word from a client ends it: both ends are hung up on, and the other side is told.
    try files.socket.send([1])
    try programs.wait("the end") { try programs.other().state == "awaited" }
    #expect(region.life(of: .service) == .absent)
    #expect(region.page(of: .service).state == .absent)
    #expect((try? control.socket.receive(maximum: 8)) ?? nil == nil)
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  /// Both ends of the files channel in the hands of the test.
  private func bothEnds(_ programs: Programs) throws -> (client: Client, service: Client) {
    try programs.scratch.write(
      "external.yaml",
      Self.manifest.replacing(
        "primary: {kernel: kernel, memory: 64MiB}", with: "primary: {monitor: external}"))
    #expect(try programs.up("external").code == 0)
    let ends = try programs.status().domains.map { domain in
      try Client(#require(domain.external?.sockets.first { $0.channel == "other" }).path)
    }
    return (ends[0], ends[1])
  }

  private func channel(_ programs: Programs) throws -> SystemStatus.ChannelStatus {
    try #require(try programs.status().domains.first?.channels.first)
  }

  @Test func aBrokenChannelIsMadeNewWhenBothSidesHaveLetGo() throws {
    let programs = try Programs()
    let (client, service) = try bothEnds(programs)
    let region = try #require(client.region)
    region.page(of: .client).announce(.ready, generation: 1)
    region.page(of: .service).announce(.ready, generation: 1)
    region.publish(SliceEntry(state: .live, generation: 1), slice: 0)
    #expect(try channel(programs).state == "sound")
    _ = service.rings(of: VOS_PEER_SERVICE)
    // The client has seen something impossible.
    let watch = try #require(ChannelWatch(region: region, side: .client, milliseconds: 0))
    watch.declareBroken()
    client.ringHost()
    try programs.wait("both lives to be failed") {
      region.life(of: .client) == .failed && region.life(of: .service) == .failed
    }
    #expect(service.rings(of: VOS_PEER_SERVICE) > 0, "the other side is told")
    #expect(try channel(programs).state == "broken")
    #expect(try programs.vosctl("ps").output.contains("primary: channel other is broken"))
    region.leave(.client)
    client.ringHost()
    #expect(try channel(programs).state == "broken", "one side still has it")
    #expect(region.sliceEntry(0).state == .live)
    region.leave(.service)
    service.ringHost()
    try programs.wait("the new life") { region.life(of: .client) == .alive }
    #expect(region.generation(of: .client) == 2 && region.generation(of: .service) == 2)
    #expect(region.sliceEntry(0) == SliceEntry(state: .free, generation: 0))
    #expect(region.page(of: .service).state == .absent)
    #expect(try channel(programs).state == "sound")
    #expect(try channel(programs).renewals == 1)
    #expect(try programs.vosctl("ps").output.contains("channel other was broken and made new once"))
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  /// A side that does not let go holds the channel until its domain ends.
  @Test func aDomainThatEndsHasLetGo() throws {
    let programs = try Programs()
    var ends: (client: Client, service: Client)? = try bothEnds(programs)
    let region = try #require(ends?.client.region)
    region.page(of: .service).announce(.broken, generation: 1)
    ends?.service.ringHost()
    try programs.wait("the failure") { region.life(of: .client) == .failed }
    // The word ends the service's life; its page is spoken for by the host.
    try ends?.service.socket.send([1])
    try programs.wait("the end") { region.life(of: .service) == .absent }
    #expect(try channel(programs).state == "broken", "the client still has it")
    region.leave(.client)
    ends?.client.ringHost()
    try programs.wait("the new life") { region.life(of: .client) == .alive }
    #expect(region.generation(of: .client) == 2)
    #expect(region.life(of: .service) == .absent)
    // A word of an earlier life breaks nothing.
    region.page(of: .client).announce(.broken, generation: 1)
    ends?.client.ringHost()
    #expect(try channel(programs).state == "sound")
    ends = nil
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  /// The host is a control channel's client: its calls end, and the agent's next life is served.
  @Test func aBrokenControlChannelIsMadeNew() throws {
    let programs = try start()
    let sockets = try #require(try programs.other().external?.sockets)
    let control = try Client(sockets[0].path)
    let region = try #require(control.region)
    region.page(of: .service).announce(.ready, generation: 1)
    control.ringHost()
    try programs.wait("ready") { try programs.other().state == "ready" }
    let exec = try programs.start(["exec", "other", "--", "true"])
    var port = ServicePort(region: region)
    try programs.wait("the call") {
      while port.nextChange() != nil {}
      return port.next() != nil
    }
    region.page(of: .service).announce(.broken, generation: 1)
    control.ringHost()
    #expect(programs.finish(exec).code != 0, "a call in flight ends with an error")
    region.leave(.service)
    control.ringHost()
    try programs.wait("the new life") { region.life(of: .service) == .alive }
    #expect(region.generation(of: .service) == 2)
    #expect(region.sliceEntry(0) == SliceEntry(state: .live, generation: 2))
    #expect(region.page(of: .client).state == .ready)
    // The next agent serves.
    region.page(of: .service).announce(.ready, generation: 2)
    let again = try programs.start(["exec", "other", "--", "true"])
    var next = ServicePort(region: region)
    try programs.wait("another call") {
      while next.nextChange() != nil {}
      guard let request = next.next() else { return false }
      #expect(UInt32(request.call.number) == VOS_CALL_EXEC)
      return !next.complete(request, Reply(result: -2)) || true
    }
    control.ringHost()
    #expect(programs.finish(again).code == 127)
    // Nobody would answer the power-off.
    try control.socket.send([1])
    try programs.wait("the end") { try programs.other().state == "awaited" }
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  @Test func whoMayNotJoinIsHungUpOn() throws {
    let programs = try start()
    let sockets = try #require(try programs.other().external?.sockets)
    var first: Client? = try Client(sockets[0].path)
    #expect(first?.numbers.count == 6)
    #expect(try Client(sockets[0].path).numbers == [], "this end is taken")
    // Dropped: the life has ended, but its process lives, and what it mapped it may still write.
    first = nil
    try programs.wait("the end") { try programs.other().state == "awaited" }
    #expect(try Client(sockets[1].path).numbers == [])
    #expect(try programs.other().generation == 1)
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  @Test func itsQEMUIsToldWhatToConnect() throws {
    let programs = try start()
    let outcome = try programs.vosctl("qemu-args", "other")
    let directory = programs.runtime + "/toy"
    #expect(
      outcome.output == """
        -chardev socket,id=vos0,path=\(directory)/channel-1-service
        -device ivshmem-doorbell,chardev=vos0,vectors=1,addr=0x3
        -chardev socket,id=vos1,path=\(directory)/channel-2-service
        -device ivshmem-doorbell,chardev=vos1,vectors=1,addr=0x4
        -dtb \(directory)/other.dtb
        -no-reboot

        """)
    let tree = try Data(contentsOf: URL(fileURLWithPath: directory + "/other.dtb"))
    #expect(tree.starts(with: [0xd0, 0x0d, 0xfe, 0xed]))
    #expect(try programs.vosctl("qemu-args", "primary").code == 2)
    #expect(try programs.vosctl("qemu-args", "nobody").code == 2)
    #expect(try programs.vosctl("console", "other").code == 2)
    #expect(try programs.vosctl("exec", "other", "--", "true").code == 3)
    // Sockets and trees do not keep a dead system's directory.
    let pid = try programs.status().pid
    kill(pid, SIGKILL)
    try programs.wait("vosd to die") { ProcessIdentity(pid: pid) == nil }
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }
}

extension Programs {
  /// The status of the domain "other".
  func other() throws -> SystemStatus.DomainStatus {
    try #require(try status().domains.first { $0.name == "other" })
  }
}
