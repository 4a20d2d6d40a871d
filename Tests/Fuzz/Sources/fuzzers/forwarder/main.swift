// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CGuest
import CVosABI
import Channel
import ChannelKit
import FuzzKit

@testable import Guest

// The primary's end of a files channel: requests of the kernel, carried to a service that writes
// whatever it likes, dies and comes back at any moment. Input: requests, and steps of the service where
// the forwarder looks at it or waits for it.
fuzz { input in
  fuzz_kernel_start(nil, 0)
  steps = input
  let service = Service()
  peer = service
  mount = Mount()
  let fuse = Descriptor(owning: fuzz_kernel_fuse({ mount.take($0, $1) }, { mount.give($0, $1) }))
  let forwarder = FileForwarder(
    service, fuse: fuse, mountedAt: "/storage", policy: SpinPolicy(spins: 1, yields: 1),
    outageMilliseconds: 0)
  forwarder.run(threads: 1)
  mount.expectAnswered()
  peer = nil
}

nonisolated(unsafe) private var steps = Input([])
nonisolated(unsafe) private var peer: Service?
nonisolated(unsafe) private var mount = Mount()

/// The kernel's side of /dev/fuse (fs/fuse/dev.c).
private struct Mount {
  /// The request under way, of which a reply is due.
  private var due: UInt64?
  private var unique: UInt64 = 0
  private static let headBytes = MemoryLayout<fuse_out_header>.size
  private static let noReply = [
    FUSE_FORGET.rawValue, FUSE_BATCH_FORGET.rawValue, FUSE_INTERRUPT.rawValue,
  ]

  func expectAnswered() { expect(due == nil, "a request that nobody answers") }

  mutating func take(_ room: UnsafeMutableRawPointer?, _ bytes: Int) -> Int {
    expectAnswered()
    guard !steps.isEmpty, let room else { return Failure.noDevice }
    unique += 2
    var head = fuse_in_header()
    let opcodes = [
      FUSE_INIT, FUSE_LOOKUP, FUSE_READ, FUSE_WRITE, FUSE_MKDIR, FUSE_IOCTL, FUSE_FORGET,
      FUSE_GETATTR,
    ].map(\.rawValue)
    head.opcode = opcodes[steps.below(opcodes.count)]
    head.unique = unique
    head.nodeid = UInt64(steps.below(4))
    head.pid = UInt32(steps.below(3))
    let body = steps.take(steps.below(64))
    let length = MemoryLayout<fuse_in_header>.size + body.count
    head.len = UInt32(length)
    expect(length <= bytes, "less room than a request has")
    room.storeBytes(of: head, as: fuse_in_header.self)
    (room + MemoryLayout<fuse_in_header>.size).copyMemory(from: body, byteCount: body.count)
    if !Self.noReply.contains(head.opcode) { due = unique }
    return length
  }

  mutating func give(_ reply: UnsafeRawPointer?, _ bytes: Int) -> Int {
    guard let reply, bytes >= Self.headBytes else { return Failure.invalid }
    let head = reply.loadUnaligned(as: fuse_out_header.self)
    guard Int(head.len) == bytes else { return Failure.invalid }
    if head.unique == 0 {
      expect(
        head.error == Int32(FUSE_NOTIFY_INVAL_INODE.rawValue), "a notice of the service's own")
      return bytes
    }
    guard head.error <= 0, head.error > -512, head.error == 0 || bytes == Self.headBytes else {
      return Failure.invalid
    }
    expect(head.unique == unique, "a reply to another request")
    guard due != nil else { return Failure.noEntry }
    due = nil
    return bytes
  }
}

/// The service's domain, and the module between.
private final class Service: ClientDevice, @unchecked Sendable {
  private let fuzzed = FuzzedRegion(slices: 2, slots: 2, arenaBytes: 16384)
  private var port: ServicePort
  private var life: UInt32? = 1

  init() { port = ServicePort(region: fuzzed.region) }

  var shape: SliceShape { SliceShape(fuzzed.geometry) }
  let sliceNumber = 1
  var slice: UnsafeMutableRawPointer {
    fuzzed.slices.baseAddress! + fuzzed.geometry.sliceStride
  }

  func ring() { act() }

  func wait(slot: Int, state: UInt32, milliseconds: Int32) -> Bool {
    act()
    return life != nil
  }

  /// With nothing left to happen it is gone for good.
  var serviceLife: UInt32? {
    act()
    return steps.isEmpty ? nil : life
  }

  private func act() {
    guard !steps.isEmpty else { return }
    switch steps.below(8) {
    case 0: fuzzed.scribble(&steps)
    case 1, 2, 3: serve()
    case 4:
      // Killed, perhaps with calls taken; the next one may have come already.
      port = ServicePort(region: fuzzed.region)
      life = steps.byte() & 1 == 0 ? nil : UInt32(steps.byte())
    case 5: life = UInt32(steps.below(3))
    default: break
    }
  }

  private func serve() {
    while let change = port.nextChange() {
      if case .died(let slice, let generation) = change, port.isIdle(slice) {
        port.released(slice, generation: generation)
      }
    }
    // Taken, and perhaps never answered.
    guard let request = port.next(), steps.byte() < 224 else { return }
    let bytes = port.bytes(request)
    var length = UInt32(steps.below(64))
    if steps.byte() & 1 == 0, bytes.count >= 16 {
      // A reply as it ought to be, but for what else comes of the input.
      length = 16
      let error = steps.byte() < 200 ? Int32(0) : Int32(truncatingIfNeeded: steps.interesting())
      bytes.storeBytes(
        of: fuse_out_header(len: length, error: error, unique: steps.interesting()),
        as: fuse_out_header.self)
    }
    let result = steps.byte() < 192 ? 0 : Int64(bitPattern: steps.interesting())
    _ = port.complete(request, Reply(result: result, dataLength: length))
  }
}
