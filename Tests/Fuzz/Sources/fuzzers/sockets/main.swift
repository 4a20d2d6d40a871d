// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CVosABI
import Channel
import ChannelKit
import FuzzKit
import ServiceKit

@testable import Guest

// The socket service's argument checks. Input: how much of it the kernel answers from, then calls.
let numbers: [UInt32] = [
  VOS_CALL_SOCKET, VOS_CALL_READ, VOS_CALL_WRITE, VOS_CALL_CLOSE, VOS_CALL_IOCTL, VOS_CALL_CONNECT,
  VOS_CALL_SENDMSG, VOS_CALL_RECVMSG, VOS_CALL_SHUTDOWN, VOS_CALL_BIND, VOS_CALL_LISTEN,
  VOS_CALL_GETSOCKNAME, VOS_CALL_GETPEERNAME, VOS_CALL_SETSOCKOPT, VOS_CALL_GETSOCKOPT,
  VOS_CALL_ACCEPT4, VOS_CALL_POLL, VOS_CALL_ATTACH, VOS_CALL_DETACH, VOS_CALL_NULL, VOS_CALL_FSTAT,
  VOS_CALL_NET_TABLE,
]
let requests: [UInt64] = [0x541b, 0x8912, 0x8910, 0x8927, 0x8913, 0x5411, 0x8905, 0x890b]

fuzz { input in
  let answers = input.take(input.below(256))
  answers.withUnsafeBufferPointer { answers in
    fuzz_kernel_start(answers.baseAddress, answers.count)
    let fuzzed = FuzzedService(arenaBytes: 8192)
    guard let service = SocketService(region: fuzzed.region) else { return }
    while !input.isEmpty { post(&input, fuzzed, service) }
  }
}

func post(_ input: inout Input, _ fuzzed: FuzzedService, _ service: SocketService) {
  let slice = input.byte() < 200 ? 0 : 1
  let which = input.below(numbers.count + 1)
  let number = which < numbers.count ? numbers[which] : UInt32(input.number(UInt16.self))
  var call = Call(UInt16(number), from: &input, arenaBytes: 8192)
  switch number {
  case VOS_CALL_SOCKET:
    call.arguments.0 = [2, 10, 16, 17][input.below(4)] << 32 | UInt64(1 + input.below(3))
  case VOS_CALL_IOCTL: call.arguments.0 = requests[input.below(requests.count)]
  case VOS_CALL_SETSOCKOPT, VOS_CALL_GETSOCKOPT:
    call.arguments.0 = [0, 1, 6, 41, 17, 255, 263, 270][input.below(8)]
    call.arguments.1 = UInt64(input.byte())
  case VOS_CALL_POLL: call.arguments.1 = UInt64(input.byte() & 1)
  default: break
  }
  fuzzed.call(call, slice: slice, data: input.take(input.below(400))) { service.handle($0, $1) }
}
