// SPDX-License-Identifier: Apache-2.0
// Measures calls to calls-service from ring 3: null calls, the raw round trip of one cache line, and
// the doorbell's way to the other guest's handler. All figures are in ticks of the time stamp.
import Channel
import MicroRuntime

private func say(_ name: String, _ histogram: borrowing Histogram) {
  guard histogram.total > 0 else { return }
  for (label, share) in [("p50", 500), ("p99", 990), ("p999", 999)] as [(String, UInt64)] {
    Console.line("RESULT \(name)_\(label) \(histogram.quantile(perThousand: share))")
  }
  Console.line("RESULT \(name)_max \(histogram.longest)")
  Console.line("RESULT \(name)_count \(histogram.total)")
}

private func run() -> String? {
  guard let device = Ivshmem.first() else { return "no ivshmem device" }
  guard let channel = try? device.channel() else { return "no channel" }
  let info = StartInfo()
  let isGated = info?.hasOption(BenchPage.gateOption) ?? false
  let isBrief = info?.hasOption(BenchPage.briefOption) ?? false
  // SAFETY: never freed, in memory that ring 3 may touch; ring 3 uses it first, then ring 0.
  let measurement = UnsafeMutablePointer<Measurement>.allocate(capacity: 1)
  unsafe measurement.initialize(
    to: Measurement(channel, device, isBrief ? .brief : .full, isGated: isGated))
  let result = unsafe UserMode.run(
    { unsafe $0!.assumingMemoryBound(to: Measurement.self).pointee.run() }, measurement)
  if let vector = UserFault.vector(of: result) { return "ring 3 stopped by exception \(vector)" }
  unsafe say("raw_ticks", measurement.pointee.raw)
  unsafe say("null_call_ticks", measurement.pointee.calls)
  unsafe say("doorbell_ticks", measurement.pointee.doorbells)
  unsafe say("beside_ticks", measurement.pointee.fairness.beside)
  let throughput = unsafe measurement.pointee.throughput
  for step in 0..<throughput.count {
    Console.line("RESULT throughput_ticks_\(1 << step) \(throughput.ticks[step])")
  }
  Console.line("RESULT throughput_calls \(unsafe measurement.pointee.counts.throughputCalls)")
  Console.line("RESULT rings \(unsafe measurement.pointee.rings)")
  return Measurement.Failure(rawValue: result)?.text
}

report("calls-client", run())
