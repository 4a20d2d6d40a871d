// SPDX-License-Identifier: Apache-2.0
import CMicro

/// How long a guest believes in its peer: about half a minute.
public struct Patience {
  private static let ticks: UInt64 = 1 << 36
  private let start = micro_ticks()

  public init() {}

  public var isOver: Bool { micro_ticks() &- start > Self.ticks }
}

/// Looks until `condition` holds; false if patience ends. For rings 0 and 3.
public func spin(until condition: () -> Bool) -> Bool {
  let patience = Patience()
  while !condition() {
    if patience.isOver { return false }
  }
  return true
}
