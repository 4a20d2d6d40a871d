// SPDX-License-Identifier: Apache-2.0
import MicroHost

extension CallsBenchmark.Figures {
  /// One JSON object; times are rounded to tenths.
  var json: String {
    let call =
      "{\"p50\":\(tenths(nullCall.p50)),\"p99\":\(tenths(nullCall.p99)),"
      + "\"p999\":\(tenths(nullCall.p999))}"
    let steps = throughput.map {
      "{\"outstanding\":\($0.outstanding),\"calls_per_second\":\(Int($0.callsPerSecond.rounded()))}"
    }
    let parts = [
      "\"null_call_ns\":\(call)",
      "\"raw_round_trip_ns\":{\"p50\":\(tenths(rawRoundTrip.p50))}",
      "\"getppid_ns\":{\"p50\":\(tenths(getppidNanoseconds))}",
      "\"doorbell_us\":{\"p50\":\(tenths(doorbell.p50 / 1000))}",
      "\"ratio\":\(rounded(ratio, to: 100))",
      "\"exits_per_call\":\(rounded(exitsPerCall, to: 1_000_000))",
      "\"throughput\":[\(steps.joined(separator: ","))]",
      "\"fairness\":{\"p99_ns\":\(tenths(besideOthers.p99)),\"ratio\":\(rounded(fairness, to: 100))}",
    ]
    return "{" + parts.joined(separator: ",") + "}"
  }

  /// For people.
  var table: String {
    func row(_ name: String, _ points: CallsBenchmark.Points) -> String {
      column(name, 26, left: true)
        + [points.p50, points.p99, points.p999].map { column(tenths($0), 12) }.joined()
    }
    let steps = throughput.map {
      column("\($0.outstanding)", 12) + column(rounded($0.callsPerSecond / 1e6, to: 100), 26)
    }
    let places = processors.map(String.init).joined(separator: " and ")
    return """
      \(column("nanoseconds", 26, left: true))         p50         p99       p99.9
      \(row("null call", nullCall))
      \(row("raw round trip", rawRoundTrip))
      \(row("doorbell to handler", doorbell))
      \(row("null call beside others'", besideOthers))
      \(column("getppid on the host", 26, left: true))\(column(tenths(getppidNanoseconds), 12))

      \(column("outstanding", 12))\(column("million calls a second", 26))
      \(steps.joined(separator: "\n"))

      null call / raw round trip: \(rounded(ratio, to: 100))
      null call beside 64 calls of another process / alone, p99: \(rounded(fairness, to: 100))
      exits: \(exits) in \(callCount) calls, \(interruptExits) of them by interrupts of the host; \
      doorbells rung by calls: \(rings)
      processors \(places)
      """
  }
}

func tenths(_ value: Double) -> String { rounded(value, to: 10) }

/// `value` to one part in `parts`, without an exponent.
func rounded(_ value: Double, to parts: Int) -> String {
  let units = Int((value * Double(parts)).rounded())
  let digits = String(parts).count - 1
  let fraction = String(units % parts)
  let zeros = String(repeating: "0", count: digits - fraction.count)
  return "\(units / parts).\(zeros)\(fraction)"
}

func column(_ text: String, _ width: Int, left: Bool = false) -> String {
  let blanks = String(repeating: " ", count: max(0, width - text.count))
  return left ? text + blanks : blanks + text
}
