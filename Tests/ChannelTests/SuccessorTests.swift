// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Testing

@testable import Channel

/// What a service finds that its predecessor, killed at any moment, has left.
@Suite struct SuccessorTests {
  private let test: TestRegion
  private let region: ChannelRegion

  init() throws {
    test = try TestRegion()
    region = test.region
    test.giveOut(0)
    test.giveOut(1)
  }

  /// A service that has adopted what there is; `taking` calls are taken and never answered.
  private func serve(taking count: Int) throws {
    var port = ServicePort(region: region)
    port.adoptAll()
    for _ in 0..<count { _ = try the(port.next()) }
  }

  @Test func aTakenCallIsAnsweredAndNotExecutedAgain() throws {
    let client = SliceClient(region: region, slice: 1)
    let taken = client.submit(Call(1), in: try the(client.takeSlot()))
    try serve(taking: 1)
    let untouched = client.submit(Call(2), in: try the(client.takeSlot()))
    #expect(client.announceWaiter(taken) != nil)
    var port = ServicePort(region: region)
    port.adoptAll()
    var events: [Int] = []
    port.answerOrphans { events += [$0, $1] }
    #expect(client.poll(taken)?.result == Int64(VOS_RESULT_LOST))
    #expect(events == [1, 0], "whoever sleeps is woken")
    #expect(client.poll(untouched) == nil)
    let request = try the(port.next())
    #expect(request.call.number == 2)
    _ = port.complete(request, Reply(result: 5))
    #expect(client.poll(untouched)?.result == 5)
    #expect(port.next() == nil)
  }

  /// Also by a service that does not ask for it.
  @Test func nextAnswersOrphansToo() throws {
    let client = SliceClient(region: region, slice: 0)
    let taken = client.submit(Call(1), in: try the(client.takeSlot()))
    try serve(taking: 1)
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(port.next() == nil)
    #expect(client.poll(taken)?.isLost == true)
    #expect(port.isIdle(0) == true)
  }

  @Test func answersGivenBeforeStay() throws {
    let client = SliceClient(region: region, slice: 1)
    let slot = try the(client.takeSlot())
    let ticket = client.submit(Call(1), in: slot)
    do {
      var port = ServicePort(region: region)
      port.adoptAll()
      _ = port.complete(try the(port.next()), Reply(result: 7))
    }
    try serve(taking: 0)
    #expect(client.poll(ticket)?.result == 7)
    // The next call in the same slot was never taken.
    _ = client.submit(Call(3), in: slot)
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(try the(port.next()).call.number == 3)
  }

  @Test func whoGivesUpLearnsWhetherItWasTaken() throws {
    let client = SliceClient(region: region, slice: 1)
    let taken = client.submit(Call(1), in: try the(client.takeSlot()))
    try serve(taking: 1)
    let untouched = client.submit(Call(2), in: try the(client.takeSlot()))
    #expect(client.announceWaiter(untouched) != nil)
    #expect(client.withdraw(taken) == .lost)
    #expect(client.withdraw(untouched) == .untouched)
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(port.next() == nil)
    // Given up, asked again in the same slot: this one nobody took.
    let again = client.submit(Call(4), in: taken.slot)
    #expect(try the(port.next()).call.number == 4)
    #expect(client.withdraw(again) == .lost)
  }

  @Test func whatAnOrphanSaysIsNoAnswer() throws {
    let client = SliceClient(region: region, slice: 1)
    let taken = client.submit(Call(1), in: try the(client.takeSlot()))
    try serve(taking: 1)
    try serve(taking: 0)
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(port.next() == nil)
    #expect(client.withdraw(taken) == .lost)
  }

  @Test func anotherProcessInheritsNothing() throws {
    do {
      let client = SliceClient(region: region, slice: 1)
      _ = client.submit(Call(1), in: try the(client.takeSlot()))
      try serve(taking: 1)
    }
    // Given out again; its first sequence is the one that was taken.
    test.giveOut(1, generation: 2)
    let client = SliceClient(region: region, slice: 1)
    let ticket = client.submit(Call(9), in: try the(client.takeSlot()))
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(try the(port.next()).call.number == 9)
    #expect(client.poll(ticket) == nil)
  }

  @Test func aChannelMadeNewHasNothingTaken() throws {
    let client = SliceClient(region: region, slice: 0)
    let ticket = client.submit(Call(1), in: try the(client.takeSlot()))
    try serve(taking: 1)
    try region.renew(
      name: Array("test".utf8).span, client: .init(.alive, generation: 2),
      service: .init(.alive, generation: 2))
    #expect(client.withdraw(ticket) == .lost, "nobody knows any more")
  }
}
