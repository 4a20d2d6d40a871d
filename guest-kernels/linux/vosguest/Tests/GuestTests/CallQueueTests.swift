// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Guest

@Suite struct CallQueueTests {
  @Test func slicesTakeTurns() {
    var queue = CallQueue<String>(slices: 4)
    for call in ["a1", "a2", "a3", "a4"] { queue.append(call, of: 1) }
    queue.note(1)
    queue.append("b1", of: 2)
    queue.append("c1", of: 3)
    queue.append("b2", of: 2)
    let order = (0..<7).map { _ in queue.take() }
    #expect(order == ["b1", "c1", "a1", "b2", "a2", "a3", "a4"])
    #expect(queue.isEmpty && queue.take() == nil)
  }
}
