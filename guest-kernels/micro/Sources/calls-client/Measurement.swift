// SPDX-License-Identifier: Apache-2.0
import CMicro
import CVosABI
import Channel
import MicroRuntime

/// The measured loops; ring 3 runs them.
struct Measurement: ~Copyable {
  var raw = Histogram()
  var calls = Histogram()
  var doorbells = Histogram()
  /// Doorbells that calls asked for: none while the service spins.
  var rings: UInt64 = 0
  var throughput = Throughput()
  var fairness = Fairness()

  private let channel: ChannelRegion
  private let device: Ivshmem
  private let isGated: Bool
  let counts: Counts

  /// How often everything is measured.
  struct Counts {
    let warmUps: UInt64
    let raws: UInt64
    let calls: UInt64
    let doorbells: UInt64
    /// In each run, with each number of outstanding calls.
    let throughputCalls: UInt64
    /// Calls beside another slice's.
    let fairnessRounds: UInt64

    static let full = Counts(
      warmUps: 20_000, raws: 500_000, calls: BenchPage.callCount, doorbells: 1000,
      throughputCalls: 1 << 17, fairnessRounds: 20_000)
    static let brief = Counts(
      warmUps: 100, raws: 1000, calls: 2000, doorbells: 20, throughputCalls: 64, fairnessRounds: 50)
  }

  /// Raw round trips and calls take turns so often: where virtual processors are moved between
  /// real ones, what they cost changes, and both must see the same.
  private static let rounds: UInt64 = 16
  /// Some hundred microseconds.
  private static let restTicks: UInt64 = 1 << 20

  /// What `run` returns.
  enum Failure: Int64 {
    case none = 0
    case notServed
    case noReply
    case badReply
    case noGate
    case noDoorbell

    var text: String? {
      switch self {
      case .none: nil
      case .notServed: "the service does not serve the slice"
      case .noReply: "a call was not answered"
      case .badReply: "a call was answered wrongly"
      case .noGate: "the host does not open the gate"
      case .noDoorbell: "a doorbell did not arrive"
      }
    }
  }

  init(_ channel: ChannelRegion, _ device: Ivshmem, _ counts: Counts, isGated: Bool) {
    self.counts = counts
    self.channel = channel
    self.device = device
    self.isGated = isGated
  }

  mutating func run() -> Int64 {
    let client = SliceClient(region: channel, slice: 0)
    let failure = measure(client)
    // Also after a failure: a service left alone would spin for ever.
    _ = call(client, Call(BenchCall.stop))
    return failure.rawValue
  }

  private mutating func measure(_ client: borrowing SliceClient) -> Failure {
    channel.page(of: .client).announce(.ready, generation: 1)
    guard connect(client, slice: 0) else { return .notServed }
    let null = Call(UInt16(VOS_CALL_NULL))
    for _ in 0..<counts.warmUps where call(client, null) != 0 { return .noReply }
    guard pass(client, BenchPage.Step.ready) else { return .noGate }
    for _ in 0..<Self.rounds {
      guard measureRaw(client, counts.raws / Self.rounds) else { return .noReply }
      let failure = measureCalls(client, null, counts.calls / Self.rounds)
      guard failure == .none else { return failure }
    }
    guard pass(client, BenchPage.Step.measured) else { return .noGate }
    guard measureThroughput(client, null), measureFairness(client) else { return .badReply }
    return device.hasMessages ? measureDoorbells(client) : .none
  }

  /// Gives a slice out and waits until it is served.
  private func connect(_ client: borrowing SliceClient, slice: Int) -> Bool {
    channel.publish(SliceEntry(state: .live, generation: 1), slice: slice)
    let patience = Patience()
    while client.servedGeneration != 1 {
      if patience.isOver { return false }
    }
    return true
  }

  /// Last of the calls: from here on two slices are served.
  private mutating func measureFairness(_ client: borrowing SliceClient) -> Bool {
    let neighbour = SliceClient(region: channel, slice: 1)
    guard connect(neighbour, slice: 1) else { return false }
    return fairness.measure(client, neighbour, counts.fairnessRounds)
  }

  /// One call the way that a program makes it; nil if no reply comes.
  @inline(__always)
  private mutating func call(_ client: borrowing SliceClient, _ call: Call) -> Int64? {
    guard let slot = client.takeSlot() else { return nil }
    let ticket = client.submit(call, in: slot)
    if client.mustRing {
      rings &+= 1
      device.ring(peer: VOS_PEER_SERVICE)
    }
    while true {
      if let reply = client.poll(ticket) {
        client.giveBack(slot)
        return reply.result
      }
    }
  }

  private mutating func measureCalls(
    _ client: borrowing SliceClient, _ null: Call, _ count: UInt64
  ) -> Failure {
    for _ in 0..<count {
      let start = micro_ticks()
      let result = call(client, null)
      calls.add(micro_ticks() &- start)
      if result != 0 { return result == nil ? .noReply : .badReply }
    }
    return .none
  }

  private mutating func measureThroughput(
    _ client: borrowing SliceClient, _ null: Call
  ) -> Bool {
    for step in 0..<Throughput.steps where 1 << step <= client.shape.slotCount {
      var flow = Flow(device, null, outstanding: 1 << step)
      var times: [UInt64] = []
      for _ in 0...Throughput.runs {
        guard let ticks = flow.run(client, counts.throughputCalls) else { return false }
        times.append(ticks)
      }
      // The first run warms up.
      throughput.add(times.dropFirst().sorted()[Throughput.runs / 2])
      rings &+= flow.rings
    }
    return true
  }

  private func window() -> DataWindow {
    DataWindow(offset: 0, length: 0, capacity: UInt32(BenchPage.byteCount))
  }

  /// A 64-bit word of the bench page.
  @unsafe
  private func word(
    _ client: borrowing SliceClient, _ offset: Int
  ) -> UnsafeMutablePointer<UInt64>? {
    // SAFETY: the arena has at least the bench page, or `bytes` is empty.
    guard let base = unsafe client.bytes(window()).baseAddress else { return nil }
    return unsafe (base + offset).assumingMemoryBound(to: UInt64.self)
  }

  /// One line to the service and back, `count` times.
  private mutating func measureRaw(_ client: borrowing SliceClient, _ count: UInt64) -> Bool {
    guard let line = unsafe word(client, BenchPage.raw) else { return false }
    // SAFETY: a line of the arena, accessed atomically.
    unsafe vos_store_release64(line, 0)
    let play = Call(BenchCall.raw, arguments: (count, 0, 0), data: window())
    guard call(client, play) == 0 else { return false }
    var next: UInt64 = 1
    for _ in 0..<count {
      let start = micro_ticks()
      unsafe vos_store_release64(line, next)
      while unsafe vos_load_acquire64(line) == next {}
      raw.add(micro_ticks() &- start)
      next &+= 2
    }
    return true
  }

  /// Says which step is reached and, if the host takes part, waits until it may go on.
  private func pass(_ client: borrowing SliceClient, _ step: UInt64) -> Bool {
    guard let reached = unsafe word(client, BenchPage.step),
      let gate = unsafe word(client, BenchPage.gate),
      let ticks = unsafe word(client, BenchPage.ticks)
    else { return false }
    // SAFETY: lines of the arena, accessed atomically.
    unsafe vos_store_release64(reached, step)
    return !isGated
      || spin(until: {
        unsafe vos_store_release64(ticks, micro_ticks())
        return unsafe vos_load_acquire64(gate) >= step
      })
  }

  /// Lets the other guest come back from its handler: a ring on top of another waits for that.
  private func rest() {
    let start = micro_ticks()
    while micro_ticks() &- start < Self.restTicks {}
  }

  /// From the write to the register until the other guest's handler is seen to have begun.
  private mutating func measureDoorbells(_ client: borrowing SliceClient) -> Failure {
    guard let counter = unsafe word(client, BenchPage.doorbells) else { return .noDoorbell }
    // SAFETY: a line of the arena, accessed atomically.
    unsafe vos_store_release64(counter, 0)
    let count = Call(BenchCall.countDoorbells, data: window())
    guard call(client, count) == 0 else { return .badReply }
    for ring in 1...counts.doorbells {
      let start = micro_ticks()
      device.ring(peer: VOS_PEER_SERVICE)
      guard spin(until: { unsafe vos_load_acquire64(counter) >= ring }) else {
        return .noDoorbell
      }
      doorbells.add(micro_ticks() &- start)
      rest()
    }
    return .none
  }
}
