// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Foundation
import Synchronization
import Testing

@testable import Guest

/// Calls on object 1 wait until they are let go, as those on a disk that hangs.
final class Hanging: ServiceHandler {
  private let gate = DispatchSemaphore(value: 0)
  private let inside = Mutex((now: 0, most: 0))

  var now: Int { inside.withLock { $0.now } }
  var most: Int { inside.withLock { $0.most } }

  func mayBlock(_ call: Call) -> Bool { call.object == 1 }

  func handle(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply? {
    guard request.call.object == 1 else { return Reply(result: 7) }
    inside.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
    gate.wait()
    inside.withLock { $0.now -= 1 }
    return Reply(result: 8)
  }

  func letGo(_ count: Int) { for _ in 0..<count { gate.signal() } }

  func adopted(_ slice: Int, generation: UInt32) {}
  func died(_ slice: Int, generation: UInt32) {}
}

@Suite(.serialized) struct ServiceLoopTests {
  private let channel: MemoryChannel
  private let served: Served<Hanging>
  private let caller: Caller

  private static let threads = 4

  init() throws {
    channel = try the(MemoryChannel(carries: VOS_CARRIES_FILES))
    channel.giveOut(0)
    served = try Served(channel, threads: Self.threads, idleSeconds: 1) { _ in Hanging() }
    caller = Caller(channel)
  }

  /// Waits for what only a lost thread would keep from happening.
  private func comes(_ condition: () -> Bool) -> Bool {
    for _ in 0..<20000 {
      if condition() { return true }
      usleep(1000)
    }
    return false
  }

  /// More calls hang than there are threads: one goes on polling.
  @Test func whatHangsHoldsNothingElse() throws {
    defer { served.stop() }
    let hanging = try (0..<10).map { _ in try caller.post(VOS_CALL_FUSE, 1) }
    // Let go of before the end in any case: else nobody could end.
    var left = hanging.count
    defer { served.handler.letGo(left) }
    try #require(comes { served.handler.now == Self.threads - 1 })
    #expect(try caller.call(VOS_CALL_NULL).result == 7)
    let page = channel.region.page(of: .service)
    for _ in 0..<3 {
      let beat = page.heartbeat
      #expect(comes { page.heartbeat != beat })
    }
    channel.giveOut(1, generation: 4)
    #expect(try Caller(channel, slice: 1).call(VOS_CALL_NULL).result == 7)
    channel.region.publish(SliceEntry(state: .dead, generation: 4), slice: 1)
    channel.ringService()
    #expect(comes { channel.region.releasedGeneration(slice: 1) == 4 })
    // Those that had to wait for a thread are answered too, and never by more than there may be.
    served.handler.letGo(left)
    left = 0
    for ticket in hanging { #expect(try caller.wait(ticket).result == 8) }
    #expect(served.handler.most == Self.threads - 1)
  }

  @Test func queuedCallsAreNeverLeftBehind() throws {
    defer { served.stop() }
    served.handler.letGo(6000)
    for _ in 0..<500 {
      let tickets = try (0..<12).map {
        try caller.post(VOS_CALL_FUSE, $0 % 4 == 0 ? 0 : 1)
      }
      for (index, ticket) in tickets.enumerated() {
        #expect(try caller.wait(ticket).result == (index % 4 == 0 ? 7 : 8))
      }
    }
  }

  /// Threads that have nothing to do end, and come back when there is work.
  @Test func idleThreadsEnd() throws {
    defer { served.stop() }
    for _ in 0..<2 {
      let hanging = try (0..<6).map { _ in try caller.post(VOS_CALL_FUSE, 1) }
      #expect(comes { served.handler.now == Self.threads - 1 })
      #expect(served.loop.threadCount == Self.threads)
      served.handler.letGo(hanging.count)
      for ticket in hanging { #expect(try caller.wait(ticket).result == 8) }
      #expect(comes { served.loop.threadCount == 1 })
    }
    #expect(try caller.call(VOS_CALL_NULL).result == 7)
  }
}
