// SPDX-License-Identifier: Apache-2.0
import Testing

/// The micro guests' own histogram, compiled into the tests by a link.
@Suite struct HistogramTests {
  @Test func isExactForShortDurations() {
    var histogram = Histogram()
    for ticks in 1...400 as ClosedRange<UInt64> { histogram.add(ticks) }
    let points = [500, 990, 999, 1000].map { histogram.quantile(perThousand: $0) }
    #expect(points == [200, 396, 400, 400])
    let (total, longest) = (histogram.total, histogram.longest)
    #expect(total == 400)
    #expect(longest == 400)
  }

  @Test(arguments: [511, 512, 513, 1023, 1024, 4_567, 1 << 20, 123_456_789, 1 << 33] as [UInt64])
  func isCloseForLongOnes(ticks: UInt64) {
    var histogram = Histogram()
    histogram.add(ticks)
    let point = histogram.quantile(perThousand: 500)
    #expect(point <= ticks)
    #expect(Double(ticks - point) <= Double(ticks) / 256)
  }

  @Test func countsWhatIsBeyondItsLastStep() {
    var histogram = Histogram()
    histogram.add(.max)
    histogram.add(1)
    let (longest, shortest) = (histogram.longest, histogram.quantile(perThousand: 500))
    #expect(longest == .max)
    #expect(shortest == 1)
  }

  @Test func anEmptyOneHasNoDurations() {
    let point = Histogram().quantile(perThousand: 500)
    #expect(point == 0)
  }
}
