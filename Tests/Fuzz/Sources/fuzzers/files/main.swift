// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CGuest
import CVosABI
import Channel
import ChannelKit
import FuzzKit
import ServiceKit

@testable import Guest

// The file service's argument checks: FUSE messages, and direct reads and writes. Input: how much of
// it the kernel answers from, then calls.
fuzz { input in
  let answers = input.take(input.below(256))
  answers.withUnsafeBufferPointer { answers in
    fuzz_kernel_start(answers.baseAddress, answers.count)
    let fuzzed = FuzzedService(arenaBytes: 16384)
    guard let service = FuseService(region: fuzzed.region, export: "/export") else { return }
    for slice in 0..<2 { service.adopted(slice, generation: 1) }
    var client = FuseClient(fuzzed, service)
    while !input.isEmpty { client.post(&input) }
  }
}

struct FuseClient {
  private let fuzzed: FuzzedService
  private let service: FuseService
  /// Handles that the service gave.
  private var handles: [UInt64] = []

  private static let headBytes = MemoryLayout<fuse_in_header>.size
  private static let lastOpcode = FUSE_COPY_FILE_RANGE.rawValue

  init(_ fuzzed: FuzzedService, _ service: FuseService) {
    self.fuzzed = fuzzed
    self.service = service
  }

  mutating func post(_ input: inout Input) {
    if input.byte() < 24 { return direct(&input) }
    let message = message(&input)
    let offset = UInt32(input.below(64))
    let capacity = input.byte() < 200 ? 12288 : UInt32(input.below(256))
    let data = DataWindow(offset: offset, length: UInt32(message.count), capacity: capacity)
    var opened: UInt64?
    fuzzed.call(
      Call(UInt16(VOS_CALL_FUSE), data: data), slice: input.byte() & 1 == 0 ? 0 : 1, data: message
    ) { request, bytes in
      let reply = service.handle(request, bytes)
      opened = Self.handle(message, reply, bytes)
      return reply
    }
    if let opened, handles.count < 8 { handles.append(opened) }
  }

  private func direct(_ input: inout Input) {
    let number = input.byte() & 1 == 0 ? VOS_CALL_PREAD64 : VOS_CALL_PWRITE64
    var call = Call(UInt16(number), from: &input, arenaBytes: 16384)
    if !handles.isEmpty { call.object = handles[input.below(handles.count)] & 0x7fff_ffff }
    fuzzed.call(call, slice: 1, data: input.take(input.below(64))) { service.handle($0, $1) }
  }

  /// A message whose head is mostly right.
  private func message(_ input: inout Input) -> [UInt8] {
    let opcode = input.byte() % UInt8(Self.lastOpcode + 2)
    var body = input.take(input.below(200))
    // Most bodies of operations on open files begin with the handle.
    if !handles.isEmpty, input.byte() < 200, body.count >= 8 {
      let handle = handles[input.below(handles.count)]
      for index in 0..<8 { body[index] = UInt8(truncatingIfNeeded: handle >> UInt64(8 * index)) }
    }
    if UInt32(opcode) == FUSE_IOCTL.rawValue, body.count >= 24, input.byte() < 200 {
      let request = input.byte() & 1 == 0 ? VOS_IOC_ATTACH : VOS_IOC_DETACH
      for index in 0..<4 {
        body[12 + index] = UInt8(truncatingIfNeeded: request >> UInt32(8 * index))
      }
      for index in 0..<8 { body[16 + index] = index == 0 ? input.byte() & 3 : 0 }
    }
    let length = input.byte() < 240 ? Self.headBytes + body.count : Int(input.byte())
    var head = fuse_in_header()
    head.len = UInt32(length)
    head.opcode = UInt32(opcode)
    head.unique = 7
    head.nodeid = input.byte() < 200 ? UInt64(1 + input.below(8)) : input.number(UInt64.self)
    head.uid = UInt32(input.byte() & 1)
    head.pid = 101
    return withUnsafeBytes(of: &head) { Array($0) } + body
  }

  /// The handle that an OPEN, OPENDIR or CREATE was answered with.
  private static func handle(
    _ message: [UInt8], _ reply: Reply?, _ bytes: UnsafeMutableRawBufferPointer
  ) -> UInt64? {
    guard let reply, reply.result == 0, message.count >= headBytes else { return nil }
    let opcode = fuse_opcode(UInt32(message[4]))
    let at =
      MemoryLayout<fuse_out_header>.size
      + (opcode == FUSE_CREATE ? MemoryLayout<fuse_entry_out>.size : 0)
    guard opcode == FUSE_OPEN || opcode == FUSE_OPENDIR || opcode == FUSE_CREATE,
      Int(reply.dataLength) >= at + MemoryLayout<fuse_open_out>.size
    else { return nil }
    return bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
  }
}
