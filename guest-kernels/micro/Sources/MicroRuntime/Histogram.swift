// SPDX-License-Identifier: Apache-2.0

/// Counts durations in ticks: exact below 512, then 256 steps for each doubling (0.4 %).
public struct Histogram: ~Copyable {
  private static let exact: UInt64 = 512
  private static let stepBits: UInt64 = 8
  private static let doublings = 32
  private var counts: [UInt32]
  public private(set) var total: UInt64 = 0
  public private(set) var longest: UInt64 = 0

  public init() {
    counts = [UInt32](
      repeating: 0, count: Int(Self.exact) + Self.doublings << Int(Self.stepBits))
  }

  /// Forgets all durations.
  public mutating func clear() {
    for index in counts.indices { counts[index] = 0 }
    total = 0
    longest = 0
  }

  public mutating func add(_ ticks: UInt64) {
    let index = min(Self.index(ticks), counts.count - 1)
    counts[index] &+= 1
    total &+= 1
    if ticks > longest { longest = ticks }
  }

  private static func index(_ ticks: UInt64) -> Int {
    if ticks < exact { return Int(ticks) }
    let shift = UInt64(63 - ticks.leadingZeroBitCount) - stepBits
    return Int(exact + (shift - 1) << stepBits + (ticks >> shift - 1 << stepBits))
  }

  /// The lowest duration of the step `index`.
  private static func ticks(_ index: Int) -> UInt64 {
    let index = UInt64(index)
    if index < exact { return index }
    let shift = (index - exact) >> stepBits + 1
    return ((index - exact) & (1 << stepBits - 1) + 1 << stepBits) << shift
  }

  /// Neighbours that are further apart than this are no steps of one clock, in ticks.
  private static let clockStep: UInt64 = 64

  /// The duration that `share` thousandths of all do not exceed.
  ///
  /// Clocks that advance by several ticks at a time give few different durations: between two of
  /// them that are neighbours the point is interpolated, as for grouped data.
  public func quantile(perThousand share: UInt64) -> UInt64 {
    let rank = (total * share + 999) / 1000
    var seen: UInt64 = 0
    var before: UInt64?
    for index in counts.indices where counts[index] > 0 {
      let count = UInt64(counts[index])
      if seen + count >= rank {
        return interpolate(index, before: before, part: rank - seen, of: count)
      }
      seen += count
      before = Self.ticks(index)
    }
    return longest
  }

  /// The middle of the step `index` is its duration; its ends lie half-way to its neighbours.
  private func interpolate(
    _ index: Int, before: UInt64?, part: UInt64, of count: UInt64
  ) -> UInt64 {
    let ticks = Self.ticks(index)
    let after = counts.indices.dropFirst(index + 1).first { counts[$0] > 0 }.map(Self.ticks)
    guard let before, let after, ticks - before <= Self.clockStep, after - ticks <= Self.clockStep
    else { return ticks }
    return (before + ticks) / 2 + (after - before) * part / (2 * count)
  }
}
