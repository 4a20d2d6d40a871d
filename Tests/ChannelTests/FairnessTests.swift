// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Testing

@testable import Channel

/// One process with all its slots in flight, another with one call at a time.
@Suite struct FairnessTests {
  private static let heavySlots = 64
  private let region: ChannelRegion

  init() throws {
    let test = try TestRegion(slices: 8, slots: Self.heavySlots)
    region = test.region
    test.giveOut(2)
    test.giveOut(5)
  }

  /// Serves one call, and posts it again if it was the heavy one's. True if it was the light one's.
  private func serveOne(_ port: inout ServicePort, _ heavy: borrowing SliceClient) throws -> Bool {
    let request = try the(port.next())
    _ = port.complete(request, Reply(result: 0))
    guard request.slice == 2 else { return true }
    _ = heavy.submit(Call(0), in: request.slot)
    return false
  }

  /// How many of the heavy one's calls are served before a call of the light one.
  private func waits(calls: Int, pause: Int) throws -> [Int] {
    let heavy = SliceClient(region: region, slice: 2)
    let light = SliceClient(region: region, slice: 5)
    var port = ServicePort(region: region)
    port.adoptAll()
    for _ in 0..<Self.heavySlots { _ = heavy.submit(Call(0), in: try the(heavy.takeSlot())) }
    let slot = try the(light.takeSlot())
    return try (0..<calls).map { _ in
      for _ in 0..<pause { #expect(try serveOne(&port, heavy) == false) }
      _ = light.submit(Call(0), in: slot)
      var count = 0
      while try !serveOne(&port, heavy) { count += 1 }
      return count
    }
  }

  @Test func aCallWaitsForOneOfABusyProcess() throws {
    let waits = try waits(calls: 500, pause: 0)
    #expect(waits.dropFirst().allSatisfy { $0 <= 1 })
  }

  @Test func afterAShortThoughtItWaitsForTwo() throws {
    let waits = try waits(calls: 500, pause: 2)
    #expect(waits.dropFirst().allSatisfy { $0 <= 2 })
  }

  @Test func aRareCallWaitsForOneTurnAtMost() throws {
    let waits = try waits(calls: 50, pause: 5000)
    #expect(waits.allSatisfy { $0 <= Self.heavySlots })
  }

  /// All slots of the heavy one are served, too.
  @Test func noSlotStarves() throws {
    let heavy = SliceClient(region: region, slice: 2)
    var port = ServicePort(region: region)
    port.adoptAll()
    for _ in 0..<Self.heavySlots { _ = heavy.submit(Call(0), in: try the(heavy.takeSlot())) }
    var served: [Int: Int] = [:]
    for _ in 0..<(10 * Self.heavySlots) {
      let request = try the(port.next())
      served[request.slot, default: 0] += 1
      _ = port.complete(request, Reply(result: 0))
      _ = heavy.submit(Call(0), in: request.slot)
    }
    #expect(served.count == Self.heavySlots && served.values.allSatisfy { $0 == 10 })
  }
}
