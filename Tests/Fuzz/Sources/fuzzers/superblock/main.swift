// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CModule
import CVosABI
import FuzzKit

@testable import Channel

// The superblock readers, ours and the kernel module's, and the check of a slice's shape: whatever is
// accepted leads nowhere outside the region. Input: pages of the region, a seed, a superblock, then a shape.
fuzz { input in
  visitRegion(&input)
  visitShape(&input)
}

private func visitRegion(_ input: inout Input) {
  let pages = Pages(byteCount: (1 + input.below(64)) * 4096)
  let seed = input.number(UInt64.self)
  let block = input.take(MemoryLayout<vos_superblock>.size)
  pages.base.copyMemory(from: block, byteCount: block.count)
  _ = fuzz_module_reads(pages.base, UInt64(pages.byteCount))
  // The module writes what it says of itself; a superblock it leaves alone.
  if let region = try? ChannelRegion(mappedAt: pages.base, byteCount: pages.byteCount) {
    visit(region, seed)
  }
}

/// Touches the ends of every area.
private func visit(_ region: ChannelRegion, _ seed: UInt64) {
  let geometry = region.geometry
  for side in [ChannelSide.client, .service] {
    region.page(of: side).announce(.ready, generation: region.generation(of: side))
    region.page(of: side).beat()
    _ = region.life(of: side)
  }
  for slice in Set([0, Int(seed % UInt64(geometry.sliceCount)), geometry.sliceCount - 1]) {
    region.publish(SliceEntry(state: .live, generation: 1), slice: slice)
    visit(SliceClient(region: region, slice: slice))
  }
  var producer = EventProducer(region: region)
  var consumer = EventConsumer(region: region)
  for index in 0..<min(geometry.eventCount, 64) {
    producer.post(.ready(cookie: UInt64(index), readiness: 1))
  }
  while consumer.next() != nil {}
  var port = ServicePort(region: region)
  while let change = port.nextChange() {
    guard case .adopted = change else { break }
  }
  while let request = port.next() {
    let bytes = port.bytes(request)
    fuzz_expect_allowed(bytes.baseAddress, bytes.count, "a request's window leaves the region")
    _ = port.complete(request, Reply(result: 0))
  }
}

private func visit(_ client: consuming SliceClient) {
  while let slot = client.takeSlot() {
    let window = client.window(of: slot)
    let bytes = client.bytes(window)
    fuzz_expect_allowed(bytes.baseAddress, bytes.count, "a slot's window leaves the region")
    if let last = bytes.indices.last { bytes[last] = 1 }
    _ = client.submit(Call(UInt16(VOS_CALL_NULL), data: window), in: slot)
  }
}

/// What the kernel module says of a slice (`vos_ioc_info`).
private func visitShape(_ input: inout Input) {
  let slice = Pages(byteCount: (1 + input.below(16)) * 4096)
  let shape = try? SliceShape(
    slotCount: UInt32(truncatingIfNeeded: input.interesting()),
    slotsOffset: UInt32(truncatingIfNeeded: input.interesting()),
    arenaOffset: UInt32(truncatingIfNeeded: input.interesting()),
    arenaBytes: UInt32(truncatingIfNeeded: input.interesting()), mapBytes: slice.byteCount)
  if let shape { visit(SliceClient(slice: slice.base, shape: shape)) }
}
