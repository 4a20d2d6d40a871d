// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Foundation
import Synchronization
import Testing

@testable import Guest

/// A file service that takes a request and never answers it: one that is killed at that moment.
final class Stalling: ServiceHandler {
  private let inner: FuseService
  private let opcode: UInt32
  private let gate = DispatchSemaphore(value: 0)
  let taken = DispatchSemaphore(value: 0)
  private let isArmed = Atomic<Bool>(false)

  init(_ inner: FuseService, at opcode: fuse_opcode) {
    (self.inner, self.opcode) = (inner, opcode.rawValue)
  }

  /// From now on, and until `letGo`.
  func arm() { isArmed.store(true, ordering: .releasing) }
  func letGo() { gate.signal() }

  func mayBlock(_ call: Call) -> Bool { false }

  func handle(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply? {
    let head = bytes.loadUnaligned(as: fuse_in_header.self)
    guard isArmed.load(ordering: .acquiring), head.opcode == opcode else {
      return inner.handle(request, bytes)
    }
    taken.signal()
    gate.wait()
    return nil
  }

  func adopted(_ slice: Int, generation: UInt32) { inner.adopted(slice, generation: generation) }
  func died(_ slice: Int, generation: UInt32) { inner.died(slice, generation: generation) }
}

/// A service is killed while it executes a call; the next one comes at once, in a life that has the
/// same number (its daemon was started again) or another (its domain was).
@Suite(.serialized, .enabled(if: canMount, "needs root and /dev/fuse"))
struct ServiceLossTests {
  private let mount: String
  private let export: String
  private let channel: MemoryChannel
  private let ended = DispatchSemaphore(value: 0)

  init() throws {
    (mount, export) = (try scratchFolder(), try scratchFolder())
    channel = try the(MemoryChannel(carries: VOS_CARRIES_FILES))
    channel.giveOut(0)
    channel.giveOut(1)
  }

  private func begin(_ opcode: fuse_opcode) throws -> Served<Stalling> {
    let export = export
    let served = try Served(channel) { region in
      FuseService(region: region, export: export).map { Stalling($0, at: opcode) }
    }
    let fuse = try the(FileForwarder.mount(at: mount, name: "test").descriptor)
    let forwarder = FileForwarder(
      MemoryChannel.Client(channel, slice: 1), fuse: fuse, mountedAt: mount)
    let ended = ended
    System.startThread {
      forwarder.run(threads: 4)
      ended.signal()
    }
    return served
  }

  private func killAndReplace(newLife: Bool) throws -> Served<FuseService> {
    let region = channel.region
    let generation = region.generation(of: .service)
    if newLife {
      region.announce(.service, life: .failed, generation: generation)
      region.page(of: .service).announce(.absent, generation: 0)
      region.announce(.service, life: .alive, generation: generation + 1)
    } else {
      region.page(of: .service).announce(.driver, generation: generation)
    }
    let export = export
    return try Served(channel, threads: 4) { FuseService(region: $0, export: export) }
  }

  private func end(_ first: Served<Stalling>, _ second: Served<FuseService>) {
    _ = try? shell("umount \(mount) || umount -l \(mount)")
    ended.wait()
    second.stop()
    first.loop.stop()
    first.handler.letGo()
    first.stop()
  }

  @Test(arguments: [false, true])
  func whatWasTakenIsNotExecutedTwiceAndTheRestIsServed(newLife: Bool) throws {
    let first = try begin(FUSE_MKDIR)
    try shell("ls \(mount)")
    first.handler.arm()
    let mount = mount
    let codes = Mutex<[String: String]>([:])
    let made = DispatchSemaphore(value: 0)
    func make(_ name: String) {
      System.startThread {
        let code = try? shell("mkdir \(mount)/\(name) 2>/dev/null && echo 0 || echo $?")
        codes.withLock { $0[name] = code ?? "" }
        made.signal()
      }
    }
    make("taken")
    #expect(first.handler.taken.wait(timeout: .now() + 20) == .success)
    // Its only thread hangs: these are never taken. The kernel asks by one lookup at a time.
    make("untouched")
    usleep(100_000)
    let second = try killAndReplace(newLife: newLife)
    defer { end(first, second) }
    for _ in 0..<2 { #expect(made.wait(timeout: .now() + 30) == .success) }
    #expect(codes.withLock { $0 } == ["taken": "1\n", "untouched": "0\n"])
    #expect(try shell("ls \(mount)") == "untouched\n")
  }

  @Test(arguments: [false, true])
  func whatMayBeAskedTwiceIs(newLife: Bool) throws {
    let first = try begin(FUSE_STATFS)
    try shell("ls \(mount)")
    first.handler.arm()
    let mount = mount
    let answered = DispatchSemaphore(value: 0)
    System.startThread {
      if (try? shell("stat -f \(mount) > /dev/null")) != nil { answered.signal() }
    }
    #expect(first.handler.taken.wait(timeout: .now() + 20) == .success)
    let second = try killAndReplace(newLife: newLife)
    defer { end(first, second) }
    #expect(answered.wait(timeout: .now() + 30) == .success)
  }
}
