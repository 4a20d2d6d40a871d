// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CVosABI
import Channel
import ChannelKit
import FuzzKit
import ServiceKit

@testable import Guest

// The agent's argument checks. Input: how much of it the kernel answers from, then calls.
let numbers: [UInt32] = [
  VOS_CALL_EXEC, VOS_CALL_EXEC_READ, VOS_CALL_EXEC_WRITE, VOS_CALL_EXEC_WAIT, VOS_CALL_EXEC_SIGNAL,
  VOS_CALL_CLOSE, VOS_CALL_NULL, VOS_CALL_READ,
]

fuzz { input in
  let answers = input.take(input.below(256))
  answers.withUnsafeBufferPointer { answers in
    fuzz_kernel_start(answers.baseAddress, answers.count)
    let fuzzed = FuzzedService(arenaBytes: 8192)
    guard let agent = Agent() else { return }
    while !input.isEmpty { post(&input, fuzzed, agent) }
    agent.died(0, generation: 1)
  }
}

func post(_ input: inout Input, _ fuzzed: FuzzedService, _ agent: Agent) {
  let number = numbers[input.below(numbers.count)]
  var call = Call(UInt16(number), from: &input, arenaBytes: 8192)
  var data = input.take(input.below(300))
  // Most programs begin with a head that makes sense.
  if number == VOS_CALL_EXEC, input.byte() < 200 {
    data = [UInt8(1 + input.below(4)), 0, 0, 0, input.byte() & 3, 0, 0, 0] + data
    call.data.length = UInt32(data.count)
    call.data.offset = UInt32(input.byte())
  }
  if number == VOS_CALL_EXEC_READ || number == VOS_CALL_EXEC_SIGNAL {
    call.arguments.0 = UInt64(input.byte() & 15)
  }
  fuzzed.call(call, slice: input.byte() < 240 ? 0 : 1, data: data) { agent.handle($0, $1) }
}
