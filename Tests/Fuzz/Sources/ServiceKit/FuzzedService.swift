// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CGuest
import CVosABI
public import Channel
import ChannelKit
import FuzzKit

/// Calls on a service, one at a time, as a hostile client posts them. While a call is executed,
/// nothing of the region but its window may be touched by the handler or by the kernel.
@safe
public final class FuzzedService {
  private let fuzzed: FuzzedRegion
  public var region: ChannelRegion { fuzzed.region }
  private var port: ServicePort
  private let clients: [Holder]
  private let arenaBytes: Int
  /// Numbers that calls returned.
  private var objects: [UInt64] = []

  private final class Holder {
    let client: SliceClient
    init(_ region: ChannelRegion, _ slice: Int) {
      client = SliceClient(region: region, slice: slice)
    }
  }

  /// - Parameter answers: what the stand-in for the kernel answers from; kept while in use.
  public init(arenaBytes: Int) {
    let fuzzed = FuzzedRegion(slices: 2, slots: 2, arenaBytes: arenaBytes)
    self.fuzzed = fuzzed
    self.arenaBytes = arenaBytes
    port = ServicePort(region: fuzzed.region)
    while port.nextChange() != nil {}
    clients = (0..<2).map { Holder(fuzzed.region, $0) }
  }

  /// One call with bytes of the input in its window.
  ///
  /// - Parameters:
  ///   - object: known numbers are asked for by their index, below 8.
  ///   - handle: the service; a call it parks stays in its slot.
  public func call(
    _ call: Call, slice: Int, data: [UInt8],
    handle: (Request, UnsafeMutableRawBufferPointer) -> Reply?
  ) {
    var call = call
    if call.object < 8, Int(call.object) < objects.count { call.object = objects[Int(call.object)] }
    let client = clients[slice]
    guard let slot = client.client.takeSlot() else { return }
    let window = client.client.bytes(call.data)
    window.copyBytes(from: data.prefix(window.count))
    let ticket = client.client.submit(call, in: slot)
    guard let request = port.next() else {
      expect(client.client.poll(ticket)?.result == -22, "a call that was refused without a word")
      return client.client.giveBack(slot)
    }
    guard let reply = execute(request, handle) else { return }
    expect(
      reply.dataLength <= call.data.capacity, "the service answers more than there is room for")
    _ = port.complete(request, reply)
    expect(client.client.poll(ticket) == reply, "an answer that the client does not take")
    client.client.giveBack(slot)
    if reply.result > 0, objects.count < 8 { objects.append(UInt64(reply.result)) }
  }

  private func execute(
    _ request: Request, _ handle: (Request, UnsafeMutableRawBufferPointer) -> Reply?
  ) -> Reply? {
    let window = port.bytes(request)
    let slices = fuzzed.slices
    fuzz_forbid(slices.baseAddress, slices.count)
    fuzz_allow(window.baseAddress, window.count)
    fuzz_kernel_window(window.baseAddress, window.count)
    defer {
      fuzz_kernel_window(nil, 0)
      fuzz_allow(slices.baseAddress, slices.count)
    }
    return handle(request, window)
  }
}
