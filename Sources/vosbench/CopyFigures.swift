// SPDX-License-Identifier: Apache-2.0
import MicroHost

extension CopyBenchmark.Figures {
  /// One JSON object; ratios are rounded to thousandths.
  var json: String {
    let all = points.map {
      "{\"block_bytes\":\($0.blockBytes),\"ratio\":\(rounded($0.ratio, to: 1000))}"
    }
    return "{\"points\":[\(all.joined(separator: ","))]}"
  }

  /// For people.
  var table: String {
    let rows = points.map { point in
      column(blockName(point.blockBytes), 10)
        + column(tenths(point.channelNanoseconds), 16) + column(tenths(point.nativeNanoseconds), 16)
        + column(rounded(point.ratio, to: 100), 10)
        + column(rounded(VirtuOSCurve.ratio(blockBytes: point.blockBytes), to: 100), 10)
    }
    return """
      \(column("block", 10))\(column("channel, ns", 16))\(column("pread, ns", 16))\
      \(column("ratio", 10))\(column("VirtuOS", 10))
      \(rows.joined(separator: "\n"))

      processors \(processors.map(String.init).joined(separator: " and "))
      """
  }
}

/// What VirtuOS measured on its hardware: time through the service domain to time on native Linux
/// (Nikolaev and Back, SOSP 2013, the 16 MiB transfer).
enum VirtuOSCurve {
  /// Each holds from its block size to the next one's.
  private static let steps: [(blockBytes: Int, ratio: Double)] = [
    (32, 1.69), (64, 1.6), (2 << 10, 1.19), (4 << 10, 1.1), (64 << 10, 0.84), (2 << 20, 0.77),
  ]

  static func ratio(blockBytes: Int) -> Double {
    steps.last { $0.blockBytes <= blockBytes }?.ratio ?? steps[0].ratio
  }
}

/// 32 B, 1 KiB, 2 MiB.
func blockName(_ bytes: Int) -> String {
  if bytes >= 1 << 20 { return "\(bytes >> 20) MiB" }
  return bytes >= 1 << 10 ? "\(bytes >> 10) KiB" : "\(bytes) B"
}
