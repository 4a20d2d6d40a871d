// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Testing

@testable import Channel

@Suite struct CallTests {
  private let test: TestRegion
  private let region: ChannelRegion

  init() throws {
    test = try TestRegion()
    region = test.region
    test.giveOut(0)
  }

  @Test func aCallGoesThereAndBack() throws {
    let client = SliceClient(region: region, slice: 0)
    var port = ServicePort(region: region)
    port.adoptAll()
    let slot = try the(client.takeSlot())
    var data = client.window(of: slot)
    data.length = 3
    client.bytes(data)[0] = 42
    let ticket = client.submit(
      Call(UInt16(VOS_CALL_WRITE), object: 5, arguments: (1, 2, 3), data: data), in: slot)
    #expect(client.poll(ticket) == nil)

    let request = try the(port.next())
    #expect(request.call.number == UInt16(VOS_CALL_WRITE))
    #expect(request.call.object == 5)
    #expect(request.call.arguments == (1, 2, 3))
    #expect(request.call.data == data)
    #expect(port.bytes(request)[0] == 42)
    #expect(port.next() == nil)
    #expect(port.isIdle(0) == false)
    #expect(port.complete(request, Reply(result: 3, dataLength: 7)) == false)
    #expect(port.isIdle(0) == true)
    #expect(client.poll(ticket) == Reply(result: 3, dataLength: 7))
    #expect(port.next() == nil)
    client.giveBack(slot)
  }

  @Test func slotsAreTakenOnceAndRaiseTheLimit() throws {
    let client = SliceClient(region: region, slice: 0)
    let taken = (0..<8).map { _ in client.takeSlot() }
    #expect(taken == [0, 1, 2, 3, 4, 5, 6, 7])
    #expect(client.takeSlot() == nil)
    #expect(client.memory.slotLimit == 8)
    client.giveBack(3)
    #expect(client.takeSlot() == 3)
  }

  @Test func aWindowOutsideTheArenaIsRefused() throws {
    let client = SliceClient(region: region, slice: 0)
    var port = ServicePort(region: region)
    port.adoptAll()
    let slot = try the(client.takeSlot())
    let bad = [
      DataWindow(offset: 65536, length: 1), DataWindow(offset: 65535, length: 0, capacity: 2),
      DataWindow(offset: .max, length: .max, capacity: .max), DataWindow(offset: 0, length: 65537),
      DataWindow(offset: 1, length: .max),
    ]
    for window in bad {
      let ticket = client.submit(Call(0, data: window), in: slot)
      #expect(port.next() == nil)
      #expect(client.poll(ticket)?.result == -22)
      #expect(client.bytes(window).isEmpty)
    }
    let edge = client.submit(Call(0, data: DataWindow(offset: 65536)), in: slot)
    let request = try the(port.next())
    #expect(port.complete(request, Reply(result: 0)) == false)
    #expect(client.poll(edge) == Reply(result: 0))
  }

  @Test func flagsMustBeZero() throws {
    let client = SliceClient(region: region, slice: 0)
    var port = ServicePort(region: region)
    port.adoptAll()
    let slot = try the(client.takeSlot())
    let ticket = client.submit(Call(0), in: slot)
    let slots = region.geometry.slicesOffset + region.geometry.slotsOffset
    test.base.storeBytes(of: 1, toByteOffset: slots + 6, as: UInt16.self)
    #expect(client.announceWaiter(ticket) != nil)
    var events: [Int] = []
    #expect(port.next { slice, slot in events.append(slice * 100 + slot) } == nil)
    #expect(events == [0])
    #expect(client.poll(ticket)?.result == -22)
  }

  @Test func repliesAreCheckedOnBothSides() throws {
    let client = SliceClient(region: region, slice: 0)
    var port = ServicePort(region: region)
    port.adoptAll()
    let slot = try the(client.takeSlot())
    let window = DataWindow(offset: 0, length: 0, capacity: 16)
    let long = client.submit(Call(0, data: window), in: slot)
    _ = port.complete(try the(port.next()), Reply(result: 17, dataLength: 17))
    #expect(client.poll(long)?.result == -71)

    let ticket = client.submit(Call(0, data: window), in: slot)
    let slots = region.geometry.slicesOffset + region.geometry.slotsOffset
    _ = port.complete(try the(port.next()), Reply(result: 1, dataLength: 1))
    test.base.storeBytes(of: 17, toByteOffset: slots + 20, as: UInt32.self)
    #expect(client.poll(ticket)?.result == -71)
    test.base.storeBytes(of: 1, toByteOffset: slots + 20, as: UInt32.self)
    test.base.storeBytes(of: -4096, toByteOffset: slots + 56, as: Int64.self)
    #expect(client.poll(ticket)?.result == -71)
  }

  @Test func aWaiterIsToldOnce() throws {
    let client = SliceClient(region: region, slice: 0)
    var port = ServicePort(region: region)
    port.adoptAll()
    let slot = try the(client.takeSlot())
    let first = client.submit(Call(0), in: slot)
    #expect(client.announceWaiter(first) != nil)
    #expect(client.announceWaiter(first) != nil)
    #expect(port.complete(try the(port.next()), Reply(result: 0)) == true)
    #expect(client.announceWaiter(first) == nil)
    let second = client.submit(Call(0), in: slot)
    #expect(port.complete(try the(port.next()), Reply(result: 0)) == false)
    #expect(client.announceWaiter(second) == nil)
  }

  @Test func aSlotInServiceIsNotServedAgain() throws {
    let client = SliceClient(region: region, slice: 0)
    var port = ServicePort(region: region)
    port.adoptAll()
    let slot = try the(client.takeSlot())
    _ = client.submit(Call(0), in: slot)
    let request = try the(port.next())
    // A client that breaks the protocol and posts over a call in service gains nothing by it.
    let second = client.submit(Call(1), in: slot)
    #expect(port.next() == nil)
    _ = port.complete(request, Reply(result: 0))
    #expect(client.poll(second)?.result == -71)
  }

  @Test func aDamagedSlotEndsItsCall() throws {
    let client = SliceClient(region: region, slice: 0)
    let slot = try the(client.takeSlot())
    let slots = region.geometry.slicesOffset + region.geometry.slotsOffset
    let call = Call(7, object: 1, arguments: (2, 3, 4), data: DataWindow(offset: 64, capacity: 8))
    let ticket = client.submit(call, in: slot)
    func isIntact() -> Bool { client.isIntact(ticket, call) }
    #expect(client.poll(ticket) == nil)
    #expect(client.announceWaiter(ticket) != nil)
    #expect(client.poll(ticket) == nil)
    #expect(isIntact() == true)
    for (word, good) in [(0x1_00 | 5, true), (0x1_00, false), (0x2_01, false), (0x1_09, false)] {
      test.base.storeBytes(of: UInt32(word), toByteOffset: slots, as: UInt32.self)
      #expect((client.poll(ticket) == nil) == good)
      if !good { #expect(client.poll(ticket)?.result == -71) }
    }
    // Whatever of the line but the length and the result is the caller's alone.
    for offset in 4..<56 where !(20..<24).contains(offset) && !(28..<32).contains(offset) {
      let old = test.base.load(fromByteOffset: slots + offset, as: UInt8.self)
      test.base.storeBytes(of: old ^ 0x10, toByteOffset: slots + offset, as: UInt8.self)
      #expect(isIntact() == false, "byte \(offset)")
      test.base.storeBytes(of: old, toByteOffset: slots + offset, as: UInt8.self)
    }
    #expect(isIntact() == true)
    test.base.storeBytes(of: 0, toByteOffset: region.geometry.slicesOffset, as: UInt32.self)
    #expect(isIntact() == false)
  }

  @Test func aWithdrawnCallIsNotServed() throws {
    let client = SliceClient(region: region, slice: 0)
    let slot = try the(client.takeSlot())
    let ticket = client.submit(Call(0), in: slot)
    #expect(client.withdraw(ticket) == .untouched)
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(port.next() == nil)
    let again = client.submit(Call(0), in: slot)
    _ = port.complete(try the(port.next()), Reply(result: 8))
    #expect(client.withdraw(again) == .answered(Reply(result: 8)))
  }

  @Test func sequencesWrapAround() throws {
    var storage = SliceClientStorage()
    storage.sequences[0] = 0x00ff_fffd
    try withUnsafeMutablePointer(to: &storage) { storage in
      let client = SliceClient(
        slice: test.base + region.geometry.slicesOffset, shape: SliceShape(region.geometry),
        storage: storage)
      var port = ServicePort(region: region)
      port.adoptAll()
      let slot = try the(client.takeSlot())
      for round in 0..<5 {
        let ticket = client.submit(Call(0), in: slot)
        _ = port.complete(try the(port.next()), Reply(result: Int64(round)))
        #expect(client.poll(ticket)?.result == Int64(round))
      }
    }
  }

  @Test func slicesAndSlotsTakeTurns() throws {
    test.giveOut(1)
    let first = SliceClient(region: region, slice: 0)
    let second = SliceClient(region: region, slice: 1)
    var port = ServicePort(region: region)
    port.adoptAll()
    for client in 0..<2 {
      for _ in 0..<2 {
        if client == 0 {
          _ = first.submit(Call(0), in: first.takeSlot()!)
        } else {
          _ = second.submit(Call(0), in: second.takeSlot()!)
        }
      }
    }
    var order: [Int] = []
    while let request = port.next() {
      order.append(request.slice * 10 + request.slot)
      _ = port.complete(request, Reply(result: 0))
    }
    #expect(order == [0, 10, 1, 11])
  }
}
