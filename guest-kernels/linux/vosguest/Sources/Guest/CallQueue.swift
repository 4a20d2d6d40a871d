// SPDX-License-Identifier: Apache-2.0

/// Calls that no thread is free for. Each slice in turn: a process with dozens of calls under way
/// keeps another's single call waiting for one of its own, not for all.
struct CallQueue<Waiting> {
  private var calls: [(slice: Int, call: Waiting)] = []
  /// When each slice last had a thread, in turns.
  private var lastTurns: [UInt64]
  private var turn: UInt64 = 0

  init(slices: Int) { lastTurns = Array(repeating: 0, count: slices) }

  var isEmpty: Bool { calls.isEmpty }

  mutating func append(_ call: Waiting, of slice: Int) { calls.append((slice, call)) }

  /// A call of the slice is being executed.
  mutating func note(_ slice: Int) {
    turn += 1
    lastTurns[slice] = turn
  }

  /// Takes the oldest call of the slice whose last turn was longest ago.
  mutating func take() -> Waiting? {
    let last = lastTurns
    guard let next = calls.indices.min(by: { last[calls[$0].slice] < last[calls[$1].slice] }) else {
      return nil
    }
    let (slice, call) = calls.remove(at: next)
    note(slice)
    return call
  }
}
