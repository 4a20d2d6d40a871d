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

  /// The duration that `share` thousandths of all do not exceed.
  public func quantile(perThousand share: UInt64) -> UInt64 {
    let rank = (total * share + 999) / 1000
    var seen: UInt64 = 0
    for index in counts.indices {
      seen += UInt64(counts[index])
      if seen >= rank && seen > 0 { return Self.ticks(index) }
    }
    return longest
  }
}
